"""What a request costs before it is sent: the likely amount that scoring compares, the most that a reservation holds.

Rules kept here:
- Nano-USD, rounded up once. An unknown price gives None.
- The likely cost takes the output that the role learned to expect; the most takes the output cap.
"""

from __future__ import annotations

from atlas_sidecar.core.money import TOKENS_PER_MILLION
from atlas_sidecar.core.types import Model, Need, Snapshot


def expected_output(model: Model, need: Need, expected_output_tokens: int) -> int:
    """Return how many output tokens to expect: what the role learned, within the caller's and the model's cap."""
    tokens, asked = expected_output_tokens, need.max_output_tokens
    if asked is not None and asked < tokens:
        tokens = asked
    return tokens if tokens < model.max_output_tokens else model.max_output_tokens


def estimate_cost(model: Model, need: Need, expected_output_tokens: int, input_tokens: int | None = None) -> int | None:
    """Return what the request is likely to cost at this model in nano-USD (ROUTING.md's c); None = price unknown.

    `input_tokens`: as this model counts them; None = as the need says.
    """
    price = model.price
    if price is None:
        return None
    output, asked = expected_output_tokens, need.max_output_tokens
    if asked is not None or output > model.max_output_tokens:
        output = expected_output(model, need, output)
    tokens = need.input_tokens if input_tokens is None else input_tokens
    if price.long_context:
        price = price.for_input(tokens)
    return -(-(tokens * price.input + output * price.output) // TOKENS_PER_MILLION)


def worst_case_cost(model: Model, input_tokens: int, output_cap: int) -> int | None:
    """Return the most an attempt can cost in nano-USD (the reservation r of BUDGET.md); None = price unknown.

    A provider may write the whole input to its cache, which some charge dearer than plain input.
    """
    price = model.price
    if price is None:
        return None
    if price.long_context:
        price = price.for_input(input_tokens)
    dearest = price.input if price.cache_write is None or price.cache_write < price.input else price.cache_write
    return -(-(input_tokens * dearest + output_cap * price.output) // TOKENS_PER_MILLION)


def output_cap(model: Model, need: Need, max_cost_nano_usd: int | None = None) -> int:
    """Return the most output tokens to ask this model for: the caller's cap, the model's, the window's, the money's.

    `max_cost_nano_usd`: what the chain may still spend; None = no cap. Never below 1, which no provider takes.
    """
    cap, asked = model.max_output_tokens, need.max_output_tokens
    if asked is not None and asked < cap:
        cap = asked
    cap = min(cap, model.context_window - need.input_tokens)
    if max_cost_nano_usd is not None and model.price is not None:
        price = model.price.for_input(need.input_tokens)
        left = max_cost_nano_usd - (worst_case_cost(model, need.input_tokens, 0) or 0)
        if price.output > 0:
            cap = min(cap, left * TOKENS_PER_MILLION // price.output)
    return cap if cap > 1 else 1


def reservation(model: Model, need: Need, snapshot: Snapshot, max_cost_nano_usd: int | None = None) -> int | None:
    """Return what to reserve for one attempt, in nano-USD; None = price unknown.

    Where the caller set no output cap and the role's p95 is known, that sizes the reservation (BUDGET.md, step 1).
    """
    cap = output_cap(model, need, max_cost_nano_usd)
    usual = snapshot.reserve_output_tokens
    if need.max_output_tokens is None and usual is not None and usual < cap:
        cap = usual
    return worst_case_cost(model, need.input_tokens, cap)
