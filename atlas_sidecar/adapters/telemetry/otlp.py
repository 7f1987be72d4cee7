"""Sends spans and metrics by OTLP, out of the way of the calls, and bounded in everything.

Rules kept here:
- The SDK's batch processor and exporters do the work, in their thread. At most MAX_WAITING spans wait for it; what
  comes beyond is counted and dropped.
- An unreachable collector costs a counter and at most one log line a minute: the SDK's own
  lines are silenced (export.py).
- Closing flushes, and takes no longer than it is told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from atlas_sidecar.adapters.telemetry.endpoint import Endpoint
from atlas_sidecar.adapters.telemetry.meters import Meters
from atlas_sidecar.adapters.telemetry.metrics import Collected, Distributions
from atlas_sidecar.adapters.telemetry.otlp_wire import encode_spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

MAX_WAITING: Final = 4096  # spans
BATCH: Final = 512
MAX_MESSAGE_BYTES: Final = 3 * 1024 * 1024  # a collector takes 4 MiB, unless it is told otherwise
SPAN_BYTES: Final = 2048  # a span's ids, times, name, status and trace state, at most
ATTRIBUTE_BYTES: Final = 80  # an attribute's name and lengths, at most
SEND_EVERY_S: Final = 2.0
EXPORT_TIMEOUT_S: Final = 5
METRICS_EVERY_S: Final = 30.0
GIVE_UP_S: Final = 1.0  # of the time to close: for what is on its way to fail, and be counted
BACK_OFF: Final = (1, 2, 4)  # times METRICS_EVERY_S, by how many sends failed in a row
GIVE_UP_AFTER: Final = 3  # metrics that an endpoint refused in a row, while it took spans
LOG_EVERY_S: Final = 60.0

T = TypeVar("T")
_log: Final = logging.getLogger("atlas_sidecar.telemetry")


class Losses:
    """Counts what was not delivered, and says so at most once a minute."""

    def __init__(self, meters: Meters, host: str) -> None:
        self._meters = meters
        self._host = host
        self._unsaid: Counter[str] = Counter()
        self._say_at_s = 0.0

    def add(self, signal: str, count: int) -> None:
        """Count lost spans or metrics; called from the export thread or the event loop."""
        self._meters.lost(signal, count)
        self._unsaid[signal] += count
        now_s = time.monotonic()
        if now_s >= self._say_at_s:
            self._say_at_s = now_s + LOG_EVERY_S
            unsaid, self._unsaid = self._unsaid, Counter()
            told = " and ".join(f"{lost} {of}" for of, lost in sorted(unsaid.items()))
            _log.warning("telemetry: %s could not be delivered to %s", told, self._host)


class CountedExporter(SpanExporter):
    """Exports by another exporter, and counts what it lost; `done` spans are off our hands."""

    def __init__(self, exporter: SpanExporter, losses: Losses) -> None:
        self._exporter = exporter
        self._losses = losses
        self.done = 0
        self.delivered = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, in the processor's thread; in several messages where one would be too large to be taken."""
        delivered = 0
        try:
            for portion in portions(spans):
                if self._exporter.export(portion) is SpanExportResult.SUCCESS:
                    delivered += len(portion)
        finally:
            self.done += len(spans)
            self.delivered += delivered
            if lost := len(spans) - delivered:
                self._losses.add("spans", lost)
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Let go of the connection; a batch on its way is given up."""
        self._exporter.shutdown()


def portions(spans: Sequence[ReadableSpan]) -> Iterator[Sequence[ReadableSpan]]:
    """Yield the spans in runs that stay below MAX_MESSAGE_BYTES each, a larger one alone."""
    begun, size = 0, 0
    for number, span in enumerate(spans):
        more = _size(span)
        if size + more > MAX_MESSAGE_BYTES and number > begun:
            yield spans[begun:number]
            begun, size = number, 0
        size += more
    yield spans[begun:]


def _size(span: ReadableSpan) -> int:
    """Return what a span takes at most when it is encoded, bytes. Only texts vary much."""
    attributes = span.attributes or {}
    size = SPAN_BYTES + ATTRIBUTE_BYTES * len(attributes)
    for value in attributes.values():
        if type(value) is str:
            size += len(value) if value.isascii() else len(value.encode())
        elif isinstance(value, tuple | list):
            size += ATTRIBUTE_BYTES * len(value) + 4 * sum(map(len, value))
    return size


class BoundedProcessor(BatchSpanProcessor):
    """The SDK's batch processor with a bound that is counted: what does not fit is lost and reported."""

    def __init__(self, exporter: CountedExporter, losses: Losses) -> None:
        super().__init__(
            exporter,
            max_queue_size=MAX_WAITING,
            schedule_delay_millis=SEND_EVERY_S * 1000,
            max_export_batch_size=BATCH,
        )
        self._exporter = exporter
        self._losses = losses
        self._taken = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span in; called on the event loop only."""
        if self._taken - self._exporter.done >= MAX_WAITING:
            self._losses.add("spans", 1)
            return
        self._taken += 1
        super().on_end(span)

    async def close(self, timeout_s: float) -> None:
        """Send what waits and let go of what is left in the end, within this time."""
        to_give_up_s = min(GIVE_UP_S, timeout_s / 2)
        closed = aside(self.shutdown)
        done, _ = await asyncio.wait([closed], timeout=timeout_s - to_give_up_s)
        if not done:
            self._exporter.shutdown()  # from here on every batch fails at once, and is counted
            await asyncio.wait([closed], timeout=to_give_up_s)


def aside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run blocking work in a thread of its own: the loop's default executor would be waited for at exit, for ever."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def end(told: Callable[[], None]) -> None:
        if not future.done():
            told()

    def run() -> None:
        try:
            told = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - handed over to who waits
            told = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(end, told)

    threading.Thread(target=run, name="atlas-telemetry", daemon=True).start()
    return future


class MetricsSender:
    """Sends the metrics every METRICS_EVERY_S seconds, and once at the end.

    An endpoint that takes spans and no metrics is left alone; one that takes neither is down, and may come back.
    """

    def __init__(
        self, exporter: sdk.MetricExporter, meters: Meters, resource: Resource, losses: Losses, spans: CountedExporter
    ) -> None:
        self._exporter = exporter
        self._meters = meters
        self._resource = resource
        self._losses = losses
        self._spans = spans
        self._failed = 0
        self._refused = 0
        self._spans_before = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send, in the background."""
        self._task = asyncio.create_task(self._run(), name="telemetry-metrics")

    async def _run(self) -> None:
        while self._refused < GIVE_UP_AFTER:
            await asyncio.sleep(METRICS_EVERY_S * BACK_OFF[min(self._failed, len(BACK_OFF) - 1)])
            await self.send()
        _log.warning("telemetry: the OTLP endpoint takes no metrics; they are no longer sent there")

    async def send(self) -> bool:
        """Send the metrics of now; False when they could not be delivered."""
        data = metrics_data(self._meters.collect(), self._resource, self._meters.started_unix_s, time.time())
        result = await aside(partial(self._exporter.export, data, EXPORT_TIMEOUT_S * 1000))
        delivered = result is sdk.MetricExportResult.SUCCESS
        spans_before, self._spans_before = self._spans_before, self._spans.delivered
        if delivered:
            self._failed = self._refused = 0
            return True
        self._losses.add("metrics", 1)
        self._failed += 1
        self._refused += self._spans.delivered > spans_before
        return False

    async def close(self, timeout_s: float) -> None:
        """Send once more, for at most this long."""
        if self._task is not None:
            self._task.cancel()
        try:
            async with asyncio.timeout(timeout_s):
                await self.send()
        except TimeoutError:
            self._losses.add("metrics", 1)
        self._exporter.shutdown()


def metrics_data(
    collected: Sequence[Collected], resource: Resource, start_unix_s: float, now_unix_s: float
) -> sdk.MetricsData:
    """Return the metrics as the SDK's exporters take them; cumulative since the start."""
    start_ns, now_ns = int(start_unix_s * 1e9), int(now_unix_s * 1e9)
    metrics = []
    for one in collected:
        labels = one.description.labels
        data: sdk.Histogram | sdk.Sum | sdk.Gauge
        if isinstance(one, Distributions):
            data = sdk.Histogram(
                [
                    sdk.HistogramDataPoint(
                        attributes=_set(labels, series.labels),
                        start_time_unix_nano=start_ns,
                        time_unix_nano=now_ns,
                        count=sum(series.counts),
                        sum=series.total,
                        bucket_counts=series.counts,
                        explicit_bounds=one.bounds,
                        min=None,  # type: ignore[arg-type]  # not kept; the wire's fields are optional
                        max=None,  # type: ignore[arg-type]  # as above
                    )
                    for series in one.series
                ],
                sdk.AggregationTemporality.CUMULATIVE,
            )
        else:
            points = [
                sdk.NumberDataPoint(_set(labels, values), start_ns, now_ns, value) for values, value in one.readings
            ]
            data = (
                sdk.Sum(points, sdk.AggregationTemporality.CUMULATIVE, is_monotonic=True)
                if one.counts
                else sdk.Gauge(points)
            )
        if data.data_points:
            metrics.append(sdk.Metric(one.description.name, one.description.text, one.description.unit, data))
    scope = sdk.ScopeMetrics(InstrumentationScope("atlas_sidecar"), metrics, "")
    return sdk.MetricsData([sdk.ResourceMetrics(resource, [scope], "")])


def _set(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value}


class BytesExporter(OTLPSpanExporter):
    """The SDK's exporter over gRPC, with our encoding (otlp_wire.py) in place of its own."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return ExportTraceServiceRequest.FromString(encode_spans(data))


def span_exporter(endpoint: Endpoint) -> SpanExporter:
    """Return the SDK's exporter for spans; raises ImportError where OTLP over HTTP is not installed."""
    if endpoint.over_http:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http  # noqa: PLC0415

        return Http(endpoint=endpoint.traces_url, timeout=EXPORT_TIMEOUT_S)
    return BytesExporter(endpoint=endpoint.traces_url, timeout=EXPORT_TIMEOUT_S)


def metric_exporter(endpoint: Endpoint) -> sdk.MetricExporter:
    """Return the SDK's exporter for metrics; raises ImportError where OTLP over HTTP is not installed."""
    if endpoint.over_http:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http  # noqa: PLC0415

        return Http(endpoint=endpoint.metrics_url, timeout=EXPORT_TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc  # noqa: PLC0415

    return Grpc(endpoint=endpoint.metrics_url, timeout=EXPORT_TIMEOUT_S)
