"""Between atlas_api.v1 and the ledger's values.

Rules kept here:
- A call is refused (LedgerError INVALID_ARGUMENT) only for what is not a fact: ids, wants, numbers out of range. A fact
  is converted whatever it says; the ledger sets aside what it cannot apply.
- Texts that only inform (labels, request ids) are cut to size and freed of NUL, which no database takes.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import router_pb2
from atlas_sidecar.budget_service.books import MAX_PATH_LENGTH
from atlas_sidecar.budget_service.values import (
    Denial,
    Fact,
    FactBody,
    Finish,
    Grant,
    LedgerError,
    LedgerErrorCode,
    NodeStatus,
    NodeView,
    OnLost,
    OnPartition,
    Policy,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Skip,
    Sync,
    SyncDone,
    Unreadable,
    Want,
)
from atlas_sidecar.core.types import Usage

MAX_ID_LENGTH = 200
MAX_TEXT_LENGTH = 256
MAX_LABELS = 64
MAX_WANTS = 64
MAX_HELD = 1024
MAX_SEQ = 2**63 - 1
MAX_TIME_MS = 253_402_300_799_000  # the end of year 9999


def invalid(message: str) -> LedgerError:
    """Make the error of a request that makes no sense."""
    return LedgerError(LedgerErrorCode.INVALID_ARGUMENT, message)


# ------------------------------------------------------------------------------------------- from the wire


def _id(value: str, what: str) -> str:
    if not 0 < len(value) <= MAX_ID_LENGTH or "\0" in value:
        raise invalid(f"{what} must have 1 to {MAX_ID_LENGTH} characters, and no NUL")
    return value


def _seq(value: int, what: str) -> int:
    if value > MAX_SEQ:
        raise invalid(f"{what} is beyond 2^63 - 1")
    return value


def _text(value: str) -> str:
    return value[:MAX_TEXT_LENGTH].replace("\0", "")


def to_ms(stamp: Timestamp) -> int:
    """Return a timestamp in ms, within what a calendar can show."""
    return min(max(stamp.seconds * 1000 + stamp.nanos // 1_000_000, 0), MAX_TIME_MS)


def sync_from(request: pb.SyncRequest, subtree: str, now_ms: int) -> Sync:
    """Convert a Sync. Raises LedgerError INVALID_ARGUMENT."""
    if len(request.wants) > MAX_WANTS or len(request.held) > MAX_HELD:
        raise invalid(f"a Sync holds at most {MAX_WANTS} wants and {MAX_HELD} leases")
    return Sync(
        _id(request.sidecar_id, "sidecar_id"),
        _id(request.incarnation, "incarnation"),
        _seq(request.sync_seq, "sync_seq"),
        tuple(fact_from(fact, now_ms) for fact in request.facts),
        tuple(_id(held.lease_id, "held.lease_id") for held in request.held),
        tuple(want_from(want) for want in request.wants),
        request.final,
        subtree,
    )


def reserve_from(request: pb.ReserveRequest, subtree: str) -> Reserve:
    """Convert a Reserve. Raises LedgerError INVALID_ARGUMENT."""
    names = _id(request.sidecar_id, "sidecar_id"), _id(request.incarnation, "incarnation")
    return Reserve(*names, want_from(request.want), subtree)


def want_from(want: pb.Want) -> Want:
    """Convert a want. Raises LedgerError INVALID_ARGUMENT."""
    amount, minimum = want.amount.nano_usd, want.minimum.nano_usd
    if amount < 0 or minimum < 0:
        raise invalid("want.amount and want.minimum must not be negative")
    longest_ms = want.longest_attempt.seconds * 1000 + want.longest_attempt.nanos // 1_000_000
    if longest_ms < 0:
        raise invalid("want.longest_attempt must not be negative")
    return Want(_id(want.want_id, "want_id"), want.budget, amount, minimum, longest_ms)


def fact_from(fact: pb.Fact, now_ms: int) -> Fact:
    """Convert a fact. Raises LedgerError INVALID_ARGUMENT where it cannot be told apart from others."""
    names = _id(fact.incarnation, "fact.incarnation"), _seq(fact.seq, "fact.seq")
    return Fact(*names, _body(fact, now_ms), fact.SerializeToString())


def _body(fact: pb.Fact, now_ms: int) -> FactBody:
    kind = fact.WhichOneof("fact")
    if kind == "settle":
        return settle_from(fact.settle, now_ms)
    if kind == "release":
        return Release(_text(fact.release.lease_id))
    if kind == "finish":
        return Finish(_text(fact.finish.predecessor))
    if kind == "skip":
        return Skip(min(fact.skip.first, MAX_SEQ))
    return Unreadable("this version of the service does not know this kind of fact")


def settle_from(settle: pb.Settle, now_ms: int) -> Settle:
    """Convert a settlement as it stands."""
    labels = sorted(settle.labels.items())[:MAX_LABELS]
    return Settle(
        settle.attempt_id,
        _text(settle.lease_id),
        settle.budget,
        _text(settle.period),
        settle.cost.nano_usd if settle.HasField("cost") else None,
        settle.estimated,
        usage_from(settle.usage),
        _text(settle.model.provider),
        _text(settle.model.id),
        _text(settle.model.model),
        settle.outcome,
        _text(settle.request_id),
        _text(settle.provider_request_id),
        {_text(name): _text(value) for name, value in labels},
        to_ms(settle.admitted_at) if settle.HasField("admitted_at") else now_ms,
    )


def usage_from(usage: router_pb2.Usage) -> Usage:
    """Convert token counts; a negative one is none."""

    def count(field: str, value: int) -> int | None:
        return value if usage.HasField(field) and value >= 0 else None  # type: ignore[arg-type]  # one of the five below

    return Usage(
        count("input_tokens", usage.input_tokens),
        count("cache_read_tokens", usage.cache_read_tokens),
        count("cache_write_tokens", usage.cache_write_tokens),
        count("output_tokens", usage.output_tokens),
        count("reasoning_tokens", usage.reasoning_tokens),
    )


def set_budget_from(request: pb.SetBudgetRequest) -> SetBudget:
    """Convert a node's definition. Raises LedgerError INVALID_ARGUMENT."""
    node = request.node
    if len(node.budget) > MAX_PATH_LENGTH:
        raise invalid("the path is too long")
    limit = node.daily_limit.nano_usd if node.HasField("daily_limit") else None
    return SetBudget(node.budget, limit, node.time_zone, policy_from(node), node.etag)


def policy_from(node: pb.BudgetNode) -> Policy:
    """Convert a policy; what is unspecified is the parent's."""
    policy = node.policy
    try:
        on_partition = OnPartition(policy.on_partition) if policy.on_partition else None
        on_lost = OnLost(policy.on_lost) if policy.on_lost else None
    except ValueError as error:
        raise invalid(f"policy: {error}") from error
    allowance = policy.open_allowance.nano_usd if policy.HasField("open_allowance") else None
    return Policy(on_partition, allowance, on_lost)


# ------------------------------------------------------------------------------------------- to the wire


def money(nano_usd: int) -> router_pb2.Money:
    """Make a Money."""
    return router_pb2.Money(nano_usd=nano_usd)


def _limit(nano_usd: int | None) -> router_pb2.Money | None:
    return None if nano_usd is None else money(nano_usd)


def to_duration(ms: int) -> Duration:
    """Make a Duration."""
    return Duration(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def to_timestamp(ms: int) -> Timestamp:
    """Make a Timestamp."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def sync_to(done: SyncDone, next_sync_ms: int) -> pb.SyncResponse:
    """Convert the answer to a Sync."""
    return pb.SyncResponse(
        applied_seq=done.applied_seq,
        grants=[grant_to(grant) for grant in done.grants],
        denials=[denial_to(denial) for denial in done.denials],
        recalled=done.recalled,
        next_sync=to_duration(next_sync_ms),
        nodes=views_to(done.nodes),
        quarantined=[pb.Quarantine(incarnation=q.incarnation, seq=q.seq, reason=q.reason) for q in done.quarantined],
    )


def grant_to(grant: Grant) -> pb.Grant:
    """Convert a grant."""
    return pb.Grant(
        lease_id=grant.lease_id,
        want_id=grant.want_id,
        budget=grant.budget,
        period=grant.period,
        amount=money(grant.amount_nano_usd),
        ttl=to_duration(grant.ttl_ms),
    )


def denial_to(denial: Denial) -> pb.Denial:
    """Convert a denial."""
    return pb.Denial(
        want_id=denial.want_id,
        budget=denial.budget,
        reason=pb.Denial.Reason.ValueType(denial.reason),
        retry_at=to_timestamp(denial.retry_at_ms) if denial.retry_at_ms else None,
    )


def policy_to(policy: Policy) -> pb.Policy:
    """Convert a policy."""
    return pb.Policy(
        on_partition=pb.Policy.OnPartition.ValueType(policy.on_partition or 0),
        open_allowance=_limit(policy.open_allowance_nano_usd),
        on_lost=pb.Policy.OnLost.ValueType(policy.on_lost or 0),
    )


def views_to(views: Iterable[NodeView]) -> list[pb.NodeState]:
    """Convert nodes' states."""
    return [
        pb.NodeState(
            budget=view.budget,
            period=view.period,
            limit=_limit(view.limit_nano_usd),
            spent=money(view.settled_nano_usd),
            leased=money(view.leased_nano_usd),
            suspense=money(view.suspense_nano_usd),
            policy=policy_to(view.policy),
            period_ends=to_timestamp(view.ends_at_ms),
        )
        for view in views
    ]


def status_to(status: NodeStatus) -> pb.BudgetStatus:
    """Convert a node for people."""
    node = status.definition
    own_policy = policy_to(node.policy) if node.policy != Policy() else None
    return pb.BudgetStatus(
        node=pb.BudgetNode(
            budget=node.budget,
            daily_limit=_limit(node.daily_limit_nano_usd),
            time_zone=node.time_zone,
            policy=own_policy,
            etag=node.etag,
        ),
        state=views_to([status.view])[0],
        active_sidecars=status.active_sidecars,
        period_ends=to_timestamp(status.view.ends_at_ms),
    )
