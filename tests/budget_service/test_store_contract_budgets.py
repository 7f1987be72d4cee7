"""The same contract, continued: limits, days, what is refused, and what people are shown."""

from typing import cast

import pytest

from atlas_sidecar.budget_service.store import BudgetQuery, SpendQuery, Store
from atlas_sidecar.budget_service.values import (
    Command,
    Denial,
    DenialReason,
    Grant,
    LedgerError,
    LedgerErrorCode,
    NodeStatus,
    OnLost,
    OnPartition,
    Policy,
    Sweep,
    Swept,
    SyncDone,
)
from tests.budget_service.asking import account, amounts, do, done
from tests.budget_service.say import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Release,
    fact,
    limit,
    reserve,
    settle,
    sync,
    want,
)


async def test_a_lowered_limit_calls_leases_back_and_a_raised_one_is_felt_at_once(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(400, node="acme/a")))).grants
    await do(store, limit(100), NodeStatus)
    answer = await done(store, sync(2, grant.lease_id, want(10, node="acme/a", name="w2")))
    assert (answer.grants, answer.recalled) == ([], [grant.lease_id])
    assert [d.reason for d in answer.denials] == [DenialReason.EXHAUSTED]
    await do(store, limit(2000), NodeStatus)
    assert len((await done(store, sync(3, grant.lease_id, want(10, node="acme/a", name="w3")))).grants) == 2


async def test_a_node_without_any_limit_grants_what_is_wished(store: Store) -> None:
    assert [g.amount_nano_usd for g in (await done(store, sync(1, want(10**15, node="default")))).grants] == [10**15]


async def test_a_stale_etag_is_aborted_and_changes_nothing(store: Store) -> None:
    first = await do(store, limit(1000), NodeStatus)
    second = await do(store, limit(900, etag=first.definition.etag), NodeStatus)
    assert second.definition.etag != first.definition.etag
    for etag, node in ((first.definition.etag, "acme"), ("1", "nowhere")):
        assert (await do(store, limit(1, node, etag=etag), LedgerError)).code is LedgerErrorCode.ABORTED
    assert (await account(store)).limit_nano_usd == 900
    assert await store.budgets(BudgetQuery("nowhere"), NOON) == []


@pytest.mark.parametrize(
    "command",
    [
        limit(-1),
        limit(1, "a//b"),
        limit(1, "/a"),
        limit(1, ""),
        limit(1, "a/b/c/d/e/f/g/h/i"),
        limit(1, "a\0"),
        limit(1, time_zone="Mars/Olympus"),
        limit(1, "acme/x", time_zone="UTC"),
        limit(1, policy=Policy(OnPartition.OPEN, -1)),
        limit(1, policy=Policy(OnPartition.CLOSED, 5)),
        sync(1, want(1, node="no path!")),
    ],
)
async def test_what_no_books_can_take_is_refused_whole(store: Store, command: Command) -> None:
    assert (await do(store, command, LedgerError)).code is LedgerErrorCode.INVALID_ARGUMENT
    assert [s.definition.budget for s in await store.budgets(BudgetQuery("*", recursive=True), NOON)] == ["default"]


async def test_facts_that_cannot_be_applied_are_set_aside_and_the_others_go_on(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    bodies = [
        settle("a1", -5), settle("", 5), settle("a\0b", 5), settle("a2", 5, node="no path!"), settle("a3", 2**62),
        settle("a4", 5, period="someday"), settle("a5", 5, node="other"), settle("a6", 6),
    ]  # fmt: skip
    answer = await done(store, sync(1, *(fact(seq, body) for seq, body in enumerate(bodies, 1)), subtree="acme"))
    assert [q.seq for q in answer.quarantined] == [1, 2, 3, 4, 5, 6, 7]
    assert answer.applied_seq == {"i1": 8}
    assert amounts(await account(store)) == (6, 0, 0)


async def test_a_want_outside_the_tokens_subtree_is_denied_and_nothing_is_told_of_it(store: Store) -> None:
    await store.transact([limit(1000), limit(5, "acme/secret")], NOON)
    error = await do(store, sync(1, want(1, node="acme/secret"), subtree="acme/mine"), LedgerError)
    assert error.code is LedgerErrorCode.PERMISSION_DENIED
    answer = await done(store, sync(1, want(1, node="acme/mine/x"), subtree="acme/mine"))
    assert len(answer.grants) == 1


async def test_a_batch_applies_in_order_and_one_refusal_stops_nobody(store: Store) -> None:
    commands: list[Command] = [
        limit(100),
        sync(1, want(100, 100)),
        sync(1, want(1), i="i2", of="s2"),
        limit(-1),
        reserve(1),
    ]
    outcomes = await store.transact(commands, NOON)
    assert [type(outcome) for outcome in outcomes] == [NodeStatus, SyncDone, SyncDone, LedgerError, Denial]
    assert [len(cast(SyncDone, outcome).grants) for outcome in outcomes[1:3]] == [1, 0]


async def test_a_sync_that_shows_a_lease_of_another_tree_finds_it(store: Store) -> None:
    await store.transact([limit(100), limit(100, "beta")], NOON)
    (grant,) = (await done(store, sync(1, want(10, node="beta/b")))).grants
    answer = await done(store, sync(2, want(10, node="acme", name="w2"), grant.lease_id))
    assert {each.budget for each in answer.grants} == {"acme", "beta/b"}
    assert {view.budget for view in answer.nodes} == {"acme", "beta", "beta/b"}


async def test_nodes_are_shown_with_policy_holders_and_pages(store: Store) -> None:
    hard = Policy(OnPartition.OPEN, 7, OnLost.RECLAIM)
    await store.transact([limit(100, policy=hard), limit(50, "acme/a"), limit(None, "acme-b"), limit(1, "acme0")], NOON)
    await store.transact(
        [reserve(5, "acme/a"), reserve(5, "acme/a", "r2"), reserve(5, "acme/a/x", i="i2", of="s2")], NOON
    )
    shown = await store.budgets(BudgetQuery("acme", recursive=True), NOON)
    assert [(s.definition.budget, s.active_sidecars) for s in shown] == [("acme", 2), ("acme/a", 2), ("acme/a/x", 1)]
    assert shown[1].view.policy == hard
    assert shown[1].definition.policy == Policy()
    page = await store.budgets(BudgetQuery("acme", recursive=True, limit=1, after="acme"), NOON)
    assert [s.definition.budget for s in page] == ["acme/a"]


async def test_a_new_time_zone_holds_from_the_end_of_the_running_day_on(store: Store) -> None:
    await do(store, limit(1000, time_zone="America/Los_Angeles"), NodeStatus)
    first = (await account(store)).ends_at_ms
    assert first == NOON + 20 * HOUR
    await do(store, limit(1000, time_zone="Asia/Tokyo"), NodeStatus)
    assert (await account(store)).ends_at_ms == first, "the running day keeps its end"
    (grant,) = (await done(store, sync(1, want(10)), first)).grants
    second = await account(store, at=first)
    assert (grant.period, second.period, second.ends_at_ms) == ("2026-11-24", "2026-11-24", first + 7 * HOUR)
    await do(store, limit(1000, time_zone="America/Los_Angeles"), NodeStatus, first)
    await done(store, sync(2, fact(1, settle("a1", 10, grant.lease_id, period="2026-11-24"))), first + HOUR)
    same = await account(store, at=first + 7 * HOUR)
    assert (same.period, same.settled_nano_usd) == ("2026-11-24", 10), "no day gets its limit twice"
    assert same.ends_at_ms == NOON + 44 * HOUR


async def test_a_clock_that_jumps_back_over_midnight_finds_the_day_before(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    assert (await do(store, reserve(10), Grant)).period == DAY
    assert (await do(store, reserve(10, name="r2"), Grant, NOON + 13 * HOUR)).period == "2026-11-24"
    assert (await do(store, reserve(10, name="r3"), Grant, NOON + MINUTE)).period == DAY
    assert (await account(store)).leased_nano_usd == 20


async def test_a_clock_that_jumped_ahead_for_a_year_and_back_leaves_every_day_its_own_limit(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (far,) = (await done(store, sync(1, want(1000)), NOON + 365 * 24 * HOUR)).grants
    assert far.period == "2027-11-23"
    days = [(await do(store, reserve(900, name=f"r{n}"), Grant, NOON + n * 24 * HOUR)).period for n in range(4)]
    assert days == ["2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26"]
    assert far.lease_id in (await done(store, sync(2, far.lease_id), NOON + 73 * HOUR)).recalled
    assert (await account(store, at=NOON + 24 * HOUR)).leased_nano_usd == 900
    assert (await account(store, at=NOON + 365 * 24 * HOUR)).leased_nano_usd == far.amount_nano_usd


async def test_a_sidecar_silent_for_long_is_forgotten_and_comes_back_without_harm(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    await done(store, sync(2, fact(1, settle("a1", 5, grant.lease_id)), grant.lease_id))
    late = NOON + 41 * 24 * HOUR
    for _ in range(3):
        await do(store, Sweep(), Swept, late)
    facts = [fact(1, settle("a1", 5, grant.lease_id)), fact(2, settle("a2", 6, grant.lease_id))]
    answer = await done(store, sync(3, *facts, grant.lease_id), late)
    assert (answer.applied_seq, answer.recalled, answer.quarantined) == ({"i1": 2}, [grant.lease_id], [])
    assert (await account(store, period=DAY)).settled_nano_usd == 11


async def test_roots_are_listed_alone(store: Store) -> None:
    await store.transact([limit(100), limit(50, "acme/a"), limit(1, "beta")], NOON)
    shown = await store.budgets(BudgetQuery("*", roots=True), NOON)
    assert [s.definition.budget for s in shown] == ["acme", "beta", "default"]


async def test_a_closed_lease_is_remembered_for_two_days(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    grant = await do(store, reserve(30), Grant)
    await done(store, sync(1, fact(1, Release(grant.lease_id))))
    await do(store, Sweep(), Swept, NOON + 47 * HOUR)
    assert (await do(store, reserve(30), Denial, NOON + 47 * HOUR)).reason is DenialReason.UNSPECIFIED
    late = NOON + 49 * HOUR
    await do(store, Sweep(), Swept, late)
    answer = await done(
        store, sync(2, fact(2, settle("a1", 3, grant.lease_id)), fact(3, Release(grant.lease_id))), late
    )
    assert (answer.applied_seq, answer.quarantined) == ({"i1": 3}, []), "facts about it are taken still"


async def test_spend_is_summed_by_group_time_and_subtree_in_pages(store: Store) -> None:
    await do(store, limit(None), NodeStatus)
    bodies = [
        settle("a1", 1, node="acme/a", model_id="m1", admitted_at_ms=NOON),
        settle("a2", 2, node="acme/a/b", model_id="m2", estimated=True, admitted_at_ms=NOON + 1),
        settle("a3", 4, node="acme/b", model_id="m1", admitted_at_ms=NOON + 2),
        settle("a4", None, node="acme/b", model_id="m1", admitted_at_ms=NOON + 3),
    ]
    await done(store, sync(1, *(fact(seq, body) for seq, body in enumerate(bodies, 1))))

    async def sums(query: SpendQuery) -> list[tuple[tuple[str, ...], int, int, int]]:
        return [(r.group, r.attempts, r.cost_nano_usd, r.estimated_nano_usd) for r in await store.spend(query)]

    assert await sums(SpendQuery("acme")) == [((), 4, 7, 2)]
    assert await sums(SpendQuery("acme/a", group_by=("model",))) == [(("m1",), 1, 1, 0), (("m2",), 1, 2, 2)]
    assert await sums(SpendQuery("acme", NOON + 1, NOON + 3, ("budget",))) == [
        (("acme/a/b",), 1, 2, 2),
        (("acme/b",), 1, 4, 0),
    ]
    assert await sums(SpendQuery("acme", group_by=("model",), limit=1, offset=1)) == [(("m2",), 1, 2, 2)]
    assert await sums(SpendQuery("acme", group_by=("label:none",))) == [(("",), 4, 7, 2)]
    assert await sums(SpendQuery("nobody")) == []
