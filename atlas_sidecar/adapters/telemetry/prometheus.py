"""The metrics for Prometheus, on `metrics_listen`: GET /metrics, rendered on the event loop when somebody asks.

Rules kept here:
- Names are OpenTelemetry's with its rules for Prometheus: dots become underscores, the unit is appended, a counter
  ends in `_total`.
- The listener answers GET and HEAD of /metrics and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from atlas_sidecar.adapters.telemetry.meters import Meters
from atlas_sidecar.adapters.telemetry.metrics import Collected, Description, Distributions

_UNITS: Final = {"s": "seconds", "nano_usd": "nano_usd"}  # units in braces are none for Prometheus


def prometheus_name(description: Description) -> str:
    """Return a metric's name without the endings that Prometheus adds by type."""
    name = description.name.replace(".", "_")
    unit = _UNITS.get(description.unit, "")
    return f"{name}_{unit}" if unit else name


class MetersCollector(Collector):
    """Hands the meters to prometheus_client."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def collect(self) -> Iterable[Metric]:
        """Yield every metric of now."""
        return [_family(one) for one in self._meters.collect()]


def _family(one: Collected) -> Metric:
    description = one.description
    name, labels = prometheus_name(description), [label.replace(".", "_") for label in description.labels]
    if isinstance(one, Distributions):
        histogram = HistogramMetricFamily(name, description.text, labels=labels)
        for series in one.series:
            histogram.add_metric(list(series.labels), _buckets(one.bounds, series.counts), series.total)
        return histogram
    family = CounterMetricFamily if one.counts else GaugeMetricFamily
    numbers = family(name, description.text, labels=labels)
    for values, value in one.readings:
        numbers.add_metric(list(values), value)
    return numbers


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    buckets, below = [], 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
    return buckets


def registry(meters: Meters) -> CollectorRegistry:
    """Return a registry with our metrics and the process's own (memory, CPU, open files)."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(MetersCollector(meters))
    ProcessCollector(registry=collectors)
    return collectors


class MetricsListener:
    """Serves /metrics. `listen`: HOST:PORT; `address` tells the port that was taken."""

    def __init__(self, listen: str, meters: Meters) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._registry = registry(meters)
        self._runner: web.AppRunner | None = None
        self.address = listen

    async def start(self) -> None:
        """Listen; raises OSError when the address cannot be taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})
