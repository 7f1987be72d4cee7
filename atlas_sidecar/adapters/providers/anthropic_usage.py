"""What Claude says of tokens and of what is charged beside them. Pure.

Rules kept here:
- Counts are cumulative: a later one replaces an earlier one, field by field. Input excludes what the cache read and
  wrote; thinking tokens are inside `output_tokens`. The output count of `message_start` is a placeholder, not told.
- Told beside the counts: writes to the hour's cache, web searches, inference kept in the US. What has a price that
  nothing here knows is flagged: a tier, the fast mode, containers, iterations beside the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.fees import is_list_price, positive
from atlas_sidecar.core.types import Particulars, Usage

# What is charged of the usual token prices, by the place of inference; of another place nothing is known.
# Source: platform.claude.com/docs/en/about-claude/pricing, "Data residency pricing".
_PERCENT_OF_PLACE: Final = {"us": 110, "global": 100, "not_available": 100}
_NOTHING_APART: Final = Particulars()


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class _Written(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """One report, as it is sent."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _Details | None = None
    service_tier: Any = None
    server_tool_use: Any = None
    iterations: Any = None
    cache_creation: _Written | None = None
    inference_geo: str | None = None
    speed: Any = None


def counted(old: Usage, said: ReportedUsage, metadata: Mapping[str, Any], *, whole: bool) -> Usage:
    """Return the usage after a report; `whole`: its output count is final. `metadata`: what the answer said beside."""
    output, thinking = old.output_tokens, old.reasoning_tokens
    if whole and said.output_tokens is not None:
        thinking = said.output_tokens_details.thinking_tokens if said.output_tokens_details else None
        output = max(0, said.output_tokens - (thinking or 0))
    return Usage(
        input_tokens=_later(old.input_tokens, said.input_tokens),
        cache_read_tokens=_later(old.cache_read_tokens, said.cache_read_input_tokens),
        cache_write_tokens=_later(old.cache_write_tokens, said.cache_creation_input_tokens),
        output_tokens=output,
        reasoning_tokens=thinking,
    ).with_particulars(_apart(old.of_which or _NOTHING_APART, said, metadata))


def _apart(old: Particulars, said: ReportedUsage, metadata: Mapping[str, Any]) -> Particulars:
    """Return what is priced apart; what this report does not say stays as it was."""
    hour = said.cache_creation.ephemeral_1h_input_tokens if said.cache_creation else None
    tools = said.server_tool_use if isinstance(said.server_tool_use, dict) else None
    percent = _PERCENT_OF_PLACE.get(said.inference_geo) if said.inference_geo else old.token_percent
    return Particulars(
        cache_write_1h=old.cache_write_1h if hour is None else max(0, hour),
        web_searches=positive(tools.get("web_search_requests")) if tools else old.web_searches,
        token_percent=100 if percent is None else percent,
        unpriced=old.unpriced
        or percent is None
        or not is_list_price(said.service_tier)
        or said.speed not in (None, "standard")
        or _has_other_iterations(said.iterations)
        or _has_container_fee(metadata),
    )


def _has_other_iterations(said: Any) -> bool:
    """Return whether some iteration's tokens are not in the counts: those of compaction, an advisor, a fallback."""
    listed = said if isinstance(said, list) else ()
    return any(isinstance(one, dict) and one.get("type") not in (None, "message") for one in listed)


def _has_container_fee(metadata: Mapping[str, Any]) -> bool:
    """Return whether code ran in a container that is charged by the hour: without search or fetch it is."""
    tools = metadata.get("server_tool_use")
    free = isinstance(tools, dict) and any(map(positive, tools.values()))
    return bool(metadata.get("container")) and not free


def _later(old: int | None, new: int | None) -> int | None:
    return old if new is None else new
