"""Sums up a chain: what all its attempts cost and used, and the last event and the trace's end that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from atlas_sidecar.core.types import Attempt, Usage


class Totals(NamedTuple):
    """Of every request sent. `cost_nano_usd` sums the known costs; `incomplete`: some price is unknown."""

    cost_nano_usd: int
    estimated: bool
    incomplete: bool
    usage: Usage


def totals(attempts: Sequence[Attempt]) -> Totals:
    """Return what the attempts cost and used together."""
    if len(attempts) == 1:  # nearly every call
        only = attempts[0]
        return Totals(only.cost_nano_usd or 0, only.cost_estimated, _is_incomplete(only), only.usage)
    usage = Usage()
    for attempt in attempts:
        usage += attempt.usage
    return Totals(
        sum(attempt.cost_nano_usd or 0 for attempt in attempts),
        any(attempt.cost_estimated for attempt in attempts),
        any(_is_incomplete(attempt) for attempt in attempts),
        usage,
    )


def _is_incomplete(attempt: Attempt) -> bool:
    return attempt.cost_incomplete or attempt.cost_nano_usd is None


def taken(attempts: Sequence[Attempt]) -> list[str]:
    """Return the chain that was taken, a hop an entry: "openai/gpt-6.1-sol:timeout", "google/gemini-4-argon:ok"."""
    hops: dict[int, str] = {}
    for attempt in attempts:
        label = attempt.error_class.label if attempt.error_class else "ok"
        hops[attempt.hop] = f"{attempt.model.provider}/{attempt.model.id}:{label}"
    return [hops[index] for index in sorted(hops)]
