"""A collector on loopback: takes OTLP over gRPC and over HTTP, and keeps what came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What came, whatever the way; `address`: HOST:PORT."""

    def __init__(self) -> None:
        self.address = ""
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resource: dict[str, str] = {}
        self.raw = b""

    def take_spans(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        self.raw += request.SerializeToString()
        for resource in request.resource_spans:
            self.resource = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def take_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        self.raw += request.SerializeToString()
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.update({one.name: one for one in scope.metrics})


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the call
        self._collector.take_spans(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the call
        self._collector.take_metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def grpc_collector(*, metrics: bool = True, port: int = 0) -> AsyncIterator[Collector]:
    """Listen for OTLP over gRPC."""
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)  # type: ignore[no-untyped-call]  # generated
    if metrics:
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)  # type: ignore[no-untyped-call]  # generated
    collector.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


@asynccontextmanager
async def http_collector() -> AsyncIterator[Collector]:
    """Listen for OTLP over HTTP."""
    collector = Collector()

    async def traces(request: web.Request) -> web.Response:
        collector.take_spans(trace_service_pb2.ExportTraceServiceRequest.FromString(await _body(request)))
        return web.Response(content_type="application/x-protobuf")

    async def metrics(request: web.Request) -> web.Response:
        collector.take_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(await _body(request)))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", traces)
    app.router.add_post("/v1/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.address = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


async def _body(request: web.Request) -> bytes:
    assert request.content_type == "application/x-protobuf"
    return await request.read()
