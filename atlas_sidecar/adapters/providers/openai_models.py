"""What OpenAI's models accept, by their names; a name that is not known here accepts everything. Pure.

Rules kept here:
- The name counts as OpenAI writes it: a fine-tuned model's base, a gateway's name without the vendor in front of it.
- Names decide only what would be a 400 otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from atlas_sidecar.core.types import ReasoningEffort

_REASONS: Final = re.compile(r"(?:o\d|gpt-[5-9]|codex-)(?!.*chat)")
_O_SERIES: Final = re.compile(r"o\d")
_WORDS: Final = ("none", "minimal", "low", "medium", "high")
_LOW_TO_HIGH: Final = _WORDS[2:]
_EFFORTS: Final = tuple(  # the first family that a name begins with; others know every word
    (re.compile(family), words)
    for family, words in (
        (r"gpt-6-astra|gpt-6\.1-(?:sol|astra)|gpt-6\.2-", _LOW_TO_HIGH),
        (r"gpt-5-pro", ("high",)),
        (r"gpt-5\.\d+-pro", ("medium", "high")),
        (r"o\d|codex-|gpt-5(?:\.\d+)?-codex", _LOW_TO_HIGH),
        (r"gpt-5(?![.\d])", ("minimal", *_LOW_TO_HIGH)),
        (r"gpt-[5-9]", ("none", *_LOW_TO_HIGH)),
    )
)
_VERSION: Final = re.compile(r"gpt-(\d)(?:\.(\d+))?(?![\w.])(?!.*chat)")
_SAMPLING: Final = frozenset({"temperature", "top_p"})
_TOOLS_MOVED: Final = (5, 4)
_BREAKPOINTS_FROM: Final = (5, 6)


def plain_name(model: str) -> str:
    """Return a model's name without `ft:`, a vendor in front and what a colon adds ("ft:o3:acme::1" is "o3")."""
    return model.removeprefix("ft:").partition(":")[0].rpartition("/")[2].lower()


def refuses_tools_over_chat(model: str) -> bool:
    """Return whether OpenAI takes function tools of a reasoning model over the Responses API only: gpt-5.4 and later.

    Some take them over chat completions without reasoning, others not at all (docs/0022).
    """
    return _version(model) >= _TOOLS_MOVED


def takes_breakpoints(model: str) -> bool:
    """Return whether a model takes explicit cache breakpoints: gpt-5.6 and later (the SDK's PromptCacheBreakpoint)."""
    return _version(model) >= _BREAKPOINTS_FROM


def _version(model: str) -> tuple[int, int]:
    """Return the version that a name says, (0, 0) for a name that says none."""
    found = _VERSION.match(plain_name(model))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def effort_word(model: str, effort: ReasoningEffort) -> str:
    """Return OpenAI's word for an effort: of those that the model knows, the nearest."""
    name, wanted = plain_name(model), _WORDS.index(effort.name.lower())
    known = next((words for family, words in _EFFORTS if family.match(name)), _WORDS)
    return min(known, key=lambda word: abs(_WORDS.index(word) - wanted))


def refused_parameters(model: str, effort: ReasoningEffort | None) -> frozenset[str]:
    """Return the parameters that a model answers 400 to: no sampling while a reasoning family reasons."""
    if not _REASONS.match(plain_name(model)) or (effort is not None and effort_word(model, effort) == "none"):
        return frozenset()
    return _SAMPLING


def refused_by_openai(model: str, effort: ReasoningEffort | None) -> frozenset[str]:
    """Return what OpenAI's own servers (and Azure) refuse of a model beyond that: others mostly ignore it."""
    name, refused = plain_name(model), refused_parameters(model, effort)
    if _REASONS.match(name):
        refused |= {"stop"}
    return refused | {"parallel_tool_calls"} if _O_SERIES.match(name) else refused
