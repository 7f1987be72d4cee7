"""What a request costs before it is sent: the likely amount that scoring compares, the most that a reservation holds.

Rules kept here:
- Nano-USD, rounded up once. An unknown price gives None.
- The likely cost takes the output that the role learned to expect; the most takes the output cap.
- The most takes the dearest price of what the request may bring: input that may be heard costs what audio costs, an
  answer what the dearest kind of output costs, since a model may answer in any kind that it has a price for.
- Fees beside tokens (searches) are in neither: nobody knows how many there will be. They are charged when they came.
"""

from __future__ import annotations

from typing import Final

from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.money import TOKENS_PER_MILLION, Price
from atlas_sidecar.core.types import Capability, Model, Need, Snapshot

# What may have sound in it: a film's, or what an address does not tell.
_MAY_SOUND: Final = frozenset(
    {Form.VIDEO, Form.VIDEO_BY_ADDRESS, Form.OPENAI_FILE, Form.GOOGLE_FILE, Form.STORAGE_OBJECT, Form.OTHER_ADDRESS}
)


def may_be_heard(capabilities: frozenset[Capability], forms: frozenset[Form]) -> bool:
    """Return whether some of the input that demands these may be audio, or a video's sound."""
    return Capability.AUDIO_INPUT in capabilities or not forms.isdisjoint(_MAY_SOUND)


def _dearest_input(price: Price, need: Need | None) -> int:
    """Return the most that a token of input can cost, in nano-USD a million; `need` None: whatever the request brings.

    A provider may write the whole input to its cache, which some charge dearer than plain input.
    """
    if need is None:
        return price.dearest_input
    most, write, hour, audio = price.input, price.cache_write, price.cache_write_1h, price.input_audio
    if write is not None and write > most:
        most = write
    if hour is not None and hour > most and Form.CACHE_FOR_AN_HOUR in need.forms:
        most = hour
    if audio is not None and audio > most and may_be_heard(need.capabilities, need.forms):
        most = audio
    return most


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
    plain = price.input
    if price.input_audio is not None and Capability.AUDIO_INPUT in need.capabilities:
        plain = price.input_audio  # nearly all of its tokens are the audio's
    return -(-(tokens * plain + output * price.output) // TOKENS_PER_MILLION)


def worst_case_cost(model: Model, input_tokens: int, output_cap: int, need: Need | None = None) -> int | None:
    """Return the most an attempt can cost in nano-USD (the reservation r of BUDGET.md); None = price unknown.

    `need`: what the request brings; None = anything.
    """
    price = model.price
    if price is None:
        return None
    if price.long_context:
        price = price.for_input(input_tokens)
    most = input_tokens * _dearest_input(price, need) + output_cap * price.dearest_output
    return -(-most // TOKENS_PER_MILLION)


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
        each = price.dearest_output
        left = max_cost_nano_usd - (worst_case_cost(model, need.input_tokens, 0, need) or 0)
        if each > 0:
            cap = min(cap, left * TOKENS_PER_MILLION // each)
    return cap if cap > 1 else 1


def reservation(model: Model, need: Need, snapshot: Snapshot, max_cost_nano_usd: int | None = None) -> int | None:
    """Return what to reserve for one attempt, in nano-USD; None = price unknown.

    Where the caller set no output cap and the role's p95 is known, that sizes the reservation (BUDGET.md, step 1).
    """
    cap = output_cap(model, need, max_cost_nano_usd)
    usual = snapshot.reserve_output_tokens
    if need.max_output_tokens is None and usual is not None and usual < cap:
        cap = usual
    return worst_case_cost(model, need.input_tokens, cap, need)
