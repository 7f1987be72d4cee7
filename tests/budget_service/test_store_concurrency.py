"""Stores of several replicas over one database: batches over many trees, in any order, and the sums are right."""

import asyncio
import random

from atlas_sidecar.budget_service.database import store_for
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.store import BudgetQuery, SpendQuery, Store
from atlas_sidecar.budget_service.values import Command, NodeStatus, SetBudget, Sweep, SyncDone
from tests.budget_service.say import NOON, fact, limit, settle, sync, want

ROOTS = ("acme", "beta", "gamma")


async def work(store: Store, number: int) -> int:
    """Report spend and take leases in all trees, in batches whose order is random; return what was spent."""
    chance = random.Random(number)
    spent = 0
    for turn in range(25):
        commands: list[Command] = [Sweep()] if turn % 10 == 0 else []
        for part in range(4):
            of = f"{number}.{turn}.{part}"
            node = f"{chance.choice(ROOTS)}/{chance.choice('abc')}"
            other = f"{chance.choice(ROOTS)}/{chance.choice('abc')}"
            facts = (fact(1, settle(f"{of}.1", 1, node=node), of), fact(2, settle(f"{of}.2", 2, node=other), of))
            commands.append(sync(1, *facts, want(10, node=node), of=of, i=of, final=chance.random() < 0.5))
        outcomes = await store.transact(commands, NOON + turn)
        done = [outcome for outcome in outcomes if isinstance(outcome, SyncDone)]
        assert all(outcome.posted == 2 and outcome.quarantined == [] for outcome in done)
        spent += 3 * len(done)
    return spent


async def test_batches_over_many_trees_from_many_replicas_add_up(database_url: str) -> None:
    stores = [store_for(database_url, Rules()) for _ in range(3)]
    for store in stores:
        await store.open()
    await stores[0].transact([limit(10**9, root) for root in ROOTS], NOON)
    spent = sum(await asyncio.gather(*(work(stores[number % 3], number) for number in range(9))))
    (row,) = await stores[1].spend(SpendQuery("*"))
    roots = [
        s.view for s in await stores[2].budgets(BudgetQuery("*", roots=True), NOON) if s.definition.budget in ROOTS
    ]
    assert (row.cost_nano_usd, sum(view.settled_nano_usd for view in roots)) == (spent, spent)
    for root in roots:
        below = [s.view for s in await stores[0].budgets(BudgetQuery(root.budget, recursive=True), NOON)][1:]
        assert root.settled_nano_usd == sum(view.settled_nano_usd for view in below)
        assert root.leased_nano_usd == sum(view.leased_nano_usd for view in below)
    for store in stores:
        await store.close()


async def test_a_root_made_by_two_replicas_at_once_keeps_its_limit(database_url: str) -> None:
    stores = [store_for(database_url, Rules()) for _ in range(2)]
    for store in stores:
        await store.open()
    for turn in range(10):
        root = f"root{turn}"
        calls = [SetBudget(root, 100), SetBudget(f"{root}/child", 50)]
        outcomes = await asyncio.gather(*(s.transact([call], NOON) for s, call in zip(stores, calls, strict=True)))
        assert all(isinstance(outcome, NodeStatus) for (outcome,) in outcomes)
        shown = await stores[0].budgets(BudgetQuery(root, recursive=True), NOON)
        assert [s.definition.daily_limit_nano_usd for s in shown] == [100, 50]
    for store in stores:
        await store.close()
