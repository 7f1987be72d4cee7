"""`atlas-sidecar demo`: the main job, end to end, without any key.

A sidecar in this process, its providers simulated and the primary one in the middle of an outage; a supervisor and a
worker ask it over a real channel. Shown: the answer as it streams, hops as they fail, the scores, the cost, the trace.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc.aio

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.telemetry.console import TraceCollector, render
from atlas_sidecar.app.serve import Sidecar
from atlas_sidecar.config import load

Write: TypeAlias = Callable[[str], None]
Explain: TypeAlias = Callable[[pb.Decision], Sequence[str]]
Usd: TypeAlias = Callable[[int], str]

CONFIGURATION: Final = """\
# Six models at four providers, as in the catalog; all simulated, so that no key is needed.
listen: [127.0.0.1:0]
providers:
  anthropic:                      # an outage: whatever is asked of it fails, each request in its own way
    kind: simulated
    models:
      claude-opus-5-5: {script: [{status: 500, times: 100}]}
      claude-sonnet-5-5: {script: [{status: 503, times: 100}]}
  openai:
    kind: simulated
    tokens_per_s: 60
    models:
      gpt-6.1-sol: {script: [{status: 429, retry_after_s: 20, times: 100}]}
      gpt-6-luna:
        text: "Checked twelve sources: eleven agree, one is outdated. Summary, table and references are ready."
  google:
    kind: simulated
    tokens_per_s: 60
    text: "Plan: split the question in three, give each part to a worker, compare what they find, and ask again where
      two of them disagree. The primary provider is down; nothing was lost, only the model changed."
  groq: {kind: simulated}
fallback: {backoff_base_s: 0.2, backoff_cap_s: 0.5}
budget: {node: demo, daily_limit_usd: 50}
log_level: error
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """One request of the demo."""

    title: str
    agent_type: str
    complexity: pb.Complexity.ValueType
    prompt: str


SCENES: Final = (
    Scene(
        "A supervisor plans: hard work, so reasoning counts most",
        "research-supervisor",
        pb.COMPLEXITY_HIGH,
        "Plan how three workers verify a claim about ocean temperatures.",
    ),
    Scene(
        "A worker sums up: the sidecar has learned from the outage and picks around it",
        "research-worker",
        pb.COMPLEXITY_MEDIUM,
        "Sum up what the twelve sources say.",
    ),
)


class Terminal:
    """Writes plain text, with a little colour where the output is a terminal."""

    def __init__(self, write: Write, colour: bool) -> None:
        self.write = write
        self.colour = colour

    def line(self, text: str = "", code: str = "") -> None:
        """Write a line; `code`: an escape code's number, used on a terminal only."""
        self.write(f"\x1b[{code}m{text}\x1b[0m\n" if code and self.colour else f"{text}\n")


async def demo(terminal: Terminal, explain: Explain, usd: Usd) -> int:
    """Play the demo; return the exit status. `explain` lays a decision out, `usd` writes an amount."""
    with tempfile.TemporaryDirectory(prefix="atlas-demo-") as directory:
        collector = TraceCollector()
        async with _sidecar(Path(directory), collector) as address:
            terminal.line(
                "ATLAS sidecar, a demo: four simulated providers, the first one is down. No key, no cost.", "1"
            )
            terminal.line(f"The sidecar serves on {address}; two agents ask it over gRPC.")
            async with grpc.aio.insecure_channel(address) as channel:
                router = RouterStub(channel)
                answered = [await _play(scene, router, terminal, explain, usd, collector) for scene in SCENES]
                await _sum_up(router, terminal, usd)
    _next_steps(terminal)
    return 0 if all(answered) else 1


@asynccontextmanager
async def _sidecar(directory: Path, collector: TraceCollector) -> AsyncIterator[str]:
    file = directory / "demo.yaml"
    viewer = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")  # a trace viewer to show it to, as `make demo UI=1` does
    file.write_text(CONFIGURATION + (f"telemetry: {{otlp_endpoint: {viewer!r}}}\n" if viewer else ""))
    environ = {"XDG_STATE_HOME": str(directory)}
    logging.getLogger("atlas_sidecar").setLevel(logging.ERROR)
    sidecar = Sidecar(load(str(file), environ), environ, SystemClock(), (collector,))
    (address,), _ = await sidecar.start()
    try:
        await sidecar.warm()
        yield address
    finally:
        await sidecar.close(1.0)


async def _play(
    scene: Scene, router: RouterStub, terminal: Terminal, explain: Explain, usd: Usd, collector: TraceCollector
) -> bool:
    terminal.line()
    terminal.line(f"== {scene.title}", "1;36")
    terminal.line(f"{scene.agent_type}: {scene.prompt}")
    terminal.line()
    request = pb.GenerateRequest(
        requirements=pb.Requirements(agent_type=scene.agent_type, complexity=scene.complexity),
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text=scene.prompt)])],
        stream_policy=pb.STREAM_POLICY_RESTART,
        explain=True,
    )
    decision, completed = pb.Decision(), pb.Completed()
    async for event in router.Generate(request, timeout=15):  # type: ignore[attr-defined]  # the stub serves grpc.aio too
        match event.WhichOneof("event"):
            case "hop_failed":
                terminal.line(_failed_hop(event), "33")
            case "started":
                decision = event.started.decision
                terminal.line(f"hop {event.hop}: {event.started.model.id} answers:", "32")
            case "delta":
                terminal.write(event.delta.text)
            case "completed":
                completed = event.completed
            case _:
                pass
    terminal.line("\n")
    terminal.line("how it was picked:", "1")
    for line in explain(decision):
        terminal.line(f"  {line}")
    _bill(completed, terminal, usd)
    terminal.line("\nthe trace:", "1")
    await asyncio.sleep(0)
    spans = collector.take(completed.trace_id) if completed.trace_id else []
    terminal.line(render(spans, color=terminal.colour))
    return completed.HasField("model")


def _failed_hop(event: pb.GenerateEvent) -> str:
    failed = event.hop_failed
    error = pb.ErrorClass.Name(failed.error_class).removeprefix("ERROR_CLASS_").lower()
    requests = f"{failed.attempts} request{'s' if failed.attempts != 1 else ''}"
    return f"hop {event.hop}: {failed.model.id} failed ({error}, {requests}); next: {failed.next.id or 'none'}"


def _bill(completed: pb.Completed, terminal: Terminal, usd: Usd) -> None:
    usage = completed.total_usage
    terminal.line("\nwhat it cost:", "1")
    terminal.line(
        f"  {usd(completed.cost.nano_usd)} for {usage.input_tokens} tokens in and {usage.output_tokens} out, "
        f"requests sent: {len(completed.attempts)}, in {completed.elapsed.ToTimedelta().total_seconds():.1f} s"
    )


async def _sum_up(router: RouterStub, terminal: Terminal, usd: Usd) -> None:
    health = await router.Health(pb.HealthRequest(), timeout=5)  # type: ignore[misc]  # the stub serves grpc.aio too
    broken = [model.model.id for model in health.models if model.circuit != pb.ModelHealth.CIRCUIT_CLOSED]
    terminal.line()
    terminal.line("== Afterwards", "1;36")
    terminal.line(
        f"spent today: {usd(health.budget.spent_today.nano_usd)} of {usd(health.budget.daily_limit.nano_usd)}"
    )
    terminal.line(f"circuits open: {', '.join(broken) or 'none yet, it takes five failures in a row'}")


def _next_steps(terminal: Terminal) -> None:
    terminal.line()
    terminal.line("What next", "1")
    terminal.line("  atlas-sidecar serve --simulate            serve like this; then, in another terminal:")
    terminal.line("  atlas-sidecar generate 'Hello'            an answer, streamed")
    terminal.line("  atlas-sidecar select --explain            which model would serve, and why")
    terminal.line("  export ANTHROPIC_API_KEY=...              and `atlas-sidecar serve` uses the real one")
    terminal.line("  README.md                                 the first call in Python; configuration")


def play(explain: Explain, usd: Usd) -> int:
    """Play the demo on stdout; return the exit status."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return asyncio.run(demo(Terminal(write, colour), explain, usd))
