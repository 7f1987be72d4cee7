"""Short ways to ask a store in tests."""

from typing import TypeVar

from atlas_sidecar.budget_service.store import BudgetQuery, Store
from atlas_sidecar.budget_service.values import Command, NodeView, SyncDone
from tests.budget_service.say import NOON

T = TypeVar("T")


async def do(store: Store, command: Command, kind: type[T], at: int = NOON) -> T:
    (outcome,) = await store.transact([command], at)
    assert isinstance(outcome, kind), outcome
    return outcome


async def done(store: Store, command: Command, at: int = NOON) -> SyncDone:
    return await do(store, command, SyncDone, at)


async def account(store: Store, node: str = "acme", at: int = NOON, period: str = "") -> NodeView:
    (status,) = await store.budgets(BudgetQuery(node, period), at)
    return status.view


def amounts(view: NodeView) -> tuple[int, int, int]:
    return view.settled_nano_usd, view.leased_nano_usd, view.suspense_nano_usd
