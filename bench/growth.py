"""How cost grows: charts of CPU against chunks, latency against load, memory over 100,000 requests, Select against
candidates.

    python -m bench.growth [--calls 100000]        writes docs/images/*.png and bench/results/growth.json

Needs matplotlib (the extra `bench`), imported here only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench import load, measure, sidecar
from bench.measure import Rig, cost_ms

ROOT: Final = Path(__file__).parent.parent
IMAGES: Final = ROOT / "docs" / "images"
AT_ONCE: Final = (1, 2, 4, 8, 16, 32, 64, 128)
CANDIDATES: Final = (1, 5, 10, 20, 30)
ROUNDS: Final = 3


def chunks(rig: Rig) -> dict[int, float]:
    """Return the CPU of a call by the number of chunks, milliseconds."""
    found = {}
    for count in sidecar.COUNTS:
        calls = max(10, 3000 // (count + 30))
        took = [
            cost_ms(rig.sidecar, calls, lambda n=count, c=calls: rig.generate(f"openai-{n}", c)) for _ in range(ROUNDS)
        ]  # type: ignore[misc]
        found[count] = statistics.median(took)
    return found


def latency(rig: Rig) -> list[dict[str, float]]:
    """Return throughput and latency of short answers by how many calls are under way."""
    found = []
    for at_once in AT_ONCE:
        calls = 300 + 10 * at_once
        answer = rig.generate("openai-short", calls, at_once=at_once)
        times = load.percentiles(answer["whole_s"])
        found.append(
            {
                "at_once": at_once,
                "calls_per_s": calls / answer["elapsed_s"],
                "p50_ms": times["p50"] * 1e3,
                "p99_ms": times["p99"] * 1e3,
            }
        )
    return found


def memory(rig: Rig, calls: int) -> list[tuple[int, float]]:
    """Return the memory over many requests, MB, of all four providers in turn."""
    found, done, steps = [(0, rig.sidecar.memory_mb())], 0, 50
    for number in range(steps):
        kind = sidecar.KINDS[number % len(sidecar.KINDS)]
        rig.generate(f"{kind}-short", calls // steps, at_once=8)
        done += calls // steps
        found.append((done, rig.sidecar.memory_mb()))
        if number % 10 == 9:
            print(f"  {done:,} requests: {found[-1][1]:.1f} MB", file=sys.stderr, flush=True)
    return found


def selects(rig: Rig) -> dict[int, float]:
    """Return the CPU of a Select by its candidates, milliseconds."""
    return {
        count: statistics.median(
            cost_ms(rig.sidecar, 300, lambda n=count: rig.select(n, 300))  # type: ignore[misc]
            for _ in range(ROUNDS)
        )
        for count in CANDIDATES
    }


def draw(figures: dict[str, Any]) -> None:
    """Write the charts."""
    import matplotlib as mpl  # noqa: PLC0415 - for charts only

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    def chart(name: str, title: str, x: str, y: str, *lines: tuple[str, list[float], list[float]]) -> None:
        figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
        for label, across, up in lines:
            axes.plot(across, up, marker="o", markersize=4, label=label)
        axes.set(title=title, xlabel=x, ylabel=y, ylim=(0, None))
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
        figure.savefig(IMAGES / name, dpi=110)
        plt.close(figure)

    found = figures["chunks"]
    chart(
        "bench-chunks.png", "CPU of one streamed call", "chunks of the answer", "CPU, ms",
        ("", [float(n) for n in found], list(found.values())),
    )  # fmt: skip
    rows = figures["latency"]
    across, p50, p99 = ([row[name] for row in rows] for name in ("calls_per_s", "p50_ms", "p99_ms"))
    chart(
        "bench-latency.png", "Short answers: latency up to saturation (1 to 128 at once)", "answers a second",
        "latency, ms", ("p50", across, p50), ("p99", across, p99),
    )  # fmt: skip
    points = figures["memory"]
    chart(
        "bench-memory.png", "Memory with four providers", "requests served", "resident set, MB",
        ("", [float(done) for done, _ in points], [mb for _, mb in points]),
    )  # fmt: skip
    found = figures["select"]
    chart(
        "bench-select.png", "CPU of one Select", "candidates", "CPU, ms",
        ("", [float(n) for n in found], list(found.values())),
    )  # fmt: skip


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth")
    parser.add_argument("--calls", type=int, default=100_000, help="requests of the memory chart")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rig = Rig(Path(folder), stack)
        measure.warm(rig)
        figures: dict[str, Any] = {"chunks": chunks(rig), "select": selects(rig), "latency": latency(rig)}
        figures["memory"] = memory(rig, options.calls)
        figures["select afterwards"] = selects(rig)
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw(figures)
    (ROOT / "bench/results").mkdir(exist_ok=True)
    (ROOT / "bench/results/growth.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
