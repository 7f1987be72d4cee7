"""Short ways to say things to the ledger in tests. Money here is whole nano-USD; names stand for ids."""

from typing import Any

from atlas_sidecar.budget_service.values import (
    Fact,
    FactBody,
    Finish,
    OnLost,
    Policy,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Skip,
    Sync,
    Want,
)

NOON = 1_795_435_200_000  # 2026-11-23 12:00 UTC
DAY = "2026-11-23"
MINUTE = 60_000
HOUR = 3_600_000
RECLAIM = Policy(on_lost=OnLost.RECLAIM)


def want(amount: int, minimum: int = 0, node: str = "acme", name: str = "w1", longest_ms: int = MINUTE) -> Want:
    return Want(name, node, amount, minimum, longest_ms)


def fact(seq: int, body: FactBody, incarnation: str = "i1") -> Fact:
    return Fact(incarnation, seq, body, b"raw")


def settle(attempt: str, cost: int | None, lease: str = "", node: str = "acme", **more: Any) -> Settle:
    return Settle(attempt, lease, node, more.pop("period", DAY), cost, **more)


def sync(seq: int, *parts: Fact | Want | str, of: str = "s1", i: str = "i1", **more: Any) -> Sync:
    """Make a Sync of facts, wants and ids of held leases."""
    facts = tuple(part for part in parts if isinstance(part, Fact))
    wants = tuple(part for part in parts if isinstance(part, Want))
    held = tuple(part for part in parts if isinstance(part, str))
    return Sync(of, i, seq, facts, held, wants, **more)


def reserve(
    amount: int, node: str = "acme", name: str = "r1", of: str = "s1", i: str = "i1", minimum: int = 0
) -> Reserve:
    return Reserve(of, i, want(amount, minimum, node, name))


def limit(amount: int | None, node: str = "acme", **more: Any) -> SetBudget:
    return SetBudget(node, amount, **more)


__all__ = ["Finish", "Release", "Skip"]
