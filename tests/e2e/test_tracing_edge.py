"""Telemetry at the edge: faults before a call begins, calls that ask for health, what the metadata says."""

from pathlib import Path

import grpc
import pytest
from opentelemetry.trace import StatusCode

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.server import router_service
from tests.adapters.telemetry.test_prometheus import scrape
from tests.adapters.telemetry.trees import Keeper, attributes
from tests.e2e.in_process import Running, asked, running

CONFIG = """
providers: {sim: {kind: simulated}}
models: {m: {provider: sim, context_window: 9000, max_output_tokens: 99, reasoning_score: 5, speed_score: 5,
             price: {input: 1, output: 1}}}
roles: {worker: {tiers: [[m]]}}
metrics_listen: 127.0.0.1:0
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLS = "rpc_server_call_duration_seconds_count"


def broken(*_: object) -> None:
    raise RuntimeError("a bug")


async def statuses(sidecar: Running) -> dict[tuple[str, str], float]:
    """Return how many calls ended how, by method and status."""
    told = await scrape(sidecar.sidecar.telemetry.metrics_address)
    every = ((dict(labels), value) for (name, labels), value in told.items() if name == CALLS)
    return {
        (labels["rpc_method"].removeprefix("atlas_api.v1.Router/"), labels["rpc_response_status_code"]): value
        for labels, value in every
    }


@pytest.mark.parametrize("where", ["the edge", "the router"])
async def test_a_fault_before_a_call_begins_ends_its_trace_as_internal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    keeper = Keeper()
    async with running(CONFIG, tmp_path, processors=[keeper]) as sidecar:
        if where == "the edge":
            monkeypatch.setattr(router_service, "generate_from", broken)
            monkeypatch.setattr(router_service, "select_from", broken)
        else:
            monkeypatch.setattr(sidecar.sidecar.health, "states", broken)
        heard = await sidecar.generate(asked())
        assert (heard.code, heard.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        with pytest.raises(grpc.aio.AioRpcError, match="INTERNAL"):
            await sidecar.router.Select(pb.SelectRequest())
        monkeypatch.undo()
        assert await statuses(sidecar) == {("Generate", "INTERNAL"): 1, ("Select", "INTERNAL"): 1}
    roots = [span for span in keeper.spans if span.parent is None]
    assert [span.name for span in roots] == ["atlas_api.v1.Router/Generate", "atlas_api.v1.Router/Select"]
    for span in roots:
        assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "INTERNAL")
        assert "a bug" not in str(span.status.description)


async def test_asking_for_health_is_counted_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    async with running(CONFIG, tmp_path, processors=[keeper]) as sidecar:
        await sidecar.router.Health(pb.HealthRequest())
        monkeypatch.setattr(router_service, "health_to", broken)
        with pytest.raises(grpc.aio.AioRpcError, match="INTERNAL"):
            await sidecar.router.Health(pb.HealthRequest())
        assert await statuses(sidecar) == {("Health", "OK"): 1, ("Health", "INTERNAL"): 1}
    assert keeper.spans == []


async def test_repeated_entries_of_a_callers_metadata_are_one_list(tmp_path: Path) -> None:
    keeper, header = Keeper(), f"00-{TRACE}-00f067aa0ba902b7-01"
    states = (("tracestate", "a=1"), ("tracestate", "b=2"))
    baggage = (("baggage", "user.id=me"), ("baggage", "session.id=chat-1"))
    async with running(CONFIG, tmp_path, processors=[keeper]) as sidecar:
        async for _ in sidecar.router.Generate(asked(), metadata=(("traceparent", header), *states, *baggage)):
            pass
    root = keeper.named("atlas_api")
    assert root.context is not None
    assert f"{root.context.trace_id:032x}" == TRACE
    assert root.context.trace_state.to_header() == "a=1,b=2"
    assert attributes(root)["gen_ai.conversation.id"] == "chat-1"
