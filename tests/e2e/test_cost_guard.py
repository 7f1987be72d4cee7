"""What a call costs, counted and not timed: Python function calls of the serving thread, per request and per chunk.

Counts repeat on any machine, times do not. The numbers are those of the last change that was meant; a rise of a fifth
fails. Where a change is worth its calls, or made fewer of them, write the new number down here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.app.serve import Sidecar
from atlas_sidecar.config import load

ROOT = Path(__file__).parents[2]
OURS = str(ROOT / "atlas_sidecar")
# Calls of our own functions: one Generate with a short answer, each further chunk of a stream, one Select of 30.
PER_REQUEST = {"openai": 550.0, "anthropic": 594.0, "groq": 548.0, "google": 602.0}
PER_CHUNK = {"openai": 2.0, "anthropic": 4.0, "groq": 2.0, "google": 7.0}
PER_SELECT = 329.0
MOST = 1.2

CONFIG = """
listen: ["127.0.0.1:0"]
log_level: info
budget: {{spend_log: {folder}, daily_limit_usd: 1000}}
telemetry: {{sample_ratio: 0.1}}
providers:
  openai: {{base_url: "{url}/v1", api_key: none}}
  anthropic: {{base_url: "{url}", api_key: none}}
  groq: {{base_url: "{url}", api_key: none}}
  google: {{base_url: "{url}", api_key: none}}
models: {{{models}}}
roles: {{{roles}}}
"""
KINDS = ("openai", "anthropic", "groq", "google")
MODEL = (
    "{id}: {{provider: {kind}, model: {name}, context_window: 100000, max_output_tokens: 4096, "
    "reasoning_score: 8, speed_score: 8, price: {{input: 1, output: 2}}}}"
)


class Count:
    """Counts calls of our functions on this thread, which serves, while it is entered."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Count:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"] += 1


@pytest.fixture(scope="module")
def upstream() -> Any:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.upstream"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
async def address(upstream: str, tmp_path: Path) -> AsyncIterator[str]:
    names = {f"{kind}-{chunks}": (kind, f"m-chunks-{chunks}") for kind in KINDS for chunks in (10, 110)}
    names |= {f"candidate-{n}": (KINDS[n % 4], f"m{n}") for n in range(30)}
    models = ", ".join(MODEL.format(id=model, kind=kind, name=name) for model, (kind, name) in names.items())
    roles = ", ".join(f"{model}: {{tiers: [[{model}]]}}" for model in names if "candidate" not in model)
    many = ", ".join(f"candidate-{n}" for n in range(30))
    file = tmp_path / "atlas.yaml"
    file.write_text(
        CONFIG.format(
            folder=tmp_path / "log", url=upstream, models=models, roles=f"{roles}, worker: {{tiers: [[{many}]]}}"
        )
    )
    sidecar = Sidecar(load(str(file), {}), {}, SystemClock())
    addresses, _ = await sidecar.start()
    await sidecar.live.start()
    yield addresses[0]
    await sidecar.close(1)


def generate(stub: RouterStub, role: str, times: int) -> None:
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="say ten words")])
    request = pb.GenerateRequest(messages=[message], requirements=pb.Requirements(agent_type=role))
    for _ in range(times):
        *_, last = stub.Generate(request, timeout=30)
        assert last.HasField("completed")


async def counted(times: int, ask: Callable[[int], None]) -> tuple[float, str]:
    """Return our calls per request, and which they are; `ask(n)` makes n requests from another thread."""
    await asyncio.to_thread(ask, 8)  # connections, heads, caches
    count = Count()
    with count:
        await asyncio.to_thread(ask, times)
    named = "\n".join(f"{number / times:8.1f} {name}" for name, number in count.calls.most_common(60))
    return count.calls.total() / times, named


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_takes_no_more_function_calls_than_before(kind: str, address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = RouterStub(channel)
        short, named = await counted(20, lambda n: generate(stub, f"{kind}-10", n))
        long, named_long = await counted(20, lambda n: generate(stub, f"{kind}-110", n))
    per_chunk = (long - short) / 100
    assert short <= PER_REQUEST[kind] * MOST, f"{short:.1f} calls of ours per request:\n{named}"
    assert per_chunk <= PER_CHUNK[kind] * MOST, f"{per_chunk:.2f} calls of ours per chunk:\n{named_long}"


async def test_a_select_takes_no_more_function_calls_than_before(address: str) -> None:
    def ask(times: int) -> None:
        for _ in range(times):
            assert len(stub.Select(pb.SelectRequest(context_tokens=1000), timeout=30).decision.candidates) == 30

    with grpc.insecure_channel(address) as channel:
        stub = RouterStub(channel)
        found, named = await counted(20, ask)
    assert found <= PER_SELECT * MOST, f"{found:.1f} calls of ours per Select:\n{named}"
