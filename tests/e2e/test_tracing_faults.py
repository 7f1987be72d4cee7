"""What no router sees is seen all the same: faults of ours before a call begins, and calls that ask for health."""

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
