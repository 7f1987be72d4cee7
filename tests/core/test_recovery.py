from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.recovery import recover
from atlas_sidecar.core.spend_records import (
    Applied,
    Checkpoint,
    Closed,
    Fact,
    Finish,
    LogHeader,
    LogRecord,
    PastLog,
    Release,
    Reservation,
    Settle,
    Skip,
    estimated_settle,
)
from atlas_sidecar.core.totals import Totals
from atlas_sidecar.core.types import ModelRef, Usage

MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")


def reservation(attempt_id: str, amount: int | None = 100, lease_id: str = "L1") -> Reservation:
    return Reservation(attempt_id, lease_id, "acme", "2026-11-23", amount, MODEL, "req", {"team": "a"}, 5.0)


def settle(attempt_id: str, cost: int | None = 40) -> Settle:
    return estimated_settle(reservation(attempt_id))._replace(cost_nano_usd=cost, estimated=False, outcome=None)


def log(incarnation: str, *records: LogRecord, whole: bool = True, local: bool = False, damaged: int = 0) -> PastLog:
    return PastLog(LogHeader(1, incarnation, "boot", "pod", 0.0, local), records, whole, damaged)


def test_nothing_comes_of_nothing() -> None:
    found = recover([])
    assert (found.open, found.past, found.finish) == ({}, [], [])


def test_a_reservation_without_a_settlement_is_open() -> None:
    found = recover([log("one", reservation("a"), reservation("b"), Fact("one", 1, settle("a")))])
    assert list(found.open) == ["b"]
    assert [fact.seq for fact in found.past[0].facts] == [1]
    assert found.finish == ["one"]
    assert found.totals.spent_nano_usd("2026-11-23") == 40


def test_what_is_open_is_taken_as_spent_whole() -> None:
    body = estimated_settle(reservation("a", 100))
    assert (body.cost_nano_usd, body.estimated, body.outcome, body.lease_id) == (100, True, ErrorClass.OTHER, "L1")
    assert estimated_settle(reservation("a", None)).cost_nano_usd is None
    assert body.usage == Usage()


def test_a_successor_that_settled_it_closed_it() -> None:
    found = recover(
        [log("one", reservation("a")), log("two", Fact("two", 1, settle("a")), Fact("two", 2, Finish("one")))]
    )
    assert found.open == {}
    assert found.finish == ["two"]
    assert [past.incarnation for past in found.past] == ["one", "two"]


def test_a_checkpoint_replaces_sums_and_reservations_but_no_facts() -> None:
    totals = Totals()
    totals.add(settle("x", 1000))
    found = recover(
        [log("one", reservation("a"), Fact("one", 1, settle("b")), Checkpoint(totals.save(), (reservation("c"),)))]
    )
    assert list(found.open) == ["c"]
    assert found.totals.spent_nano_usd("2026-11-23") == 1000
    assert [fact.seq for fact in found.past[0].facts] == [1]


def test_a_fact_that_a_checkpoint_counted_and_that_was_written_after_it_counts_once() -> None:
    totals = Totals()
    totals.add(settle("a"))
    late, new = Fact("one", 1, settle("a")), Fact("one", 2, settle("b"))
    found = recover([log("one", Checkpoint(totals.save(), (), 1), late, new)])
    assert found.totals.spent_nano_usd("2026-11-23") == 80
    assert found.past[0].facts == (late, new)


def test_facts_confirmed_long_ago_are_not_sent_again_and_younger_ones_are() -> None:
    records: list[LogRecord] = [
        *(Fact("one", seq, Release(str(seq))) for seq in range(1, 7)),
        Applied("one", 2, 100.0),
        Applied("one", 4, 1000.0),
    ]
    found = recover([log("one", *records)], applied_before_unix_s=900.0)
    assert [fact.seq for fact in found.past[0].facts] == [3, 4, 5, 6]


def test_a_gap_becomes_a_skip_and_damage_forbids_to_finish() -> None:
    found = recover([log("one", Fact("one", 1, Release("a")), Fact("one", 4, Release("d")), damaged=1)])
    assert found.past[0].facts == (
        Fact("one", 1, Release("a")),
        Fact("one", 3, Skip(2)),
        Fact("one", 4, Release("d")),
    )
    assert found.past[0].lossy
    assert found.finish == []
    assert found.damaged == 1


def test_a_log_that_may_lack_its_end_is_lossy() -> None:
    found = recover([log("one", Fact("one", 1, Release("a")), whole=False)])
    assert found.past[0].lossy
    assert found.finish == []


def test_local_books_are_sent_to_nobody() -> None:
    found = recover([log("one", Fact("one", 1, settle("a")), local=True), log("two", Closed(1.0))])
    assert [past.incarnation for past in found.past] == ["two"]
    assert found.local == ["one"]
    assert found.totals.spent_nano_usd("2026-11-23") == 40
