"""Token counts of one attempt or of several, and what of them is priced apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_COUNT: Final = 10**9  # tokens: beyond any model, and at the highest price that may be configured still 64 bits
MAX_SEARCHES: Final = 10_000  # of one answer: likewise


@dataclass(frozen=True, slots=True)
class Particulars:
    """What of one answer has a price of its own: tokens within the counts of Usage, and fees beside them.

    `audio_input` is within `input_tokens`, `audio_cache_read` within `cache_read_tokens`, `cache_write_1h` within
    `cache_write_tokens`, `audio_output` and `image_output` within `output_tokens`. `token_percent`: what the provider
    charges of its usual token prices. `unpriced`: something is charged for which nobody here knows a price.
    """

    audio_input: int = 0
    audio_cache_read: int = 0
    audio_output: int = 0
    image_output: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0
    file_searches: int = 0
    token_percent: int = 100
    unpriced: bool = False

    def within(self, usage: Usage) -> Particulars:
        """Return it with no part larger than the count that it is part of, whatever a provider reported."""
        output = usage.output_tokens or 0
        audio_output = _clamp(self.audio_output, output)
        return replace(
            self,
            audio_input=_clamp(self.audio_input, usage.input_tokens or 0),
            audio_cache_read=_clamp(self.audio_cache_read, usage.cache_read_tokens or 0),
            audio_output=audio_output,
            image_output=_clamp(self.image_output, output - audio_output),
            cache_write_1h=_clamp(self.cache_write_1h, usage.cache_write_tokens or 0),
            web_searches=_clamp(self.web_searches, MAX_SEARCHES),
            file_searches=_clamp(self.file_searches, MAX_SEARCHES),
        )


_NOTHING_APART: Final = Particulars()


@dataclass(frozen=True, slots=True)
class Usage:
    """Disjoint token counts; None = not reported.

    Total input = input + cache_read + cache_write; total output = output + reasoning. `of_which` None: all of it is
    priced as its count says, as nearly always. It is there until an attempt's cost is known, and no part of the wire,
    the spend log or a sum.
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    of_which: Particulars | None = None

    @property
    def total_input_tokens(self) -> int:
        """All input tokens, cached ones included; not reported counts as 0."""
        return (self.input_tokens or 0) + (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)

    @property
    def total_output_tokens(self) -> int:
        """All output tokens, reasoning included; not reported counts as 0."""
        return (self.output_tokens or 0) + (self.reasoning_tokens or 0)

    @property
    def reported(self) -> bool:
        """Whether the provider reported both directions."""
        return self.input_tokens is not None and self.output_tokens is not None

    def bounded(self) -> Usage:
        """Return it with every count within 0 and MAX_COUNT, whatever a provider reported."""
        counts = (
            *(self.input_tokens, self.cache_read_tokens, self.cache_write_tokens),
            *(self.output_tokens, self.reasoning_tokens),
        )
        for count in counts:
            if count is not None and not 0 <= count <= MAX_COUNT:
                plain, read, write, output, reasoning = (None if c is None else _clamp(c, MAX_COUNT) for c in counts)
                bounded = Usage(plain, read, write, output, reasoning)
                break
        else:
            if self.of_which is None:
                return self
            bounded = self
        return bounded if self.of_which is None else replace(bounded, of_which=self.of_which.within(bounded))

    def with_particulars(self, of_which: Particulars) -> Usage:
        """Return it with what is priced apart, itself when nothing is."""
        return self if of_which == _NOTHING_APART else replace(self, of_which=of_which)

    def with_unknown_fee(self) -> Usage:
        """Return it as one for which something is charged that nobody here knows a price for."""
        return replace(self, of_which=replace(self.of_which or _NOTHING_APART, unpriced=True))

    def counts(self) -> Usage:
        """Return the counts alone."""
        return self if self.of_which is None else replace(self, of_which=None)

    def believed(self, most_input_tokens: int, most_output_tokens: int) -> Usage:
        """Return it without the direction that says more than can be: that counts as not reported, and is estimated."""
        if self.total_input_tokens <= most_input_tokens and self.total_output_tokens <= most_output_tokens:
            return self
        usage = self
        if usage.total_input_tokens > most_input_tokens:
            usage = replace(usage, input_tokens=None, cache_read_tokens=None, cache_write_tokens=None)
        if usage.total_output_tokens > most_output_tokens:
            usage = replace(usage, output_tokens=None, reasoning_tokens=None)
        return usage if self.of_which is None else replace(usage, of_which=self.of_which.within(usage))

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            _add(self.input_tokens, other.input_tokens),
            _add(self.cache_read_tokens, other.cache_read_tokens),
            _add(self.cache_write_tokens, other.cache_write_tokens),
            _add(self.output_tokens, other.output_tokens),
            _add(self.reasoning_tokens, other.reasoning_tokens),
        )


def _add(a: int | None, b: int | None) -> int | None:
    if a is None:
        return b
    return a if b is None else a + b


def _clamp(count: int, most: int) -> int:
    return min(max(count, 0), most)
