"""Counters, gauges and histograms in plain dictionaries, read by both exporters.

Theory of operation. A record is one dictionary lookup and a few additions on the event loop, without locks: everything
here is touched by the loop's thread only; exporters take a `collect()` there and send it from elsewhere. Rules kept:
- A series is a tuple of label values in the order of the instrument's label names; "" = the label is not set.
- An instrument keeps at most MAX_SERIES series; what comes beyond counts in one more, all of whose labels are _OTHER.
  A gauge tells the first MAX_SERIES: the states of many have no sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from atlas_sidecar.adapters.telemetry.semconv import OTHER

MAX_SERIES: Final = 1000

Labels: TypeAlias = tuple[str, ...]
Reading: TypeAlias = tuple[Labels, float]


class Description(NamedTuple):
    """What a metric is: OpenTelemetry's name and unit ("s", "{token}", "nano_usd"), a sentence, label names."""

    name: str
    unit: str
    text: str
    labels: Labels


class Numbers(NamedTuple):
    """A counter's or a gauge's values at one moment; `counts`: it only rises."""

    description: Description
    counts: bool
    readings: Sequence[Reading]


class Distribution(NamedTuple):
    """One series of a histogram: a count for each bucket, the last one beyond all bounds."""

    labels: Labels
    counts: Sequence[int]
    total: float


class Distributions(NamedTuple):
    """A histogram's series at one moment; `bounds`: the buckets' upper ends, inclusive."""

    description: Description
    bounds: Sequence[float]
    series: Sequence[Distribution]


Collected: TypeAlias = Numbers | Distributions


class Counter:
    """A sum that only rises."""

    __slots__ = ("_values", "description")

    def __init__(self, description: Description) -> None:
        self.description = description
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Add to one series."""
        values = self._values
        if labels not in values and len(values) >= MAX_SERIES:
            labels = (OTHER,) * len(self.description.labels)
        values[labels] = values.get(labels, 0) + amount

    def collect(self) -> Numbers:
        """Return the sums of now."""
        return Numbers(self.description, True, list(self._values.items()))


class Gauge:
    """Values that are asked for when somebody looks."""

    __slots__ = ("_counts", "_read", "description")

    def __init__(
        self, description: Description, read: Callable[[], Iterable[Reading]], *, counts: bool = False
    ) -> None:
        self.description = description
        self._read = read
        self._counts = counts

    def collect(self) -> Numbers:
        """Ask for the values of now."""
        return Numbers(self.description, self._counts, list(self._read())[:MAX_SERIES])


class _Series:
    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Histogram:
    """How values are distributed over buckets."""

    __slots__ = ("_series", "bounds", "description")

    def __init__(self, description: Description, bounds: Sequence[float]) -> None:
        self.description = description
        self.bounds = tuple(bounds)
        self._series: dict[Labels, _Series] = {}

    def record(self, labels: Labels, value: float, times: int = 1) -> None:
        """Take in a value, or `times` equal ones."""
        series = self._series.get(labels)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                labels = (OTHER,) * len(self.description.labels)
            series = self._series.setdefault(labels, _Series(len(self.bounds) + 1))
        series.counts[bisect_left(self.bounds, value)] += times
        series.total += value * times

    def collect(self) -> Distributions:
        """Return the counts of now."""
        series = [Distribution(labels, list(one.counts), one.total) for labels, one in self._series.items()]
        return Distributions(self.description, self.bounds, series)
