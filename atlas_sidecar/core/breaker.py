"""A circuit breaker: its states as a transition table, and the counters that fire its events.

Rules kept here:
- Opens on 5 consecutive failures, on more than half of at least 10 calls failing within 30 s, or at once when tripped.
- Open for 5 s, doubling each time a trial fails, to 60 s; closing starts again at 5 s.
- Half-open admits at most `places` attempts at once; two answers close it, one failure opens it.
- Whoever attempts without a place (a last resort) does so on its own: an answer is good news, a failure is none.
- A verdict about an attempt that began under an earlier state is stale, and moves nothing.
- Time is an argument. Memory is constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from atlas_sidecar.core.types import Circuit

_SLICES: Final = 10


class Event(Enum):
    """What may move a breaker."""

    ANSWERED = auto()  # an attempt answered
    FAILED = auto()  # an attempt failed in a way that counts
    TRIPPED = auto()  # the counters, or a failure that needs no counting, say stop
    ELAPSED = auto()  # the time to stay open is over, or something changed so that a trial is due
    RECOVERED = auto()  # enough trials answered


TRANSITIONS: Final[dict[Circuit, dict[Event, Circuit]]] = {
    Circuit.CLOSED: {Event.TRIPPED: Circuit.OPEN},
    Circuit.OPEN: {Event.ELAPSED: Circuit.HALF_OPEN, Event.ANSWERED: Circuit.HALF_OPEN},
    Circuit.HALF_OPEN: {
        Event.FAILED: Circuit.OPEN,
        Event.TRIPPED: Circuit.OPEN,
        Event.RECOVERED: Circuit.CLOSED,
    },
}
"""What is not listed stays where it is."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, for how long, and what closes it. Times in seconds."""

    consecutive_failures: int = 5
    failure_share: float = 0.5
    min_calls: int = 10
    window_s: float = 30.0
    open_s: float = 5.0
    max_open_s: float = 60.0
    places: int = 3
    answers_to_close: int = 2


class Permit(NamedTuple):
    """Leave to attempt, to be handed back with the verdict. `admitted` False: the breaker did not want it."""

    epoch: int
    holds_place: bool
    admitted: bool


class Breaker:
    """One circuit: of a model, or of a provider."""

    __slots__ = (
        "_answers", "_calls", "_epoch", "_failures", "_open_for_s", "_places_taken", "_settings", "_slice", "_state",
        "_streak", "open_until_s",
    )  # fmt: skip

    def __init__(self, settings: BreakerSettings = BreakerSettings()) -> None:
        self._settings = settings
        self._state = Circuit.CLOSED
        self._epoch = 0  # counts the changes of state
        self._streak = 0
        self._answers = 0
        self._places_taken = 0
        self._open_for_s = 0.0
        self._slice = 0
        self._calls = [0] * _SLICES
        self._failures = [0] * _SLICES
        self.open_until_s = 0.0
        """Monotonic time at which a trial is due; 0 while closed."""

    def __repr__(self) -> str:
        return f"<Breaker {self._state.name} streak={self._streak} open_until={self.open_until_s:.3f}>"

    def state(self, now_s: float) -> Circuit:
        """Return the state; an open circuit whose time is over is half-open."""
        if self._state is Circuit.OPEN and now_s >= self.open_until_s:
            self._move(Event.ELAPSED, now_s)
        return self._state

    def has_place(self, now_s: float) -> bool:
        """Tell whether an attempt would be admitted now."""
        state = self.state(now_s)
        return state is Circuit.CLOSED or (state is Circuit.HALF_OPEN and self._places_taken < self._settings.places)

    def begin(self, now_s: float) -> Permit:
        """Take leave for one attempt, and a place while half-open; hand it to `end` exactly once."""
        admitted = self.has_place(now_s)
        holds_place = admitted and self._state is Circuit.HALF_OPEN
        self._places_taken += holds_place
        return Permit(self._epoch, holds_place, admitted)

    def end(self, permit: Permit, event: Event | None, now_s: float) -> None:
        """Give the verdict: ANSWERED, FAILED, TRIPPED, or None when the attempt says nothing."""
        state = self.state(now_s)
        fresh = permit.epoch == self._epoch
        if fresh and permit.holds_place:
            self._places_taken -= 1
        if event is Event.TRIPPED and state is not Circuit.OPEN:
            self._move(Event.TRIPPED, now_s)
        elif fresh and event is not None:
            self._count(event, permit, now_s)

    def fail_apart(self, event: Event, now_s: float) -> None:
        """Count a failure (FAILED or TRIPPED) that was no attempt of a caller: a probe's."""
        self.end(Permit(self._epoch, False, True), event, now_s)

    def try_again(self, now_s: float) -> None:
        """End an open circuit's time now: a probe answered, or its configuration changed."""
        if self._state is Circuit.OPEN:
            self._move(Event.ELAPSED, now_s)

    def _count(self, event: Event, permit: Permit, now_s: float) -> None:
        if self._state is Circuit.OPEN:
            if event is Event.ANSWERED:  # a last resort that answered
                self._move(event, now_s)
                self._answers = 1
        elif self._state is Circuit.HALF_OPEN:
            if not permit.admitted and event is Event.FAILED:
                return
            self._answers += event is Event.ANSWERED
            enough = self._answers >= self._settings.answers_to_close
            self._move(Event.RECOVERED if enough else event, now_s)
        else:
            self._count_closed(event is Event.FAILED, now_s)

    def _count_closed(self, failed: bool, now_s: float) -> None:
        settings = self._settings
        self._turn_to(int(now_s / settings.window_s * _SLICES))
        index = self._slice % _SLICES
        self._calls[index] += 1
        self._failures[index] += failed
        self._streak = self._streak + 1 if failed else 0
        if not failed:
            return
        calls = sum(self._calls)
        too_many = calls >= settings.min_calls and sum(self._failures) > settings.failure_share * calls
        if too_many or self._streak >= settings.consecutive_failures:
            self._move(Event.TRIPPED, now_s)

    def _turn_to(self, slice_number: int) -> None:
        """Empty the slices of the window that have passed."""
        for passed in range(self._slice + 1, min(slice_number, self._slice + _SLICES) + 1):
            self._calls[passed % _SLICES] = self._failures[passed % _SLICES] = 0
        if slice_number - self._slice > _SLICES:
            self._calls = [0] * _SLICES
            self._failures = [0] * _SLICES
        self._slice = max(self._slice, slice_number)

    def _move(self, event: Event, now_s: float) -> None:
        target = TRANSITIONS[self._state].get(event)
        if target is None:
            return
        was, self._state = self._state, target
        self._epoch += 1
        self._places_taken = self._answers = self._streak = 0
        if target is Circuit.OPEN:
            again = was is Circuit.HALF_OPEN and self._open_for_s > 0.0
            wanted_s = 2.0 * self._open_for_s if again else self._settings.open_s
            self._open_for_s = min(wanted_s, self._settings.max_open_s)
            self.open_until_s = now_s + self._open_for_s
        elif target is Circuit.CLOSED:
            self._open_for_s = self.open_until_s = 0.0
            self._calls = [0] * _SLICES
            self._failures = [0] * _SLICES
