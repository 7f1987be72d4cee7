"""Money as whole nano-dollars (billionths of a US dollar), and what usage costs.

Rules kept here:
- Money is an int. A price is an int of nano-USD per million tokens, so that 0.0375 USD per million stays exact.
- A cost is rounded up once per attempt, never per term.
- An unknown price gives an unknown cost (None), never 0. A price of 0 is free.
- A long-context price applies to the whole request (PROVIDERS.md; genai-prices' tiers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atlas_sidecar.core.usage import Usage

NANO_PER_USD: Final = 1_000_000_000
TOKENS_PER_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in nano-USD per million tokens.

    `cache_read` and `cache_write` None: charged as input. `reasoning` tokens are charged as output.
    `long_context`: the price that holds for the whole request when its total input exceeds `above_input_tokens`.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    long_context: tuple[LongContextPrice, ...] = ()

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
    return -(-total // TOKENS_PER_MILLION)


def format_usd(nano_usd: int | None) -> str:
    """Return an amount for people: "$1.234567", "unknown" for None; trailing zeros cut to cents."""
    if nano_usd is None:
        return "unknown"
    sign = "-" if nano_usd < 0 else ""
    whole, fraction = divmod(abs(nano_usd), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"
