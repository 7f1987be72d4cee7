"""Turns what is known of providers, models and the budget into the answer of the Health call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.leases import BudgetReport
from atlas_sidecar.runtime.reports import ModelReport, ProviderReport, Serving
from atlas_sidecar.server.replies import duration, model_ref, money, timestamp


class SidecarReport(NamedTuple):
    """Everything that Health says. `uptime_s` in seconds; `worker` from 1, 0 = there is one process only."""

    serving: Serving
    providers: Sequence[ProviderReport]
    models: Sequence[ModelReport]
    budget: BudgetReport
    version: str
    config_version: str
    uptime_s: float
    in_flight: int
    config_problem: str = ""
    worker: int = 0


def health_to(report: SidecarReport) -> pb.HealthResponse:
    """Return the Health answer."""
    return pb.HealthResponse(
        status=report.serving.value,  # type: ignore[arg-type]  # the numbers are the wire's
        providers=[_provider(provider) for provider in report.providers],
        models=[_model(model) for model in report.models],
        budget=_budget(report.budget),
        version=report.version,
        config_version=report.config_version,
        uptime=duration(report.uptime_s),
        in_flight=report.in_flight,
        config_problem=report.config_problem,
        worker=report.worker,
    )


def _provider(report: ProviderReport) -> pb.ProviderHealth:
    return pb.ProviderHealth(
        provider=report.provider,
        status=report.status.value,  # type: ignore[arg-type]  # the numbers are the wire's
        response_time=duration(report.response_time_s),
        requests_remaining=report.requests_remaining,
        tokens_remaining=report.tokens_remaining,
        limited_until=timestamp(report.limited_until_unix_s),
        last_checked=timestamp(report.last_checked_unix_s),
        last_error=report.last_error,
        error_rate=report.error_rate,
    )


def _model(report: ModelReport) -> pb.ModelHealth:
    return pb.ModelHealth(
        model=model_ref(report.ref),
        circuit=report.circuit.value,  # type: ignore[arg-type]  # the numbers are the wire's
        open_until=timestamp(report.open_until_unix_s),
        success_rate=report.success_rate,
        reliability=report.reliability,
        time_to_first_token_p50=duration(report.time_to_first_token_p50_s),
        time_to_first_token_p95=duration(report.time_to_first_token_p95_s),
        latency_p95=duration(report.latency_p95_s),
        output_tokens_per_second=report.output_tokens_per_s or 0.0,
        in_flight=report.in_flight,
    )


def _budget(report: BudgetReport) -> pb.BudgetHealth:
    state = report.state
    return pb.BudgetHealth(
        service_configured=report.service_configured,
        service_reachable=report.service_reachable,
        remaining=money(state.remaining_nano_usd),
        daily_limit=money(state.limit_nano_usd),
        spent_today=money(report.spent_today_nano_usd),
        unreported_facts=report.unreported_facts,
        last_sync=timestamp(report.last_sync_unix_s),
        cost_optimization=report.cost_optimization,
        headroom=money(state.headroom_nano_usd),
        budget=report.node,
        period_ends=timestamp(report.period_ends_unix_s),
        spend=[
            pb.ModelSpend(
                provider=provider,
                model=model,
                attempts=total.attempts,
                cost=money(total.cost_nano_usd),
                estimated_cost=money(total.estimated_nano_usd),
                unpriced_attempts=total.unknown,
                input_tokens=total.input_tokens,
                output_tokens=total.output_tokens,
            )
            for (provider, model), total in sorted(report.spend.items(), key=lambda entry: -entry[1].cost_nano_usd)
        ],
        problem=report.problem,
    )
