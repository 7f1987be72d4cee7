"""How long the sidecar takes to reserve and settle, the spend log included: `python -m bench.budget_decision`.

On a lease, with the ledger in memory behind the port (no request waits for it), and alone with a daily limit. Every
figure is one pair of calls with two records written; the bar is 10 us at the median.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from atlas_sidecar.adapters.boot import boottime_s
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.core.leases import BudgetSettings, Hold, Settlement
from atlas_sidecar.core.types import ModelRef, Usage
from atlas_sidecar.runtime.budget import Budget
from tests.runtime.ledger_gateway import Ledger, LedgerGateway

BAR_US = 10.0
MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")
USAGE = Usage(2000, None, None, 500, None)
SETTLEMENT = Settlement(10_000, False, USAGE)


def opened(directory: Path, *, leased: bool) -> Budget:
    """Return a budget that is not started."""
    clock = SystemClock()
    ledger = Ledger(lambda: int(clock.unix_s() * 1000))
    ledger.set_budget("default", 10**15)
    settings = BudgetSettings(daily_limit_nano_usd=10**15, sidecar_id="bench")
    gateway = LedgerGateway(ledger) if leased else None
    return Budget(settings, clock, DiskSpendLog(directory, local=not leased), gateway, boottime_s if leased else None)


async def measure(*, leased: bool, pairs: int) -> dict[str, float]:
    """Return the median and the 99th percentile, in microseconds."""
    clock = SystemClock()
    took_s = []
    with tempfile.TemporaryDirectory() as directory:
        budget = opened(Path(directory), leased=leased)
        await budget.start()
        room = [await budget.reserve(Hold("default", clock.new_id(), 10**11, MODEL)) for _ in range(2)]
        budget.settle(room[0], Settlement(0, False, USAGE))  # a lease with room, and one request that runs
        for number in range(pairs):
            hold = Hold("default", clock.new_id(), 100_000, MODEL)
            began_s = time.perf_counter()
            budget.settle(await budget.reserve(hold), SETTLEMENT)
            took_s.append(time.perf_counter() - began_s)
            if number % 500 == 0:
                await asyncio.sleep(0)
        await budget.close()
    return {"median_us": statistics.median(took_s) * 1e6, "p99_us": statistics.quantiles(took_s, n=100)[98] * 1e6}


def main() -> None:
    """Measure both ways and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {
        name: asyncio.run(measure(leased=leased, pairs=options.pairs))
        for name, leased in (("on a lease", True), ("alone", False))
    }
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    sys.stdout.write(f"local decision (reserve + settle, two log records); bar: median {BAR_US:.0f} us\n")
    for name, result in results.items():
        verdict = "ok" if result["median_us"] < BAR_US else "ABOVE"
        sys.stdout.write(
            f"  {name:<11} median {result['median_us']:5.1f} us   p99 {result['p99_us']:6.1f} us   {verdict}\n"
        )


if __name__ == "__main__":
    main()
