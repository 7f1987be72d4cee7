"""What people and dashboards ask of the ledger, in SQL.

Rules kept here:
- Nothing is locked and nothing is written: a period that has not begun on the ledger shows zeros and the node's limit.
- A subtree is the node and the range of paths `node/` <= path < `node0` (0 follows / in byte order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from atlas_sidecar.budget_service.books import Account, Books, Day, chain_of, root_of
from atlas_sidecar.budget_service.periods import Span
from atlas_sidecar.budget_service.sql import DAYS_LOADED_MS, Row, node_of
from atlas_sidecar.budget_service.store import BudgetQuery, SpendQuery, SpendRow
from atlas_sidecar.budget_service.tree import definition_of, view
from atlas_sidecar.budget_service.values import NodeStatus

NODE_COLUMNS = "path, depth, daily_limit, time_zone, on_partition, open_allowance, on_lost, version, descendants"
GROUP_COLUMNS = {
    "provider": "provider",
    "model": "model_id",
    "budget": "node",
    "period": "period",
    "outcome": "CAST(outcome AS TEXT)",
}


class Reader(Protocol):
    """What reading needs of a session. `label`: the SQL of one label of `labels`, its name the parameter."""

    label: str

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return what a query yields."""
        ...

    def member(self, column: str) -> str:
        """Return the condition that a column is in an array parameter."""
        ...

    def array(self, values: Any) -> Any:
        """Return the parameter for `member`."""
        ...


def below(column: str) -> str:
    """Return the condition that a path is in a subtree; its three parameters are those of `subtree`."""
    return f"({column} = ? OR ({column} >= ? AND {column} < ?))"


def subtree(path: str) -> tuple[str, str, str]:
    """Return the parameters of `below`; everywhere for `*`."""
    return ("", "", "\U0010ffff") if path == "*" else (path, f"{path}/", f"{path}0")


def read_budgets(session: Reader, query: BudgetQuery, now_ms: int) -> list[NodeStatus]:
    """Return nodes with their accounts."""
    where = "path = ?"
    parameters: tuple[str, ...] = (query.budget,)
    if query.roots:
        where, parameters = "depth = 0", ()
    elif query.recursive:
        where, parameters = below("path"), subtree(query.budget)
    found = session.rows(
        f"SELECT {NODE_COLUMNS} FROM budget_node WHERE {where} AND path > ? ORDER BY path LIMIT ?",
        (*parameters, query.after, query.limit),
    )
    books = Books()
    books.nodes = {row[0]: node_of(row) for row in found}
    shown = list(books.nodes)
    ancestors = {name for path in shown for name in chain_of(path)} - set(shown)
    for row in session.rows(
        f"SELECT {NODE_COLUMNS} FROM budget_node WHERE {session.member('path')}",
        (session.array(ancestors),),
    ):
        books.nodes[row[0]] = node_of(row)
    _read_days(session, books, {root_of(path) for path in shown}, query.period, now_ms)
    periods = {query.period or books.today(root_of(path), now_ms).name for path in shown}
    for row in session.rows(
        "SELECT node, period, limit_nano_usd, settled, leased, suspense, active FROM budget_period"
        f" WHERE {session.member('node')} AND {session.member('period')}",
        (session.array(shown), session.array(periods)),
    ):
        books.accounts[row[0], row[1]] = Account(*row)
    statuses = []
    for path in shown:
        seen = view(books, path, now_ms, query.period)
        holders = 0 if query.roots else _holders(session, path, seen.period)
        statuses.append(NodeStatus(definition_of(books.nodes[path]), seen, holders))
    return statuses


def _holders(session: Reader, path: str, period: str) -> int:
    """Count the sidecars that hold leases at or below a node."""
    found = session.rows(
        "SELECT COUNT(DISTINCT incarnation) FROM lease WHERE state = 1 AND period = ? AND " + below("node"),
        (period, *subtree(path)),
    )
    count: int = found[0][0]
    return count


def _read_days(session: Reader, books: Books, roots: set[str], period: str, now_ms: int) -> None:
    for root, *span in session.rows(
        f"SELECT root, period, starts_at_ms, ends_at_ms FROM budget_day WHERE {session.member('root')}"
        " AND (ends_at_ms > ? OR period = ?)",
        (session.array(roots), now_ms - DAYS_LOADED_MS, period),
    ):
        books.add_day(Day(root, Span(*span)))


def read_spend(session: Reader, query: SpendQuery) -> list[SpendRow]:
    """Return sums by group."""
    columns, parameters = [], []
    for name in query.group_by:
        if name.startswith("label:"):
            columns.append(session.label)
            parameters.append(name.removeprefix("label:"))
        else:
            columns.append(GROUP_COLUMNS[name])
    groups = ", ".join(str(position + 1) for position in range(len(columns)))
    sql = (
        f"SELECT {''.join(column + ', ' for column in columns)}COUNT(*), SUM(COALESCE(cost, 0)),"
        " SUM(CASE WHEN estimated = 1 THEN COALESCE(cost, 0) ELSE 0 END), SUM(input_tokens), SUM(cache_read_tokens),"
        " SUM(cache_write_tokens), SUM(output_tokens), SUM(reasoning_tokens) FROM spend"
        f" WHERE {below('node')} AND admitted_at_ms >= ? AND admitted_at_ms < ?"
    )
    if columns:
        sql += f" GROUP BY {groups} ORDER BY {groups}"
    sql += " LIMIT ? OFFSET ?"
    rows = session.rows(
        sql, (*parameters, *subtree(query.budget), query.start_ms, query.end_ms, query.limit, query.offset)
    )
    size = len(columns)
    return [_spend_row(row, size) for row in rows if row[size]]


def _spend_row(row: Row, size: int) -> SpendRow:
    tokens = tuple(None if value is None else int(value) for value in row[size + 3 :])
    return SpendRow(tuple(row[:size]), int(row[size]), int(row[size + 1]), int(row[size + 2]), tokens)
