"""What an answer of OpenAI's Responses API says of tokens, and which of its hosted tools are charged. Pure.

Rules kept here:
- Cached tokens are inside the input, reasoning tokens inside the output.
- Searches are counted, each has its fee; of web search only a search is charged, not a page that was opened (the guide
  "Web search"). Any other hosted call may cost what nothing here tells (a container, an image): it is flagged.
- GPT-4's generation is charged for searches by rules that no count tells: 25 USD a thousand with web_search_preview, a
  block of 8,000 tokens for the minis (developers.openai.com/api/docs/pricing, "Built-in tools"). It is flagged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from atlas_sidecar.adapters.providers.wire.chat_usage import disjoint
from atlas_sidecar.adapters.providers.wire.fees import is_list_price
from atlas_sidecar.core.types import Particulars, Usage

# Calls without a fee beside their tokens: the caller runs them, or they run on a server of the caller's.
_WITHOUT_FEE: Final = frozenset(
    {"apply_patch_call", "computer_call", "custom_tool_call", "local_shell_call", "mcp_call", "tool_search_call"}
)


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class ReportedUsage(msgspec.Struct, gc=False):
    """The counts, as they are sent."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Action(msgspec.Struct, gc=False):
    type: str | None = None


class _Search(msgspec.Struct, gc=False):
    action: _Action | None = None


_decode_search = msgspec.json.Decoder(_Search).decode


class HostedCalls:
    """The calls of hosted tools that are charged."""

    def __init__(self) -> None:
        self._types: list[str] = []

    def note(self, type_: str, raw: msgspec.Raw) -> None:
        """Note an item that is no content."""
        if not type_.endswith("_call") or type_ in _WITHOUT_FEE:
            return
        action = _decode_search(raw).action if type_ == "web_search_call" else None
        if action is None or action.type in (None, "search"):
            self._types.append(type_)

    def billed(self, said: ReportedUsage | None, model: str | None, tier: str | None) -> Usage:
        """Return an answer's usage with the fees of hosted tools."""
        searches, files = self._types.count("web_search_call"), self._types.count("file_search_call")
        usage = _usage(said).with_particulars(Particulars(web_searches=searches, file_searches=files))
        unsaid = searches > 0 and (model or "").startswith("gpt-4")
        if unsaid or len(self._types) > searches + files or not is_list_price(tier):
            usage = usage.with_unknown_fee()
        return usage


def _usage(usage: ReportedUsage | None) -> Usage:
    if usage is None:
        return Usage()
    read, made = usage.input_tokens_details or _InputDetails(), usage.output_tokens_details or _OutputDetails()
    return disjoint(
        usage.input_tokens, read.cached_tokens, read.cache_write_tokens, usage.output_tokens, made.reasoning_tokens
    )
