"""Calls that the edge refuses are seen too: in the trace, the metrics and the log."""

import asyncio
from pathlib import Path

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.adapters.telemetry.collector import grpc_collector
from tests.e2e.process import serving

HELLO = [pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])]


async def code_of(router: RouterStub, request: pb.GenerateRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async for _ in router.Generate(request, timeout=10):  # type: ignore[attr-defined]  # the stub serves grpc.aio too
            pass
    return failure.value.code()


async def test_malformed_and_surplus_calls_leave_a_root_span_a_metric_and_a_line(tmp_path: Path) -> None:
    async with grpc_collector() as collector:
        config = tmp_path / "atlas.yaml"
        config.write_text(
            "providers: {sim: {kind: simulated, tokens_per_s: 20}}\n"
            "models: {m: {provider: sim, context_window: 9000, max_output_tokens: 99, reasoning_score: 5, "
            "speed_score: 5, price: {input: 1, output: 1}}}\n"
            "roles: {worker: {tiers: [[m]]}}\n"
            f"limits: {{max_streams: 1}}\ntelemetry: {{otlp_endpoint: 'http://{collector.address}'}}\n"
        )
        with serving(tmp_path, "--config", str(config)) as served:
            async with grpc.aio.insecure_channel(served.address) as channel:
                router = RouterStub(channel)
                assert await code_of(router, pb.GenerateRequest()) is grpc.StatusCode.INVALID_ARGUMENT
                first = router.Generate(pb.GenerateRequest(messages=HELLO), timeout=10)
                await first.read()
                assert await code_of(router, pb.GenerateRequest(messages=HELLO)) is grpc.StatusCode.RESOURCE_EXHAUSTED
                first.cancel()
            assert await asyncio.to_thread(served.stop) == 0
            log = served.log
    roots = {
        next(one.value.string_value for one in span.attributes if one.key == "atlas.failure.reason"): span.status.code
        for span in collector.spans
        if span.name == "atlas_api.v1.Router/Generate"
    }
    assert roots == {"INVALID_REQUEST": 0, "OVERLOADED": 0, "CANCELLED": 0}
    points = collector.metrics["rpc.server.call.duration"].histogram.data_points
    statuses = {one.value.string_value for point in points for one in point.attributes if "status" in one.key}
    assert statuses == {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "CANCELLED"}
    assert all(f'"reason":"{reason}"' in log for reason in roots)
