"""The values that the router and the budget exchange: a hold, what it became, how it was settled, and how the budget
is.

Rules kept here:
- A Hold asks for the most that an attempt can cost; a Reservation says that it was put aside; a Settlement gives back
  the rest.
- Money is nano-USD; None is "unknown" for a cost and "no limit" for a limit, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.spend_records import Reservation, SpendTotal
from atlas_sidecar.core.types import BudgetState, ModelRef, Usage

__all__ = ["BudgetReport", "BudgetSettings", "Hold", "Reservation", "Settlement"]


class Hold(NamedTuple):
    """What one attempt may cost at most, before it is sent.

    `node`: resolved path. `amount_nano_usd` None = the model's price is unknown. `attempt_id`: unique, the ledger's
    key. `longest_s`: how long the attempt can take; the service keeps the lease's money at least that long.
    """

    node: str
    attempt_id: str
    amount_nano_usd: int | None
    model: ModelRef
    request_id: str = ""
    labels: Mapping[str, str] = {}
    longest_s: float = 600.0


class Settlement(NamedTuple):
    """How an attempt ended: `cost_nano_usd` None = unknown; `outcome` None = it answered; an attempt never sent costs
    0.
    """

    cost_nano_usd: int | None
    estimated: bool
    usage: Usage
    outcome: ErrorClass | None = None
    provider_request_id: str = ""


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """What the operator configured, and the pace of things (shorter in tests). Durations in seconds.

    `daily_limit_nano_usd`: alone, this sidecar's limit per day of `time_zone`; with a service, what it may spend
    unseen in a period while `partition_open` holds and no Sync has brought the node's own policy. None = no limit.
    """

    node: str = "default"
    daily_limit_nano_usd: int | None = None
    time_zone: str = "UTC"
    sidecar_id: str = ""
    partition_open: bool = False
    sync_interval_s: float = 30.0
    fact_age_s: float = 5.0
    idle_release_s: float = 15.0
    keep_applied_s: float = 900.0
    call_timeout_s: float = 2.0
    close_timeout_s: float = 3.0


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """How the budget stands, for the Health call. Money in nano-USD, None as in BudgetState; times are Unix seconds.

    `spend`: today's totals of this sidecar by (provider, model). `problem`: what keeps the books from being kept, ""
    = nothing.
    """

    node: str
    state: BudgetState
    spent_today_nano_usd: int
    cost_optimization: bool
    service_configured: bool = False
    service_reachable: bool = False
    unreported_facts: int = 0
    last_sync_unix_s: float | None = None
    period: str = ""
    period_ends_unix_s: float | None = None
    spend: Mapping[tuple[str, str], SpendTotal] = field(default_factory=dict)
    problem: str = ""


def is_scarce(remaining_nano_usd: int | None, limit_nano_usd: int | None) -> bool:
    """Return whether less than 20 % of the budget is left, so that cost decides (ROUTING.md)."""
    return limit_nano_usd is not None and remaining_nano_usd is not None and remaining_nano_usd * 5 < limit_nano_usd
