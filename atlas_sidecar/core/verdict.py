"""What an attempt's end says about its model and its provider, as a table.

Rules kept here (ROUTING, "Score" and "Provider health"):
- The caller's fault and the caller's wish (invalid, filtered, too long, cancelled, deadline, budget) say nothing.
- A fault of one prompt or parameter (`breaks_model` False) says nothing either, whatever its class.
- A rate limit counts half and cools down, but opens no circuit; auth and quota open the provider's, not found and a
  quota of this one model the model's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from atlas_sidecar.core.breaker import Event
from atlas_sidecar.core.errors import ErrorClass, ProviderError


class Verdict(NamedTuple):
    """What one end counts. Values 0..1; None = not counted.

    `success`, `reliability`: for the model; `provider_reliability`: for its provider. `model_event`,
    `provider_event`: for their circuits. `throttled`: the provider said that it is too much (429, 529).
    """

    success: float | None = None
    reliability: float | None = None
    provider_reliability: float | None = None
    model_event: Event | None = None
    provider_event: Event | None = None
    throttled: bool = False


NOTHING: Final = Verdict()
ANSWERED: Final = Verdict(1.0, 1.0, 1.0, Event.ANSWERED, Event.ANSWERED)
FAILED: Final = Verdict(0.0, 0.0, 0.0, Event.FAILED, Event.FAILED)

VERDICTS: Final[dict[ErrorClass, Verdict]] = {
    ErrorClass.RATE_LIMITED: Verdict(0.0, 0.5, 0.5, None, None, throttled=True),
    ErrorClass.OVERLOADED: FAILED._replace(throttled=True),
    ErrorClass.TEMPORARY: FAILED,
    ErrorClass.TIMEOUT: FAILED,
    ErrorClass.STREAM_BROKEN: FAILED,
    ErrorClass.OTHER: FAILED,
    ErrorClass.QUOTA_EXHAUSTED: Verdict(0.0, 0.0, 0.0, None, Event.TRIPPED),
    ErrorClass.AUTH: Verdict(0.0, 0.0, 0.0, None, Event.TRIPPED),
    ErrorClass.MODEL_UNAVAILABLE: Verdict(0.0, 0.0, None, Event.TRIPPED, None),
    ErrorClass.CONTEXT_TOO_LONG: NOTHING,
    ErrorClass.CONTENT_FILTERED: NOTHING,
    ErrorClass.INVALID_REQUEST: NOTHING,
    ErrorClass.CANCELLED: NOTHING,
    ErrorClass.DEADLINE: NOTHING,
    ErrorClass.BUDGET: NOTHING,
}

# What last went wrong, for people: our own sentences, because a provider's text may quote a key or a prompt.
SENTENCES: Final[dict[ErrorClass, str]] = {
    ErrorClass.RATE_LIMITED: "the provider limited the rate of requests",
    ErrorClass.OVERLOADED: "the provider is overloaded",
    ErrorClass.TEMPORARY: "the provider failed or could not be reached",
    ErrorClass.TIMEOUT: "the provider did not answer in time",
    ErrorClass.STREAM_BROKEN: "the provider's answer broke off",
    ErrorClass.OTHER: "the provider failed in a way that is not known",
    ErrorClass.QUOTA_EXHAUSTED: "the provider account's quota or credit is used up",
    ErrorClass.AUTH: "the provider refused the credentials",
    ErrorClass.MODEL_UNAVAILABLE: "the provider does not serve the model",
}


def verdict(error: ProviderError | None) -> Verdict:
    """Return what an attempt that ended so counts; None = it answered."""
    if error is None:
        return ANSWERED
    if not error.breaks_model:
        return NOTHING
    if error.error_class is ErrorClass.QUOTA_EXHAUSTED and error.scope == "model":
        return VERDICTS[ErrorClass.MODEL_UNAVAILABLE]
    return VERDICTS[error.error_class]


def sentence(error: ProviderError) -> str:
    """Describe a failure in a sentence that holds nothing of the provider's own text."""
    text = SENTENCES.get(error.error_class, error.error_class.label.replace("_", " "))
    return f"{text} (HTTP {error.http_status})" if error.http_status else text
