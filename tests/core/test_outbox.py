import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.outbox import Outbox
from atlas_sidecar.core.recovery import with_skips
from atlas_sidecar.core.spend_records import Fact, Release, Skip


class LedgerLine:
    """How the ledger takes facts: contiguous by incarnation but for Skip, those applied already ignored."""

    def __init__(self) -> None:
        self.applied: dict[str, int] = {}
        self.bodies: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, int, int]] = []

    def take(self, facts: tuple[Fact, ...]) -> dict[str, int]:
        for fact in facts:
            done = self.applied.setdefault(fact.incarnation, 0)
            first = fact.body.first if isinstance(fact.body, Skip) else fact.seq
            if fact.seq <= done or first > done + 1:
                continue
            if isinstance(fact.body, Skip):
                self.skipped.append((fact.incarnation, first, fact.seq))
            elif isinstance(fact.body, Release):
                self.bodies.append((fact.incarnation, fact.body.lease_id))
            self.applied[fact.incarnation] = fact.seq
        return {fact.incarnation: self.applied[fact.incarnation] for fact in facts}


def past(incarnation: str, *seqs: int) -> list[Fact]:
    return [Fact(incarnation, seq, Release(f"{incarnation}-{seq}")) for seq in seqs]


def exchange(outbox: Outbox, ledger: LedgerLine, now_s: float = 0.0, limit: int = 100) -> None:
    sent = outbox.batch(limit)
    outbox.acknowledge(sent, ledger.take(sent), now_s)


def test_facts_are_numbered_from_one_and_sent_until_applied() -> None:
    outbox = Outbox("me")
    facts = [outbox.add(Release(name), 0.0) for name in "abc"]
    assert [fact.seq for fact in facts] == [1, 2, 3]
    assert outbox.batch(2) == tuple(facts[:2])
    outbox.acknowledge(facts[:2], {"me": 1}, 0.0)
    assert outbox.batch(9) == tuple(facts[1:])
    assert (outbox.pending, outbox.applied) == (2, 1)


def test_predecessors_go_first_so_that_a_finish_follows_what_it_finishes() -> None:
    outbox = Outbox("me")
    outbox.take_over("old", past("old", 1, 2), lossy=False)
    outbox.add(Release("mine"), 0.0)
    assert [fact.incarnation for fact in outbox.batch(9)] == ["old", "old", "me"]
    assert outbox.oldest_s == float("-inf")


def test_a_lossy_line_is_closed_by_a_skip_behind_what_the_ledger_has() -> None:
    outbox, ledger = Outbox("me"), LedgerLine()
    outbox.take_over("old", past("old", 1, 2), lossy=True)
    ledger.applied["old"] = 5  # the log lost three facts that had been sent
    for _ in range(4):
        exchange(outbox, ledger)
    assert ledger.skipped == [("old", 6, 6)]
    assert outbox.pending == 0


def test_a_lossy_line_without_facts_is_closed_too() -> None:
    outbox, ledger = Outbox("me"), LedgerLine()
    outbox.take_over("old", [], lossy=True)
    ledger.applied["old"] = 3
    for _ in range(4):
        exchange(outbox, ledger)
    assert ledger.skipped == [("old", 4, 4)]
    assert outbox.pending == 0


def test_applied_facts_are_kept_for_a_ledger_that_goes_back() -> None:
    outbox, ledger = Outbox("me", keep_s=900.0), LedgerLine()
    for name in "abcde":
        outbox.add(Release(name), 0.0)
    exchange(outbox, ledger, now_s=10.0)
    ledger.applied["me"] = 2  # a failover
    outbox.add(Release("f"), 20.0)
    exchange(outbox, ledger, now_s=30.0)
    exchange(outbox, ledger, now_s=31.0)
    assert [name for _, name in ledger.bodies] == [*"abcde", *"cdef"]
    assert ledger.skipped == []


def test_what_is_kept_no_longer_is_skipped_when_the_ledger_goes_back() -> None:
    outbox, ledger = Outbox("me", keep_s=900.0), LedgerLine()
    for name in "abc":
        outbox.add(Release(name), 0.0)
    exchange(outbox, ledger, now_s=10.0)
    outbox.add(Release("d"), 2000.0)
    exchange(outbox, ledger, now_s=2000.0)
    assert outbox.forgettable() == [("me", 3)]
    ledger.applied["me"] = 1
    outbox.add(Release("e"), 2001.0)
    for _ in range(3):
        exchange(outbox, ledger, now_s=2002.0)
    assert ledger.skipped == [("me", 2, 3)]
    assert [name for _, name in ledger.bodies] == [*"abcd", "d", "e"]


def test_memory_of_applied_facts_is_bounded() -> None:
    outbox, ledger = Outbox("me", max_kept=10), LedgerLine()
    for number in range(100):
        outbox.add(Release(str(number)), 0.0)
    exchange(outbox, ledger)
    assert outbox.forgettable() == [("me", 90)]


def test_a_predecessor_is_forgotten_when_its_facts_have_been_applied_long_enough() -> None:
    outbox, ledger = Outbox("me", keep_s=900.0), LedgerLine()
    outbox.take_over("old", past("old", 4, 5), lossy=False)
    ledger.applied["old"] = 3
    exchange(outbox, ledger, now_s=0.0)
    assert ("old", 5) not in outbox.forgettable()
    exchange(outbox, ledger, now_s=901.0)
    assert ("old", 5) in outbox.forgettable()
    assert outbox.pending == 0


@pytest.mark.parametrize(
    ("seqs", "applied", "expected"),
    [
        ([1, 2, 3], 0, [1, 2, 3]),
        ([1, 3], 0, [1, (2, 2), 3]),
        ([4, 5, 9], 0, [(1, 3), 4, 5, (6, 8), 9]),
        ([4, 5], 3, [4, 5]),
        ([1, 2, 3], 2, [3]),
        ([2, 2, 1], 0, [1, 2]),
        ([], 7, []),
    ],
)
def test_gaps_are_filled_by_skips(seqs: list[int], applied: int, expected: list[object]) -> None:
    found = [
        (fact.body.first, fact.seq) if isinstance(fact.body, Skip) else fact.seq
        for fact in with_skips(past("old", *seqs), applied)
    ]
    assert found == expected


@given(
    old=st.sets(st.integers(1, 12)),
    lossy=st.booleans(),
    sent_before=st.integers(0, 12),
    mine=st.integers(0, 30),
    limit=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_every_fact_is_applied_once_over_a_line_that_loses_and_repeats(
    old: set[int], lossy: bool, sent_before: int, mine: int, limit: int, seed: int
) -> None:
    chance = random.Random(seed)
    outbox, ledger = Outbox("me"), LedgerLine()
    facts = past("old", *sorted(old))
    before = tuple(fact for fact in past("old", *range(1, sent_before + 1)))
    ledger.take(before)
    outbox.take_over("old", list(with_skips(facts, 0)), lossy=lossy)
    earlier: list[tuple[Fact, ...]] = []
    for number in range(mine):
        outbox.add(Release(f"mine-{number}"), 0.0)
        if chance.random() < 0.5:
            sent = outbox.batch(limit)
            earlier.append(sent)
            if chance.random() < 0.5:
                answer = ledger.take(sent)
                if chance.random() < 0.5:
                    outbox.acknowledge(sent, answer, 0.0)
            if chance.random() < 0.3:
                ledger.take(chance.choice(earlier))  # a delayed Sync arrives again
    for _ in range(100):
        exchange(outbox, ledger, limit=limit)
    assert outbox.pending == 0
    assert [name for of, name in ledger.bodies if of == "me"] == [f"mine-{number}" for number in range(mine)]
    applied_old = [int(name.split("-")[1]) for of, name in ledger.bodies if of == "old"]
    assert applied_old == sorted(set(applied_old))
    assert old <= set(applied_old)
    assert bool([skip for skip in ledger.skipped if skip[1] > max(old, default=0)]) >= lossy
