"""Token estimates against what providers reported, out of sample: nothing that judges a recording was made from it.

The weights of characters come from another text altogether (docs/0012). The priors of kinds are medians of recordings:
each is judged by priors made anew from others, from all but itself, and from all but those of its model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from statistics import median
from typing import NamedTuple

import pytest

from atlas_sidecar.core.calibration import SHAPES, Calibration, Prior, prior_of
from atlas_sidecar.core.demands import demands_of
from atlas_sidecar.core.tokens import estimate_input_tokens
from atlas_sidecar.core.types import Capability
from tests.core.recorded_requests import RECORDINGS, recorded_requests

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this checkout")
KINDS = ("anthropic", "google")  # those with preambles of their own; groq serves models of many makers


class Judged(NamedTuple):
    """A recorded request: tokens estimated and reported. `teaches`: all that it holds is in the estimate."""

    kind: str
    model: str
    uses: frozenset[Capability]
    estimated: int
    reported: int
    teaches: bool

    def error_of(self, tokens: int) -> float:
        """Return how far off a count is, as a share of what was reported."""
        return abs(tokens - self.reported) / self.reported


@cache
def judged() -> Sequence[Judged]:
    """Return every recording with a request and reported input tokens."""
    return [
        Judged(
            one.provider,
            one.model,
            demands_of(one.request).capabilities & SHAPES,
            estimate_input_tokens(one.request),
            one.reported_input_tokens,
            not one.has_hosted_parts,
        )
        for one in recorded_requests()
    ]


def fitted_prior(kind: str, others: Sequence[Judged]) -> Prior:
    """Return a kind's prior as the medians of what others report beside the estimate."""
    if kind not in KINDS:
        return Prior()
    mine = [one for one in others if one.kind == kind and one.teaches]
    overhead = median(one.reported - one.estimated for one in mine if not one.uses)
    extra = {}
    for capability in SHAPES:
        beside = [one.reported - one.estimated - overhead for one in mine if one.uses == {capability}]
        if beside:
            extra[capability] = median(beside)
    return Prior(overhead, extra)


def errors(may_teach: Callable[[Judged, Judged], bool], *, calibrate: bool) -> list[float]:
    """Return each recording's error by the priors, and with `calibrate` the answers, of those that may teach it."""
    found = []
    for one in judged():
        others = [other for other in judged() if other is not one and may_teach(one, other)]
        calibration = Calibration(fitted_prior(one.kind, others))
        for other in others if calibrate else ():
            if other.model == one.model and other.teaches:
                calibration.observe(other.estimated, other.reported, other.uses)
        found.append(one.error_of(calibration.apply(one.estimated, one.uses)))
    return found


def test_recorded_requests_are_estimated_within_30_percent_before_and_15_after_calibration() -> None:
    assert len(judged()) > 80
    bare = median(one.error_of(one.estimated) for one in judged())
    before = median(errors(lambda one, other: True, calibrate=False))
    new_model = median(errors(lambda one, other: one.model != other.model, calibrate=False))
    after = median(errors(lambda one, other: True, calibrate=True))
    print(  # noqa: T201 - pytest -s shows it
        f"median error of {len(judged())} recorded requests, leave one out: {before:.1%} before calibration"
        f" ({new_model:.1%} with every recording of the model left out, {bare:.1%} without priors), {after:.1%} after"
    )
    assert before < 0.30
    assert new_model < 0.30
    assert after < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_the_priors_are_what_the_recordings_say(kind: str) -> None:
    fitted, ours = fitted_prior(kind, judged()), prior_of(kind)
    assert ours.overhead == pytest.approx(fitted.overhead, abs=3)
    assert set(ours.extra) == set(fitted.extra)
    for capability, tokens in fitted.extra.items():
        assert ours.extra[capability] == pytest.approx(tokens, abs=10)
