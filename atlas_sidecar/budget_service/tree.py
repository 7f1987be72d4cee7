"""The tree of budgets: setting a node, and showing nodes as their accounts stand.

Rules kept here:
- A root comes into being by SetBudget; what is named below a root comes into being by being named, with no limit and no
  policy of its own: its ancestors' limits hold it (docs/, "How budget nodes come to be").
- A limit holds from now on for the running period as well. A period that is over keeps the limit it had.
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas_sidecar.budget_service.books import Account, Books, Node, chain_of, is_path, root_of
from atlas_sidecar.budget_service.periods import Span, zone
from atlas_sidecar.budget_service.values import (
    LedgerError,
    LedgerErrorCode,
    NodeDefinition,
    NodeStatus,
    NodeView,
    OnPartition,
    SetBudget,
)

MAX_LIMIT_NANO_USD = 4_000_000_000_000_000_000  # $4 billion a day: sums stay within 64 bits


def views(books: Books, paths: Iterable[str], now_ms: int) -> list[NodeView]:
    """Return the state of these nodes and all their ancestors in the running period, roots first."""
    known = [chain_of(path) for path in paths if path in books.nodes]
    wanted = reversed(known[0]) if len(known) == 1 else sorted({name for chain in known for name in chain})
    found, root, today = [], "", Span("", 0, 0)
    for path in wanted:
        if root_of(path) != root:
            root = root_of(path)
            today = books.today(root, now_ms)
        found.append(_view(books, path, today))
    return found


def view(books: Books, path: str, now_ms: int, period: str = "") -> NodeView:
    """Return the state of one node in a period, "" = the running one; nothing is created but the period."""
    today = books.today(root_of(path), now_ms)
    if period:
        today = books.day(root_of(path), period) or Span(period, 0, 0)
    return _view(books, path, today)


def _view(books: Books, path: str, today: Span) -> NodeView:
    account = books.accounts.get((path, today.name)) or Account(path, today.name, books.nodes[path].daily_limit)
    return NodeView(
        path,
        today.name,
        account.limit,
        account.settled,
        account.leased,
        account.suspense,
        books.policy_of(path),
        today.ends_at_ms,
    )


def definition_of(node: Node) -> NodeDefinition:
    """Return a node as it was set, with its etag."""
    return NodeDefinition(node.path, node.daily_limit, node.time_zone, node.policy, str(node.version))


def set_budget(books: Books, call: SetBudget, now_ms: int) -> NodeStatus:
    """Create or replace a node's definition; ancestors that are missing come into being without limits.

    Raises LedgerError INVALID_ARGUMENT (path, limit, zone, allowance) and ABORTED (the etag is not the node's).
    """
    check(call)
    node = books.nodes.get(call.budget)
    if call.etag and (node is None or call.etag != str(node.version)):
        raise LedgerError(LedgerErrorCode.ABORTED, f"{call.budget!r} was changed since it was read; read it again")
    if node is None:
        node = _create(books, call.budget)
    else:
        node.version += 1
    node.daily_limit, node.policy = call.daily_limit_nano_usd, call.policy
    if node.depth == 0:
        node.time_zone = call.time_zone or node.time_zone or "UTC"
    books.put_node(node)
    today = books.today(root_of(call.budget), now_ms)
    account = books.account(call.budget, today.name)
    account.limit = node.daily_limit
    books.changed.accounts[account.node, account.period] = account
    return NodeStatus(definition_of(node), view(books, call.budget, now_ms), 0)


def _create(books: Books, path: str) -> Node:
    root = books.nodes.get(root_of(path))
    if root is None:
        root = Node(root_of(path), 0, time_zone="UTC")
        books.put_node(root)
    for depth, name in enumerate(reversed(chain_of(path))):
        if name not in books.nodes:
            books.put_node(Node(name, depth))
            root.descendants += 1
    books.put_node(root)
    return books.nodes[path]


def check(call: SetBudget) -> None:
    """Raise LedgerError INVALID_ARGUMENT for a definition that no books can take."""
    problem = ""
    limit, allowance = call.daily_limit_nano_usd, call.policy.open_allowance_nano_usd
    if not is_path(call.budget):
        problem = (
            f"{call.budget[:80]!r} is no node path: up to 8 segments of letters, digits and ._@:+- between slashes"
        )
    elif limit is not None and not 0 <= limit <= MAX_LIMIT_NANO_USD:
        problem = "daily_limit is negative or beyond $4,000,000,000"
    elif call.time_zone and "/" in call.budget:
        problem = "time_zone belongs to a root: the tree below it shares its days"
    elif zone(call.time_zone) is None:
        problem = f"{call.time_zone[:80]!r} is no IANA time zone"
    elif allowance is not None and not 0 <= allowance <= MAX_LIMIT_NANO_USD:
        problem = "open_allowance is negative or too large"
    elif allowance and call.policy.on_partition is not OnPartition.OPEN:
        problem = "open_allowance needs on_partition OPEN"
    if problem:
        raise LedgerError(LedgerErrorCode.INVALID_ARGUMENT, problem)
