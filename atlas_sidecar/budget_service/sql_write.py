"""Write back what the ledger changed.

Rules kept here:
- One statement per table and transaction, for all its rows, in the order of their keys.
- Spend is inserted, never updated: the primary key is the last guard against posting an attempt twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from atlas_sidecar.budget_service.books import Changes, Posted


class Writer(Protocol):
    """What writing needs of a session."""

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Insert rows: `INSERT ... VALUES (?, ...) ...`, every value a parameter, no two rows with the same key."""
        ...


def upsert(table: str, keys: str, columns: str) -> str:
    """Return the statement that inserts a row or replaces all its columns but the keys."""
    names = [name.strip() for name in f"{keys}, {columns}".split(",")]
    updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys.replace(",", "").split())
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT ({keys}) DO UPDATE SET {updates}"


NODE = upsert(
    "budget_node",
    "path",
    "depth, daily_limit, time_zone, on_partition, open_allowance, on_lost, version, descendants",
)
DAY = upsert("budget_day", "root, period", "starts_at_ms, ends_at_ms")
PERIOD = upsert("budget_period", "node, period", "limit_nano_usd, settled, leased, suspense, active")
INCARNATION = upsert("incarnation", "incarnation", "sidecar_id, state, applied_seq, sync_seq, last_seen_ms")
LEASE = upsert(
    "lease",
    "lease_id",
    "incarnation, want_id, node, period, amount, settled, state, lossy, expires_at_ms, longest_ms, closed_at_ms",
)
SPEND = (
    "INSERT INTO spend (attempt_id, node, period, admitted_at_ms, cost, estimated, input_tokens, cache_read_tokens,"
    " cache_write_tokens, output_tokens, reasoning_tokens, provider, model_id, model, outcome, request_id,"
    " provider_request_id, labels, lease_id, incarnation, seq) VALUES (" + ", ".join("?" * 21) + ")"
)
QUARANTINE = (
    "INSERT INTO quarantine (incarnation, seq, sidecar_id, reason, fact, set_aside_at_ms) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (incarnation, seq, sidecar_id) DO NOTHING"
)


def write_back(session: Writer, changes: Changes, now_ms: int) -> None:
    """Write every changed row."""
    for sql, rows in _statements(changes, now_ms):
        if rows:
            session.run_many(sql, rows)


def _statements(changes: Changes, now_ms: int) -> Iterator[tuple[str, list[Sequence[Any]]]]:
    yield (
        NODE,
        [
            (n.path, n.depth, n.daily_limit, n.time_zone, *n.policy, n.version, n.descendants)
            for _, n in sorted(changes.nodes.items())
        ],
    )
    yield DAY, [(day.root, *day.span) for _, day in sorted(changes.days.items())]
    yield (
        PERIOD,
        [
            (a.node, a.period, a.limit, a.settled, a.leased, a.suspense, a.active)
            for _, a in sorted(changes.accounts.items())
        ],
    )
    yield (
        INCARNATION,
        [
            (i.incarnation, i.sidecar_id, int(i.state), i.applied_seq, i.sync_seq, i.last_seen_ms)
            for _, i in sorted(changes.incarnations.items())
        ],
    )
    leases: list[Sequence[Any]] = []
    for _, each in sorted(changes.leases.items()):
        key = (each.lease_id, each.incarnation, each.want_id, each.node, each.period, each.amount, each.settled)
        times = (each.expires_at_ms, each.longest_ms, each.closed_at_ms)
        leases.append((*key, int(each.state), int(each.lossy), *times))
    yield LEASE, leases
    yield SPEND, [_spend(posted) for posted in changes.spend]
    yield (
        QUARANTINE,
        [
            (aside.entry.incarnation, aside.entry.seq, aside.sidecar_id, aside.entry.reason, aside.raw, now_ms)
            for aside in changes.quarantine
        ],
    )


def _spend(posted: Posted) -> Sequence[Any]:
    s = posted.settle
    usage = (
        s.usage.input_tokens,
        s.usage.cache_read_tokens,
        s.usage.cache_write_tokens,
        s.usage.output_tokens,
        s.usage.reasoning_tokens,
    )
    labels = json.dumps(dict(s.labels), sort_keys=True, ensure_ascii=False)
    names = (s.provider, s.model_id, s.model, s.outcome, s.request_id, s.provider_request_id, labels, s.lease_id)
    money = (s.cost_nano_usd, int(s.estimated))
    when = (posted.period, s.admitted_at_ms)
    return (s.attempt_id, s.budget, *when, *money, *usage, *names, posted.incarnation, posted.seq)
