"""The demo's outage in a real viewer: what Phoenix keeps of it, and what its page shows in a browser.

Slow, and Phoenix is 850 MB: `make e2e-tracing` runs it. The picture in the README is made here.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.demo import CONFIGURATION

REPOSITORY = Path(__file__).parents[2]
PICTURE = REPOSITORY / "docs" / "images" / "trace.png"  # of the README; written by `make e2e-tracing SAVE=1`
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1500,900 --virtual-time-budget=20000"
).split()
CALLS = 2  # the second one meets what the first has learned

pytestmark = [
    pytest.mark.skipif("ATLAS_E2E_TRACING" not in os.environ, reason="installs 850 MB: run `make e2e-tracing`"),
    pytest.mark.timeout(600),
]


class Viewed(NamedTuple):
    """What was traced: the viewer's address, and the ids of the calls' traces in order."""

    url: str
    traces: list[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    folder = tmp_path_factory.mktemp("viewer")
    port, grpc_port = free_port(), free_port()
    subprocess.run([REPOSITORY / "tools" / "phoenix", "install"], check=True, timeout=500)
    environ = os.environ | {"PHOENIX_WORKING_DIR": str(folder / "phoenix")}
    command = [str(REPOSITORY / "tools" / "phoenix"), "serve", str(port), str(grpc_port)]
    with (folder / "phoenix.log").open("w") as log:
        phoenix = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        wait_for_phoenix(f"http://127.0.0.1:{port}/healthz", folder / "phoenix.log")
        yield Viewed(f"http://127.0.0.1:{port}", the_outage(folder, f"http://127.0.0.1:{grpc_port}"))
    finally:
        stop(phoenix)


def wait_for_phoenix(url: str, log: Path) -> None:
    until_s = time.monotonic() + 90
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"Phoenix does not serve:\n{log.read_text()[-2000:]}")


def the_outage(folder: Path, otlp: str) -> list[str]:
    """Let a supervisor ask while the demo's primary provider is down; return its traces."""
    config = folder / "demo.yaml"
    telemetry = f"telemetry: {{otlp_endpoint: {otlp!r}}}\n"
    config.write_text(CONFIGURATION.replace("node: demo", f"node: demo, spend_log: {folder / 'spend'}") + telemetry)
    command = [sys.executable, "-c", "from atlas_sidecar.cli import main; raise SystemExit(main())", "serve"]
    sidecar = subprocess.Popen([*command, "--config", str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert sidecar.stdout is not None
        address = sidecar.stdout.readline().removeprefix("serving on ").strip()
        with grpc.insecure_channel(address) as channel:
            return [ask(RouterStub(channel)) for _ in range(CALLS)]
    finally:
        stop(sidecar)  # which flushes


def ask(router: RouterStub) -> str:
    request = pb.GenerateRequest(
        requirements=pb.Requirements(agent_type="research-supervisor", complexity=pb.COMPLEXITY_HIGH),
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="Why is the sky blue?")])],
    )
    *_, last = router.Generate(request, timeout=30)
    assert last.WhichOneof("event") == "completed"
    return str(last.completed.trace_id)


def spans_of(viewed: Viewed, trace_id: str) -> list[dict[str, Any]]:
    """Return a trace's spans as Phoenix keeps them, by start."""
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        data = fetch(f"{viewed.url}/v1/projects/default/spans?limit=500")["data"]
        mine = [span for span in data if span["context"]["trace_id"] == trace_id]
        if any(span["parent_id"] is None for span in mine):
            return sorted(mine, key=lambda span: (str(span["start_time"]), str(span["end_time"])))
        time.sleep(0.5)
    return pytest.fail(f"trace {trace_id} did not arrive")


def names(spans: list[dict[str, Any]], parent: dict[str, Any]) -> list[str]:
    """Return the names below a span, in order, without the waits' lengths."""
    mine = [span["name"] for span in spans if span["parent_id"] == parent["context"]["span_id"]]
    return [re.sub(r" [\d.]+s$", "", name) for name in mine]


def one(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [span for span in spans if span["name"] == name]
    return found


def test_the_json_tells_hops_in_order_with_failures_attempts_and_waits(viewed: Viewed) -> None:
    spans = spans_of(viewed, viewed.traces[0])
    root = one(spans, "atlas_api.v1.Router/Generate")
    assert names(spans, root) == ["atlas.select", "chat claude-opus-5-5", "chat gpt-6.1-sol", "chat gemini-4-argon"]
    opus = one(spans, "chat claude-opus-5-5")
    assert names(spans, opus) == ["attempt 1: 500", "backoff", "attempt 2: 500", "backoff", "attempt 3: 500"]
    failed = [span["name"] for span in spans if span["status_code"] == "ERROR"]
    assert sorted(failed) == [
        *("attempt 1: 429", "attempt 1: 500", "attempt 2: 500", "attempt 3: 500"),
        *("chat claude-opus-5-5", "chat gpt-6.1-sol"),
    ]
    assert (root["status_code"], root["attributes"]["atlas.outcome"]) == ("UNSET", "recovered")
    for earlier, later in pairwise(span for span in spans if span["span_kind"] == "LLM"):
        assert earlier["end_time"] <= later["start_time"]


def test_the_json_has_tokens_and_cost_on_the_hop_that_served_only(viewed: Viewed) -> None:
    spans = spans_of(viewed, viewed.traces[0])
    served = one(spans, "chat gemini-4-argon")["attributes"]
    assert served["llm.token_count.total"] == served["gen_ai.usage.input_tokens"] + served["gen_ai.usage.output_tokens"]
    assert served["llm.token_count.completion"] > 0
    assert served["atlas.hop.cost_nano_usd"] > 0
    counted = [span["name"] for span in spans if "llm.token_count.total" in span["attributes"]]
    assert counted == ["chat gemini-4-argon"]


def test_the_json_names_what_was_skipped_and_why(viewed: Viewed) -> None:
    spans = spans_of(viewed, viewed.traces[1])
    skipped = one(spans, "skip gpt-6.1-sol: rate_limited")
    assert skipped["status_code"] == "UNSET"
    assert skipped["attributes"]["atlas.skip.detail"]


def test_the_page_shows_the_story_in_a_browser(viewed: Viewed, tmp_path: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    spans = spans_of(viewed, viewed.traces[1])
    page = f"{viewed.url}/redirects/traces/{viewed.traces[1]}"
    picture = PICTURE if os.environ["ATLAS_E2E_TRACING"] == "save" else tmp_path / "trace.png"
    shot = [f"--user-data-dir={tmp_path / 'shot'}", f"--screenshot={picture}", page]
    subprocess.run([browser, *FLAGS, *shot], check=True, timeout=120, capture_output=True)
    assert picture.stat().st_size > 50_000
    dump = [f"--user-data-dir={tmp_path / 'dump'}", "--dump-dom", page]
    dom = subprocess.run([browser, *FLAGS, *dump], check=True, timeout=120, capture_output=True, text=True).stdout
    shown = re.sub(r"<[^>]+>", "\n", re.sub(r"<(script|style)[^>]*>.*?</\1>", "", dom, flags=re.DOTALL))
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    tree = lines[lines.index("atlas.select") :]
    places = [tree.index(span["name"]) for span in spans if span["name"] != "atlas_api.v1.Router/Generate"]
    assert len(places) == len(spans) - 1
    hops = [tree.index(span["name"]) for span in spans if span["span_kind"] == "LLM"]
    assert hops == sorted(hops)
    served = one(spans, "chat gemini-4-argon")["attributes"]
    assert str(served["llm.token_count.total"]) in tree
