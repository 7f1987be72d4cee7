"""Prices of the providers' models from the genai-prices package, offline.

Rules kept here:
- The package is imported at the first question: that takes about half a second and nobody needs it before.
- A price that cannot be written exactly in nano-USD per million tokens, or lacks a direction, is unknown, not guessed;
  so is that of a model which charges for a kind of token that is not counted apart here (video, images of the input).
- Google states a price for audio where it differs from that for text (ai.google.dev/gemini-api/docs/pricing), otherwise
  it is the same. Of another provider's audio nothing is known then.
- What a model charges by the hour (storage, containers, audio seconds) is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
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


_GEMINI_KINDS: Final = frozenset({"google", "vertex"})
_CLOUD_KINDS: Final = frozenset({"google", "vertex", "anthropic-vertex"})  # these know models by paths too
_TOKEN_KEYS: Final = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "input_audio_mtok",
    "cache_audio_read_mtok",
    "output_audio_mtok",
    "output_image_mtok",
)
_SEARCH_KEYS: Final = ("web_searches_kcount", "storage_searches_kcount")  # per thousand


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
        name = model.removeprefix("models/")
        if provider_kind in _CLOUD_KINDS:  # "projects/.../publishers/google/models/gemini-2.5-pro"
            name = name.rpartition("/models/")[2]
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - half a second, see above

        try:
            _, info = get_snapshot().find_provider_model(name, None, provider_id, None)
        except LookupError:
            return None
        found = _convert(info.get_prices(self._now()))
        if found is None or provider_kind not in _GEMINI_KINDS:
            return found
        steps = tuple(replace(step, price=_gemini(step.price, name)) for step in found.long_context)
        return replace(_gemini(found, name), long_context=steps)


def _gemini(price: Price, name: str) -> Price:
    """Return the price with what Google leaves out because it is the same."""
    if price.input_audio is None:
        price = replace(price, input_audio=price.input, cache_read_audio=price.cache_read)
    if "-tts" in name:  # they say nothing but audio
        price = replace(price, output_audio=price.output)
    return price


def _convert(prices: ModelPrice) -> Price | None:
    said = {key: value for key, value in vars(prices).items() if value is not None}
    if any(key.endswith("_mtok") and key not in _TOKEN_KEYS for key in said):
        return None
    starts = {tier.start for value in said.values() for tier in getattr(value, "tiers", ())}
    base = _price_above(said, 0)
    steps = [(start, _price_above(said, start + 1)) for start in sorted(starts)]
    if base is None:
        return None
    known = tuple(LongContextPrice(start, price) for start, price in steps if price is not None)
    return replace(base, long_context=known) if len(known) == len(steps) else None


def _price_above(said: Mapping[str, Decimal | TieredPrices], total_input_tokens: int) -> Price | None:
    try:
        tokens = [_nano_usd(said.get(key), total_input_tokens) for key in _TOKEN_KEYS]
        web, file = (_nano_usd(said.get(key), total_input_tokens, per=1000) for key in _SEARCH_KEYS)
    except ValueError:
        return None
    plain, output, read, write, hour, audio, audio_read, audio_output, image_output = tokens
    if plain is None or output is None:
        return None
    return Price(plain, output, read, write, (), hour, audio, audio_read, audio_output, image_output, web, file)


def _nano_usd(value: Decimal | TieredPrices | None, total_input_tokens: int, per: int = 1_000_000) -> int | None:
    """Return a price per so many in nano-USD per million; raises ValueError where that is no whole number."""
    if value is None:
        return None
    if not isinstance(value, Decimal):
        amount = value.base
        for tier in value.tiers:  # ascending; the last one passed holds for the whole request
            if total_input_tokens > tier.start:
                amount = tier.price
        value = amount
    nano = value * NANO_PER_USD * (1_000_000 // per)
    if nano != nano.to_integral_value():
        raise ValueError(f"{value} USD is no whole number of nano-dollars")
    return int(nano)
