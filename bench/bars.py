"""The seven bars (docs/performance.md) and that of several workers: a figure, its bound, whether it is met."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.measure import KINDS, REFUSED, STREAMS

# A peer's figure, milliseconds of CPU, where a bar compares with one: unary and 100-chunk stream of LiteLLM's proxy.
PEER = "litellm"
_DIRECT_SHARE = {"openai": 1.25, "groq": 1.25, "anthropic": 1.6, "google": 1.6}


class Bar(NamedTuple):
    """One comparison: `value` must not exceed `bound`; None = not measured in this run."""

    number: int
    text: str
    value: float | None
    bound: float
    unit: str
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it holds; None when it was not measured."""
        return None if self.value is None else self.value <= self.bound

    @property
    def verdict(self) -> str:
        """The word for it."""
        return {None: "not run", True: "met", False: "NOT MET"}[self.met]


def bars(f: dict[str, Any]) -> list[Bar]:
    """Return all bars of one run's figures."""
    cpu, first, memory, paced, growth = f["cpu"], f["first token"], f["memory"], f["paced"], f["growth"]
    return [
        *_short(cpu, f.get("peers", {})),
        *_stream(cpu, f.get("peers", {})),
        Bar(3, "added time to first token, p50", first["sidecar p50"] - first["direct p50"], 1.5, "ms"),
        Bar(3, "added time to first token, p99", first["sidecar p99"] - first["direct p99"], 5.0, "ms"),
        Bar(
            4, "Select of 30 / bare echo", cpu["select"] / cpu["echo unary"], 2.0, "x", _ms(cpu, "select", "echo unary")
        ),
        Bar(4, "scoring 30 candidates", f["scoring us"], 60.0, "us"),
        Bar(5, "memory with one provider", memory["one provider MB"], 120.0, "MB"),
        Bar(5, "memory with four providers", memory["four providers MB"], 180.0, "MB"),
        Bar(5, "growth over the calls", memory["after calls MB"] - memory["four providers MB"], 5.0, "MB"),
        Bar(
            5,
            "growth by 1,000 more concurrent streams",
            memory["after 1,000 streams MB"] - memory["first 1,000 streams MB"],
            5.0,
            "MB",
            f"the first 1,000: {memory['first 1,000 streams MB']:.0f} MB",
        ),
        Bar(5, "start to SERVING", memory["start_s"], 1.0, "s", f"{memory['start CPU s']:.2f} s of CPU"),
        Bar(
            6,
            f"{STREAMS} streams of 50 tokens/s on one core: p99 gap",
            paced["gap p99 ms"],
            100.0,
            "ms",
            f"{paced['chunks/s']:,.0f} chunks/s, {paced['core share']:.0%} of the core",
        ),
        Bar(6, "overload refused", REFUSED - paced["refused"], 0.0, "left", f"{paced['refused']} of {REFUSED}"),
        Bar(6, "overload refused within", paced["refused within ms"], 500.0, "ms"),
        *_growth(growth, cpu),
        Bar(
            8,
            "CPU of a call, two workers / one process",
            f["workers"]["2 ms"] / f["workers"]["1 ms"],
            1 / 0.9,
            "x",
            f"{f['workers']['2 calls/s']:,.0f} calls/s, {f['workers']['1 calls/s']:,.0f} calls/s",
        ),
    ]


def _short(cpu: dict[str, float], peers: dict[str, Any]) -> list[Bar]:
    found = [
        Bar(
            1,
            f"short answer, {kind}: sidecar / direct SDK",
            cpu[f"sidecar {kind}-short"] / cpu[f"direct {kind}-short"],
            _DIRECT_SHARE[kind],
            "x",
            _ms(cpu, f"sidecar {kind}-short", f"direct {kind}-short"),
        )
        for kind in KINDS
    ]
    peer = peers.get(PEER, {}).get("short ms")
    ratio = cpu["sidecar openai-short"] / peer if peer else None
    return [*found, Bar(1, "short answer: sidecar / LiteLLM", ratio, 1 / 8, "x", f"{peer:.1f} ms" if peer else "")]


def _stream(cpu: dict[str, float], peers: dict[str, Any]) -> list[Bar]:
    direct, ours = cpu["direct openai-stream"], cpu["sidecar openai-stream"]
    peer = peers.get(PEER, {}).get("stream ms")
    together = cpu["agent openai-stream"] + cpu["sidecar of the agent"]
    return [
        Bar(
            2, "100-chunk stream: sidecar / direct SDK", ours / direct, 0.25, "x",
            _ms(cpu, "sidecar openai-stream", "direct openai-stream"),
        ),
        Bar(2, "agent and sidecar together / agent with SDK", together / direct, 0.5, "x", f"{together:.2f} ms"),
        Bar(
            2, "100-chunk stream: sidecar / LiteLLM", ours / peer if peer else None, 1 / 25, "x",
            f"{peer:.1f} ms" if peer else "",
        ),
    ]  # fmt: skip


def _growth(growth: dict[str, float], cpu: dict[str, float]) -> list[Bar]:
    few = (growth["100 chunks ms"] - growth["10 chunks ms"]) / 90
    many = (growth["1000 chunks ms"] - growth["100 chunks ms"]) / 900
    return [
        Bar(7, "CPU of a chunk, of 1,000 / of 100", many / few, 1.25, "x", f"{many * 1e3:.1f} us, {few * 1e3:.1f} us"),
        Bar(
            7, "CPU of a stream, 200 / 50 at once", growth["200 at once ms"] / growth["50 at once ms"], 1.25, "x",
            f"{growth['200 at once ms']:.1f} ms, {growth['50 at once ms']:.1f} ms",
        ),
        Bar(
            7, "Select late / early", growth["select late ms"] / cpu["select"], 1.15, "x",
            f"{growth['select late ms']:.3f} ms, {cpu['select']:.3f} ms",
        ),
    ]  # fmt: skip


def _ms(cpu: dict[str, float], *names: str) -> str:
    return " / ".join(f"{cpu[name]:.2f}" for name in names) + " ms"
