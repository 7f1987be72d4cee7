"""Money as whole nano-dollars (billionths of a US dollar), and what usage costs.

Rules kept here:
- Money is an int. A price is an int of nano-USD per million tokens, so that 0.0375 USD per million stays exact.
- A cost is rounded up once per attempt, never per term.
- An unknown price gives an unknown cost (None), never 0. A price of 0 is free.
- A long-context price applies to the whole request (PROVIDERS.md; genai-prices' tiers).
- What has a price of its own (audio, images, an hour's cache, searches) is charged at it. Where that price is unknown,
  it is charged as its count says, and `is_priced` says that the cost is not all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from atlas_sidecar.core.usage import Particulars, Usage

NANO_PER_USD: Final = 1_000_000_000
TOKENS_PER_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in nano-USD per million tokens, or per million searches.

    `cache_read` and `cache_write` None: charged as input. `reasoning` tokens are charged as output.
    `long_context`: the price that holds for the whole request when its total input exceeds `above_input_tokens`.
    The rest are prices of their own, None = not known; `cache_read_audio` None: charged as `input_audio`.
    `dearest_input`, `dearest_output`: the most that a token can cost, whatever it is; asked for every candidate.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    long_context: tuple[LongContextPrice, ...] = ()
    cache_write_1h: int | None = None
    input_audio: int | None = None
    cache_read_audio: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_search: int | None = None
    file_search: int | None = None
    dearest_input: int = field(init=False, repr=False, compare=False)
    dearest_output: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inputs = (self.input, self.cache_write, self.cache_write_1h, self.input_audio)
        outputs = (self.output, self.output_audio, self.output_image)
        for name, prices in (("dearest_input", inputs), ("dearest_output", outputs)):
            object.__setattr__(self, name, max(price for price in prices if price is not None))

    def for_input(self, total_input_tokens: int) -> Price:
        """Return the price that holds for a request with this many input tokens (cache included)."""
        chosen: Price = self
        for step in self.long_context:  # ascending by threshold
            if total_input_tokens > step.above_input_tokens:
                chosen = step.price
        return chosen


@dataclass(frozen=True, slots=True)
class LongContextPrice:
    """A price step: it holds when the total input exceeds `above_input_tokens`."""

    above_input_tokens: int
    price: Price


def cost_nano_usd(usage: Usage, price: Price | None) -> int | None:
    """Return what this usage costs in nano-USD, rounded up once; None when the price is unknown.

    Counts that were not reported count as 0: whoever needs an estimate fills them in first.
    """
    if price is None:
        return None
    plain = usage.input_tokens or 0
    read = usage.cache_read_tokens or 0
    write = usage.cache_write_tokens or 0
    p = price.for_input(plain + read + write) if price.long_context else price
    total = plain * p.input
    total += read * (p.input if p.cache_read is None else p.cache_read)
    total += write * (p.input if p.cache_write is None else p.cache_write)
    total += ((usage.output_tokens or 0) + (usage.reasoning_tokens or 0)) * p.output
    if usage.of_which is None:
        return -(-total // TOKENS_PER_MILLION)
    return _with_particulars(total, usage.of_which, p)


def is_priced(usage: Usage, price: Price | None) -> bool:
    """Return whether all that this usage is charged for has a known price; if not, it costs more than the cost says."""
    if price is None:
        return False
    apart = usage.of_which
    if apart is None:
        return True
    p = price.for_input(usage.total_input_tokens)
    return not (
        apart.unpriced
        or any(count and own is None and usual for count, own, usual in _tokens_apart(apart, p))
        or any(count and fee is None for count, fee in _searches(apart, p))
    )


def _with_particulars(as_counted: int, apart: Particulars, p: Price) -> int:
    """Return the cost; `as_counted`: nano-USD a millionth, of all tokens at the price of their count."""
    tokens = as_counted + sum(count * (own - usual) for count, own, usual in _tokens_apart(apart, p) if own is not None)
    searches = sum(count * fee for count, fee in _searches(apart, p) if fee is not None)
    return -(-(tokens * apart.token_percent + searches * 100) // (TOKENS_PER_MILLION * 100))


def _tokens_apart(apart: Particulars, p: Price) -> tuple[tuple[int, int | None, int], ...]:
    """Return of each kind of token: how many, the price of its own, the price of the count that they are part of."""
    return (
        (apart.audio_input, p.input_audio, p.input),
        (
            apart.audio_cache_read,
            p.input_audio if p.cache_read_audio is None else p.cache_read_audio,
            p.input if p.cache_read is None else p.cache_read,
        ),
        (apart.audio_output, p.output_audio, p.output),
        (apart.image_output, p.output_image, p.output),
        (apart.cache_write_1h, p.cache_write_1h, p.input if p.cache_write is None else p.cache_write),
    )


def _searches(apart: Particulars, p: Price) -> tuple[tuple[int, int | None], ...]:
    return (apart.web_searches, p.web_search), (apart.file_searches, p.file_search)


def format_usd(nano_usd: int | None) -> str:
    """Return an amount for people: "$1.234567", "unknown" for None; trailing zeros cut to cents."""
    if nano_usd is None:
        return "unknown"
    sign = "-" if nano_usd < 0 else ""
    whole, fraction = divmod(abs(nano_usd), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"
