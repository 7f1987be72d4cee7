"""The metrics of the sidecar, and what each event adds to them.

Rules kept here:
- Labels come from the configuration (roles, models, providers, budget nodes) or from fixed enums; never an id, an
  error's text or what a caller wrote.
- Bucket bounds are those that the GenAI and RPC conventions advise.
- The gauges of health and budget are asked when somebody looks, through the callables given to `watch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.adapters.telemetry.metrics import (
    Collected,
    Counter,
    Description,
    Gauge,
    Histogram,
    Reading,
)
from atlas_sidecar.core.leases import BudgetReport
from atlas_sidecar.core.types import Attempt, Circuit, Model, ModelRef
from atlas_sidecar.ports import HopOutcome, RequestOutcome

OPERATION_BOUNDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_CHUNK_BOUNDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0
)  # fmt: skip
OUTPUT_CHUNK_BOUNDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_BOUNDS: Final = tuple(float(4**n) for n in range(14))
RPC_BOUNDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0
)  # fmt: skip
_CIRCUITS: Final = {Circuit.CLOSED: 0.0, Circuit.HALF_OPEN: 1.0, Circuit.OPEN: 2.0}


class ProviderHealth(Protocol):
    """What a provider's report must say (runtime/reports.py has it)."""

    @property
    def provider(self) -> str: ...  # noqa: D102 - a field
    @property
    def circuit(self) -> Circuit: ...  # noqa: D102 - a field
    @property
    def in_flight(self) -> int: ...  # noqa: D102 - a field
    @property
    def has_credentials(self) -> bool: ...  # noqa: D102 - a field


class ModelHealth(Protocol):
    """What a model's report must say."""

    @property
    def ref(self) -> ModelRef: ...  # noqa: D102 - a field
    @property
    def circuit(self) -> Circuit: ...  # noqa: D102 - a field


HealthSource = Callable[[], tuple[Sequence[ProviderHealth], Sequence[ModelHealth]]]
BudgetSource = Callable[[], BudgetReport]


class Meters:
    """Every metric there is; `collect()` returns them for an exporter. Use it from the event loop's thread only."""

    def __init__(self, version: str = "", unix_s: Callable[[], float] = time.time) -> None:
        self._unix_s = unix_s
        self.started_unix_s = unix_s()
        self._health: HealthSource | None = None
        self._budget: BudgetSource | None = None
        self._lost: dict[str, int] = {"spans": 0, "metrics": 0}
        hop = (s.OPERATION, s.PROVIDER, s.REQUEST_MODEL)
        self._operation = _histogram(
            s.M_OPERATION, "s", "How long a model was asked, retries included.", (*hop, s.ERROR_TYPE), OPERATION_BOUNDS
        )
        self._first_chunk = _histogram(
            s.M_FIRST_CHUNK, "s", "From asking a model to its first content.", hop, FIRST_CHUNK_BOUNDS
        )
        self._output_chunk = _histogram(
            s.M_OUTPUT_CHUNK, "s", "Mean time between an answer's chunks, once a chunk.", hop, OUTPUT_CHUNK_BOUNDS
        )
        self._tokens = _histogram(
            s.M_TOKENS, "{token}", "Tokens of one hop, all of its attempts.", (*hop, s.TOKEN_TYPE), TOKEN_BOUNDS
        )
        rpc = (s.RPC_SYSTEM, s.RPC_METHOD, s.RPC_STATUS)
        self._rpc = _histogram(s.M_RPC, "s", "How long the sidecar's calls took.", rpc, RPC_BOUNDS)
        self._generate = _histogram(
            s.M_GENERATE, "s", "How long Generate took, all hops included.", ("role", "outcome"), RPC_BOUNDS
        )
        self._first_token = _histogram(
            s.M_FIRST_TOKEN, "s", "From a Generate's arrival to its first content.", ("role",), FIRST_CHUNK_BOUNDS
        )
        self._transitions = _counter(
            s.M_TRANSITIONS, "{hop}", "Moves from a model to the next, by why.", ("from", "to", "reason")
        )
        self._skips = _counter(s.M_SKIPS, "{model}", "Models passed over without being asked.", ("reason",))
        self._attempts = _counter(
            s.M_ATTEMPTS, "{request}", "Requests sent to providers.", ("provider", "model", s.ERROR_TYPE)
        )
        self._cost = _counter(s.M_COST, "nano_usd", "What attempts cost, where it is known.", ("provider", "model"))
        self._instruments: list[Histogram | Counter | Gauge] = [
            *(self._operation, self._first_chunk, self._output_chunk, self._tokens, self._rpc, self._generate),
            *(self._first_token, self._transitions, self._skips, self._attempts, self._cost),
            *self._gauges(version),
        ]

    def watch(self, health: HealthSource, budget: BudgetSource) -> None:
        """Take the gauges from these from now on."""
        self._health, self._budget = health, budget

    def lost(self, signal: str, count: int) -> None:
        """Count telemetry that could not be delivered ("spans", "metrics"); may be called from any thread."""
        self._lost[signal] += count

    def collect(self) -> list[Collected]:
        """Return every metric's values of now."""
        return [instrument.collect() for instrument in self._instruments]

    # ------------------------------------------------------------------------------- events

    def attempt_ended(self, attempt: Attempt, label: str) -> None:
        """Count one request to a provider; `label`: the error class, "" = it answered."""
        ref = attempt.model
        self._attempts.add((ref.provider, ref.id, label))
        if attempt.cost_nano_usd:
            self._cost.add((ref.provider, ref.id), attempt.cost_nano_usd)

    def hop_ended(
        self, model: Model, label: str, elapsed_s: float, first_content_s: float | None, outcome: HopOutcome
    ) -> None:
        """Take in how one model did."""
        hop = (s.CHAT, s.PROVIDER_NAMES.get(model.provider_kind, model.provider_kind), model.ref.model)
        self._operation.record((*hop, label), elapsed_s)
        if first_content_s is not None:
            self._first_chunk.record(hop, first_content_s)
            if outcome.chunks > 1:
                gaps = outcome.chunks - 1
                self._output_chunk.record(hop, max(0.0, elapsed_s - first_content_s) / gaps, gaps)
        usage = outcome.usage
        if usage.input_tokens is not None:
            self._tokens.record((*hop, "input"), usage.total_input_tokens)
        if usage.output_tokens is not None:
            self._tokens.record((*hop, "output"), usage.total_output_tokens)

    def moved_on(self, earlier: str, later: str, reason: str) -> None:
        """Count a move from one model to the next."""
        self._transitions.add((earlier, later, reason))

    def skipped(self, reason: str) -> None:
        """Count a model that was passed over."""
        self._skips.add((reason,))

    def request_ended(self, method: str, role: str, elapsed_s: float, outcome: RequestOutcome) -> None:
        """Take in how a call went."""
        self.call_ended(method, elapsed_s, outcome.status_code)
        if method == "Generate":
            self._generate.record((role, outcome.outcome), elapsed_s)
            if outcome.time_to_first_token_s is not None:
                self._first_token.record((role,), outcome.time_to_first_token_s)

    def call_ended(self, method: str, elapsed_s: float, status_code: int) -> None:
        """Count a call of the sidecar's by its status, whatever it was for."""
        self._rpc.record(("grpc", f"{s.SERVICE}/{method}", s.GRPC_STATUS[status_code]), elapsed_s)

    # ------------------------------------------------------------------------------- gauges

    def _gauges(self, version: str) -> list[Gauge]:
        node = ("node",)
        money = "nano_usd"
        return [
            _gauge(
                s.M_CIRCUIT, "", "0 closed, 1 half open, 2 open; without a model: the provider's.",
                ("provider", "model"), self._circuits,
            ),
            _gauge(s.M_IN_FLIGHT, "{request}", "Requests at providers now.", ("provider",), self._in_flight),
            _gauge(s.M_BUDGET_LIMIT, money, "The budget of the period.", node, self._limit),
            _gauge(s.M_BUDGET_REMAINING, money, "What is left of it.", node, self._remaining),
            _gauge(s.M_BUDGET_HEADROOM, money, "What this sidecar may spend without asking.", node, self._headroom),
            _gauge(s.M_BUDGET_SPENT, money, "What this sidecar spent today.", node, self._spent),
            _gauge(
                s.M_BUDGET_REACHABLE, "", "Whether the budget service answers; absent without one.", (), self._reachable
            ),
            _gauge(s.M_BUDGET_SYNC_AGE, "s", "Since the budget service was last reached.", (), self._sync_age),
            _gauge(s.M_SPEND_LOG_FACTS, "{fact}", "Facts that the ledger has not confirmed.", (), self._facts),
            _gauge(s.M_SPEND_LOG_HEALTHY, "", "1 while the books can be kept, 0 when not.", (), self._books),
            Gauge(
                Description(s.M_LOST, "", "Telemetry that could not be delivered.", ("signal",)),
                lambda: [((signal,), count) for signal, count in self._lost.items()],
                counts=True,
            ),
            _gauge(s.M_INFO, "", "Always 1; its label names the version.", ("version",), lambda: [((version,), 1)]),
        ]  # fmt: skip

    def _circuits(self) -> Iterable[Reading]:
        providers, models = self._askable()
        yield from (((one.provider, ""), _CIRCUITS[one.circuit]) for one in providers)
        yield from (((one.ref.provider, one.ref.id), _CIRCUITS[one.circuit]) for one in models)

    def _in_flight(self) -> Iterable[Reading]:
        return [((one.provider,), one.in_flight) for one in self._askable()[0]]

    def _askable(self) -> tuple[Sequence[ProviderHealth], Sequence[ModelHealth]]:
        """Return what can be asked: what the catalog names beside it never fails, and would hide that all else does."""
        if self._health is None:
            return (), ()
        providers, models = self._health()
        able = {one.provider for one in providers if one.has_credentials}
        return (
            [one for one in providers if one.provider in able],
            [one for one in models if one.ref.provider in able],
        )

    def _limit(self) -> Iterable[Reading]:
        return self._money(lambda report: report.state.limit_nano_usd)

    def _remaining(self) -> Iterable[Reading]:
        return self._money(lambda report: report.state.remaining_nano_usd)

    def _headroom(self) -> Iterable[Reading]:
        return self._money(lambda report: report.state.headroom_nano_usd)

    def _spent(self) -> Iterable[Reading]:
        return self._money(lambda report: report.spent_today_nano_usd)

    def _money(self, read: Callable[[BudgetReport], int | None]) -> list[Reading]:
        report = self._budget() if self._budget is not None else None
        value = read(report) if report is not None else None
        return [((report.node,), value)] if report is not None and value is not None else []

    def _reachable(self) -> Iterable[Reading]:
        report = self._budget() if self._budget is not None else None
        return [((), float(report.service_reachable))] if report is not None and report.service_configured else []

    def _sync_age(self) -> Iterable[Reading]:
        report = self._budget() if self._budget is not None else None
        if report is None or report.last_sync_unix_s is None:
            return []
        return [((), max(0.0, self._unix_s() - report.last_sync_unix_s))]

    def _facts(self) -> Iterable[Reading]:
        return [((), self._budget().unreported_facts)] if self._budget is not None else []

    def _books(self) -> Iterable[Reading]:
        return [((), 0.0 if self._budget().problem else 1.0)] if self._budget is not None else []


def _histogram(name: str, unit: str, text: str, labels: tuple[str, ...], bounds: Sequence[float]) -> Histogram:
    return Histogram(Description(name, unit, text, labels), bounds)


def _counter(name: str, unit: str, text: str, labels: tuple[str, ...]) -> Counter:
    return Counter(Description(name, unit, text, labels))


def _gauge(name: str, unit: str, text: str, labels: tuple[str, ...], read: Callable[[], Iterable[Reading]]) -> Gauge:
    return Gauge(Description(name, unit, text, labels), read)
