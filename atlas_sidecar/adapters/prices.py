"""Prices of the providers' models from the genai-prices package, offline.

Rules kept here:
- The package is imported at the first question: that takes about half a second and nobody needs it before.
- A price that cannot be written exactly in nano-USD per million tokens, or lacks a direction, is unknown, not guessed.
- What a model charges beside tokens (searches, storage, audio seconds) is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from atlas_sidecar.core.money import NANO_PER_USD, LongContextPrice, Price

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

# The configuration's provider kinds -> genai-prices' provider ids; a kind that is not here has no known prices.
PROVIDER_ID_OF_KIND: Final[dict[str, str]] = {
    "anthropic": "anthropic",
    "anthropic-bedrock": "aws",
    "anthropic-vertex": "google",
    "azure-openai": "azure",
    "google": "google",
    "groq": "groq",
    "openai": "openai",
    "vertex": "google",
}


class GenaiPrices:
    """Looks prices up in the data that the installed genai-prices carries; implements ports.Prices.

    `now`: the present time with its zone, since some prices change on a date.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def price(self, provider_kind: str, model: str) -> Price | None:
        """Return what this model charges now; None when the package does not know it."""
        provider_id = PROVIDER_ID_OF_KIND.get(provider_kind)
        if provider_id is None:
            return None
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - half a second, see above

        try:
            _, info = get_snapshot().find_provider_model(model.removeprefix("models/"), None, provider_id, None)
        except LookupError:
            return None
        return _convert(info.get_prices(self._now()))


def _convert(prices: ModelPrice) -> Price | None:
    tiered = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)
    starts: set[int] = set()
    for value in tiered:
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
    base = _price_above(tiered, 0)
    steps = [(start, _price_above(tiered, start + 1)) for start in sorted(starts)]
    if base is None:
        return None
    known = tuple(LongContextPrice(start, price) for start, price in steps if price is not None)
    if len(known) != len(steps):
        return None
    return Price(base.input, base.output, base.cache_read, base.cache_write, known)


def _price_above(tiered: tuple[Decimal | TieredPrices | None, ...], total_input_tokens: int) -> Price | None:
    try:
        plain, output, read, write = (_nano_usd(value, total_input_tokens) for value in tiered)
    except ValueError:
        return None
    return None if plain is None or output is None else Price(plain, output, read, write)


def _nano_usd(value: Decimal | TieredPrices | None, total_input_tokens: int) -> int | None:
    """Return a price in nano-USD per million tokens; raises ValueError where that is no whole number."""
    if value is None:
        return None
    if not isinstance(value, Decimal):
        amount = value.base
        for tier in value.tiers:  # ascending; the last one passed holds for the whole request
            if total_input_tokens > tier.start:
                amount = tier.price
        value = amount
    nano = value * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError(f"{value} USD is no whole number of nano-dollars")
    return int(nano)
