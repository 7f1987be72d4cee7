"""What stands against a provider or a model at this moment, and how bad that is when nothing better is left.

Rules kept here:
- What is here passes with time (SOFT), but for missing credentials. Nothing is held against what was never seen.
- Every sentence is a function of the snapshot: the same snapshot gives the same words.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from atlas_sidecar.core.types import Circuit, ModelState, ProviderState, ProviderStatus, Rejection

# What passes with time: nothing else stands against the model, and trying it is better than refusing the request.
SOFT: Final = frozenset(
    {Rejection.PROVIDER_UNHEALTHY, Rejection.RATE_LIMITED, Rejection.CIRCUIT_OPEN, Rejection.OVERLOADED}
)
UNSEEN_MODEL: Final = ModelState()
UNSEEN_PROVIDER: Final = ProviderState()
_CLOSED: Final = Circuit.CLOSED  # an enum's attribute is slow to look up, and this is asked for every model


class Rejected(NamedTuple):
    """Why a model may not serve, for programs and for people.

    `until_s`: when that ends, monotonic seconds, 0 = not known. `scarce`: only the budget's headroom is against it.
    """

    rejection: Rejection
    detail: str
    until_s: float = 0.0
    scarce: bool = False


class ProviderView(NamedTuple):
    """A provider as one request sees it: what is against it for good, what may pass, and how loaded it is.

    `load`: what its speed is multiplied by, 1 idle to 0.5 at its concurrency limit.
    """

    state: ProviderState
    lasting: Rejected | None
    passing: Rejected | None
    load: float


def view_of(name: str, state: ProviderState, now_s: float, min_requests_remaining: int) -> ProviderView:
    """Return how a provider looks at `now_s`, monotonic seconds."""
    lasting = None
    if not state.has_credentials or state.status is ProviderStatus.NO_CREDENTIALS:
        lasting = Rejected(Rejection.NO_CREDENTIALS, f"provider {name} has no credentials")
    return ProviderView(state, lasting, _provider_passing(name, state, now_s, min_requests_remaining), _load(state))


def model_passing(state: ModelState, now_s: float) -> Rejected | None:
    """Return what stands against a model itself for the moment."""
    if state.circuit is not _CLOSED and (state.circuit is Circuit.OPEN or not state.probe_free):
        return _circuit("the model", state.circuit, state.open_until_s, now_s)
    if state.limited_until_s > now_s:
        return _limited("the model", state.limited_until_s, now_s)
    return None


def badness(state: ModelState, provider: ProviderState, now_s: float) -> tuple[int, float]:
    """Return how bad a model is that is rejected for the moment only; the smaller pair is the last resort.

    0: requests nearly used up. 1: half-open, its probe under way. 2: this sidecar's own concurrency limit.
    3: open circuit or cool-down, by how many seconds the longest of them still lasts. 4: unhealthy, no time known.
    """
    if provider.status is ProviderStatus.UNHEALTHY:
        return 4, 0.0
    until_s = max(state.limited_until_s, provider.limited_until_s)
    is_open = False
    for one in (state, provider):
        if one.circuit is Circuit.OPEN:
            is_open = True
            until_s = max(until_s, one.open_until_s)
    if is_open or until_s > now_s or provider.status is ProviderStatus.RATE_LIMITED:
        return 3, max(until_s - now_s, 0.0)
    if provider.concurrency_limit is not None and provider.in_flight >= provider.concurrency_limit:
        return 2, 0.0
    half_open = any(one.circuit is Circuit.HALF_OPEN and not one.probe_free for one in (state, provider))
    return (1, 0.0) if half_open else (0, 0.0)


def _provider_passing(name: str, state: ProviderState, now_s: float, kept: int) -> Rejected | None:
    if state.circuit is not _CLOSED and (state.circuit is Circuit.OPEN or not state.probe_free):
        return _circuit(f"provider {name}", state.circuit, state.open_until_s, now_s)
    if state.status is ProviderStatus.UNHEALTHY:
        return Rejected(Rejection.PROVIDER_UNHEALTHY, f"provider {name} is unhealthy")
    if state.limited_until_s > now_s:
        return _limited(f"provider {name}", state.limited_until_s, now_s)
    if state.status is ProviderStatus.RATE_LIMITED:
        return Rejected(Rejection.RATE_LIMITED, f"provider {name} is rate limited")
    remaining = state.requests_remaining
    if remaining is not None and remaining <= kept:
        detail = f"provider {name} has {remaining:,} requests remaining, {kept:,} are kept back"
        return Rejected(Rejection.RATE_LIMITED, detail)
    limit = state.concurrency_limit
    if limit is not None and state.in_flight >= limit:
        return Rejected(Rejection.OVERLOADED, f"provider {name} has {state.in_flight:,} in flight, limit {limit:,}")
    return None


def _load(state: ProviderState) -> float:
    limit, in_flight = state.concurrency_limit, state.in_flight
    if limit is None or in_flight <= 0:
        return 1.0
    return 0.5 if in_flight >= limit else 1.0 - 0.5 * in_flight / limit


def _limited(whose: str, until_s: float, now_s: float) -> Rejected:
    return Rejected(Rejection.RATE_LIMITED, f"{whose} is rate limited for {until_s - now_s:.1f} s", until_s)


def _circuit(whose: str, circuit: Circuit, until_s: float, now_s: float) -> Rejected:
    if circuit is Circuit.OPEN:
        left_s = max(until_s - now_s, 0.0)
        return Rejected(Rejection.CIRCUIT_OPEN, f"circuit of {whose} is open for {left_s:.1f} s", until_s)
    return Rejected(Rejection.CIRCUIT_OPEN, f"circuit of {whose} is half-open and its probe is under way")
