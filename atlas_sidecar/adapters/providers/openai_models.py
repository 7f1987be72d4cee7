"""What OpenAI's models accept, by their names; a name that is not known here accepts everything. Pure.

Rules kept here:
- The name counts as OpenAI writes it: a fine-tuned model's base, a gateway's name without the vendor in front of it.
- Names decide only what would be a 400 otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from atlas_sidecar.core.types import ReasoningEffort

_REASONS: Final = re.compile(r"(?:o\d|gpt-[5-9])(?!.*chat)")
_KNOWS_NO_NONE: Final = re.compile(r"(?:o\d|gpt-5(?![.\d]))")  # gpt-5.1 and later take "none"
_KNOWS_MINIMAL: Final = re.compile(r"gpt-5(?![.\d])")
_VERSION: Final = re.compile(r"gpt-(\d)(?:\.(\d+))?(?![\w.])(?!.*chat)")
_SAMPLING: Final = frozenset({"temperature", "top_p"})
_TOOLS_MOVED: Final = (5, 4)


def plain_name(model: str) -> str:
    """Return a model's name without `ft:`, a vendor in front and what a colon adds ("ft:o3:acme::1" is "o3")."""
    return model.removeprefix("ft:").partition(":")[0].rpartition("/")[2].lower()


def refuses_tools_over_chat(model: str) -> bool:
    """Return whether OpenAI takes function tools of a reasoning model over the Responses API only: gpt-5.4 and later.

    Some take them over chat completions without reasoning, others not at all (docs/0022).
    """
    found = _VERSION.match(plain_name(model))
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _TOOLS_MOVED


def effort_word(model: str, effort: ReasoningEffort) -> str:
    """Return OpenAI's word for an effort; the least one where a model cannot do without reasoning."""
    name = plain_name(model)
    if effort is not ReasoningEffort.NONE or not _KNOWS_NO_NONE.match(name):
        return effort.name.lower()
    return "minimal" if _KNOWS_MINIMAL.match(name) else "low"


def refused_parameters(model: str, effort: ReasoningEffort | None) -> frozenset[str]:
    """Return the parameters that a model answers 400 to: OpenAI's reasoning families take no sampling."""
    name = plain_name(model)
    if not _REASONS.match(name) or (effort is ReasoningEffort.NONE and not _KNOWS_NO_NONE.match(name)):
        return frozenset()
    return _SAMPLING
