"""The caller's trace goes on here; what is malformed is no trace; towards providers only a traceparent is offered."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings, build_telemetry
from atlas_sidecar.adapters.telemetry.propagation import caller_span, session_of
from atlas_sidecar.adapters.telemetry.spans import traceparent
from atlas_sidecar.core.types import Requirements
from atlas_sidecar.runtime.router import CallContext
from tests.adapters.telemetry.trees import Keeper, attributes, traced_rig
from tests.runtime.rig import ask, completed, model

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


async def test_a_callers_trace_goes_on_with_its_state(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    rig.context = CallContext({"traceparent": HEADER, "tracestate": "vendor=x,other=y"})
    events = await rig.generate(ask())
    assert completed(events).trace_id == TRACE
    for span in keeper.spans:
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE
        assert span.context.trace_state.to_header() == "vendor=x,other=y"
    root = keeper.named("atlas_api")
    assert root.parent is not None
    assert (f"{root.parent.span_id:016x}", root.parent.is_remote) == (SPAN, True)


async def test_the_answer_names_the_trace_that_was_kept(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    events = await rig.generate(ask())
    started = events[0][1]
    root = keeper.named("atlas_api")
    assert root.context is not None
    assert getattr(started, "trace_id", "") == completed(events).trace_id == f"{root.context.trace_id:032x}"


async def test_a_caller_that_does_not_sample_is_obeyed_and_still_told_its_trace(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    rig.context = CallContext({"traceparent": f"00-{TRACE}-{SPAN}-00"})
    events = await rig.generate(ask())
    assert keeper.spans == []
    assert completed(events).trace_id == TRACE


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_new_traces_are_kept_by_the_ratio(ratio: float, low: int, high: int) -> None:
    keeper = Keeper()
    telemetry = build_telemetry(TelemetrySettings(sample_ratio=ratio), SystemClock(), [keeper])
    kept = sum(telemetry.start_request("Generate", {}, ask())._call.spans is not None for _ in range(200))
    assert low <= kept <= high


def test_without_an_exporter_nothing_is_traced_but_the_callers_trace_is_known_and_passed_on() -> None:
    telemetry = build_telemetry(TelemetrySettings(), SystemClock())
    made = [telemetry.start_request("Generate", {}, ask()) for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", one.trace_id) for one in made)
    assert made[0].trace_id != made[1].trace_id
    alone = made[0].start_hop(1, model("a", "a", 9.0), "primary", ("127.0.0.1", 1))
    assert alone.start_attempt(1, "id").traceparent == ""
    trace = telemetry.start_request("Generate", {"traceparent": HEADER}, ask())
    assert trace.trace_id == TRACE
    hop = trace.start_hop(1, model("a", "a", 9.0), "primary", ("127.0.0.1", 1))
    assert hop.start_attempt(1, "id").traceparent == HEADER


def test_a_provider_that_may_know_continues_at_the_attempt() -> None:
    keeper = Keeper()
    telemetry = build_telemetry(TelemetrySettings(), SystemClock(), [keeper])
    trace = telemetry.start_request("Generate", {"traceparent": HEADER}, ask())
    hop = trace.start_hop(1, model("a", "a", 9.0), "primary", ("127.0.0.1", 1))
    attempt = hop.start_attempt(1, "id")
    version, trace_id, span_id, flags = attempt.traceparent.split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != SPAN


@pytest.mark.parametrize(
    "header",
    [
        *("", "00", "garbage", HEADER.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more"),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-1"),
        *("00-" + "a" * 9000, f"{HEADER},{HEADER}", f"01-{TRACE}-{SPAN}-01-more,{HEADER}"),
    ],
)
def test_a_malformed_traceparent_is_no_trace(header: str) -> None:
    assert caller_span({"traceparent": header}) is None


def test_a_later_version_may_carry_more() -> None:
    assert caller_span({"traceparent": f"01-{TRACE}-{SPAN}-01-what-comes-later"}) is not None


@given(st.text())
def test_no_header_breaks_the_readers(header: str) -> None:
    caller_span({"traceparent": header, "tracestate": header})
    caller_span({"traceparent": HEADER, "tracestate": header})
    assert len(session_of({"baggage": header})) <= 128
    assert len(session_of({"baggage": f"session.id={header}"})) <= 128


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_traceparent_comes_back_as_it_was_written(trace_id: int, span_id: int, sampled: bool) -> None:
    header = f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"
    span = caller_span({"traceparent": header})
    assert span is not None
    assert traceparent(span) == header


async def test_the_session_is_the_requests_or_that_of_the_baggage(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    rig.context = CallContext({"baggage": "user.id=secret-user, session.id=chat%201;prop=x"})
    await rig.generate(ask())
    assert attributes(keeper.named("chat"))["gen_ai.conversation.id"] == "chat 1"
    assert not any("secret-user" in str(attributes(span)) for span in keeper.spans)
    keeper.spans.clear()
    await rig.generate(ask(requirements=Requirements(session_id="mine")))
    assert attributes(keeper.named("chat"))["gen_ai.conversation.id"] == "mine"
