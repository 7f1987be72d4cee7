"""Token counts of one attempt or of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_COUNT: Final = 10**9  # tokens: beyond any model, and at the highest price that may be configured still 64 bits


@dataclass(frozen=True, slots=True)
class Usage:
    """Disjoint token counts; None = not reported.

    Total input = input + cache_read + cache_write; total output = output + reasoning.
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

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
                break
        else:
            return self
        return Usage(*(None if count is None else min(max(count, 0), MAX_COUNT) for count in counts))

    def believed(self, most_input_tokens: int, most_output_tokens: int) -> Usage:
        """Return it without the direction that says more than can be: that counts as not reported, and is estimated."""
        if self.total_input_tokens <= most_input_tokens and self.total_output_tokens <= most_output_tokens:
            return self
        usage = self
        if usage.total_input_tokens > most_input_tokens:
            usage = replace(usage, input_tokens=None, cache_read_tokens=None, cache_write_tokens=None)
        if usage.total_output_tokens > most_output_tokens:
            usage = replace(usage, output_tokens=None, reasoning_tokens=None)
        return usage

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
