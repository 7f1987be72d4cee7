"""One hop at the port: token counts as the conventions want them, chunks weighed, waits as long as they lasted."""

from collections.abc import Sequence

import pytest

from atlas_sidecar.adapters.clock import VirtualClock
from atlas_sidecar.adapters.telemetry.export import Telemetry, TelemetrySettings, build_telemetry
from atlas_sidecar.adapters.telemetry.metrics import Distribution
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import Usage
from atlas_sidecar.ports import HopOutcome
from tests.adapters.telemetry.trees import Keeper, attributes
from tests.runtime.rig import ask, model


def traced(clock: VirtualClock) -> tuple[Keeper, Telemetry]:
    keeper = Keeper()
    return keeper, build_telemetry(TelemetrySettings(), clock, [keeper])


def series(telemetry: Telemetry, name: str) -> Sequence[Distribution]:
    (found,) = [one for one in telemetry.meters.collect() if one.description.name == name]
    return found.series  # type: ignore[union-attr]  # it is a histogram


async def test_cached_input_is_input_and_reasoning_is_output() -> None:
    keeper, telemetry = traced(VirtualClock())
    hop = telemetry.start_request("Generate", {}, ask()).start_hop(1, model("a", "a", 9.0), "primary", ("h", 443))
    hop.end(HopOutcome(None, "", Usage(10, 20, 5, 7, 3), 1_500_000_000, False))
    told = attributes(keeper.named("chat"))
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (35, 10)
    assert told["gen_ai.usage.cache_read.input_tokens"] == 20
    assert told["gen_ai.usage.cache_creation.input_tokens"] == 5
    assert told["gen_ai.usage.reasoning.output_tokens"] == 3
    assert told["llm.cost.total"] == 1.5
    assert (told["server.address"], told["server.port"]) == ("h", 443)
    totals = {one.labels[-1]: one.total for one in series(telemetry, "gen_ai.client.token.usage")}
    assert totals == {"input": 35, "output": 10}


async def test_what_was_not_reported_is_not_told() -> None:
    keeper, telemetry = traced(VirtualClock())
    hop = telemetry.start_request("Generate", {}, ask()).start_hop(1, model("a", "a", 9.0), "primary", ("h", 443))
    hop.end(HopOutcome(ErrorClass.TIMEOUT, "no first token within 30 s", Usage(), None, False))
    assert not [key for key in attributes(keeper.named("chat")) if "usage" in key or "cost" in key]


async def test_the_time_per_chunk_is_the_mean_of_the_gaps_counted_once_a_gap() -> None:
    clock = VirtualClock()
    _, telemetry = traced(clock)
    hop = telemetry.start_request("Generate", {}, ask()).start_hop(1, model("a", "a", 9.0), "primary", ("h", 443))
    await clock.advance(1.0)
    hop.first_content(1.0)
    await clock.advance(2.0)
    hop.end(HopOutcome(None, "", Usage(1, None, None, 5), 1, False, chunks=5))
    (gaps,) = series(telemetry, "gen_ai.client.operation.time_per_output_chunk")
    assert sum(gaps.counts) == 4
    assert gaps.total == pytest.approx(2.0)
    (first,) = series(telemetry, "gen_ai.client.operation.time_to_first_chunk")
    assert first.total == pytest.approx(1.0)
    (whole,) = series(telemetry, "gen_ai.client.operation.duration")
    assert whole.total == pytest.approx(3.0)


@pytest.mark.parametrize(("seconds", "name"), [(0.5, "backoff 0.5s"), (2.0, "backoff 2s"), (0.014, "backoff 0.01s")])
async def test_a_wait_is_a_span_as_long_as_it_lasted(seconds: float, name: str) -> None:
    clock = VirtualClock()
    keeper, telemetry = traced(clock)
    hop = telemetry.start_request("Generate", {}, ask()).start_hop(1, model("a", "a", 9.0), "primary", ("h", 443))
    await clock.advance(seconds)
    hop.waited(0.0, seconds, "backoff")
    span = keeper.named("backoff")
    assert span.name == name
    assert (span.end_time or 0) - (span.start_time or 0) == pytest.approx(seconds * 1e9, abs=1000)
    assert span.end_time == pytest.approx(clock.unix_s() * 1e9, abs=1000)
