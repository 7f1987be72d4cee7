"""The kill test: real sidecars, the real service and a counting upstream; `kill -9` and cut lines at random.

Small here, 20 sidecars for 60 s in `make full`. The budget runs out on the way: an operator raises it while there is
time, and then no more. After healing every attempt is on the ledger exactly once, the reported part is what the
upstream counted, what nobody could report is a flagged estimate, and spend is within the limit and the bound.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2 import Money
from tests.budget_service.kill_world import SidecarProcess, Upstream
from tests.budget_service.lines import Line
from tests.budget_service.replica import Replica
from tests.budget_service.test_replicas import free_port

SIDECARS = int(os.environ.get("ATLAS_KILL_SIDECARS", "3"))
SECONDS = float(os.environ.get("ATLAS_KILL_SECONDS", "9"))
FIRST_LIMIT = 2_000_000 * SIDECARS  # about fifteen answers of each
RAISED_FOR = 0.6  # part of the time in which the operator raises the limit
KILLERS = max(1, SIDECARS // 5)
WORKERS = 4
TERMS = ("E", "U", "V", "P", "Z")


@dataclass
class World:
    """Everything that runs. `limit`: the root's, nano-USD, as last raised."""

    service: Replica
    upstream: Upstream
    to_service: Line
    to_upstream: Line
    sidecars: list[SidecarProcess]
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    limit: int = 0
    raises: int = 0

    async def raise_limit(self, stub: Any, limit: int) -> None:
        node = pb.BudgetNode(budget="acme", daily_limit=Money(nano_usd=limit))
        await stub.SetBudget(pb.SetBudgetRequest(node=node), wait_for_ready=True, timeout=30)
        self.limit, self.raises = limit, self.raises + 1

    async def state(self, stub: Any) -> pb.NodeState:
        request = pb.GetBudgetRequest(budget="acme")
        (shown,) = (await stub.GetBudget(request, wait_for_ready=True, timeout=30)).nodes
        state: pb.NodeState = shown.state
        return state


@pytest.mark.timeout(SECONDS + 150 + 20 * SIDECARS)
async def test_after_kills_and_cuts_everywhere_every_attempt_is_on_the_ledger_exactly_once(tmp_path: Path) -> None:
    upstream, service = Upstream(random.Random(12)), Replica(f"sqlite:///{tmp_path}/ledger.db", free_port())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(await upstream.start())
        to_service, to_upstream = Line(service.port), Line(upstream.port)
        for line in (to_service, to_upstream):
            await stack.enter_async_context(await line.start())
        sidecars = [SidecarProcess(number, free_port(), tmp_path) for number in range(SIDECARS)]
        world = World(service, upstream, to_service, to_upstream, sidecars)
        options = [("grpc.max_reconnect_backoff_ms", 200)]
        stub: Any = BudgetStub(await stack.enter_async_context(grpc.aio.insecure_channel(service.address, options)))
        try:
            await service.start()
            await world.raise_limit(stub, FIRST_LIMIT)
            for sidecar in sidecars:
                sidecar.configure(to_upstream.port, to_service.port)
                await sidecar.start()
            await trouble(world, stub, asyncio.get_running_loop().time() + SECONDS)
            await use_up(world, stub, asyncio.get_running_loop().time() + 60)
            state = await heal(world, stub)
        finally:
            await asyncio.gather(*(sidecar.end(signal.SIGKILL) for sidecar in sidecars if sidecar.process))
            await service.kill(signal.SIGTERM)
    rows = ledger_rows(tmp_path / "ledger.db")
    terms = bound(world, rows)
    sys.stdout.write(summary(world, rows, terms))
    assert sum(sidecar.answered for sidecar in sidecars) > 10
    assert sum(sidecar.kills for sidecar in sidecars) > 0
    assert world.to_service.cuts > 0
    assert world.to_upstream.cuts > 0
    check(world, rows)
    recorded = sum(row["cost"] for row in rows)
    assert (state.spent.nano_usd, state.leased.nano_usd, state.suspense.nano_usd) == (recorded, 0, 0)
    assert sum(sidecar.exhausted for sidecar in sidecars) > 0, "the budget must run out, or nothing is tested"
    assert recorded > 0.9 * world.limit, "the budget must be used up, or nothing is tested"
    assert recorded <= world.limit, "U, V, P and Z are nothing here, and no reserve was too small"
    assert sum(upstream.cost.values()) <= world.limit + sum(terms.values())


# ----------------------------------------------------------------------------------------------- what happens


async def trouble(world: World, stub: Any, until_s: float) -> None:
    """Let callers call, and everything go wrong, until then."""
    load = [sidecar.load(until_s) for sidecar in world.sidecars for _ in range(WORKERS)]
    alive = list(world.sidecars)
    killers = [kill_everything(world, alive, until_s, service=not other) for other in range(KILLERS)]
    await asyncio.gather(raise_for_a_while(world, stub, until_s), cut_lines(world, until_s), *killers, *load)


async def use_up(world: World, stub: Any, give_up_s: float) -> None:
    """Let callers call on until the budget has run out: how far the trouble got is the machine's mood."""
    loop = asyncio.get_running_loop()
    while loop.time() < give_up_s:
        state = await world.state(stub)
        refused = sum(sidecar.exhausted for sidecar in world.sidecars)
        if refused and state.spent.nano_usd + state.suspense.nano_usd > 0.93 * world.limit:
            return
        await asyncio.gather(*(sidecar.load(loop.time() + 1) for sidecar in world.sidecars for _ in range(WORKERS)))


async def kill_everything(world: World, alive: list[SidecarProcess], until_s: float, *, service: bool) -> None:
    """Kill a sidecar, or now and then the service, and start it again; several may do so at once."""
    chance = world.chance
    while asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(chance.random())
        if service and chance.random() < 0.25:
            await world.service.kill()
            await asyncio.sleep(chance.random())
            await world.service.start()
        else:
            sidecar = alive.pop(chance.randrange(len(alive)))
            await sidecar.end(signal.SIGKILL)
            await sidecar.start()
            alive.append(sidecar)


async def cut_lines(world: World, until_s: float) -> None:
    """Reset some connections, and now and then let none through for a while."""
    chance = world.chance
    while asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(0.3 + chance.random())
        line = chance.choice((world.to_service, world.to_upstream))
        if chance.random() < 0.2:
            await line.out_of_order(chance, chance.random())
        else:
            line.cut(chance, 0.4)


async def raise_for_a_while(world: World, stub: Any, until_s: float) -> None:
    """Raise the limit whenever most of it is taken, until it is to run out."""
    loop = asyncio.get_running_loop()
    stop_s = until_s - (1.0 - RAISED_FOR) * SECONDS
    while loop.time() < stop_s:
        await asyncio.sleep(0.2)
        state = await world.state(stub)
        taken = state.spent.nano_usd + state.leased.nano_usd + state.suspense.nano_usd
        if taken > 0.9 * world.limit and loop.time() < stop_s:
            await world.raise_limit(stub, round(1.15 * world.limit))


async def heal(world: World, stub: Any) -> pb.NodeState:
    """Let every sidecar report what it knows and end in order, within a minute; return how the root stands."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + 60
    while sum([await sidecar.unreported() for sidecar in world.sidecars]):
        assert loop.time() < ends_s, "what was spent could not be reported"
        await asyncio.sleep(0.2)
    while True:
        for sidecar in world.sidecars:
            await sidecar.end(signal.SIGTERM)
        state = await world.state(stub)
        if not state.leased.nano_usd or loop.time() > ends_s:
            return state
        for sidecar in world.sidecars:  # too busy to say goodbye in time: its successor does
            await sidecar.start()


# ----------------------------------------------------------------------------------------------- what it came to


def ledger_rows(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT attempt_id, request_id, cost, estimated, provider_request_id, lease_id,"
            " lease_id IN (SELECT lease_id FROM lease) AS known_lease FROM spend"
        ).fetchall()
        assert connection.execute("SELECT * FROM quarantine").fetchall() == []
    return [dict(row) for row in rows]


def check(world: World, rows: list[dict[str, Any]]) -> None:
    """Hold the ledger against what the upstream counted and what callers were told."""
    upstream = world.upstream
    reported = [row for row in rows if not row["estimated"]]
    asked = [row for row in reported if row["provider_request_id"]]  # the others were never sent, and cost nothing
    assert all(row["cost"] == 0 for row in reported if not row["provider_request_id"])
    ids = {row["provider_request_id"] for row in asked}
    assert len(ids) == len(asked), "a request is on the ledger twice"
    assert ids <= upstream.whole
    assert sum(row["cost"] for row in reported) == sum(upstream.cost[number] for number in ids)
    assert all(upstream.cost[row["provider_request_id"]] == row["cost"] for row in asked)
    estimates = [row for row in rows if row["estimated"]]
    unreported = [number for number in upstream.cost if number not in ids]
    known = [row["provider_request_id"] for row in estimates if row["provider_request_id"]]
    assert len(known) == len(set(known)), "an attempt is estimated twice"
    assert set(known) <= set(unreported), "an attempt is both reported and estimated"
    flagged = Counter(row["request_id"] for row in estimates)
    assert Counter(upstream.asked[number] for number in unreported) <= flagged, "an attempt is missing"
    costs = {row["attempt_id"]: row["cost"] for row in rows}
    for sidecar in world.sidecars:
        assert {attempt: costs.get(attempt) for attempt in sidecar.heard} == sidecar.heard


def bound(world: World, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the bound's terms, nano-USD: what answers cost beyond what is on the ledger for their request (E), spend
    on leases that the ledger does not know (V), and spend without a lease (P). Nothing is reclaimed (U) or lowered (Z).
    """
    true: Counter[str] = Counter()
    recorded: Counter[str] = Counter()
    for number, call in world.upstream.asked.items():
        true[call] += world.upstream.cost[number]
    for row in rows:
        recorded[row["request_id"]] += row["cost"]
    beyond = sum((true - recorded).values())
    unknown = sum(row["cost"] for row in rows if row["lease_id"] and not row["known_lease"])
    unleased = sum(row["cost"] for row in rows if not row["lease_id"])
    return dict(zip(TERMS, (beyond, 0, unknown, unleased, 0), strict=True))


def summary(world: World, rows: list[dict[str, Any]], terms: dict[str, int]) -> str:
    true, recorded = sum(world.upstream.cost.values()), sum(row["cost"] for row in rows)
    reported = {row["provider_request_id"]: row["cost"] for row in rows if not row["estimated"] and row["cost"]}
    sidecars = world.sidecars
    return (
        f"\n{len(sidecars)} sidecars for {SECONDS:g} s: {sum(each.kills for each in sidecars)} sidecars and"
        f" {world.service.kills} services killed, {world.to_service.cuts} connections to the service and"
        f" {world.to_upstream.cuts} to the upstream cut\n"
        f"callers: {sum(each.answered for each in sidecars)} answers,"
        f" {sum(each.failed - each.exhausted for each in sidecars)} failures,"
        f" {sum(each.exhausted for each in sidecars)} refused for want of budget;"
        f" limit raised {world.raises - 1} times\n"
        f"upstream: {len(world.upstream.cost)} requests, {true} nano-USD;"
        f" ledger: {len(rows)} attempts, {recorded} nano-USD of {world.limit}\n"
        f"reported: {sum(reported.values())} nano-USD on the ledger,"
        f" {sum(world.upstream.cost[number] for number in reported)} by the upstream's count of the same"
        f" {len(reported)} requests; estimated: {sum(row['cost'] for row in rows if row['estimated'])} nano-USD in"
        f" {sum(row['estimated'] for row in rows)} attempts\n"
        f"overspend {max(0, true - world.limit)} <= "
        + " + ".join(f"{name} {amount}" for name, amount in terms.items())
        + f" = {sum(terms.values())} nano-USD\n"
    )
