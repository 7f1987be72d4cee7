"""`make bench`: the sidecar, the official SDKs and a bare echo server side by side, and the seven bars.

    python -m bench [--rounds 5] [--peers] [--save-baseline]

Prints the table, writes bench/results/latest.json, and compares with bench/results/baseline.json. Exit status 1 when a
bar is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench import measure, peers
from bench.bars import Bar, bars
from bench.measure import KINDS, Rig

RESULTS: Final = Path(__file__).parent / "results"


def run(rounds: int, with_peers: bool) -> dict[str, Any]:
    """Measure everything; return the figures."""
    figures: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rig = Rig(Path(folder), stack)
        measure.warm(rig)
        steps = {
            "cpu": lambda: measure.calls_and_streams(rig, rounds),
            "first token": lambda: measure.first_tokens(rig, 4 * rounds),
            "scoring us": lambda: measure.scoring(rig),
            "starts": lambda: measure.starts(rig, 3),
            "memory": lambda: measure.memory(rig, 4000),
            "paced": lambda: measure.saturation(rig),
            "growth": lambda: measure.growth(rig, 3),
            "workers": lambda: measure.workers(rig, 3),
            "bystanders": lambda: measure.bystanders(rig),
        }
        if with_peers:
            steps["peers"] = lambda: peers.measure(rig)
        for name, step in steps.items():
            started_s = time.perf_counter()
            figures[name] = step()
            note(f"{name}: {time.perf_counter() - started_s:.0f} s")
    figures["memory"].update(figures.pop("starts"))
    return figures


def machine() -> str:
    """Return what this ran on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}"


def note(text: str) -> None:
    """Say on stderr what is going on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def table(figures: dict[str, Any]) -> list[str]:
    """Return what was measured, side by side."""
    cpu, by = figures["cpu"], figures["bystanders"]
    rows = [f"{'CPU a call, ms':34}{'sidecar':>10}{'direct SDK':>12}{'ratio':>8}"]
    for answer in ("short", "stream"):
        for kind in KINDS:
            ours, direct = cpu[f"sidecar {kind}-{answer}"], cpu[f"direct {kind}-{answer}"]
            name = f"{kind}, {'short answer' if answer == 'short' else '100-chunk stream'}"
            rows.append(f"{name:34}{ours:10.2f}{direct:12.2f}{ours / direct:8.2f}")
    rows.append(f"{'bare grpc.aio echo, a call':34}{cpu['echo unary']:10.2f}")
    rows.append(f"{'bare grpc.aio echo, 100 writes':34}{cpu['echo stream']:10.2f}")
    rows.append(f"{'Select of 30 candidates':34}{cpu['select']:10.2f}")
    for name, peer in figures.get("peers", {}).items():
        for what in ("short", "stream"):
            if peer.get(f"{what} ms") is not None:
                rows.append(f"{f'{name}, {what}':34}{peer[f'{what} ms']:10.2f}")
    rows.append(
        f"\nnot what is measured: the upstream takes {by['upstream ms']:.3f} ms of CPU a call, the load generator "
        f"{by['load generator ms']:.3f} ms,\nin processes of their own; a call took {by['call wall ms']:.2f} ms"
    )
    return rows


def shown(found: list[Bar], before: dict[str, float]) -> list[str]:
    """Return the bars, each with its change against the committed result."""
    lines = [f"\n{'bar':52}{'measured':>11}{'bound':>9}  {'':8}  {'before':>8}"]
    for bar in found:
        value = "-" if bar.value is None else f"{bar.value:.3g} {bar.unit}"
        old = before.get(f"{bar.number} {bar.text}")
        was = "" if old is None else f"{old:.3g}"
        left = f"{bar.number}. {bar.text}"
        lines.append(f"{left:52}{value:>11}{bar.bound:>7.3g} {bar.unit:3} {bar.verdict:8} {was:>8}  {bar.detail}")
    return lines


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; the median counts")
    parser.add_argument(
        "--peers", action="store_true", help="LiteLLM and Portkey too, each in an environment of its own"
    )
    parser.add_argument("--save-baseline", action="store_true", help="make this the result to compare with")
    options = parser.parse_args()
    started_s = time.perf_counter()
    figures = run(options.rounds, options.peers)
    found = bars(figures)
    figures["bars"] = {f"{bar.number} {bar.text}": bar.value for bar in found}
    baseline = RESULTS / "baseline.json"
    before = json.loads(baseline.read_text()) if baseline.exists() else {}
    print("\n".join([f"{figures['machine']}, {figures['date']}\n", *table(figures)]))
    print("\n".join(shown(found, before.get("bars", {}))))
    if before:
        print(f"\nbefore: {before['date']}, {before['machine']}")
    print(f"\n{time.perf_counter() - started_s:.0f} s; load of the machine: {os.getloadavg()[0]:.1f}")
    RESULTS.mkdir(exist_ok=True)
    for path in (RESULTS / "latest.json", *([baseline] if options.save_baseline else [])):
        path.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(bar.met is not False for bar in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
