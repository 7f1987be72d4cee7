"""One contract for every store: memory, SQLite and a real PostgreSQL."""

import pytest

from atlas_sidecar.budget_service.store import BudgetQuery, SpendQuery, Store
from atlas_sidecar.budget_service.values import (
    Denial,
    DenialReason,
    Grant,
    LedgerError,
    LedgerErrorCode,
    NodeStatus,
    Policy,
    Sweep,
    Swept,
)
from atlas_sidecar.core.types import Usage
from tests.budget_service.asking import account, amounts, do, done
from tests.budget_service.say import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RECLAIM,
    Finish,
    Release,
    Skip,
    fact,
    limit,
    reserve,
    settle,
    sync,
    want,
)


async def test_a_grant_debits_the_node_and_every_ancestor(store: Store) -> None:
    await store.transact([limit(1000), limit(None, "acme/search"), limit(500, "acme/search/planner")], NOON)
    answer = await done(store, sync(1, want(100, node="acme/search/planner")))
    assert [(g.amount_nano_usd, g.budget, g.period, g.ttl_ms) for g in answer.grants] == [
        (100, "acme/search/planner", DAY, 90_000)
    ]
    for node in ("acme", "acme/search", "acme/search/planner"):
        assert amounts(await account(store, node)) == (0, 100, 0)
    assert [view.budget for view in answer.nodes] == ["acme", "acme/search", "acme/search/planner"]


async def test_spend_moves_from_leased_to_settled_and_is_listed_with_its_usage(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    body = settle(
        "a1", 40, grant.lease_id, usage=Usage(10, None, 3, 7, 0), provider="p", model_id="m", model="vendor-m",
        labels={"team": "ü'\"%?"}, admitted_at_ms=NOON, request_id="r", outcome=3,
    )  # fmt: skip
    answer = await done(store, sync(2, fact(1, body), grant.lease_id))
    assert answer.applied_seq == {"i1": 1}
    assert amounts(await account(store)) == (40, 60, 0)
    (row,) = await store.spend(
        SpendQuery("acme", group_by=("provider", "model", "budget", "period", "outcome", "label:team"))
    )
    assert row.group == ("p", "m", "acme", DAY, "3", "ü'\"%?")
    assert (row.attempts, row.cost_nano_usd, row.estimated_nano_usd, row.usage) == (1, 40, 0, (10, None, 3, 7, 0))


async def test_an_attempt_is_posted_once_however_often_and_by_whomever_it_is_sent(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    line = fact(1, settle("a1", 40, grant.lease_id))
    for seq in (2, 3):
        assert (await done(store, sync(seq, line, grant.lease_id))).applied_seq == {"i1": 1}
    recovered = sync(1, fact(1, settle("a1", 40, grant.lease_id), "i2"), i="i2")
    assert (await done(store, recovered)).applied_seq == {"i2": 1}
    assert amounts(await account(store)) == (40, 60, 0)
    assert [row.attempts for row in await store.spend(SpendQuery("*"))] == [1]


async def test_what_is_applied_stays_applied_when_old_facts_come_again(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    facts = [fact(seq, settle(f"a{seq}", 1)) for seq in (1, 2, 3)]
    await done(store, sync(1, *facts))
    for seq in (2, 3):
        assert (await done(store, sync(seq, facts[0]))).applied_seq == {"i1": 3}


async def test_the_same_attempt_with_another_cost_is_set_aside(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    answer = await done(store, sync(1, fact(1, settle("a1", 40)), fact(2, settle("a1", 41))))
    assert [(q.seq, "another cost" in q.reason) for q in answer.quarantined] == [(2, True)]
    assert answer.applied_seq == {"i1": 2}
    assert amounts(await account(store)) == (40, 0, 0)


async def test_facts_after_a_gap_wait_until_the_gap_is_filled(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    assert (await done(store, sync(1, fact(2, settle("a2", 2))))).applied_seq == {"i1": 0}
    late = sync(2, fact(1, settle("a1", 1)), fact(2, settle("a2", 2)), fact(4, settle("a4", 4)))
    assert (await done(store, late)).applied_seq == {"i1": 2}
    assert amounts(await account(store)) == (3, 0, 0)


async def test_a_skip_closes_the_gap_and_keeps_what_was_held_in_suspense(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    answer = await done(store, sync(2, fact(5, Skip(1)), fact(6, settle("a6", 30, grant.lease_id)), grant.lease_id))
    assert answer.applied_seq == {"i1": 6}
    assert answer.recalled == [grant.lease_id]
    assert amounts(await account(store)) == (30, 0, 70)
    await done(store, sync(3, fact(7, Release(grant.lease_id))))
    assert amounts(await account(store)) == (30, 0, 70), "what the lost facts spent may be all of it"


async def test_a_release_frees_the_remainder(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    facts = [fact(1, settle("a1", 40, grant.lease_id)), fact(2, Release(grant.lease_id))]
    assert (await done(store, sync(2, *facts))).grants == []
    assert amounts(await account(store)) == (40, 0, 0)


async def test_spend_above_the_lease_is_posted_whole(store: Store) -> None:
    await do(store, limit(100), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100, 100)))).grants
    await done(store, sync(2, fact(1, settle("a1", 130, grant.lease_id)), grant.lease_id))
    assert amounts(await account(store)) == (130, 0, 0)


async def test_spend_of_a_closed_day_is_posted_on_that_day(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    tomorrow = NOON + 24 * HOUR
    await done(store, sync(2, fact(1, settle("a1", 40, grant.lease_id))), tomorrow)
    assert amounts(await account(store, period=DAY)) == (40, 60, 0)
    assert amounts(await account(store, at=tomorrow)) == (0, 0, 0)


async def test_a_lease_of_a_closed_day_is_called_back_and_not_renewed(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    answer = await done(store, sync(2, grant.lease_id), NOON + 12 * HOUR)
    assert (answer.grants, answer.recalled) == ([], [grant.lease_id])


async def test_a_lease_does_not_outlive_its_period(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)), NOON + 12 * HOUR - 20_000)).grants
    assert grant.ttl_ms == 20_000


async def test_a_grant_is_delivered_until_it_is_shown_and_then_renewed(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    assert (await done(store, sync(2))).grants == [grant]
    assert (await done(store, sync(3, grant.lease_id))).grants == [grant]
    assert (await done(store, sync(4, want(100)))).grants == [grant], "a want is granted once"
    assert amounts(await account(store)) == (0, 100, 0)


async def test_a_stale_sync_gains_nothing_but_its_facts_count(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(2, want(100)))).grants
    for seq in (2, 1):
        answer = await done(store, sync(seq, fact(1, settle("a1", 7)), want(50, name="w2"), grant.lease_id))
        assert (answer.grants, answer.denials, answer.applied_seq) == ([], [], {"i1": 1})
    assert amounts(await account(store)) == (7, 100, 0)


async def test_after_final_or_finish_an_incarnation_gets_no_grant(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    await done(store, sync(2, grant.lease_id, final=True))
    assert amounts(await account(store)) == (0, 0, 0)
    assert (await done(store, sync(3, want(50, name="w2")))).grants == []
    assert (await do(store, reserve(5), Denial)).reason is DenialReason.UNSPECIFIED
    await done(store, sync(1, want(100), i="i2"))
    await done(store, sync(1, fact(1, Finish("i2"), "i3"), i="i3"))
    assert (await do(store, reserve(5, i="i2"), Denial)).reason is DenialReason.UNSPECIFIED
    assert amounts(await account(store)) == (0, 0, 0)


async def test_a_final_sync_with_a_gap_keeps_its_leases_open(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    await done(store, sync(2, fact(3, settle("a3", 3)), grant.lease_id, final=True))
    assert amounts(await account(store)) == (0, 100, 0), "facts 1 and 2 may still spend it"


async def test_finish_must_name_an_incarnation_of_the_same_sidecar(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    await done(store, sync(1, want(100)))
    answer = await done(store, sync(1, fact(1, Finish("i1"), "other"), of="s2", i="other"))
    assert [q.seq for q in answer.quarantined] == [1]
    assert amounts(await account(store)) == (0, 100, 0)


async def test_a_finish_says_how_far_the_predecessor_is_so_that_a_failover_loses_nothing(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    await done(store, sync(1, fact(1, settle("a1", 5), "i1"), i="i1"))
    assert (await done(store, sync(1, fact(1, Finish("i1"), "i2"), i="i2"))).applied_seq == {"i1": 1, "i2": 1}
    assert (await done(store, sync(1, fact(1, Finish("i2"), "i3"), i="i3"))).applied_seq == {"i2": 1, "i3": 1}


async def test_a_predecessor_never_seen_can_be_finished_and_then_gets_nothing(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    facts = [fact(1, settle("a1", 5), "i1"), fact(1, Finish("i1"), "i2")]
    assert (await done(store, sync(1, *facts, i="i2"))).applied_seq == {"i1": 1, "i2": 1}
    assert (await done(store, sync(9, want(10)))).grants == []


async def test_another_sidecars_incarnation_is_out_of_reach(store: Store) -> None:
    await do(store, limit(1000), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100)))).grants
    error = await do(store, sync(5, of="thief"), LedgerError)
    assert error.code is LedgerErrorCode.PERMISSION_DENIED
    theft = [
        fact(1, settle("a1", 5), "i1"),
        fact(1, settle("a2", 5, grant.lease_id), "t"),
        fact(2, Release(grant.lease_id), "t"),
    ]
    answer = await done(store, sync(1, *theft, of="thief", i="t"))
    assert [(q.incarnation, q.seq) for q in answer.quarantined] == [("i1", 1), ("t", 2)]
    assert answer.recalled == [] or grant.lease_id not in [g.lease_id for g in answer.grants]
    assert amounts(await account(store)) == (5, 100, 0)
    assert (await done(store, sync(2, fact(1, settle("mine", 1))))).applied_seq == {"i1": 1}


async def test_a_want_is_refused_when_the_budget_is_out_and_says_which_and_until_when(store: Store) -> None:
    await store.transact([limit(100), limit(10_000, "acme/a")], NOON)
    await do(store, reserve(100), Grant)
    (denial,) = (await done(store, sync(1, want(10, node="acme/a", name="w9")))).denials
    assert denial == Denial("w9", "acme", DenialReason.EXHAUSTED, NOON + 12 * HOUR)


async def test_an_unknown_root_is_refused_and_a_new_node_below_a_root_is_made(store: Store) -> None:
    (denial,) = (await done(store, sync(1, want(10, node="ghost/a")))).denials
    assert denial.reason is DenialReason.UNKNOWN_BUDGET
    answer = await done(
        store, sync(2, fact(1, settle("a", 1, node="ghost")), want(5, node="default/new/leaf", name="w2"))
    )
    assert [q.reason for q in answer.quarantined] == ["unknown budget"]
    assert [g.amount_nano_usd for g in answer.grants] == [5]
    assert [s.definition.budget for s in await store.budgets(BudgetQuery("default", recursive=True), NOON)] == [
        "default", "default/new", "default/new/leaf",
    ]  # fmt: skip


async def test_tail_mode_says_use_reserve_and_reserve_serves_in_turn(store: Store) -> None:
    await do(store, limit(100), NodeStatus)
    for number in range(3):
        await do(store, reserve(20, name="r", i=f"i{number}", of=f"s{number}"), Grant)
    (denial,) = (await done(store, sync(1, want(30, 20, name="w"), i="i9", of="s9"))).denials
    assert denial.reason is DenialReason.USE_RESERVE
    first = await do(store, reserve(30, name="x", i="i9", of="s9"), Grant)
    again = await do(store, reserve(30, name="x", i="i9", of="s9"), Grant)
    assert first == again, "a repeated Reserve is the same lease"
    assert (await do(store, reserve(11, name="y", i="i8", of="s8"), Denial)).reason is DenialReason.EXHAUSTED
    assert (await do(store, reserve(10, name="z", i="i8", of="s8"), Grant)).amount_nano_usd == 10
    assert amounts(await account(store)) == (0, 100, 0)


async def test_a_replayed_reserve_after_its_release_gets_nothing(store: Store) -> None:
    await do(store, limit(100), NodeStatus)
    grant = await do(store, reserve(30), Grant)
    await done(store, sync(1, fact(1, Release(grant.lease_id))))
    assert (await do(store, reserve(30), Denial)).reason is DenialReason.UNSPECIFIED
    assert amounts(await account(store)) == (0, 0, 0)


@pytest.mark.parametrize(("policy", "expected"), [(Policy(), (0, 0, 100)), (RECLAIM, (0, 0, 0))])
async def test_a_lost_pods_lease_goes_where_the_policy_says(
    store: Store, policy: Policy, expected: tuple[int, ...]
) -> None:
    await do(store, limit(1000, policy=policy), NodeStatus)
    (grant,) = (await done(store, sync(1, want(100, node="acme/a")))).grants
    last_moment = NOON + 90_000 + MINUTE + 10_000
    assert await do(store, Sweep(), Swept, last_moment) == Swept(0, 0, 0)
    swept = await do(store, Sweep(), Swept, last_moment + 1)
    assert swept in (Swept(1, 0, 0), Swept(0, 1, 100))
    assert amounts(await account(store)) == expected
    late = sync(2, fact(1, settle("a1", 60, grant.lease_id, "acme/a")), grant.lease_id)
    answer = await done(store, late, last_moment + 2)
    assert answer.recalled == [grant.lease_id]
    assert amounts(await account(store)) == (60, 0, 40 if policy == Policy() else 0)
