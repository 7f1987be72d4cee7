"""What `make bench` measures, and how: every figure in alternating rounds, the median of them.

CPU per call is that of the process that is measured, divided by the calls; the load generator, the upstream and the
collector are processes of their own. Sidecar and direct SDK are asked the same way: one call after the other.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bench import echo, load, sidecar
from bench.processes import Process, worker
from bench.sidecar import KINDS

CALLS: Final = {"short": 250, "stream": 60}
DIRECT_CALLS: Final = {"short": 250, "stream": 30}
STREAMS: Final = 200
CHUNKS: Final = 100
REFUSED: Final = 100

Figures = dict[str, Any]


class Rig:
    """The processes that stay for the whole run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.upstream = stack.enter_context(worker("upstream", folder))
        self.upstream_url = f"http://127.0.0.1:{self.upstream.line()}"
        self.echo = stack.enter_context(worker("echo", folder))
        self.echo_address = self.echo.line()
        self.load = stack.enter_context(worker("load", folder))
        self.agent = stack.enter_context(worker("load", folder, name="agent"))
        self.direct = {
            kind: stack.enter_context(worker("direct", folder, kind, self.upstream_url, name=f"direct-{kind}"))
            for kind in KINDS
        }
        self.settings = self.configure("main", KINDS, limits={"max_streams": 1000})
        self.sidecar, self.address = sidecar.start(folder / "main", self.settings)
        stack.callback(self.sidecar.stop)

    def configure(self, name: str, kinds: tuple[str, ...], **more: Any) -> dict[str, Any]:
        """Return a sidecar's configuration."""
        return sidecar.configuration(self.folder / name, self.upstream_url, self.echo_address, kinds, **more)

    @contextmanager
    def another(self, name: str, kinds: tuple[str, ...], prefix: tuple[str, ...] = (), **more: Any) -> Iterator[Any]:
        """Start one more sidecar for a while; yields it and its address."""
        process, address = sidecar.start(self.folder / name, self.configure(name, kinds, **more), prefix=prefix)
        with process:
            yield process, address

    def generate(self, role: str, calls: int, address: str = "", **more: Any) -> Any:
        """Let the load generator call Generate."""
        target = address or self.address
        return self.load.ask(address=target, method=load.GENERATE, request=sidecar.generate(role), calls=calls, **more)

    def select(self, candidates: int, calls: int, **more: Any) -> Any:
        """Let the load generator call Select."""
        return self.load.ask(
            address=self.address, method=load.SELECT, request=sidecar.select(candidates), calls=calls, **more
        )

    def bare(self, method: str, calls: int) -> Any:
        """Let the load generator call the bare echo server."""
        return self.load.ask(address=self.echo_address, method=method, request=sidecar.generate("x"), calls=calls)


def cost_ms(process: Process, calls: int, run: Callable[[], object]) -> float:
    """Return a process's CPU per call while `run` makes that many calls, milliseconds."""
    before_s = process.cpu_s()
    run()
    return (process.cpu_s() - before_s) / calls * 1e3


def warm(rig: Rig) -> None:
    """Let imports, connections and caches happen before anything counts."""
    for kind in KINDS:
        for answer in ("short", "stream"):
            rig.generate(f"{kind}-{answer}", 50)
            rig.direct[kind].ask(model=sidecar.ANSWERS[answer], streamed=answer == "stream", calls=20)
    for method in (echo.UNARY, echo.STREAM):
        rig.bare(method, 50)
    rig.select(sidecar.CANDIDATES, 100)


def calls_and_streams(rig: Rig, rounds: int) -> Figures:
    """Return the CPU per short answer and per stream: sidecar, direct SDK, bare echo; milliseconds."""
    took: dict[str, list[float]] = {}

    def note(name: str, process: Process, calls: int, run: Callable[[int], object]) -> None:
        run(calls // 5)  # a process that waited for its turn finds its caches cold: that is no cost of a call
        took.setdefault(name, []).append(cost_ms(process, calls, lambda: run(calls)))

    for number in range(rounds):
        for kind in KINDS:
            for answer in ("short", "stream"):
                role, model, streamed = f"{kind}-{answer}", sidecar.ANSWERS[answer], answer == "stream"

                def through(calls: int, role: str = role) -> object:
                    return rig.generate(role, calls)

                def direct(calls: int, kind: str = kind, model: str = model, streamed: bool = streamed) -> object:
                    return rig.direct[kind].ask(model=model, streamed=streamed, calls=calls)

                pair = [
                    (f"sidecar {role}", rig.sidecar, CALLS[answer], through),
                    (f"direct {role}", rig.direct[kind], DIRECT_CALLS[answer], direct),
                ]
                for one in pair if number % 2 else pair[::-1]:
                    note(*one)
        note("echo unary", rig.echo, 400, lambda calls: rig.bare(echo.UNARY, calls))
        note("select", rig.sidecar, 400, lambda calls: rig.select(sidecar.CANDIDATES, calls))
        note("echo stream", rig.echo, 60, lambda calls: rig.bare(echo.STREAM, calls))
        agent_calls(rig, "openai-stream", 12)
        before_s = rig.sidecar.cpu_s()
        took.setdefault("agent openai-stream", []).append(
            cost_ms(rig.agent, 60, lambda: agent_calls(rig, "openai-stream", 60))
        )
        took.setdefault("sidecar of the agent", []).append((rig.sidecar.cpu_s() - before_s) / 60 * 1e3)
    return {name: statistics.median(values) for name, values in took.items()}


def agent_calls(rig: Rig, role: str, calls: int) -> Any:
    """Let the agent call through the sidecar with the typed stub."""
    return rig.agent.ask(address=rig.address, request=sidecar.generate(role), calls=calls, agent=True)


def first_tokens(rig: Rig, rounds: int) -> Figures:
    """Return the time to the first content, direct and through the sidecar, milliseconds: p50 and p99."""
    through: list[float] = []
    direct: list[float] = []
    for _ in range(rounds):
        through += agent_calls(rig, "openai-stream", 10)["first_s"]
        answer = rig.direct["openai"].ask(model=sidecar.ANSWERS["stream"], streamed=True, calls=10)
        direct += answer["first_s"]
    found = {"sidecar": load.percentiles(through), "direct": load.percentiles(direct)}
    return {f"{who} {p}": found[who][p] * 1e3 for who in found for p in ("p50", "p99")}


def starts(rig: Rig, rounds: int) -> Figures:
    """Return the seconds until SERVING, the CPU they take, and the memory with one provider after a few calls, MB."""
    seconds, cpu, memory = [], [], []
    for number in range(rounds):
        folder = rig.folder / f"start-{number}"
        settings = rig.configure(folder.name, ("openai",))
        process, address, took_s = sidecar.timed_start(folder, settings)
        with process:
            seconds.append(took_s)
            cpu.append(process.cpu_s())
            rig.generate("openai-short", 200, address)
            memory.append(process.memory_mb())
    return {
        "start_s": statistics.median(seconds),
        "start CPU s": statistics.median(cpu),
        "one provider MB": statistics.median(memory),
    }


def memory(rig: Rig, calls: int) -> Figures:
    """Return the memory before and after many calls, and after 1,000 concurrent streams, MB; four providers."""
    figures: Figures = {}
    rig.generate("openai-short", 1000, at_once=16)
    figures["four providers MB"] = rig.sidecar.memory_mb()
    for kind in KINDS:
        rig.generate(f"{kind}-short", calls // len(KINDS), at_once=16)
    figures["after calls MB"] = rig.sidecar.memory_mb()
    rig.generate("openai-paced", 1000, at_once=1000)
    figures["first 1,000 streams MB"] = rig.sidecar.memory_mb()
    rig.generate("openai-paced", 1000, at_once=1000)
    rig.generate("openai-short", 500)
    figures["after 1,000 streams MB"] = rig.sidecar.memory_mb()
    return figures


def saturation(rig: Rig) -> Figures:
    """Return the gaps of 200 paced streams on one core, milliseconds, its CPU, and how overload is refused."""
    one_core = ("taskset", "-c", "0")
    with rig.another("one-core", ("openai",), one_core, limits={"max_streams": STREAMS}) as (process, address):
        rig.generate("openai-short", 100, address)
        before_s = process.cpu_s()
        answer = rig.generate("openai-paced", STREAMS, address, at_once=STREAMS, gaps=True)
        cpu_s = process.cpu_s() - before_s
        crowd = _crowd(rig, address)
    return {
        "gap p50 ms": answer["gaps"]["p50"] * 1e3,
        "gap p99 ms": answer["gaps"]["p99"] * 1e3,
        "core share": cpu_s / answer["elapsed_s"],
        "chunks/s": STREAMS * CHUNKS / answer["elapsed_s"],
        "refused": crowd["refused"],
        "refused within ms": crowd["refused_max_s"] * 1e3,
    }


def _crowd(rig: Rig, address: str) -> Any:
    """Return what becomes of 100 calls while as many streams as are allowed are under way."""
    asked = {"address": address, "method": load.GENERATE, "request": sidecar.generate("openai-slow")}
    rig.load.begin(**asked, calls=STREAMS, at_once=STREAMS)
    time.sleep(2)  # they take five seconds
    crowd = rig.agent.ask(**asked, calls=REFUSED, at_once=10)
    rig.load.answer()
    return crowd


def growth(rig: Rig, rounds: int) -> Figures:
    """Return CPU per chunk of long and short streams, of few and many at once; Select early and late."""
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        for chunks, calls in ((10, 100), (100, 60), (1000, 10)):
            ms = cost_ms(rig.sidecar, calls, lambda c=calls, n=chunks: rig.generate(f"openai-{n}", c))  # type: ignore[misc]
            took.setdefault(f"{chunks} chunks ms", []).append(ms)
        for at_once in (50, 200):
            calls = at_once
            ms = cost_ms(rig.sidecar, calls, lambda a=at_once: rig.generate("openai-paced", a, at_once=a))  # type: ignore[misc]
            took.setdefault(f"{at_once} at once ms", []).append(ms)
        took.setdefault("select late ms", []).append(
            cost_ms(rig.sidecar, 400, lambda: rig.select(sidecar.CANDIDATES, 400))
        )
    return {name: statistics.median(values) for name, values in took.items()}


def workers(rig: Rig, rounds: int) -> Figures:
    """Return the CPU of a short answer, milliseconds, of one process and of two workers, both at capacity."""
    took: dict[int, list[float]] = {1: [], 2: []}
    served: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as stack:
        found = {}
        for count in took:
            folder = rig.folder / f"workers-{count}"
            settings = rig.configure(folder.name, ("openai",))
            process, address = sidecar.start(folder, settings, "--workers", str(count))
            found[count] = stack.enter_context(process), address
            rig.generate("openai-short", 400, address, at_once=16, connections=16)
        for _ in range(rounds):
            for count, (process, address) in found.items():
                before_s, calls = process.whole_cpu_s(), 1000
                answer = rig.generate("openai-short", calls, address, at_once=16, connections=16)
                took[count].append((process.whole_cpu_s() - before_s) / calls * 1e3)
                served[count].append(calls / answer["elapsed_s"])
    figures = {f"{count} ms": statistics.median(values) for count, values in took.items()}
    return {**figures, **{f"{count} calls/s": statistics.median(values) for count, values in served.items()}}


def scoring(rig: Rig) -> float:
    """Return the microseconds of one decision among 30 candidates."""
    command = [sys.executable, "-m", "bench.scoring", str(rig.folder / "main" / "config.yaml")]
    answer: dict[str, float] = json.loads(subprocess.check_output(command))
    return answer[str(sidecar.CANDIDATES)]


def bystanders(rig: Rig) -> Figures:
    """Return what upstream and load generator cost for each call: they must not be what is measured."""
    before_s = time.perf_counter()
    upstream = cost_ms(rig.upstream, 500, lambda: rig.generate("openai-short", 500))
    wall_ms = (time.perf_counter() - before_s) / 500 * 1e3
    generator = cost_ms(rig.load, 500, lambda: rig.generate("openai-short", 500))
    return {"upstream ms": upstream, "load generator ms": generator, "call wall ms": wall_ms}
