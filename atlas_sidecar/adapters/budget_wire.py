"""Between the core's values and atlas_api.v1's messages of the budget service.

Rules kept here:
- Pure converters, one per message, both ways where both are needed; an unset Money is None, never 0.
- What comes from outside is taken with care: an answer without ids, or with negative money, gives nothing.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import router_pb2
from atlas_sidecar.core.spend_records import Fact, Finish, Release, Settle, Skip
from atlas_sidecar.core.sync import (
    Denial,
    DenialReason,
    Grant,
    NodePolicy,
    NodeState,
    Quarantined,
    SyncAnswer,
    SyncCall,
    Want,
)
from atlas_sidecar.core.types import Usage

NANO = 1_000_000_000


def sync_to_wire(call: SyncCall) -> pb.SyncRequest:
    """Convert a Sync."""
    return pb.SyncRequest(
        sidecar_id=call.sidecar_id,
        incarnation=call.incarnation,
        sync_seq=call.sync_seq,
        facts=[fact_to_wire(fact) for fact in call.facts],
        held=[
            pb.HeldLease(
                lease_id=held.lease_id,
                used=_money(held.used_nano_usd),
                reserved=_money(held.reserved_nano_usd),
            )
            for held in call.held
        ],
        wants=[want_to_wire(want) for want in call.wants],
        final=call.final,
    )


def fact_to_wire(fact: Fact) -> pb.Fact:
    """Convert a fact."""
    message = pb.Fact(incarnation=fact.incarnation, seq=fact.seq)
    match fact.body:
        case Settle() as settle:
            message.settle.CopyFrom(settle_to_wire(settle))
        case Release(lease_id=lease_id):
            message.release.lease_id = lease_id
        case Finish(predecessor=predecessor):
            message.finish.predecessor = predecessor
        case Skip(first=first):
            message.skip.first = first
    return message


def settle_to_wire(settle: Settle) -> pb.Settle:
    """Convert what an attempt cost."""
    model = settle.model
    return pb.Settle(
        attempt_id=settle.attempt_id,
        lease_id=settle.lease_id,
        budget=settle.node,
        period=settle.period,
        cost=None if settle.cost_nano_usd is None else _money(settle.cost_nano_usd),
        estimated=settle.estimated,
        usage=usage_to_wire(settle.usage),
        model=router_pb2.ModelRef(id=model.id, provider=model.provider, model=model.model),
        outcome=router_pb2.ErrorClass.ValueType(settle.outcome or 0),
        request_id=settle.request_id,
        provider_request_id=settle.provider_request_id,
        labels=settle.labels,
        admitted_at=_timestamp(settle.admitted_unix_s),
    )


def usage_to_wire(usage: Usage) -> router_pb2.Usage:
    """Convert token counts; what was not reported stays unset."""
    return router_pb2.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def want_to_wire(want: Want) -> pb.Want:
    """Convert a want."""
    return pb.Want(
        want_id=want.want_id,
        budget=want.node,
        amount=_money(want.amount_nano_usd),
        minimum=_money(want.minimum_nano_usd),
        longest_attempt=_duration(want.longest_attempt_s),
    )


def sync_from_wire(answer: pb.SyncResponse) -> SyncAnswer:
    """Convert the answer to a Sync."""
    return SyncAnswer(
        applied=dict(answer.applied_seq),
        grants=tuple(grant_from_wire(grant) for grant in answer.grants if grant.lease_id),
        denials=tuple(denial_from_wire(denial) for denial in answer.denials),
        recalled=tuple(answer.recalled),
        next_sync_s=_seconds(answer.next_sync) if answer.HasField("next_sync") else None,
        nodes=tuple(_node(state) for state in answer.nodes if state.budget),
        quarantined=tuple(Quarantined(each.incarnation, each.seq, each.reason) for each in answer.quarantined),
    )


def grant_from_wire(grant: pb.Grant) -> Grant:
    """Convert a grant; negative money is none."""
    amount = max(0, grant.amount.nano_usd)
    return Grant(grant.lease_id, grant.want_id, grant.budget, grant.period, amount, _seconds(grant.ttl))


def denial_from_wire(denial: pb.Denial) -> Denial:
    """Convert a denial; a reason of a newer service counts as unspecified."""
    known = denial.reason in {*DenialReason}
    return Denial(
        denial.want_id,
        denial.budget,
        DenialReason(denial.reason) if known else DenialReason.UNSPECIFIED,
        _unix_s(denial.retry_at) if denial.HasField("retry_at") else None,
    )


def _node(state: pb.NodeState) -> NodeState:
    policy = None
    if state.HasField("policy") and state.policy.on_partition:
        partition_open = state.policy.on_partition == pb.Policy.ON_PARTITION_OPEN
        policy = NodePolicy(partition_open, max(0, state.policy.open_allowance.nano_usd))
    return NodeState(
        state.budget,
        state.period,
        state.limit.nano_usd if state.HasField("limit") else None,
        state.spent.nano_usd,
        state.leased.nano_usd,
        state.suspense.nano_usd,
        policy,
        _unix_s(state.period_ends) if state.HasField("period_ends") else None,
    )


def _money(nano_usd: int) -> router_pb2.Money:
    return router_pb2.Money(nano_usd=nano_usd)


def _duration(seconds: float) -> Duration:
    nanos = int(seconds * NANO)
    return Duration(seconds=nanos // NANO, nanos=nanos % NANO)


def _seconds(duration: Duration) -> float:
    return max(0.0, duration.seconds + duration.nanos / NANO)


def _timestamp(unix_s: float) -> Timestamp:
    micros = int(unix_s * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def _unix_s(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / NANO
