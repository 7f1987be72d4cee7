"""Sums of what was spent, by period, provider and model.

Rules kept here:
- Spend belongs to the period of its admission, however late it is settled.
- An attempt without a known cost is counted, not guessed: `unknown` says how many a sum lacks.
- Bounded: the latest periods are kept, and one period's models (a configuration has few; the rest share one row).
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas_sidecar.core.spend_records import PeriodTotals, Settle, SpendTotal

KEPT_PERIODS = 4
MAX_MODELS = 1000
OTHER_MODELS = ("other", "other")
ATTEMPTS, COST, ESTIMATED, UNKNOWN, INPUT, OUTPUT = range(
    len(SpendTotal._fields)
)  # a sum while it runs, cheap to add to


class Totals:
    """Running sums; `spent` is what a limit is compared with."""

    def __init__(self, saved: Iterable[PeriodTotals] = ()) -> None:
        self._by_model: dict[str, dict[tuple[str, str], list[int]]] = {}
        self._spent: dict[str, int] = {}
        self._unleased: dict[str, int] = {}
        for period in saved:
            rows = {(provider, model): list(total) for provider, model, total in period.by_model}
            self._by_model[period.period] = rows
            self._spent[period.period] = sum(total[COST] for total in rows.values())
            self._unleased[period.period] = period.unleased_nano_usd

    def __repr__(self) -> str:
        return f"Totals({self._spent})"

    def add(self, settle: Settle) -> None:
        """Count one settled attempt."""
        rows = self._by_model.get(settle.period)
        if rows is None:
            rows = self._open_period(settle.period)
        key = (settle.model.provider, settle.model.model)
        old = rows.get(key)
        if old is None:
            key = key if len(rows) < MAX_MODELS else OTHER_MODELS
            old = rows.get(key) or [0] * len(SpendTotal._fields)
            rows[key] = old
        cost = settle.cost_nano_usd
        old[ATTEMPTS] += 1
        old[INPUT] += settle.usage.total_input_tokens
        old[OUTPUT] += settle.usage.total_output_tokens
        if cost is None:
            old[UNKNOWN] += 1
            return
        old[COST] += cost
        if settle.estimated:
            old[ESTIMATED] += cost
        self._spent[settle.period] += cost
        if not settle.lease_id:
            self._unleased[settle.period] += cost

    def spent_nano_usd(self, period: str) -> int:
        """Return what was spent in a period, 0 when nothing is known of it."""
        return self._spent.get(period, 0)

    def unleased_nano_usd(self, period: str) -> int:
        """Return the part of it that was spent without a lease."""
        return self._unleased.get(period, 0)

    def by_model(self, period: str) -> dict[tuple[str, str], SpendTotal]:
        """Return a period's sums by (provider, model)."""
        return {key: SpendTotal(*total) for key, total in self._by_model.get(period, {}).items()}

    def save(self) -> tuple[PeriodTotals, ...]:
        """Return everything, for a checkpoint."""
        return tuple(
            PeriodTotals(
                period, tuple((*key, SpendTotal(*total)) for key, total in rows.items()), self._unleased[period]
            )
            for period, rows in self._by_model.items()
        )

    def _open_period(self, period: str) -> dict[tuple[str, str], list[int]]:
        while len(self._by_model) >= KEPT_PERIODS:  # by name: a clock that jumps keeps the near days
            oldest = min(self._by_model)
            del self._by_model[oldest], self._spent[oldest], self._unleased[oldest]
        rows = self._by_model[period] = {}
        self._spent[period] = self._unleased[period] = 0
        return rows
