"""Other gateways, measured the same way: LiteLLM's proxy (a venv of its own) and Portkey's gateway (npm).

Both are installed below .tools on the first run; neither is a dependency. They are called by a light HTTP client, one
call after the other, against the same upstream; CPU is that of their processes.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from bench.measure import cost_ms
from bench.processes import Process
from bench.sidecar import ANSWERS

TOOLS: Final = Path(__file__).parent.parent / ".tools"
CALLS: Final = {"short": 60, "stream": 15}
ROUNDS: Final = 3
_START_LIMIT_S: Final = 120
# Its streams end in its own "TypeError: immutable" on Node 20, so only short answers are asked of it.
PORTKEY: Final = ("@portkey-ai/gateway@1.15.2", "hono@4.9.7", "@hono/node-server@1.14.0")
PORTKEY_HOME: Final = TOOLS / "portkey-1.15.2"


def measure(rig: Any) -> dict[str, Any]:
    """Return each peer's CPU per short answer and per stream, milliseconds, its memory, MB, and its start, seconds."""
    _install()
    found: dict[str, Any] = {}
    for name, peer in (("litellm", _litellm), ("portkey", _portkey)):
        try:
            found[name] = peer(rig)
        except SystemExit as error:  # it does not start here, or refuses this upstream: the rest is worth having
            found[name] = {"failed": str(error)[:300]}
    return found


def _install() -> None:
    if not (TOOLS / "litellm/bin/litellm").exists():
        python = TOOLS / "litellm/bin/python"
        subprocess.check_call([sys.executable, "-m", "venv", TOOLS / "litellm"])
        uv = Path(sys.executable).parent / "uv"
        subprocess.check_call([uv, "pip", "install", "-q", "--python", python, "litellm[proxy]"])
    if not (PORTKEY_HOME / "node_modules").exists():
        options = ["--silent", "--no-save", "--no-audit", "--no-fund"]
        subprocess.check_call(["npm", "install", *options, "--prefix", PORTKEY_HOME, *PORTKEY])


def _litellm(rig: Any) -> dict[str, float]:
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"{rig.upstream_url}/v1", "api_key": "none"},
        }
        for name in (ANSWERS["short"], ANSWERS["stream"])
    ]
    config, port = rig.folder / "litellm.yaml", _free_port()
    config.write_text(yaml.safe_dump({"model_list": models, "litellm_settings": {"telemetry": False}}))
    command = [str(TOOLS / "litellm/bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Its price list comes with it; without this it would ask for a newer one at every start.
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    return _measured(_started(rig, "litellm", command, environ), port, {}, ("short", "stream"))


def _portkey(rig: Any) -> dict[str, float]:
    port = _free_port()
    script = PORTKEY_HOME / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(script), f"--port={port}", "--headless"]
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{rig.upstream_url}/v1"}
    environ = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return _measured(_started(rig, "portkey", command, environ), port, headers, ("short",))


def _started(rig: Any, name: str, command: list[str], environ: dict[str, str]) -> Process:
    to_the_log = ["sh", "-c", 'exec "$@" >&2', name]  # nobody reads what it prints
    return Process([*to_the_log, *command], rig.folder / f"{name}.log", {**os.environ, **environ})


def _measured(process: Process, port: int, headers: dict[str, str], answers: tuple[str, ...]) -> dict[str, float]:
    with process:
        started_s = time.perf_counter()
        _wait(port)
        figures = {"start s": time.perf_counter() - started_s}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for answer in answers:
            calls = CALLS[answer]
            ask = _asker(connection, ANSWERS[answer], answer == "stream", headers)
            for _ in range(20):
                ask()
            took = [cost_ms(process, calls, lambda n=calls, a=ask: [a() for _ in range(n)]) for _ in range(ROUNDS)]  # type: ignore[misc]
            figures[f"{answer} ms"] = statistics.median(took)
        figures["memory MB"] = process.memory_mb()
        return figures


def _asker(
    connection: http.client.HTTPConnection, model: str, streamed: bool, headers: dict[str, str]
) -> Callable[[], None]:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "say ten words"}], "stream": streamed})
    sent = {"content-type": "application/json", "authorization": "Bearer none", **headers}

    def ask() -> None:
        connection.request("POST", "/v1/chat/completions", body, sent)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200 or b"word" not in content:
            raise SystemExit(f"a peer answered {response.status}: {content[:500]!r}")

    return ask


def _wait(port: int) -> None:
    until_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < until_s:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("a peer did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
