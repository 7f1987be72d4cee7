"""Whatever providers do, and however a caller asks: what a call along its chain always keeps.

Time is virtual, so that timeouts, backoff and Retry-After are exact and cost nothing.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas_sidecar.core.errors import ErrorClass, Reason
from atlas_sidecar.core.types import Limits, StreamPolicy, TextDelta, Usage
from atlas_sidecar.runtime.engine import FallbackSettings, Timeouts
from atlas_sidecar.runtime.events import Batch, Completed, Failure, Reset
from atlas_sidecar.runtime.router import CallContext
from atlas_sidecar.server.replies import EventWriter
from tests.runtime.rig import Rig, ask, model, rig
from tests.runtime.virtual_time import LoopClock, run

TIMEOUTS = Timeouts(time_to_first_token_s=5.0, idle_s=5.0, total_s=600.0)
ENDLESS = 600.0
ORDER = re.compile(r"H*(SD*(H+R?SD*)*)?(C|H*F)")
BUFFERED = re.compile(r"H*(C|F)")
LETTERS = {"HopFailed": "H", "Started": "S", "Reset": "R", "Completed": "C", "Failure": "F"}

# Steps of a script and what they are: "again" may be asked again, "never" not, "breaks" after content, "ends" the call.
STEPS: list[tuple[Any, str]] = [
    ("ok", "ok"),
    ({"status": 429}, "again"),
    ({"status": 429, "retry_after_s": 2}, "again"),
    ({"status": 429, "retry_after_s": 40}, "again"),
    ({"status": 500}, "again"),
    ({"status": 500, "retry_after_s": 30}, "again"),
    ({"status": 503}, "again"),
    ({"status": 529, "retry_after_s": 1}, "again"),
    ({"cut_after": 0}, "again"),
    ({"cut_after": 4}, "breaks"),
    ({"stall_after": 7}, "breaks"),
    ({"silent": True}, "never"),
    ({"status": 401}, "never"),
    ({"status": 402}, "never"),
    ({"status": 404}, "never"),
    ({"status": 504}, "never"),
    ({"status": 400}, "ends"),
]
World: TypeAlias = list[list[tuple[Any, str]]]
scripts = st.lists(st.sampled_from(STEPS), max_size=4)
worlds = st.lists(scripts, min_size=1, max_size=3)


def can_answer(script: list[tuple[Any, str]], attempts: int) -> bool:
    """Return whether a model answers within the requests that the rules give it."""
    for _, kind in script[:attempts]:
        if kind == "ok":
            return True
        if kind in ("never", "ends"):
            return False
    return len(script) < attempts  # beyond its script every answer is ok


async def build(home: Path, world: World, prefill: list[bool], max_hops: int) -> Rig:
    names = "abc"[: len(world)]
    models = [model(n, n, 9.0 - i, prefill=prefill[i]) for i, n in enumerate(names)]
    steps = {n: [step for step, _ in script] for n, script in zip(names, world, strict=True)}
    fallback = FallbackSettings(max_hops=max_hops)
    return await rig(home, steps, models=models, timeouts=TIMEOUTS, fallback=fallback, clock=LoopClock())


async def hear(r: Rig, policy: StreamPolicy, time_left_s: float, stop_after: int = 10**6) -> list[Batch]:
    r.context = CallContext({}, time_left_s)
    heard: list[Batch] = []
    async with aclosing(r.router.generate(ask(policy=policy, limits=Limits()), r.context)) as batches:
        async for batch in batches:
            heard.append(batch)
            if len(heard) >= stop_after:
                break
    return heard


def check_nothing_is_left(r: Rig) -> None:
    models, providers = r.health.states(r.clock.monotonic_s())
    assert all(state.in_flight == 0 for state in models.values())
    assert all(state.in_flight == 0 for state in providers.values())
    assert "0 open" in repr(r.budget), "a reservation was not settled"


def check_order(heard: list[Batch], policy: StreamPolicy) -> None:
    told = "".join(LETTERS.get(type(event).__name__, "D") for batch in heard for event in batch.events)
    grammar = BUFFERED if policy is StreamPolicy.BUFFER else ORDER
    assert grammar.fullmatch(told), told
    writer = EventWriter()
    wire = [message for batch in heard for message in writer.messages(batch)]
    assert [message.seq for message in wire] == list(range(1, len(wire) + 1))
    assert [message.hop for message in wire] == sorted(message.hop for message in wire)


def text_in_hand(heard: list[Batch]) -> str:
    text = ""
    for batch in heard:
        for event in batch.events:
            if isinstance(event, Reset):
                text = ""
            elif isinstance(event, TextDelta):
                text += event.text
    return text


def check_sums(r: Rig, end: Completed | Failure) -> None:
    usage = Usage()
    for attempt in end.attempts:
        usage += attempt.usage
    assert end.total_usage == usage
    assert end.cost_nano_usd == sum(attempt.cost_nano_usd or 0 for attempt in end.attempts)
    assert r.budget.health().spent_today_nano_usd == end.cost_nano_usd
    assert len({attempt.attempt_id for attempt in end.attempts}) == len(end.attempts)


async def play(
    home: Path, world: World, policy: StreamPolicy, prefill: list[bool], time_left_s: float, max_hops: int
) -> None:
    r = await build(home, world, prefill, max_hops)
    began_s = r.clock.monotonic_s()
    heard = await hear(r, policy, time_left_s)
    assert r.clock.monotonic_s() - began_s < time_left_s, "the caller waited past its deadline"
    check_nothing_is_left(r)
    check_order(heard, policy)
    end = heard[-1].events[-1]
    assert isinstance(end, Completed | Failure)
    check_sums(r, end)
    for name in "abc"[: len(world)]:
        assert sum(attempt.model.id == name for attempt in end.attempts) <= 3
    assert max((attempt.hop for attempt in end.attempts), default=0) <= max_hops
    if isinstance(end, Completed):
        part = end.message.parts[0].content
        assert part[0] == WHOLE
        assert text_in_hand(heard) == ("" if policy is StreamPolicy.BUFFER else WHOLE)
        return
    steps = {kind for script in world for _, kind in script}
    breaks_for_good = policy is StreamPolicy.FAIL and "breaks" in steps
    roomy = max_hops >= 12 and time_left_s == ENDLESS
    if roomy and "ends" not in steps and not breaks_for_good:
        assert not any(can_answer(script, 3) for script in world), [a.error_class for a in end.attempts]
    if end.reason is Reason.ALL_MODELS_FAILED and end.attempts[-1].error_class is ErrorClass.RATE_LIMITED:
        assert end.retry_after_s is not None


async def whole_answer(home: Path) -> str:
    r = await build(home, [[("ok", "ok")]], [False], 6)
    return text_in_hand(await hear(r, StreamPolicy.FAIL, ENDLESS))


with tempfile.TemporaryDirectory() as somewhere:
    WHOLE = run(whole_answer(Path(somewhere)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    worlds,
    st.sampled_from(StreamPolicy),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([ENDLESS, ENDLESS, 0.05, 1.0, 8.0, 30.0]),
    st.sampled_from([12, 12, 6, 2, 1]),
)
def test_every_call_keeps_its_promises(
    world: World, policy: StreamPolicy, prefill: list[bool], time_left_s: float, max_hops: int
) -> None:
    with tempfile.TemporaryDirectory() as home:
        run(play(Path(home), world, policy, prefill, time_left_s, max_hops))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds, st.sampled_from(StreamPolicy), st.integers(1, 6))
def test_a_caller_that_leaves_at_any_event_leaves_nothing_behind(
    world: World, policy: StreamPolicy, stop_after: int
) -> None:
    async def leave(home: Path) -> None:
        r = await build(home, world, [True, True, True], 6)
        await hear(r, policy, ENDLESS, stop_after)
        check_nothing_is_left(r)
        models, _ = r.health.states(r.clock.monotonic_s())
        assert all(state.in_flight == 0 for state in models.values())

    with tempfile.TemporaryDirectory() as home:
        run(leave(Path(home)))
