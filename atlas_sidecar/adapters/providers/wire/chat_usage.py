"""The counts of a chat-completions answer, and of the Responses API's, as disjoint ones. Pure.

Rules kept here:
- Cached tokens leave the input, reasoning tokens leave the output. Audio is told beside the counts.
- No count is below 0 or above 10^12, whatever was reported.
"""

from __future__ import annotations

from typing import Final

from atlas_sidecar.adapters.providers.wire.chat_chunks import ChatUsage, CompletionDetails, PromptDetails
from atlas_sidecar.adapters.providers.wire.fees import is_list_price
from atlas_sidecar.core.types import Particulars, Usage

_MAX_COUNT: Final = 10**12


def usage_of(usage: ChatUsage, tier: str = "") -> Usage:
    """Return disjoint counts. Cached tokens are inside `prompt_tokens`, reasoning tokens inside `completion_tokens`.

    A server whose `total_tokens` is the sum of all three counts reasoning beside the completion: then it stays so.
    Nobody says how much of the audio was cached: as little as may be. `tier`: of service, as the answer names it.
    """
    read, made = usage.prompt_tokens_details or PromptDetails(), usage.completion_tokens_details or CompletionDetails()
    cached = usage.prompt_cache_hit_tokens if read.cached_tokens is None else read.cached_tokens
    completion, reasoning = usage.completion_tokens, made.reasoning_tokens
    if completion and reasoning and usage.total_tokens == (usage.prompt_tokens or 0) + completion + reasoning:
        completion += reasoning
    counted = disjoint(usage.prompt_tokens, cached, read.cache_write_tokens, completion, reasoning)
    if not is_list_price(tier):
        counted = counted.with_unknown_fee()
    if not read.audio_tokens and not made.audio_tokens:
        return counted
    heard, plain = _bounded(read.audio_tokens) or 0, counted.input_tokens or 0
    return counted.with_particulars(
        Particulars(
            audio_input=min(heard, plain),
            audio_cache_read=max(0, heard - plain),
            audio_output=_bounded(made.audio_tokens) or 0,
            unpriced=counted.of_which is not None,
        )
    )


def disjoint(
    input_: int | None, cached: int | None, written: int | None, output: int | None, reasoning: int | None
) -> Usage:
    """Return the counts without what is counted twice: cached within the input, reasoning within the output."""
    cached, written, reasoning = _bounded(cached), _bounded(written), _bounded(reasoning)
    if input_ is not None:
        input_ -= (cached or 0) + (written or 0)
    if output is not None:
        output -= reasoning or 0
    return Usage(_bounded(input_), cached, written, _bounded(output), reasoning)


def _bounded(count: int | None) -> int | None:
    return None if count is None else min(max(count, 0), _MAX_COUNT)
