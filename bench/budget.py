"""How many Syncs a second one replica of the budget service answers, and how fast: `python -m bench.budget`.

1,000 sidecars, each on a connection of its own, against one replica in its own process, over SQLite and, where it is
installed, PostgreSQL (both durable: synchronous commits). First as fast as it goes (each sidecar sends the next Sync
when it has the answer), then at half of that rate, for latency. A Sync reports one attempt and shows one lease.
Clients and service share this machine's cores, so a replica of its own would do better.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2 import Money
from tests.budget_service import postgres_server
from tests.budget_service.replica import Replica

SIDECARS = 1000
SYNC_INTERVAL_S = 30.0


class Sidecar:
    """A connection, and the Syncs that an active sidecar sends."""

    def __init__(self, number: int, address: str) -> None:
        self.number = number
        self.channel = grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.stub: Any = BudgetStub(self.channel)
        self.seq = 0
        self.lease_id = ""

    async def sync(self) -> float:
        """Report one attempt; return the seconds until the answer."""
        self.seq += 1
        incarnation = f"incarnation-{self.number}"
        request = pb.SyncRequest(sidecar_id=f"sidecar-{self.number}", incarnation=incarnation, sync_seq=self.seq)
        settle = pb.Settle(attempt_id=f"{self.number}-{self.seq}", budget=f"acme/team{self.number % 20}/agent")
        settle.lease_id, settle.cost.nano_usd, settle.model.id = self.lease_id, 1000, "claude-sonnet"
        settle.usage.input_tokens, settle.usage.output_tokens = 1200, 300
        request.facts.add(incarnation=incarnation, seq=self.seq, settle=settle)
        if self.lease_id:
            request.held.add(lease_id=self.lease_id)
        else:
            request.wants.add(want_id="w", budget=settle.budget, amount=Money(nano_usd=10**9))
        started_s = time.perf_counter()
        answer = await self.stub.Sync(request, timeout=60)
        elapsed_s = time.perf_counter() - started_s
        if answer.applied_seq[incarnation] != self.seq:
            raise RuntimeError("a fact was not applied")
        if answer.grants:
            self.lease_id = answer.grants[0].lease_id
        return elapsed_s


async def closed_loop(sidecars: list[Sidecar], seconds: float) -> tuple[float, list[float]]:
    """Keep every sidecar waiting for an answer; return Syncs a second and each one's seconds."""
    took_s: list[float] = []
    started_s = time.perf_counter()

    async def live(sidecar: Sidecar) -> None:
        while time.perf_counter() - started_s < seconds:
            took_s.append(await sidecar.sync())

    await asyncio.gather(*map(live, sidecars))
    return len(took_s) / (time.perf_counter() - started_s), took_s


async def open_loop(sidecars: list[Sidecar], seconds: float, per_s: float) -> tuple[float, list[float]]:
    """Send Syncs evenly at a rate, whatever the answers do."""
    took_s: list[float] = []
    pause_s = len(sidecars) / per_s
    started_s = time.perf_counter()

    async def live(index: int, sidecar: Sidecar) -> None:
        at_s = started_s + pause_s * index / len(sidecars)
        while at_s - started_s < seconds:
            await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
            took_s.append(await sidecar.sync())
            at_s += pause_s

    await asyncio.gather(*(live(index, sidecar) for index, sidecar in enumerate(sidecars)))
    return len(took_s) / (time.perf_counter() - started_s), took_s


async def measure(database: str, port: int, seconds: float, count: int) -> dict[str, float]:
    """Start a replica over an empty database and measure it."""
    replica = Replica(database, port)
    await replica.start()
    sidecars = [Sidecar(number, replica.address) for number in range(count)]
    try:
        node = pb.BudgetNode(budget="acme", daily_limit=Money(nano_usd=10**15))
        await sidecars[0].stub.SetBudget(pb.SetBudgetRequest(node=node))
        await closed_loop(sidecars, 1.0)  # connect, and get a lease each
        most, _ = await closed_loop(sidecars, seconds)
        rate, took_s = await open_loop(sidecars, seconds, most / 2)
    finally:
        await asyncio.gather(*(sidecar.channel.close() for sidecar in sidecars))
        await replica.kill()
    took_s.sort()
    return {
        "sidecars": count,
        "syncs_per_s": round(most, 1),
        "rate_of_latency_per_s": round(rate, 1),
        "p50_ms": round(took_s[len(took_s) // 2] * 1000, 2),
        "p99_ms": round(took_s[int(len(took_s) * 0.99)] * 1000, 2),
        "sidecars_per_replica": round(most / 2 * SYNC_INTERVAL_S),
    }


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Yield an empty, durable database of each kind that is here."""
    with tempfile.TemporaryDirectory(prefix="atlas-bench-") as directory:
        urls = {"sqlite": f"sqlite:///{Path(directory).resolve()}/ledger.db"}
        if reason := postgres_server.missing():
            sys.stdout.write(f"postgresql: skipped: {reason}\n")
            yield urls
            return
        with postgres_server.running(durable=True) as server:
            yield {**urls, "postgresql": server.create_database("ledger")}


def run(seconds: float = 5.0, count: int = SIDECARS) -> dict[str, dict[str, float]]:
    """Measure every database; return numbers by database."""
    results = {}
    with databases() as urls:
        for port, (name, url) in enumerate(urls.items(), 50161):
            results[name] = asyncio.run(measure(url, port, seconds, count))
    return results


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = run(options.seconds, options.sidecars)
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for name, numbers in results.items():
        sys.stdout.write(
            f"budget service on {name}: {numbers['syncs_per_s']:.0f} Syncs/s with {numbers['sidecars']:.0f} sidecars; "
            f"at {numbers['rate_of_latency_per_s']:.0f}/s p50 {numbers['p50_ms']} ms, p99 {numbers['p99_ms']} ms; "
            f"at half load, one replica carries {numbers['sidecars_per_replica']:.0f} sidecars that Sync every 30 s\n"
        )


if __name__ == "__main__":
    main()
