"""A real scrape: names, values, and labels that neither callers nor errors can blow up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from atlas_sidecar.adapters.telemetry import metrics
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings
from atlas_sidecar.adapters.telemetry.metrics import Counter, Description, Histogram
from atlas_sidecar.core.errors import AtlasError
from atlas_sidecar.core.types import Requirements
from tests.adapters.telemetry.trees import traced_rig
from tests.runtime.rig import Rig, ask

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(address: str) -> Samples:
    """Return what Prometheus would take from /metrics, by name and labels."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = await answer.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def listening(tmp_path: Path, scripts: dict[str, list[object]]) -> AsyncIterator[tuple[Rig, str]]:
    settings = TelemetrySettings(metrics_listen="127.0.0.1:0")
    rig, _, telemetry = await traced_rig(tmp_path, scripts, settings=settings)
    telemetry.watch(rig.health.report, rig.budget.health)
    await telemetry.start()
    try:
        yield rig, telemetry.metrics_address
    finally:
        await telemetry.close()


async def test_a_scrape_tells_what_happened(tmp_path: Path) -> None:
    async with listening(tmp_path, {"a": [{"status": 429}], "b": []}) as (rig, address):
        await rig.generate(ask())
        told = await scrape(address)
    hop = (("gen_ai_operation_name", "chat"), ("gen_ai_provider_name", "simulated"), ("gen_ai_request_model", "b-name"))
    assert told["atlas_generate_duration_seconds_count", (("outcome", "recovered"), ("role", "worker"))] == 1
    assert told["atlas_hop_transitions_total", (("from", "a"), ("reason", "rate_limited"), ("to", "b"))] == 1
    assert told["atlas_attempts_total", (("error_type", "rate_limited"), ("model", "a"), ("provider", "a"))] == 1
    assert told["atlas_attempts_total", (("error_type", ""), ("model", "b"), ("provider", "b"))] == 1
    assert told["atlas_cost_nano_usd_total", (("model", "b"), ("provider", "b"))] == 22_000
    assert told["gen_ai_client_token_usage_sum", (*hop, ("gen_ai_token_type", "output"))] == 10
    assert told["gen_ai_client_operation_time_to_first_chunk_seconds_count", hop] == 1
    assert told["atlas_circuit_state", (("model", "a"), ("provider", "a"))] == 0
    assert told["atlas_budget_spent_today_nano_usd", (("node", "default"),)] == 22_000
    assert told["atlas_spend_log_healthy", ()] == 1
    assert told["process_resident_memory_bytes", ()] > 0


async def test_other_paths_and_methods_are_refused(tmp_path: Path) -> None:
    async with listening(tmp_path, {"a": []}) as (_, address), aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/") as answer:
            assert answer.status == 404
        async with session.post(f"http://{address}/metrics") as answer:
            assert answer.status == 405


async def test_a_callers_text_never_becomes_a_label(tmp_path: Path) -> None:
    async with listening(tmp_path, {"a": []}) as (rig, address):
        with pytest.raises(AtlasError):
            await rig.generate(ask(requirements=Requirements(agent_type="evil-role", only_models=("evil-model",))))
        await rig.generate(ask(requirements=Requirements(agent_type="evil-role", session_id="evil-session")))
        told = await scrape(address)
    assert not [key for key in told if "evil" in str(key)]
    assert told["atlas_generate_duration_seconds_count", (("outcome", "failed"), ("role", "_OTHER"))] == 1


async def test_an_address_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with listening(tmp_path / "one", {"a": []}) as (_, address):
        settings = TelemetrySettings(metrics_listen=address)
        _, _, other = await traced_rig(tmp_path / "two", {"a": []}, settings=settings)
        with pytest.raises(OSError, match="address"):
            await other.start()
        await other.close()


def test_beyond_the_cap_everything_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_SERIES", 3)
    counter = Counter(Description("c", "", "", ("one", "two")))
    histogram = Histogram(Description("h", "", "", ("one", "two")), (1.0,))
    for number in range(10):
        counter.add((str(number), "x"))
        histogram.record((str(number), "x"), 0.5)
    assert dict(counter.collect().readings)[("_OTHER", "_OTHER")] == 7
    series = {one.labels: one.counts for one in histogram.collect().series}
    assert series["_OTHER", "_OTHER"] == [7, 0]
    assert len(series) == 4


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=50))
def test_a_histogram_counts_every_value_once_in_its_bucket(values: list[tuple[float, int]]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histogram = Histogram(Description("h", "", "", ()), bounds)
    for value, times in values:
        histogram.record((), value, times)
    expected = [0, 0, 0, 0]
    for value, times in values:
        expected[sum(value > bound for bound in bounds)] += times
    series = histogram.collect().series
    assert [one.counts for one in series] == ([expected] if values else [])
    assert sum(one.total for one in series) == pytest.approx(sum(value * times for value, times in values))
