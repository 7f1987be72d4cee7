"""Documents of any form, made of a wire's own words, through its decoder: an answer or an error, and never two ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.wire.answer import Decoder
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import Finished, ProviderEvent


def documents(words: str) -> st.SearchStrategy[list[Any]]:
    """Return lists of JSON values whose keys, and many of whose texts, are these words."""
    known = st.sampled_from(words.split())
    value = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), known),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(known, inner, max_size=4)),
        max_leaves=12,
    )
    return st.lists(value, max_size=5)


def decode_or_refuse(decoder: Decoder, given: Sequence[Any], *, whole: bool) -> None:
    """Let a decoder read documents as events, or the first one as a whole answer; fails where it does neither."""
    out: list[ProviderEvent] = []
    try:
        if whole and given:
            decoder.whole(json.dumps(given[0]).encode(), out)
        else:
            decoder.events([SseEvent(b"", json.dumps(document).encode()) for document in given], out)
            decoder.end(out)
    except (ProviderError, msgspec.DecodeError):
        pass
    assert [event for event in out[:-1] if isinstance(event, Finished)] == []
