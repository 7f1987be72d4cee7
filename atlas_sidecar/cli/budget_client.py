"""`atlas-sidecar budget show | set | spend`: what people ask of the budget service.

Rules kept here:
- `set` changes only what its options name: it reads the node, and sends it back with the etag that it read.
- Amounts are typed in dollars and become nano-USD exactly, or are refused.
- A token comes from --token-file or ATLAS_BUDGET_TOKEN, never from the command line, where `ps` shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import router_pb2
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_sidecar.cli.client import channel_to, target_of, tell_failure
from atlas_sidecar.cli.text import Style, note, safe, say, table, tokens, usd
from atlas_sidecar.cli.usage import UsageError

DEFAULT_TARGET: Final = "127.0.0.1:50061"
BAR_WIDTH: Final = 24
_TIMEOUT_S: Final = 10.0
_NANO: Final = 1_000_000_000
_MAX_PAGES: Final = 100


class _Client:
    """The service's calls with this command's token and time limit."""

    def __init__(self, stub: BudgetStub, arguments: argparse.Namespace) -> None:
        self._stub = stub
        self._options: dict[str, Any] = {
            "timeout": arguments.timeout or _TIMEOUT_S,
            "metadata": _metadata(arguments.token_file),
        }

    def nodes(self, budget: str, period: str = "") -> Iterator[pb.BudgetStatus]:
        request = pb.GetBudgetRequest(budget=budget, period=period, recursive=True, page_size=1000)
        for _ in range(_MAX_PAGES):
            page = self._stub.GetBudget(request, **self._options)
            yield from page.nodes
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
        note("there are more nodes than can be shown; name a subtree")

    def node(self, budget: str) -> pb.BudgetNode:
        try:
            return self._stub.GetBudget(pb.GetBudgetRequest(budget=budget), **self._options).nodes[0].node
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                return pb.BudgetNode(budget=budget)
            raise

    def set(self, node: pb.BudgetNode) -> pb.BudgetStatus:
        return self._stub.SetBudget(pb.SetBudgetRequest(node=node), **self._options).status

    def spend(self, request: pb.ListSpendRequest) -> Iterator[pb.SpendRow]:
        for _ in range(_MAX_PAGES):
            page = self._stub.ListSpend(request, **self._options)
            yield from page.rows
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
        note("there are more rows than can be shown; narrow the time or the node")


def _metadata(token_file: str | None) -> list[tuple[str, str]]:
    token = os.environ.get("ATLAS_BUDGET_TOKEN", "").strip()
    if token_file:
        try:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file {token_file} cannot be read: {type(error).__name__}") from None
    return [("authorization", f"Bearer {token}")] if token else []


def _call(arguments: argparse.Namespace, ask: Callable[[_Client], Sequence[str]]) -> int:
    """Print what `ask` returns; a failed call in plain words."""
    target = target_of(arguments, "ATLAS_BUDGET_TARGET", DEFAULT_TARGET)
    try:
        with channel_to(target, arguments) as channel:
            lines = ask(_Client(BudgetStub(channel), arguments))
    except grpc.RpcError as error:
        return tell_failure(error, target, as_json=arguments.json, start_with="atlas-sidecar budget serve")
    say(*lines)
    return 0


# ------------------------------------------------------------------------------------------- show


def show(arguments: argparse.Namespace) -> int:
    """Draw the tree; return the exit status."""

    def ask(client: _Client) -> Sequence[str]:
        nodes = list(client.nodes(arguments.node, arguments.period))
        if arguments.json:
            return [json.dumps({"nodes": [_plain(node) for node in nodes]}, ensure_ascii=False)]
        return tree_lines(nodes, Style(sys.stdout))

    return _call(arguments, ask)


def _plain(message: Any) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def tree_lines(nodes: Sequence[pb.BudgetStatus], style: Style) -> list[str]:
    """Return the tree as lines: branch, bar (spent, leased, in suspense, free), amounts."""
    paths = sorted(status.node.budget.split("/") for status in nodes)
    by_path = {status.node.budget: status for status in nodes}
    top = min((len(path) for path in paths), default=1)
    rows = []
    for path in paths:
        status = by_path["/".join(path)]
        name = "/".join(path) if len(path) == top else path[-1]
        rows.append(
            (_branch(path, paths, top) + style(safe(name, 80), "bold"), bar(status.state, style), *_amounts(status))
        )
    lines = table(("budget", "", "spent", "of", "leased", "suspense", "sidecars"), rows, frozenset({2, 3, 4, 5, 6}))
    days = sorted({(s.state.period, s.period_ends.ToDatetime().strftime("%Y-%m-%d %H:%M")) for s in nodes})
    return [*lines, *(style(f"{day}, ends {end} UTC", "dim") for day, end in days if not end.startswith("1970"))]


def _branch(path: list[str], paths: list[list[str]], top: int) -> str:
    """Return the lines left of a name: whether its ancestors and itself have a later sibling."""
    drawn = ""
    for depth in range(top, len(path)):
        later = any(p[:depth] == path[:depth] and len(p) > depth and p[depth] > path[depth] for p in paths)
        last_part = depth == len(path) - 1
        drawn += ("├─ " if later else "└─ ") if last_part else ("│  " if later else "   ")
    return drawn


def bar(state: pb.NodeState, style: Style) -> str:
    """Return a node's bar; empty without a limit."""
    if not state.HasField("limit"):
        return ""
    limit = max(state.limit.nano_usd, 1)
    parts, filled = [], 0
    colour = "red" if state.spent.nano_usd >= limit else "yellow" if state.spent.nano_usd * 5 >= limit * 4 else "green"
    total = 0
    for amount, mark, name in (
        (state.spent, "█", colour),
        (state.leased, "▒", "cyan"),
        (state.suspense, "░", "yellow"),
    ):
        total += amount.nano_usd
        cells = min(BAR_WIDTH, -(-total * BAR_WIDTH // limit)) - filled
        parts.append(style(mark * cells, name))
        filled += cells
    return f"[{''.join(parts)}{'·' * (BAR_WIDTH - filled)}]"


def _amounts(status: pb.BudgetStatus) -> tuple[str, ...]:
    state = status.state
    limit = usd(state.limit.nano_usd) if state.HasField("limit") else "no limit"
    parts = (usd(money.nano_usd) if money.nano_usd else "" for money in (state.leased, state.suspense))
    return usd(state.spent.nano_usd), limit, *parts, str(status.active_sidecars or "")


# ------------------------------------------------------------------------------------------- set


def put(arguments: argparse.Namespace) -> int:
    """Change a node; return the exit status."""
    amounts = {name: nano_usd(name, getattr(arguments, name)) for name in ("daily_limit", "open_allowance")}

    def ask(client: _Client) -> Sequence[str]:
        node = changed(client.node(arguments.node), arguments, amounts)
        status = client.set(node)
        if arguments.json:
            return [json.dumps(_plain(status), ensure_ascii=False)]
        return tree_lines([status], Style(sys.stdout))

    return _call(arguments, ask)


def changed(node: pb.BudgetNode, options: argparse.Namespace, amounts: dict[str, int | None]) -> pb.BudgetNode:
    """Return the node with what the options name changed."""
    limit, allowance = amounts["daily_limit"], amounts["open_allowance"]
    if limit is not None:
        node.daily_limit.nano_usd = limit
    if options.no_limit:
        node.ClearField("daily_limit")
    if options.time_zone:
        node.time_zone = options.time_zone
    elif "/" in node.budget:
        node.time_zone = ""
    if options.on_partition:
        name = {"inherit": "unspecified"}.get(options.on_partition, options.on_partition)
        node.policy.on_partition = pb.Policy.OnPartition.Value(f"ON_PARTITION_{name.upper()}")
        if options.on_partition != "open":
            node.policy.ClearField("open_allowance")
    if allowance is not None:
        node.policy.open_allowance.nano_usd = allowance
    if options.on_lost:
        name = {"inherit": "unspecified"}.get(options.on_lost, options.on_lost)
        node.policy.on_lost = pb.Policy.OnLost.Value(f"ON_LOST_{name.upper().replace('-', '_')}")
    if options.etag:
        node.etag = options.etag
    return node


def nano_usd(name: str, text: str | None) -> int | None:
    """Read dollars exactly: "12.50", "$1,000"; raises UsageError."""
    if text is None:
        return None
    option = f"--{name.replace('_', '-')}"
    try:
        value = Decimal(text.removeprefix("$").replace(",", "").replace("_", "")) * _NANO
    except InvalidOperation:
        raise UsageError(f"{option} {text}: must be dollars, such as 25 or 0.5") from None
    if not value.is_finite() or value < 0 or value != int(value) or value >= 2**62:
        raise UsageError(f"{option} {text}: must be from 0 to 4 billion, with at most 9 decimal places")
    return int(value)


# ------------------------------------------------------------------------------------------- spend


def spend(arguments: argparse.Namespace) -> int:
    """Print sums; return the exit status."""
    names = [name.strip() for name in arguments.by.split(",") if name.strip()]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    request = pb.ListSpendRequest(
        budget=arguments.node,
        group_by=names,
        start_time=moment("since", arguments.since) if arguments.since else _stamp(today),
        end_time=moment("until", arguments.until) if arguments.until else None,
        page_size=1000,
    )

    def ask(client: _Client) -> Sequence[str]:
        rows = list(client.spend(request))
        if arguments.json:
            return [json.dumps({"rows": [_plain(row) for row in rows]}, ensure_ascii=False)]
        return spend_lines(rows, names, Style(sys.stdout))

    return _call(arguments, ask)


def moment(option: str, text: str) -> Timestamp:
    """Read a day or an ISO time, UTC unless it says otherwise; raises UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--{option} {text}: must be a day like 2026-11-23 or a time like 2026-11-23T08:00") from None
    return _stamp(at if at.tzinfo else at.replace(tzinfo=UTC))


def _stamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at.astimezone(UTC).replace(tzinfo=None))
    return stamp


def spend_lines(rows: Sequence[pb.SpendRow], names: Sequence[str], style: Style) -> list[str]:
    """Return the table of sums, the dearest first, and the total."""
    if not rows:
        return ["nothing was spent"]
    header = (*names, "attempts", "cost", "estimated", "tokens in", "tokens out")
    cells = []
    for row in sorted(rows, key=lambda each: -each.cost.nano_usd):
        cells.append((*(safe(row.group[name], 60) or "-" for name in names), *_sums([row])))
    total = (*(style("total", "bold") if i == 0 else "" for i in range(len(names))), *_sums(rows))
    right = frozenset(range(len(names), len(header)))
    return table(header, [*cells, total] if len(rows) > 1 and names else cells, right)


def _sums(rows: Sequence[pb.SpendRow]) -> tuple[str, ...]:
    usages: list[router_pb2.Usage] = [row.usage for row in rows]
    read = sum(u.input_tokens + u.cache_read_tokens + u.cache_write_tokens for u in usages)
    written = sum(u.output_tokens + u.reasoning_tokens for u in usages)
    cost, estimated = (sum(row.cost.nano_usd for row in rows), sum(row.estimated_cost.nano_usd for row in rows))
    return tokens(sum(row.attempts for row in rows)), usd(cost), usd(estimated), tokens(read), tokens(written)
