"""A fleet through a day of trouble, and through an hour: `make simulate SEED=1`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from dataclasses import dataclass, field

from atlas_sidecar.budget_service.values import OnLost, OnPartition, Policy
from tests.budget_service.say import DAY
from tests.simulation.budget_model import NANO, ROOT, Chances, Fleet

TEAMS = 20
MEAN_COST_USD = 0.0075
RECKLESS, TRUSTING, LOWERED = "acme/t00", "acme/t01", "acme/t02"


@dataclass
class Report:
    """What a run showed. Money in USD."""

    hours: float
    sidecars: int
    served: int
    refused: int
    exchanges: int
    idle_syncs: int
    limit: float
    spent: float
    overspend: float
    terms: dict[str, float]
    stranded: float
    exhausted_at_h: float | None
    elapsed_s: float
    cpu_s: float
    broken: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what a person wants to know."""
        per_s = (self.exchanges + self.idle_syncs) / (self.hours * 3600)
        bound = sum(self.terms.values())
        parts = " + ".join(f"{name} {amount:.4f}" for name, amount in self.terms.items())
        ran_out = (
            "the budget lasted" if self.exhausted_at_h is None else f"the budget ran out at {self.exhausted_at_h:.2f} h"
        )
        return [
            f"{self.sidecars} sidecars, {self.hours:g} h in {self.elapsed_s:.1f} s (CPU {self.cpu_s:.1f} s); {ran_out}",
            f"requests: {self.served} served, {self.refused} refused",
            f"calls: {per_s:.0f} a second; {self.exchanges} had something to say, {self.idle_syncs} were idle",
            f"limit ${self.limit:.2f}, truly spent ${self.spent:.4f}",
            f"overspend ${self.overspend:.4f} <= bound ${bound:.4f} = {parts}",
            f"stranded (promised, not spent): ${self.stranded:.4f}, {100 * self.stranded / self.limit:.3f} %",
            *(f"BROKEN: {line}" for line in self.broken),
        ]


def day(seed: int, sidecars: int = 10_000, hours: float = 24.0, per_minute: float = 0.05) -> Report:
    """Let a fleet live through a day on which the budget runs out and everything goes wrong."""
    nodes = [f"{ROOT}/t{team:02}/a" for team in range(TEAMS)]
    fleet = Fleet(seed, sidecars, nodes, per_minute)
    demand = sidecars * hours * 60 * per_minute * MEAN_COST_USD
    limit = demand * 0.7
    end_s = hours * 3600
    fleet.set_limit(ROOT, limit)
    fleet.set_limit(RECKLESS, None, policy=Policy(on_lost=OnLost.RECLAIM))
    fleet.set_limit(TRUSTING, None, policy=Policy(OnPartition.OPEN, round(0.03 * NANO)))
    fleet.set_limit(LOWERED, demand / TEAMS)
    fleet.later(0.4 * end_s, lambda: fleet.set_limit(LOWERED, demand / TEAMS / 4))
    chance = fleet.random
    cut_s = max(900.0, end_s / 72)
    for part in (0.25, 0.6, 0.9):
        fleet.later(part * end_s, lambda: fleet.cut(chance.sample(fleet.sidecars, sidecars // 5), cut_s))
    failover_s = 0.5 * end_s
    fleet.later(failover_s, lambda: fleet.fail_over(2.0))
    for sidecar in chance.sample(fleet.sidecars, sidecars // 50):
        at_s = chance.random() * end_s
        if not failover_s - 5 < at_s < failover_s + 60:  # else what it reported is lost twice over
            fleet.later(at_s, lambda lost=sidecar: fleet.lose(lost))  # type: ignore[misc]
    for sidecar in chance.sample(fleet.sidecars, sidecars // 5):
        fleet.later(chance.random() * end_s, lambda crashed=sidecar: fleet.crash(crashed))  # type: ignore[misc]
    return live(fleet, hours, limit)


def hour(seed: int, sidecars: int = 10_000) -> Report:
    """Let a fleet live through an hour with one request a minute per sidecar."""
    fleet = Fleet(seed, sidecars, [f"{ROOT}/t{team:02}/a" for team in range(TEAMS)], 1.0)
    limit = sidecars * 60 * MEAN_COST_USD * 2
    fleet.set_limit(ROOT, limit)
    return live(fleet, 1.0, limit)


MODES = {
    "hard: closed, presume_spent": ("", Policy()),
    "attempts above their reserve": ("E", Policy()),
    "reclaim (the negative control)": ("U", Policy(on_lost=OnLost.RECLAIM)),
    "a failover that loses grants": ("V", Policy()),
    "open, an allowance of $0.03": ("P", Policy(OnPartition.OPEN, round(0.03 * NANO))),
    "a limit lowered to a third": ("Z", Policy()),
}


def mode(name: str, seed: int) -> Report:
    """Let fifty sidecars use up a budget in twenty minutes, cut off again and again, in one mode."""
    term, policy = MODES[name]
    fleet = Fleet(seed, 50, [ROOT], 6.0, Chances(lost=0.0, above_reserve=0.2 if term == "E" else 0.0))
    limit = 3.0
    fleet.set_limit(ROOT, limit, policy=policy)
    for at_s in range(10, 600, 20):
        fleet.later(at_s, lambda: fleet.cut(fleet.random.sample(fleet.sidecars, 10), 400.0))
    if term == "V":
        fleet.later(15.0, lambda: fleet.fail_over(2.0))
    if term == "Z":
        limit = 1.0
        fleet.later(20.0, lambda: fleet.set_limit(ROOT, 1.0, policy=policy))
    for at_s in range(5, 1200, 5):
        fleet.later(at_s, fleet.sweep)
    return live(fleet, 1200 / 3600, limit)


def live(fleet: Fleet, hours: float, limit: float) -> Report:
    """Run the fleet, heal everything, and compare the ledger with the truth."""
    exhausted_at: list[float] = []

    def every_minute() -> None:
        fleet.sweep()
        if not exhausted_at and fleet.committed(ROOT) > limit * NANO * 0.999:
            exhausted_at.append(fleet.now_s / 3600)
        fleet.later(fleet.now_s + 60, every_minute)

    fleet.later(60.0, every_minute)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    fleet.run(hours * 3600 - 1e-6)
    elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    account = fleet.books.account(ROOT, DAY)
    stranded = (
        max(0, round(limit * NANO) - fleet.true_spend[ROOT]) if exhausted_at else account.leased + account.suspense
    )
    report = Report(
        hours,
        len(fleet.sidecars),
        fleet.served,
        fleet.refused,
        fleet.exchanges,
        fleet.idle_syncs,
        limit,
        fleet.true_spend[ROOT] / NANO,
        max(0.0, fleet.true_spend[ROOT] / NANO - limit),
        {name.upper(): amount / NANO for name, amount in vars(fleet.terms[ROOT]).items()},
        stranded / NANO,
        exhausted_at[0] if exhausted_at else None,
        elapsed_s,
        cpu_s,
    )
    report.broken = broken(fleet)
    return report


def broken(fleet: Fleet) -> list[str]:
    """Return which promises were not kept: the bound at every node, and, after healing, every fact exactly once."""
    found = []
    for (path, _), account in fleet.books.accounts.items():
        over = fleet.true_spend[path] - (account.limit if account.limit is not None else fleet.true_spend[path])
        if over > fleet.terms[path].total:
            found.append(f"{path} is overspent by {over}, and its bound is {fleet.terms[path]}")
    heal(fleet)
    account = fleet.books.account(ROOT, DAY)
    expected = fleet.true_spend[ROOT] + fleet.guessed_nano_usd - fleet.destroyed_nano_usd
    if account.settled != expected:
        found.append(f"the ledger holds {account.settled}, and {expected} happened and was recorded")
    if account.settled != sum(known.cost or 0 for known in fleet.books.spend.values()):
        found.append("the root's account is not the sum of the attempts")
    covered = account.settled + account.leased + account.suspense + fleet.terms[ROOT].total
    if covered < fleet.true_spend[ROOT]:
        found.append(f"recorded and in suspense: {covered}, truly spent: {fleet.true_spend[ROOT]}")
    return found


def heal(fleet: Fleet) -> None:
    """Let every call come through until nothing is left to say."""
    fleet.chances = type(fleet.chances)(lost=0.0, above_reserve=0.0)
    for sidecar in fleet.sidecars:
        if sidecar.alive:
            sidecar.cut_until_s = 0.0
            for attempt in list(sidecar.open):
                fleet.finish(sidecar, attempt)
            for _ in range(5):
                if sidecar.outbox.pending:
                    fleet.sync(sidecar)


def main() -> int:
    """Print both runs; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sidecars", type=int, default=10_000)
    options = parser.parse_args()
    gc.disable()  # nothing here is cyclic garbage, and the collector would look at millions of leases again and again
    failed = False
    for name, run in (("an hour, one request a minute each", hour), ("a day of trouble", day)):
        report = run(options.seed, options.sidecars)
        sys.stdout.write(f"{name} (seed {options.seed})\n" + "".join(f"  {line}\n" for line in report.lines()))
        sys.stdout.flush()
        failed = failed or bool(report.broken)
    sys.stdout.write("each mode alone: 50 sidecars, $3, 20 minutes, cut off again and again\n")
    for name in MODES:
        report = mode(name, options.seed)
        sys.stdout.write(
            f"  {name:<31} {report.lines()[4]}\n" + "".join(f"  BROKEN: {line}\n" for line in report.broken)
        )
        failed = failed or bool(report.broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
