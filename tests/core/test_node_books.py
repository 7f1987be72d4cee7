import pytest

from atlas_sidecar.core.node_books import NODE_PATH, NodeBooks, chain_of
from atlas_sidecar.core.sync import Denial, DenialReason, NodePolicy, NodeState

ENDS = 1_795_478_400.0


def state(node: str, limit: int | None, spent: int = 0, leased: int = 0, policy: NodePolicy | None = None) -> NodeState:
    return NodeState(node, "2026-11-23", limit, spent, leased, 0, policy, ENDS)


def books(*states: NodeState, now_s: float = 0.0) -> NodeBooks:
    made = NodeBooks()
    made.update(states, now_s)
    return made


def denial(reason: DenialReason = DenialReason.EXHAUSTED) -> Denial:
    return Denial("want", "acme", reason, ENDS)


def test_a_node_is_as_tight_as_its_tightest_ancestor() -> None:
    found = books(state("acme", 100, 70, 25), state("acme/a", None, 5), state("acme/a/b", 50, 5)).tightest("acme/a/b")
    assert found is not None
    assert (found.node, found.limit_nano_usd, found.remaining_nano_usd, found.free_nano_usd) == ("acme", 100, 30, 5)
    assert found.spent_nano_usd == 70


def test_what_is_free_is_the_least_of_the_chain_wherever_the_remaining_is_least() -> None:
    found = books(state("acme", 100, 0, 98), state("acme/a", 50, 5)).tightest("acme/a")
    assert found is not None
    assert (found.node, found.remaining_nano_usd, found.free_nano_usd) == ("acme/a", 45, 2)


def test_no_limit_anywhere_is_none_and_an_unknown_node_is_unknown() -> None:
    made = books(state("acme", None, 7), state("acme/a", None, 5))
    found = made.tightest("acme/a")
    assert found is not None
    assert (found.limit_nano_usd, found.remaining_nano_usd, found.free_nano_usd) == (None, None, None)
    assert made.tightest("acme/b") is None
    assert not made.knows("acme/b")


def test_no_limit_is_believed_while_it_is_fresh() -> None:
    made = books(state("acme", None), state("acme/a", None), now_s=10.0)
    assert made.unlimited("acme/a", 99.9)
    assert not made.unlimited("acme/a", 100.0)
    assert not made.unlimited("acme/b", 11.0)
    made.update([state("acme", 5)], 20.0)
    assert not made.unlimited("acme/a", 21.0)


def test_the_nearest_policy_holds() -> None:
    made = books(state("acme", 1, policy=NodePolicy(True, 5)), state("acme/a", 1))
    assert made.policy("acme/a") == NodePolicy(True, 5)
    made.update([state("acme/a", 1, policy=NodePolicy(False, 0))], 1.0)
    assert made.policy("acme/a") == NodePolicy(False, 0)
    assert made.policy("other") is None


def test_a_denial_answers_for_a_moment_for_as_much_or_more() -> None:
    made = books()
    made.deny("acme/a", 100, denial(), 0.0)
    assert made.denied("acme/a", 100, 0.9) == denial()
    assert made.denied("acme/a", 99, 0.9) is None
    assert made.denied("acme/a", 100, 1.0) is None
    made.deny("acme/a", 100, denial(DenialReason.UNKNOWN_BUDGET), 0.0)
    assert made.denied("acme/a", 0, 0.5) is not None
    made.allow(["acme/a"])
    assert made.denied("acme/a", 100, 0.5) is None


def test_a_repeated_denial_lasts_twice_as_long_up_to_the_longest() -> None:
    made, now_s, lasted = books(), 0.0, []
    for _ in range(7):
        made.deny("acme/a", 100, denial(), now_s)
        began_s = now_s
        while made.denied("acme/a", 100, now_s):
            now_s += 0.5
        lasted.append(now_s - began_s)
    assert lasted == [1, 2, 4, 8, 15, 15, 15]
    made.deny("acme/a", 100, denial(), now_s + 100)
    assert made.denied("acme/a", 100, now_s + 101) is None


@pytest.mark.parametrize(("free", "forgotten"), [(99, False), (100, True), (None, True)])
def test_a_denial_is_forgotten_when_the_service_says_that_there_is_room(free: int | None, forgotten: bool) -> None:
    made = books()
    made.deny("acme", 100, denial(), 0.0)
    made.update([state("acme", free)], 0.1)
    assert (made.denied("acme", 100, 0.2) is None) is forgotten


def test_the_period_is_the_services_and_past_its_end_it_is_counted_on() -> None:
    made = books(state("acme", 1))
    assert made.period("acme", ENDS - 1) == "2026-11-23"
    assert made.period("acme", ENDS) == "2026-11-24"
    assert made.period("other", ENDS) is None


def test_memory_is_bounded() -> None:
    made = books(*(state(f"acme/{number}", 1) for number in range(3000)))
    for number in range(3000):
        made.deny(f"acme/{number}", 1, denial(), 0.0)
    assert len(made._states) <= 1024
    assert len(made._denied) <= 1024


@pytest.mark.parametrize("path", ["acme", "acme/search", "a/b/c/d/e/f/g/h", "A.b_c@d:e+f-9"])
def test_paths_as_the_service_takes_them(path: str) -> None:
    assert NODE_PATH.fullmatch(path)
    assert chain_of(path)[-1] == path.partition("/")[0]


@pytest.mark.parametrize("path", ["", "/", "a//b", "a/", "ü", "a b", "a/b/c/d/e/f/g/h/i", "x" * 65, "a\n", "a/b\n"])
def test_what_is_no_path(path: str) -> None:
    assert not NODE_PATH.fullmatch(path)
