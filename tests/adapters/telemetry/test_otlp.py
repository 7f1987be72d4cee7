"""Spans and metrics arrive at a real collector on loopback; one that is not there costs a counter and little time."""

import asyncio
import logging
import socket
import time
from pathlib import Path

import pytest

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.telemetry import otlp
from atlas_sidecar.adapters.telemetry.endpoint import parse_endpoint
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings, build_telemetry
from atlas_sidecar.adapters.telemetry.meters import Meters
from atlas_sidecar.core.types import Message, ModelRef, Part, Role, Text, Usage
from atlas_sidecar.ports import HopOutcome
from tests.adapters.telemetry.collector import Collector, grpc_collector, http_collector
from tests.adapters.telemetry.trees import traced_rig
from tests.runtime.rig import ask, model

SLACK_S = 0.5  # of a busy machine


async def one_call(tmp_path: Path, settings: TelemetrySettings) -> None:
    rig, _, telemetry = await traced_rig(tmp_path, {"a": [{"status": 429}], "b": []}, settings=settings)
    telemetry.watch(rig.health.report, rig.budget.health)
    await telemetry.start()
    await rig.generate(ask())
    await telemetry.close()


def check(collector: Collector) -> None:
    names = {span.name for span in collector.spans}
    assert names == {
        *("atlas_api.v1.Router/Generate", "atlas.select", "chat a-name", "attempt 1: 429", "chat b-name"),
        "attempt 1: 200",
    }
    (failed,) = [span for span in collector.spans if span.name == "chat a-name"]
    assert (failed.status.code, failed.status.message) == (2, "the simulated provider answered 429")
    assert collector.resource["service.name"] == "atlas-sidecar"
    assert collector.resource["service.instance.id"] == "pod-1"
    duration = collector.metrics["atlas.generate.duration"]
    (point,) = duration.histogram.data_points
    assert (duration.unit, point.count, sum(point.bucket_counts)) == ("s", 1, 1)
    assert {one.key: one.value.string_value for one in point.attributes} == {"role": "worker", "outcome": "recovered"}
    attempts = {
        tuple(sorted((one.key, one.value.string_value) for one in point.attributes)): point.as_double or point.as_int
        for point in collector.metrics["atlas.attempts"].sum.data_points
    }
    assert attempts[("model", "b"), ("provider", "b")] == 1
    assert attempts[("error.type", "rate_limited"), ("model", "a"), ("provider", "a")] == 1
    assert len(collector.metrics["atlas.circuit.state"].gauge.data_points) == 4


async def test_spans_and_metrics_go_by_grpc(tmp_path: Path) -> None:
    async with grpc_collector() as collector:
        await one_call(tmp_path, TelemetrySettings(f"http://{collector.address}", instance_id="pod-1"))
        check(collector)


async def test_spans_and_metrics_go_by_http_where_the_endpoint_has_a_path(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otlp-http is not installed")
    async with http_collector() as collector:
        await one_call(tmp_path, TelemetrySettings(f"http://{collector.address}/v1/traces", instance_id="pod-1"))
        check(collector)


async def test_a_collector_that_is_not_there_costs_a_counter_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listening
        settings = TelemetrySettings(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        rig, _, telemetry = await traced_rig(tmp_path, {"a": []}, settings=settings)
        await telemetry.start()
        started_s = time.monotonic()
        for _ in range(5):
            await rig.generate(ask())
        assert time.monotonic() - started_s < 1
        await telemetry.close(timeout_s=0.5)
    assert time.monotonic() - started_s < 3
    lost = next(one for one in telemetry.meters.collect() if one.description.name == "atlas.telemetry.lost")
    counts = {values[0]: count for values, count in lost.readings}  # type: ignore[union-attr]  # it is a counter
    assert counts["spans"] == 20
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in lines] == ["atlas_sidecar.telemetry"]


async def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_WAITING", 512)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connects and never answers
        telemetry = build_telemetry(TelemetrySettings(f"http://127.0.0.1:{silent.getsockname()[1]}"), SystemClock())
        for _ in range(600):
            call = telemetry.start_request("Generate", {}, ask())._call
            assert call.spans is not None
            assert call.root is not None
            call.spans.end(call.root, call.now_ns())
        counts = telemetry.meters._lost
        assert counts["spans"] == 88
        started_s = time.monotonic()
        await telemetry.close(timeout_s=0.3)
        assert time.monotonic() - started_s < 2
    assert counts["spans"] == 600


@pytest.mark.parametrize("text", ["x" * 9000, "漢" * 9000])
async def test_a_full_batch_with_content_arrives_whole_at_a_collector_that_takes_4_mib(text: str) -> None:
    question = ask(messages=tuple(Message(Role.USER, (Part(Text(text)),)) for _ in range(60)))
    async with grpc_collector() as collector:
        settings = TelemetrySettings(f"http://{collector.address}", capture_content=True)
        telemetry = build_telemetry(settings, SystemClock())
        for _ in range(otlp.BATCH // 2):
            call = telemetry.start_request("Generate", {}, question)
            hop = call.start_hop(1, model("a", "a", 9.0), "primary", ("h", 1))
            hop.end(HopOutcome(None, "", Usage(1, None, None, 5), 1, False))
        await telemetry.close(timeout_s=20)
        assert len(collector.spans) == otlp.BATCH // 2
        assert telemetry.meters._lost["spans"] == 0


@pytest.mark.parametrize("path", ["", "/v1/traces"])
def test_an_end_takes_no_longer_than_it_may_where_the_collector_is_silent(path: str) -> None:
    if path:
        pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otlp-http is not installed")

    async def one_call(url: str) -> None:
        telemetry = build_telemetry(TelemetrySettings(url), SystemClock())
        await telemetry.start()
        telemetry.start_request("Generate", {}, ask()).repeat_refused(ModelRef("a", "a", "a"))
        began_s = time.monotonic()
        await telemetry.close(timeout_s=0.6)
        assert time.monotonic() - began_s < 0.6 + SLACK_S

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connects and never answers
        began_s = time.monotonic()
        asyncio.run(one_call(f"http://127.0.0.1:{silent.getsockname()[1]}{path}"))
        assert time.monotonic() - began_s < 1 + SLACK_S  # nothing is waited for behind it either


def test_what_was_lost_is_said_by_signal(caplog: pytest.LogCaptureFixture) -> None:
    losses = otlp.Losses(Meters(), "collector:4317")
    losses.add("spans", 5)
    losses.add("spans", 500)
    losses.add("metrics", 1)
    losses._say_at_s = 0.0
    losses.add("metrics", 1)
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: 5 spans could not be delivered to collector:4317",
        "telemetry: 2 metrics and 500 spans could not be delivered to collector:4317",
    ]


async def test_an_endpoint_that_takes_no_metrics_is_left_alone_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otlp, "METRICS_EVERY_S", 0.01)
    monkeypatch.setattr(otlp, "SEND_EVERY_S", 0.01)
    async with grpc_collector(metrics=False) as collector:
        settings = TelemetrySettings(f"http://{collector.address}")
        rig, _, telemetry = await traced_rig(tmp_path, {"a": []}, settings=settings)
        await telemetry.start()
        calls = 0
        async with asyncio.timeout(10):
            while "takes no metrics" not in caplog.text:
                await rig.generate(ask())
                calls += 1
                await asyncio.sleep(0.01)
        await telemetry.close()
        assert len(collector.spans) == 4 * calls


async def test_metrics_arrive_again_when_the_collector_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "METRICS_EVERY_S", 0.01)
    monkeypatch.setattr(otlp, "EXPORT_TIMEOUT_S", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listening
        port = nobody.getsockname()[1]
        telemetry = build_telemetry(TelemetrySettings(f"http://127.0.0.1:{port}"), SystemClock())
        await telemetry.start()
        async with asyncio.timeout(10):
            while telemetry.meters._lost["metrics"] <= otlp.GIVE_UP_AFTER:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)
    async with grpc_collector(port=port) as collector:
        async with asyncio.timeout(20):
            while not collector.metrics:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await telemetry.close()


async def test_the_end_is_told_also_to_a_collector_that_was_away_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setattr(otlp, "EXPORT_TIMEOUT_S", 0.5)
        telemetry = build_telemetry(TelemetrySettings(f"http://127.0.0.1:{port}"), SystemClock())
        sender = telemetry._exporters.metrics
        assert sender is not None
        assert await sender.send() is False
        monkeypatch.undo()
    async with grpc_collector(port=port) as collector:
        await asyncio.sleep(1.5)  # the channel's own wait before it connects anew
        await telemetry.close()
        assert collector.metrics


@pytest.mark.parametrize(
    ("text", "over_http", "traces", "metrics"),
    [
        ("http://localhost:4317", False, "http://localhost:4317", "http://localhost:4317"),
        ("collector:4317", False, "http://collector:4317", "http://collector:4317"),
        ("https://otel.example.com/", False, "https://otel.example.com", "https://otel.example.com"),
        ("http://h:6006/v1/traces", True, "http://h:6006/v1/traces", "http://h:6006/v1/metrics"),
        ("https://h/otlp/v1/traces/", True, "https://h/otlp/v1/traces", "https://h/otlp/v1/metrics"),
    ],
)
def test_an_endpoint_says_protocol_and_place(text: str, over_http: bool, traces: str, metrics: str) -> None:
    assert parse_endpoint(text)[:3] == (over_http, traces, metrics)


@pytest.mark.parametrize(
    "text", ["ftp://h:1", "http://", "http://user:key@h:4317", "http://h/v1/traces?key=1", "http://h:4318/other"]
)
def test_an_endpoint_that_makes_no_sense_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"OTLP|otlp_endpoint"):
        parse_endpoint(text)


async def test_closing_twice_is_closing_once() -> None:
    telemetry = build_telemetry(TelemetrySettings(), SystemClock())
    await telemetry.close()
    await telemetry.close()
