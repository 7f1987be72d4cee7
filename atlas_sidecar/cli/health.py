"""`atlas-sidecar health`: what a sidecar knows of its providers, models, budget and itself."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.cli.client import DEFAULT_TARGET, FAILED, as_json, channel_to, target_of, tell_failure
from atlas_sidecar.cli.text import Style, safe, say, seconds, table, usd

_TIMEOUT_S: Final = 10.0
_COLOUR: Final = {
    "serving": "green", "healthy": "green", "closed": "green", "degraded": "yellow", "rate_limited": "yellow",
    "half_open": "yellow", "no_credentials": "yellow", "not_serving": "red", "unhealthy": "red", "open": "red",
}  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Ask and print; 0 when it serves, also when degraded."""
    target = target_of(arguments, "ATLAS_TARGET", DEFAULT_TARGET)
    try:
        with channel_to(target, arguments) as channel:
            health = RouterStub(channel).Health(pb.HealthRequest(), timeout=arguments.timeout or _TIMEOUT_S)
    except grpc.RpcError as error:
        return tell_failure(error, target, as_json=arguments.json, start_with="atlas-sidecar serve")
    say(*([as_json(health)] if arguments.json else health_lines(health, Style(sys.stdout))))
    return FAILED if health.status == pb.HealthResponse.STATUS_NOT_SERVING else 0


def health_lines(health: pb.HealthResponse, style: Style) -> list[str]:
    """Return the report as lines for people."""
    up = seconds(health.uptime.ToTimedelta().total_seconds())
    status = pb.HealthResponse.Status.Name(health.status).removeprefix("STATUS_").lower()
    meaning = {"degraded": ": some role has lost its primary tier", "not_serving": ": no model can serve some role"}
    about = f"version {health.version}, configuration {health.config_version}, up {up}, {health.in_flight} in flight"
    lines = [style(status, "bold", _COLOUR.get(status, "dim")) + meaning.get(status, ""), style(about, "dim"), ""]
    if health.config_problem:
        lines[2:2] = [style(f"the changed configuration is refused: {safe(health.config_problem)}", "red")]
    head = _dim(style, "provider", "status", "answers in", "errors", "requests left", "last error")
    lines += table(head, [_provider(provider, style) for provider in health.providers], frozenset({2, 3, 4}))
    head = _dim(style, "model", "provider", "circuit", "success", "reliability", "first token", "tokens/s", "busy")
    lines += ["", *table(head, [_model(model, style) for model in health.models], frozenset({3, 4, 5, 6, 7}))]
    return [*lines, "", *_budget(health.budget, style)]


def _dim(style: Style, *cells: str) -> list[str]:
    return [style(cell, "dim") for cell in cells]


def _coloured(name: str, prefix: str, style: Style) -> str:
    plain = name.removeprefix(prefix).lower()
    return style(plain, _COLOUR[plain]) if plain in _COLOUR else plain


def _provider(provider: pb.ProviderHealth, style: Style) -> list[str]:
    status = _coloured(pb.ProviderHealth.Status.Name(provider.status), "STATUS_", style)
    if provider.HasField("limited_until"):
        status += f" until {_clock(provider.limited_until)}"
    answers = (
        seconds(provider.response_time.ToTimedelta().total_seconds()) if provider.HasField("response_time") else "-"
    )
    left = f"{provider.requests_remaining:,}" if provider.HasField("requests_remaining") else "-"
    return [provider.provider, status, answers, f"{provider.error_rate:.0%}", left, safe(provider.last_error, 60)]


def _model(model: pb.ModelHealth, style: Style) -> list[str]:
    circuit = _coloured(pb.ModelHealth.Circuit.Name(model.circuit), "CIRCUIT_", style)
    if model.HasField("open_until"):
        circuit += f" until {_clock(model.open_until)}"
    first = model.time_to_first_token_p50
    first_token = seconds(first.ToTimedelta().total_seconds()) if model.HasField("time_to_first_token_p50") else "-"
    pace = f"{model.output_tokens_per_second:.0f}" if model.output_tokens_per_second else "-"
    cells = [model.model.id, model.model.provider, circuit, f"{model.success_rate:.0%}", f"{model.reliability:.1f}"]
    return [*cells, first_token, pace, str(model.in_flight)]


def _clock(moment: Timestamp) -> str:
    return moment.ToDatetime().strftime("%H:%M:%S UTC")


def _budget(budget: pb.BudgetHealth, style: Style) -> list[str]:
    spent = usd(budget.spent_today.nano_usd)
    if budget.HasField("daily_limit"):
        left = usd(budget.remaining.nano_usd) if budget.HasField("remaining") else "unknown"
        lines = [f"budget: {spent} of {usd(budget.daily_limit.nano_usd)} spent today, {left} left"]
    else:
        lines = [f"budget: {spent} spent today, no limit"]
    if budget.cost_optimization:
        lines.append(style("less than a fifth of the budget is left: price counts most", "yellow"))
    if budget.service_configured:
        reach = style("reachable", "green") if budget.service_reachable else style("out of reach", "red")
        lines.append(f"budget service: {reach}; {budget.unreported_facts} facts not yet reported")
    else:
        lines.append(style("no budget service: this sidecar keeps the books alone", "dim"))
    if budget.problem:
        lines.append(style(f"problem: {safe(budget.problem, 200)}", "red"))
    return [*lines, *_spend(budget, style)]


def _spend(budget: pb.BudgetHealth, style: Style) -> list[str]:
    if not budget.spend:
        return []
    rows = [
        [
            one.model,
            one.provider,
            f"{one.attempts:,}",
            f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            usd(one.cost.nano_usd) + (f" and {one.unpriced_attempts:,} unpriced" if one.unpriced_attempts else ""),
            usd(one.estimated_cost.nano_usd),
        ]
        for one in budget.spend
    ]
    head = _dim(style, "spent on", "provider", "attempts", "tokens in", "out", "cost", "of it estimated")
    return ["", *table(head, rows, frozenset({2, 3, 4, 5, 6}))]
