import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atlas_sidecar.core.lease_book import Lease, LeaseBook, Need
from atlas_sidecar.core.leases import is_scarce
from atlas_sidecar.core.sync import Grant

NODE = "acme/search"


def grant(lease_id: str = "L1", amount: int = 1000, node: str = NODE, ttl_s: float = 90.0) -> Grant:
    return Grant(lease_id, f"want-{lease_id}", node, "2026-11-23", amount, ttl_s)


def book_with(*grants: Grant, sent_s: float = 0.0) -> LeaseBook:
    book = LeaseBook()
    for each in grants:
        book.adopt(each, sent_s, sent_s)
    return book


def take(book: LeaseBook, amount: int, now_s: float = 1.0, node: str = NODE) -> Lease:
    lease = book.find(node, amount, now_s)
    assert lease is not None
    book.take(lease, amount, 60.0, now_s)
    return lease


def test_a_reservation_fits_one_lease_whole() -> None:
    book = book_with(grant("A", 100), grant("B", 150))
    assert book.find(NODE, 151, 1.0) is None
    assert book.find(NODE, 150, 1.0) is not None
    assert book.find("acme/other", 1, 1.0) is None


def test_the_tightest_lease_that_fits_is_taken() -> None:
    book = book_with(grant("A", 1000), grant("B", 100), grant("C", 500))
    assert take(book, 90).lease_id == "B"
    assert take(book, 90).lease_id == "C"


def test_a_lease_ends_its_ttl_after_its_call_was_sent_however_late_the_answer_came() -> None:
    book = LeaseBook()
    book.adopt(grant(ttl_s=90.0), sent_s=100.0, now_s=150.0)
    assert book.find(NODE, 1, 189.9) is not None
    assert book.find(NODE, 1, 190.0) is None


def test_a_renewal_moves_the_end_and_never_back() -> None:
    book = book_with(grant())
    book.adopt(grant(), sent_s=50.0, now_s=51.0)
    book.adopt(grant(), sent_s=20.0, now_s=52.0)
    assert book.find(NODE, 1, 139.0) is not None
    assert book.find(NODE, 1, 140.0) is None


def test_what_an_attempt_did_not_use_is_free_again_and_what_it_used_is_not() -> None:
    book = book_with(grant(amount=1000))
    take(book, 900)
    assert book.find(NODE, 101, 1.0) is None
    book.end("L1", 900, 300, 2.0)
    assert book.find(NODE, 700, 2.0) is not None
    assert book.find(NODE, 701, 2.0) is None


def test_a_recalled_lease_takes_nothing_new_and_goes_back_when_nothing_runs_on_it() -> None:
    book = book_with(grant())
    take(book, 100)
    book.recall(["L1", "unknown"])
    assert book.find(NODE, 1, 1.0) is None
    assert book.to_release(1.0) == []
    assert book.end("L1", 100, 100, 2.0)
    assert book.to_release(2.0) == ["L1"]


def test_a_lease_made_for_one_request_goes_back_after_it() -> None:
    book = LeaseBook()
    book.adopt(grant(amount=100), 0.0, 0.0, single=True)
    take(book, 100)
    assert book.end("L1", 100, 40, 1.0)
    assert book.to_release(1.0) == ["L1"]


def test_a_released_lease_is_ignored_until_a_sync_sent_after_its_release_was_applied_is_answered() -> None:
    book = book_with(grant())
    book.release("L1", seq=7, now_s=10.0)
    assert book.adopt(grant(), 9.0, 11.0) is None  # an answer that was on its way
    book.forget_released(applied_when_sent=6, now_s=5000.0)
    assert book.adopt(grant(), 9.0, 5000.0) is None
    book.forget_released(applied_when_sent=7, now_s=20.0)
    assert book.adopt(grant(), 9.0, 21.0) is None  # a failover may yet bring it back
    book.forget_released(applied_when_sent=7, now_s=5000.0)
    assert book.adopt(grant(), 5000.0, 5000.0) is not None


def test_an_idle_node_wants_nothing_and_a_busy_one_what_two_refreshes_will_spend() -> None:
    book = book_with(grant(amount=50_000), sent_s=0.0)
    for second in range(225):
        book.adopt(grant(amount=50_000), float(second), float(second))
        take(book, 1000, float(second))
        book.end("L1", 1000, 200, float(second))
    (need,) = book.needs(224.0)
    assert need.node == NODE
    assert need.minimum_nano_usd in range(999, 1001)
    assert 11_000 < need.amount_nano_usd + 5_000 < 14_000  # 2 x 30 s x 200 a second, and what is reserved at once
    assert book.needs(240.0) == []


def test_a_waiting_request_is_asked_for_whole() -> None:
    book = LeaseBook()
    book.wait(NODE, 5000, 120.0, 0.0)
    assert book.needs(0.0) == [Need(NODE, 10_000, 5000, 120.0)]
    book.wait_over(NODE, 5000)


def test_a_lease_too_small_for_what_is_asked_goes_back_in_the_same_sync() -> None:
    book = book_with(grant("A", 100), grant("B", 10_000))
    assert book.to_release(1.0, [Need(NODE, 5000, 500, 1.0)]) == ["A"]
    assert book.to_release(1.0, [Need("acme/other", 5000, 500, 1.0)]) == []


def test_settling_on_a_lease_that_is_gone_changes_nothing() -> None:
    assert not LeaseBook().end("gone", 100, 100, 1.0)


def test_nodes_that_are_not_used_are_forgotten_at_the_bound() -> None:
    book = LeaseBook()
    for number in range(400):
        book.wait(f"{NODE}/{number}", 1, 1.0, float(number))
        book.wait_over(f"{NODE}/{number}", 1)
    assert len(book._nodes) <= 256


@pytest.mark.parametrize(
    ("remaining", "limit", "scarce"),
    [(20, 100, False), (19, 100, True), (-5, 100, True), (0, 0, False), (None, None, False), (5, None, False)],
)
def test_scarce_is_less_than_a_fifth(remaining: int | None, limit: int | None, scarce: bool) -> None:
    assert is_scarce(remaining, limit) is scarce


class Book(RuleBasedStateMachine):
    """A lease book beside what a plain reading of the rules says."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook()
        self.now_s = 0.0
        self.granted: dict[str, tuple[int, float]] = {}
        self.used: dict[str, int] = {}
        self.running: list[tuple[str, int]] = []
        self.recalled: set[str] = set()
        self.released: set[str] = set()

    @rule(number=st.integers(0, 5), amount=st.integers(0, 100), age_s=st.floats(0, 100))
    def answer_comes(self, number: int, amount: int, age_s: float) -> None:
        lease_id, sent_s = f"L{number}", self.now_s - age_s
        known = lease_id in self.granted
        amount = self.granted[lease_id][0] if known else amount
        lease = self.book.adopt(grant(lease_id, amount, ttl_s=90.0), sent_s, self.now_s)
        assert (lease is None) == (lease_id in self.released)
        if lease is not None:
            before = self.granted[lease_id][1] if known else sent_s + 90.0
            self.granted[lease_id] = (amount, max(before, sent_s + 90.0))
            self.used.setdefault(lease_id, 0)

    @rule(amount=st.integers(1, 60))
    def reserve(self, amount: int) -> None:
        lease = self.book.find(NODE, amount, self.now_s)
        fitting = [
            lease_id
            for lease_id, (size, ends_s) in self.granted.items()
            if self.now_s < ends_s and lease_id not in self.recalled and self.room(lease_id) >= amount and size
        ]
        assert (lease is None) == (not fitting)
        if lease is not None:
            assert self.room(lease.lease_id) == min(self.room(lease_id) for lease_id in fitting)
            self.book.take(lease, amount, 60.0, self.now_s)
            self.running.append((lease.lease_id, amount))

    def room(self, lease_id: str) -> int:
        reserved = sum(amount for of, amount in self.running if of == lease_id)
        return self.granted[lease_id][0] - self.used[lease_id] - reserved

    @precondition(lambda self: self.running)
    @rule(data=st.data(), share=st.floats(0, 1.2))
    def settle(self, data: st.DataObject, share: float) -> None:
        lease_id, amount = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.book.end(lease_id, amount, int(amount * share), self.now_s)
        self.used[lease_id] += int(amount * share)

    @rule(number=st.integers(0, 5))
    def recall(self, number: int) -> None:
        self.book.recall([f"L{number}"])
        if f"L{number}" in self.granted:
            self.recalled.add(f"L{number}")

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def give_back(self) -> None:
        for lease_id in self.book.to_release(self.now_s, self.book.needs(self.now_s)):
            assert lease_id not in {of for of, _ in self.running}
            self.book.release(lease_id, 1, self.now_s)
            self.released.add(lease_id)
            del self.granted[lease_id]

    @invariant()
    def what_is_shown_is_what_is_held(self) -> None:
        shown = {held.lease_id: (held.used_nano_usd, held.reserved_nano_usd) for held in self.book.held()}
        assert shown == {
            lease_id: (self.used[lease_id], sum(amount for of, amount in self.running if of == lease_id))
            for lease_id in self.granted
        }

    @invariant()
    def wants_are_sound(self) -> None:
        for need in self.book.needs(self.now_s):
            assert 0 < need.minimum_nano_usd <= need.amount_nano_usd


Book.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_a_lease_book_does_what_its_rules_say = Book.TestCase
