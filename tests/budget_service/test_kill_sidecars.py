"""The kill test: real sidecars, the real service and a counting upstream; `kill -9` at random, everywhere.

Small here; `ATLAS_KILL_SIDECARS=20 ATLAS_KILL_SECONDS=60 pytest tests/budget_service/test_kill_sidecars.py -s` is the
full one. After healing every attempt is on the ledger exactly once, the reported part is what the upstream counted,
what nobody could report is an estimate that covers it, and nothing was spent beyond the limit.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2 import Money
from tests.budget_service.kill_world import SidecarProcess, Upstream
from tests.budget_service.replica import Replica
from tests.budget_service.test_replicas import free_port

SIDECARS = int(os.environ.get("ATLAS_KILL_SIDECARS", "3"))
SECONDS = float(os.environ.get("ATLAS_KILL_SECONDS", "9"))
LIMIT = int(min(1_500_000 * SIDECARS, 5_000_000) * SECONDS)  # runs out, or nearly
KILLERS = max(1, SIDECARS // 5)
WORKERS = 4


async def kill_everything(
    alive: list[SidecarProcess], service: Replica | None, chance: random.Random, until_s: float
) -> None:
    """Kill a sidecar, or now and then the service, and start it again; several may do so at once."""
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        await asyncio.sleep(chance.random())
        if service is not None and chance.random() < 0.25:
            await service.kill()
            await asyncio.sleep(chance.random())
            await service.start()
        else:
            sidecar = alive.pop(chance.randrange(len(alive)))
            await sidecar.end(signal.SIGKILL)
            await sidecar.start()
            alive.append(sidecar)


def ledger_rows(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT attempt_id, cost, estimated, provider_request_id FROM spend").fetchall()
        assert connection.execute("SELECT * FROM quarantine").fetchall() == []
    return [dict(row) for row in rows]


@pytest.mark.timeout(SECONDS + 30 + 20 * SIDECARS)
async def test_after_kills_everywhere_every_attempt_is_on_the_ledger_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(11)
    upstream = Upstream(chance)
    server = await upstream.start()
    service = Replica(f"sqlite:///{tmp_path}/ledger.db", free_port())
    sidecars = [SidecarProcess(number, free_port(), tmp_path) for number in range(SIDECARS)]
    async with server, grpc.aio.insecure_channel(service.address, [("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        try:
            await service.start()
            stub: Any = BudgetStub(channel)
            await stub.SetBudget(
                pb.SetBudgetRequest(node=pb.BudgetNode(budget="acme", daily_limit=Money(nano_usd=LIMIT)))
            )
            for sidecar in sidecars:
                sidecar.configure(upstream.port, service.port)
            await asyncio.gather(*(sidecar.start() for sidecar in sidecars))
            until_s = asyncio.get_running_loop().time() + SECONDS
            load = [sidecar.load(until_s) for sidecar in sidecars for _ in range(WORKERS)]
            alive = list(sidecars)
            killers = [kill_everything(alive, None if other else service, chance, until_s) for other in range(KILLERS)]
            await asyncio.gather(*killers, *load)
            await asyncio.gather(*(sidecar.end(signal.SIGTERM) for sidecar in sidecars))
            request = pb.GetBudgetRequest(budget="acme")
            (shown,) = (await stub.GetBudget(request, wait_for_ready=True, timeout=20)).nodes
        finally:
            await asyncio.gather(*(sidecar.end(signal.SIGKILL) for sidecar in sidecars if sidecar.process))
            await service.kill(signal.SIGTERM)
    rows = ledger_rows(tmp_path / "ledger.db")
    kills = sum(sidecar.kills for sidecar in sidecars)
    sys.stdout.write(summary(upstream, rows, kills, service.kills))
    assert kills > 0
    assert sum(sidecar.answered for sidecar in sidecars) > 10
    check(upstream, rows)
    total = sum(row["cost"] for row in rows)
    state = shown.state
    assert (state.spent.nano_usd, state.leased.nano_usd, state.suspense.nano_usd) == (total, 0, 0)


def check(upstream: Upstream, rows: list[dict[str, Any]]) -> None:
    """Hold the ledger against what the upstream counted."""
    reported = [row for row in rows if not row["estimated"]]
    asked = [row for row in reported if row["provider_request_id"]]  # the others were never sent, and cost nothing
    assert all(row["cost"] == 0 for row in reported if not row["provider_request_id"])
    ids = [row["provider_request_id"] for row in asked]
    assert len(ids) == len(set(ids)), "a request is on the ledger twice"
    assert all(upstream.cost[row["provider_request_id"]] == row["cost"] for row in asked)
    assert set(ids) <= upstream.whole
    unreported = {number: cost for number, cost in upstream.cost.items() if number not in set(ids)}
    estimates = [row for row in rows if row["estimated"]]
    assert len(unreported) <= len(estimates), "an attempt is missing"
    known = {row["provider_request_id"] for row in estimates} - {""}
    assert known <= set(unreported), "an attempt is both reported and estimated"
    assert sum(upstream.cost.values()) <= LIMIT + beyond_estimate(upstream, rows), "U, V, P and Z are nothing here"


def beyond_estimate(upstream: Upstream, rows: list[dict[str, Any]]) -> int:
    """Return E: what cut answers cost beyond what was estimated for them."""
    estimates = (row for row in rows if row["estimated"] and row["provider_request_id"])
    return sum(max(0, upstream.cost[row["provider_request_id"]] - row["cost"]) for row in estimates)


def summary(upstream: Upstream, rows: list[dict[str, Any]], kills: int, service_kills: int) -> str:
    true, recorded = sum(upstream.cost.values()), sum(row["cost"] for row in rows)
    estimated = sum(row["cost"] for row in rows if row["estimated"])
    return (
        f"\n{kills} sidecars and {service_kills} services killed; upstream: {len(upstream.cost)} requests, {true} nano;"
        f" ledger: {len(rows)} attempts, {recorded} nano-USD, {estimated} of it estimated; limit {LIMIT};"
        f" overspend {max(0, true - LIMIT)} <= E {beyond_estimate(upstream, rows)} + U 0 + V 0 + P 0 + Z 0\n"
    )
