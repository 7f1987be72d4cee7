"""What Gemini says of tokens and of what is charged beside them. Pure.

Rules kept here:
- Counts are cumulative: of each the last one that was said holds. Cached tokens are inside the prompt's, tokens of tool
  results beside it, thoughts beside the answer's. A count that is missing at the end is a zero (proto3 omits it).
- Told beside the counts: audio, images of the answer, searches (from Gemini 3 on each query is charged, before it each
  prompt: ai.google.dev/gemini-api/docs/pricing). Other sources and other tiers are flagged.
- Details of the counts are in every chunk and seldom of interest: they are decoded where they name more than text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.fees import is_list_price
from atlas_sidecar.core.types import Particulars, Usage

_NOT_SAID: Final = msgspec.Raw()
_CHARGED_A_PROMPT: Final = re.compile(r"(models/)?gemini-[12]\b")


class Counts(msgspec.Struct, rename="camel"):
    """One report, as it is sent; `traffic_type` is Vertex AI's word for the tier."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    total_token_count: int | None = None
    service_tier: Any = None
    traffic_type: Any = None
    prompt_tokens_details: msgspec.Raw = _NOT_SAID
    cache_tokens_details: msgspec.Raw = _NOT_SAID
    tool_use_prompt_tokens_details: msgspec.Raw = _NOT_SAID
    candidates_tokens_details: msgspec.Raw = _NOT_SAID


class _Detail(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: int | None = None


_DETAILS: Final = msgspec.json.Decoder(list[_Detail] | None)
_DETAIL_FIELDS: Final = tuple(name for name in Counts.__struct_fields__ if name.endswith("_details"))
_COUNTS: Final = tuple(name for name in Counts.__struct_fields__ if name not in _DETAIL_FIELDS)


class Tally:
    """What one answer has said so far."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._counts = Counts()
        self._queries: set[str] = set()
        self._sources: set[str] = set()
        self._other_tier = False
        self._names_media = False
        self._is_apart = False  # in most answers nothing is priced apart

    def expect_media(self) -> None:
        """Look at the details of the counts from now on: they may name more than text."""
        self._names_media = self._is_apart = True

    def count(self, counts: Counts) -> None:
        """Take a report over."""
        if (counts.service_tier is not None or counts.traffic_type is not None) and not (
            is_list_price(counts.service_tier) and is_list_price(counts.traffic_type)
        ):
            self._other_tier = self._is_apart = True
        for name in _COUNTS:
            value = getattr(counts, name)
            if value is not None:
                setattr(self._counts, name, value)
        if self._names_media:
            for name in _DETAIL_FIELDS:
                if getattr(counts, name) is not _NOT_SAID:
                    setattr(self._counts, name, getattr(counts, name))

    def ground(self, said: Any) -> None:
        """Note what the answer was grounded in: empty queries are not charged, nor is one twice."""
        if not isinstance(said, dict):
            return
        for name in ("webSearchQueries", "imageSearchQueries"):
            self._queries.update(query for query in _list(said.get(name)) if isinstance(query, str) and query)
        for chunk in _list(said.get("groundingChunks")):
            self._sources.update(chunk if isinstance(chunk, dict) else ())
        if said.get("retrievalQueries"):
            self._sources.add("retrievedContext")
        self._is_apart |= bool(self._queries or self._sources)

    def usage(self, model: Any, *, final: bool) -> Usage:
        """Return the usage in disjoint counts; `final`: counts that were never said are zeros, if others were."""
        counts = self._counts
        prompt, cached, thoughts = (
            counts.prompt_token_count,
            counts.cached_content_token_count,
            counts.thoughts_token_count,
        )
        tools, output = counts.tool_use_prompt_token_count or 0, counts.candidates_token_count
        if output is None and final and prompt is not None:
            output = max(0, (counts.total_token_count or 0) - prompt - tools - (thoughts or 0))
        usage = Usage(
            input_tokens=None if prompt is None else max(0, prompt - (cached or 0)) + tools,
            cache_read_tokens=cached,
            output_tokens=output,
            reasoning_tokens=thoughts,
        )
        return usage.with_particulars(self._apart(str(model))) if self._is_apart else usage

    def _apart(self, model: str) -> Particulars:
        """Return what is priced apart."""
        prompt, cached, tools, made = (
            _DETAILS.decode(raw) or () if (raw := getattr(self._counts, name)) is not _NOT_SAID else ()
            for name in _DETAIL_FIELDS
        )
        audio_read, queries = _tokens(cached, "AUDIO"), len(self._queries)
        return Particulars(
            audio_input=max(0, _tokens(prompt, "AUDIO") - audio_read) + _tokens(tools, "AUDIO"),
            audio_cache_read=audio_read,
            audio_output=_tokens(made, "AUDIO"),
            image_output=_tokens(made, "IMAGE"),
            web_searches=min(queries, 1) if _CHARGED_A_PROMPT.match(model) else queries,
            unpriced=self._other_tier or self._has_other_source() or _tokens(made, "VIDEO") > 0,
        )

    def _has_other_source(self) -> bool:
        """Return whether it was grounded in what no count tells: Google Maps, Vertex AI Search, a query left unsaid."""
        told = {"web", "image"} if self._queries else set()
        if self._kind == "google":
            told.add("retrievedContext")  # its File Search costs nothing but tokens
        return bool(self._sources - told)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tokens(details: Sequence[_Detail], modality: str) -> int:
    return sum(max(0, one.token_count or 0) for one in details if (one.modality or "").upper() == modality)
