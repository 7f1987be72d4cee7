"""The metrics that TRACING promises, one by one: what a collector receives by OTLP, and what Prometheus scrapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as OtlpMetric
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.router_pb2 import Money, SelectRequest
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.serve import ServeSettings
from tests.adapters.telemetry.collector import grpc_collector
from tests.budget_service.running import client, service
from tests.e2e.in_process import asked, running


class Promised(NamedTuple):
    """A metric: OpenTelemetry's name, unit, kind and labels; Prometheus' name."""

    name: str
    unit: str
    kind: str
    labels: tuple[str, ...]
    exposed: str


HOP = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
RPC = ("rpc.system.name", "rpc.method", "rpc.response.status_code")
MONEY, MODEL, NODE = "nano_usd", ("provider", "model"), ("node",)
OPERATION, OF_OPERATION = "gen_ai.client.operation", "gen_ai_client_operation"
PROMISED = (
    Promised(f"{OPERATION}.duration", "s", "histogram", (*HOP, "error.type"), f"{OF_OPERATION}_duration_seconds"),
    Promised(f"{OPERATION}.time_to_first_chunk", "s", "histogram", HOP, f"{OF_OPERATION}_time_to_first_chunk_seconds"),
    Promised(
        f"{OPERATION}.time_per_output_chunk", "s", "histogram", HOP, f"{OF_OPERATION}_time_per_output_chunk_seconds"
    ),
    Promised(
        "gen_ai.client.token.usage", "{token}", "histogram", (*HOP, "gen_ai.token.type"), "gen_ai_client_token_usage"
    ),
    Promised("rpc.server.call.duration", "s", "histogram", RPC, "rpc_server_call_duration_seconds"),
    Promised("atlas.generate.duration", "s", "histogram", ("role", "outcome"), "atlas_generate_duration_seconds"),
    Promised(
        "atlas.generate.time_to_first_token", "s", "histogram", ("role",), "atlas_generate_time_to_first_token_seconds"
    ),
    Promised("atlas.hop.transitions", "{hop}", "sum", ("from", "to", "reason"), "atlas_hop_transitions"),
    Promised("atlas.hop.skips", "{model}", "sum", ("reason",), "atlas_hop_skips"),
    Promised("atlas.attempts", "{request}", "sum", (*MODEL, "error.type"), "atlas_attempts"),
    Promised("atlas.cost", MONEY, "sum", MODEL, "atlas_cost_nano_usd"),
    Promised("atlas.circuit.state", "", "gauge", MODEL, "atlas_circuit_state"),
    Promised("atlas.in_flight", "{request}", "gauge", ("provider",), "atlas_in_flight"),
    Promised("atlas.budget.limit", MONEY, "gauge", NODE, "atlas_budget_limit_nano_usd"),
    Promised("atlas.budget.remaining", MONEY, "gauge", NODE, "atlas_budget_remaining_nano_usd"),
    Promised("atlas.budget.headroom", MONEY, "gauge", NODE, "atlas_budget_headroom_nano_usd"),
    Promised("atlas.budget.spent_today", MONEY, "gauge", NODE, "atlas_budget_spent_today_nano_usd"),
    Promised("atlas.budget.service_reachable", "", "gauge", (), "atlas_budget_service_reachable"),
    Promised("atlas.budget.sync_age", "s", "gauge", (), "atlas_budget_sync_age_seconds"),
    Promised("atlas.spend_log.unreported_facts", "{fact}", "gauge", (), "atlas_spend_log_unreported_facts"),
    Promised("atlas.spend_log.healthy", "", "gauge", (), "atlas_spend_log_healthy"),
    Promised("atlas.telemetry.lost", "", "sum", ("signal",), "atlas_telemetry_lost"),
    Promised("atlas.build.info", "", "gauge", ("version",), "atlas_build_info"),
)
CONFIG = """
providers:
  pa: {{kind: simulated, output_tokens: 20, models: {{a: {{script: [{{status: 404}}]}}}}}}
  pb: {{kind: simulated, output_tokens: 20}}
models:
  a: {{provider: pa, context_window: 9000, max_output_tokens: 99, reasoning_score: 9, speed_score: 5,
       price: {{input: 1, output: 2}}}}
  b: {{provider: pb, context_window: 9000, max_output_tokens: 99, reasoning_score: 5, speed_score: 5,
       price: {{input: 1, output: 2}}}}
roles: {{worker: {{tiers: [[a], [b]]}}}}
budget: {{node: acme/search, service: "{service}", spend_log: "{log}"}}
metrics_listen: 127.0.0.1:0
telemetry: {{otlp_endpoint: "http://{collector}"}}
"""


async def families(address: str) -> dict[str, Family]:
    """Return what Prometheus would scrape, but for the process's own figures."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
        text = await answer.text()
    found = text_string_to_metric_families(text)
    return {one.name: one for one in found if not one.name.startswith(("process_", "python_"))}


@pytest.fixture
async def told(tmp_path: Path) -> tuple[Mapping[str, OtlpMetric], Mapping[str, Family]]:
    """Return what one sidecar told a collector and Prometheus, after a fallback, a skip and a Select."""
    rules = Rules(sync_ms=500)
    async with (
        grpc_collector() as collector,
        service(ServeSettings(f"sqlite:///{tmp_path}/ledger.db", rules=rules)) as address,
    ):
        async with client(address) as budget:
            node = pb.BudgetNode(budget="acme", daily_limit=Money(nano_usd=10**12))
            await budget.SetBudget(pb.SetBudgetRequest(node=node))
        config = CONFIG.format(service=address, log=tmp_path / "spend", collector=collector.address)
        async with running(config, tmp_path) as sidecar:
            for _ in range(2):  # a fails and its circuit opens; then it is skipped
                assert (await sidecar.generate(asked())).last.completed.model.id == "b"
            await sidecar.router.Select(SelectRequest())
            scraped = await families(sidecar.sidecar.telemetry.metrics_address)
        return collector.metrics, scraped


def points_of(metric: OtlpMetric, kind: str) -> list[Any]:
    return list(getattr(metric, kind).data_points)


async def test_every_promised_metric_arrives_by_both_ways_with_its_name_unit_and_labels(
    told: tuple[Mapping[str, OtlpMetric], Mapping[str, Family]],
) -> None:
    received, scraped = told
    assert sorted(received) == sorted(one.name for one in PROMISED)
    assert sorted(scraped) == sorted(one.exposed for one in PROMISED)
    for one in PROMISED:
        metric, family = received[one.name], scraped[one.exposed]
        points = points_of(metric, one.kind)
        assert (metric.unit, metric.WhichOneof("data")) == (one.unit, one.kind), one.name
        assert {label.key for point in points for label in point.attributes} == set(one.labels), one.name
        assert family.type == ("counter" if one.kind == "sum" else one.kind), one.exposed
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == {label.replace(".", "_") for label in one.labels}, one.exposed
        assert family.documentation == metric.description != "", one.exposed


async def test_both_ways_count_the_same(told: tuple[Mapping[str, OtlpMetric], Mapping[str, Family]]) -> None:
    received, scraped = told
    for one in PROMISED:
        if one.kind == "gauge":
            continue
        points, samples = points_of(received[one.name], one.kind), scraped[one.exposed].samples
        if one.kind == "sum":
            assert sum(point.as_int + point.as_double for point in points) == sum(sample.value for sample in samples)
            continue
        assert sum(point.count for point in points) == sum(s.value for s in samples if s.name.endswith("_count"))
        assert sum(point.sum for point in points) == pytest.approx(
            sum(s.value for s in samples if s.name.endswith("_sum"))
        )
    assert sum(point.count for point in points_of(received["atlas.generate.duration"], "histogram")) == 2
