"""Session affinity: bounded, and forgotten in time."""

from atlas_sidecar.runtime.sessions import Sessions


def test_a_session_remembers_its_last_model() -> None:
    sessions = Sessions()
    sessions.remember("a", "opus", 0.0)
    sessions.remember("a", "mini", 1.0)
    assert sessions.last_model("a", 2.0) == "mini"
    assert sessions.last_model("b", 2.0) == ""


def test_a_session_is_forgotten_after_its_time() -> None:
    sessions = Sessions(ttl_s=10.0)
    sessions.remember("a", "opus", 0.0)
    assert sessions.last_model("a", 10.0) == "opus"
    assert sessions.last_model("a", 10.1) == ""
    assert len(sessions) == 0


def test_the_session_that_was_quiet_longest_goes_first() -> None:
    sessions = Sessions(max_sessions=2)
    for name in ("a", "b", "a", "c"):
        sessions.remember(name, "opus", 0.0)
    assert [sessions.last_model(name, 0.0) for name in "abc"] == ["opus", "", "opus"]
    assert len(sessions) == 2


def test_no_session_and_an_overlong_one_are_not_kept() -> None:
    sessions = Sessions()
    sessions.remember("", "opus", 0.0)
    sessions.remember("x" * 257, "opus", 0.0)
    assert len(sessions) == 0
    assert sessions.last_model("", 0.0) == ""
