"""The gRPC edge of the budget service: who calls, convert, submit, convert back.

Rules kept here:
- Nothing is decided here but who may ask. A refused call changed nothing, and says in one sentence what is wrong.
- UNAVAILABLE means: try again; every call is safe to repeat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import budget_pb2_grpc, router_pb2
from atlas_sidecar.budget_service import convert
from atlas_sidecar.budget_service.access import Access, Caller
from atlas_sidecar.budget_service.books import is_path, within
from atlas_sidecar.budget_service.coalesce import Coalescer
from atlas_sidecar.budget_service.metrics import Metrics
from atlas_sidecar.budget_service.periods import UTC, day_named
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.store import GROUPS, BudgetQuery, SpendQuery, SpendRow, Store, StoreUnavailableError
from atlas_sidecar.budget_service.values import (
    Command,
    Denial,
    Grant,
    LedgerError,
    LedgerErrorCode,
    NodeStatus,
    Outcome,
    SyncDone,
)

logger = logging.getLogger(__name__)
DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_GROUPS = 8
STATUS = {code.value[0]: code for code in grpc.StatusCode}
T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True)
class Parts:
    """What the service is made of."""

    store: Store
    ledger: Coalescer
    access: Access
    metrics: Metrics
    rules: Rules
    now_ms: Callable[[], int]


class BudgetService(budget_pb2_grpc.BudgetServicer):
    """atlas_api.v1.Budget."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def Sync(self, request: pb.SyncRequest, context: Context) -> pb.SyncResponse:  # noqa: N802 # gRPC's names; generated for both sync and async
        """Take a sidecar's facts; renew, recall and grant leases."""
        async with self._call("Sync", context) as caller:
            parts = self._parts
            done = await self._submit(convert.sync_from(request, caller.subtree, parts.now_ms()), SyncDone)
            parts.metrics.synced(done)
            for entry in done.quarantined:
                logger.warning("fact set aside: incarnation %s seq %d: %s", entry.incarnation, entry.seq, entry.reason)
            return convert.sync_to(done, parts.rules.sync_ms)
        raise AssertionError  # _call aborts or lets return

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:  # noqa: N802 # as above
        """Grant a lease for one request."""
        async with self._call("Reserve", context) as caller:
            outcome = await self._parts.ledger.submit(convert.reserve_from(request, caller.subtree))
            if isinstance(outcome, Grant):
                self._parts.metrics.grants.inc()
                return pb.ReserveResponse(grant=convert.grant_to(outcome))
            if isinstance(outcome, Denial):
                self._parts.metrics.denied(outcome)
                return pb.ReserveResponse(denial=convert.denial_to(outcome))
            _raise(outcome)
        raise AssertionError

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Context) -> pb.SetBudgetResponse:  # noqa: N802 # as above
        """Create or replace a node's definition."""
        async with self._call("SetBudget", context) as caller:
            command = convert.set_budget_from(request)
            if not caller.admin:
                raise _refused("SetBudget needs an administrator's token")
            _check_subtree(command.budget, caller)
            status = await self._submit(command, NodeStatus)
            logger.info("budget %s set: daily limit %s", command.budget, command.daily_limit_nano_usd)
            return pb.SetBudgetResponse(status=convert.status_to(status))
        raise AssertionError

    async def GetBudget(self, request: pb.GetBudgetRequest, context: Context) -> pb.GetBudgetResponse:  # noqa: N802 # as above
        """Show a node, or a page of the tree below it."""
        async with self._call("GetBudget", context) as caller:
            budget = request.budget or caller.subtree
            _check_subtree(budget, caller)
            if request.period and day_named(request.period, UTC) is None:
                raise convert.invalid("period must be a day like 2026-11-23")
            size = _page_size(request.page_size)
            recursive = request.recursive or budget == "*"
            query = BudgetQuery(budget, request.period, recursive, size + 1, _path_token(request.page_token))
            found = await self._parts.store.budgets(query, self._parts.now_ms())
            if not found and not request.page_token:
                raise LedgerError(LedgerErrorCode.NOT_FOUND, f"there is no budget {budget!r}")
            token = found[size - 1].definition.budget if len(found) > size else ""
            nodes = [convert.status_to(status) for status in found[:size]]
            return pb.GetBudgetResponse(nodes=nodes, next_page_token=token)
        raise AssertionError

    async def ListSpend(self, request: pb.ListSpendRequest, context: Context) -> pb.ListSpendResponse:  # noqa: N802 # as above
        """Sum spend by group."""
        async with self._call("ListSpend", context) as caller:
            budget = request.budget or caller.subtree
            _check_subtree(budget, caller)
            query = spend_query(request, budget)
            rows = await self._parts.store.spend(query)
            size = query.limit - 1
            token = str(query.offset + size) if len(rows) > size else ""
            shown = [_row(row, query.group_by) for row in rows[:size]]
            return pb.ListSpendResponse(rows=shown, next_page_token=token)
        raise AssertionError

    # ---------------------------------------------------------------- the edge

    async def _submit(self, command: Command, kind: type[T]) -> T:
        outcome = await self._parts.ledger.submit(command)
        if not isinstance(outcome, kind):
            _raise(outcome)
        return outcome

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[Caller]:
        """Tell who calls; turn what goes wrong inside into a status; count and time it."""
        started_s = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield self._caller(context)
        except LedgerError as error:
            code = STATUS[int(error.code)]
            await context.abort(code, error.message)
        except StoreUnavailableError as error:
            code = grpc.StatusCode.UNAVAILABLE
            logger.warning("%s: %s", method, error)
            await context.abort(code, "the ledger's database cannot be reached; try again")
        except PermissionError as error:
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, str(error))
        except Exception:
            code = grpc.StatusCode.INTERNAL
            logger.exception("%s failed", method)
            await context.abort(code, "internal error; the service's log tells more")
        finally:
            self._parts.metrics.calls.labels(method, code.name).inc()
            self._parts.metrics.seconds.labels(method).observe(time.perf_counter() - started_s)

    def _caller(self, context: Context) -> Caller:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        identity = context.auth_context()
        names = [
            *identity.get("x509_common_name", ()),
            *identity.get("x509_subject_alternative_name", ()),
        ]
        caller = self._parts.access.caller(metadata.get("authorization", ""), names)
        if caller is None:
            raise PermissionError("send `authorization: Bearer TOKEN` with a token of the service's token file")
        return caller


def _raise(outcome: Outcome) -> NoReturn:
    if isinstance(outcome, LedgerError):
        raise outcome
    raise TypeError(f"the ledger answered with {type(outcome).__name__}")


def _refused(message: str) -> LedgerError:
    return LedgerError(LedgerErrorCode.PERMISSION_DENIED, message)


def _check_subtree(budget: str, caller: Caller) -> None:
    if budget != "*" and not is_path(budget):
        raise convert.invalid(f"{budget[:80]!r} is no node path")
    if not within(budget, caller.subtree):
        raise _refused(f"{budget!r} is outside the token's subtree {caller.subtree!r}")


def _page_size(size: int) -> int:
    if size < 0:
        raise convert.invalid("page_size must not be negative")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


def _path_token(token: str) -> str:
    if token and not is_path(token):
        raise convert.invalid("page_token is not one of ours")
    return token


def spend_query(request: pb.ListSpendRequest, budget: str) -> SpendQuery:
    """Convert a ListSpend; it asks for one row more than a page. Raises LedgerError INVALID_ARGUMENT."""
    if len(request.group_by) > MAX_GROUPS:
        raise convert.invalid(f"group_by takes at most {MAX_GROUPS} names")
    for name in request.group_by:
        if name not in GROUPS and (not name.startswith("label:") or "\0" in name):
            raise convert.invalid(f"group_by {name[:80]!r}: it must be one of {', '.join(GROUPS)} or label:NAME")
    if request.page_token and (not request.page_token.isascii() or not request.page_token.isdecimal()):
        raise convert.invalid("page_token is not one of ours")
    start_ms = convert.to_ms(request.start_time) if request.HasField("start_time") else 0
    end_ms = convert.to_ms(request.end_time) if request.HasField("end_time") else convert.MAX_TIME_MS + 1
    offset = int(request.page_token[:12] or 0)
    return SpendQuery(budget, start_ms, end_ms, tuple(request.group_by), _page_size(request.page_size) + 1, offset)


def _row(row: SpendRow, names: tuple[str, ...]) -> pb.SpendRow:
    group = dict(zip(names, row.group, strict=True))
    if group.get("outcome"):
        group["outcome"] = _outcome(int(group["outcome"]))
    return pb.SpendRow(
        group=group,
        attempts=row.attempts,
        cost=convert.money(row.cost_nano_usd),
        estimated_cost=convert.money(row.estimated_nano_usd),
        usage=router_pb2.Usage(
            input_tokens=row.usage[0],
            cache_read_tokens=row.usage[1],
            cache_write_tokens=row.usage[2],
            output_tokens=row.usage[3],
            reasoning_tokens=row.usage[4],
        ),
    )


def _outcome(number: int) -> str:
    """Name an outcome as people say it: "answered", "rate_limited"."""
    if number == 0:
        return "answered"
    try:
        return router_pb2.ErrorClass.Name(router_pb2.ErrorClass.ValueType(number)).removeprefix("ERROR_CLASS_").lower()
    except ValueError:
        return str(number)
