"""What each generation of Claude accepts, read from the model's name.

Rules kept here:
- A name without a version that can be read has the rules of the newest generation: those refuse the most.
- Facts, each from Anthropic's migration guides: thinking budgets end with 4.6, where adaptive thinking begins;
  temperature and top_p end with 4.6, and with API version 2026-10-21 for every model; from 5.0 on models think unless
  told otherwise. Each has its own word for that, or none: then the least effort stands for no thinking.
- System messages within a conversation: Opus 4.8 was the first to take them; Sonnet 5, Bedrock's InvokeModel and models
  of other names do not ("Mid-conversation system messages" names those that do).
"""

from __future__ import annotations

import re
from typing import Any, Final

from atlas_sidecar.core.types import ReasoningEffort

# Names as in claude-opus-4-5-20251101, us.anthropic.claude-haiku-4-5-20251001-v1:0, claude-opus-4-1@20250805; then
# those as in claude-3-7-sonnet-latest.
_NEW_NAME: Final = re.compile(r"claude-([a-z]{3,20})-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_OLD_NAME: Final = re.compile(r"claude-(\d{1,2})(?:[-.](\d{1,2}))?-[a-z]")
_NEWEST: Final = (99, 0)
_LATER_SYSTEM_FROM: Final = (4, 8)
_SAMPLING_UNTIL: Final = (4, 6)
_ADAPTIVE_FROM: Final = (4, 6)
_THINKS_UNASKED_FROM: Final = (5, 0)
_NO_THINKING: Final = {
    ("haiku", (5, 5)): "disabled",
    ("opus", (5, 0)): "disabled",
    ("sonnet", (5, 0)): "disabled",
    ("sonnet", (5, 5)): "between_tools",
}
_MIN_BUDGET: Final = 1024
_BUDGETS: Final = {ReasoningEffort.LOW: 1024, ReasoningEffort.MEDIUM: 8192, ReasoningEffort.HIGH: 24_576}

# The API version in which temperature and top_p still exist, by kind: a header for the first, a body field for others.
SAMPLING_VERSION: Final = {
    "anthropic": "2023-06-01",
    "anthropic-bedrock": "bedrock-2023-05-31",
    "anthropic-vertex": "vertex-2023-10-16",
}


def version_of(model: str) -> tuple[int, int]:
    """Return the generation that a model's name says: (4, 6) for "claude-sonnet-4-6"; the newest for any other name."""
    if found := _NEW_NAME.search(model):
        return int(found[2]), int(found[3] or 0)
    if found := _OLD_NAME.search(model):
        return int(found[1]), int(found[2] or 0)
    return _NEWEST


def _family(model: str) -> str:
    found = _NEW_NAME.search(model)
    return found[1] if found else ""


def takes_sampling(model: str) -> bool:
    """Whether the model accepts temperature and top_p (under the API version that has them)."""
    return version_of(model) <= _SAMPLING_UNTIL


def needs_old_version(model: str, kind: str) -> bool:
    """Whether this platform serves the model only under the former API version: Bedrock does so before 4.7."""
    return kind == "anthropic-bedrock" and version_of(model) < (4, 7)


def takes_later_system(model: str, kind: str) -> bool:
    """Whether the model accepts system messages after the beginning of a conversation."""
    version = version_of(model)
    if kind == "anthropic-bedrock" or version == _NEWEST or (_family(model), version) == ("sonnet", (5, 0)):
        return False
    return version >= _LATER_SYSTEM_FROM


def thinking_fields(model: str, effort: ReasoningEffort, max_tokens: int, must_call_tool: bool) -> dict[str, Any]:
    """Return the body fields that ask for this effort: `thinking`, `output_config`, or neither.

    A budget cannot be combined with a forced tool call. It is at least 1,024 tokens and leaves half of `max_tokens` to
    the answer; where that does not fit, the model is not asked to think.
    """
    version = version_of(model)
    if version < _ADAPTIVE_FROM:
        budget = min(_BUDGETS.get(effort, 0), max_tokens // 2)
        if must_call_tool or budget < _MIN_BUDGET:
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    if effort is ReasoningEffort.NONE:
        if version < _THINKS_UNASKED_FROM:
            return {}
        word = _NO_THINKING.get((_family(model), version))
        return {"thinking": {"type": word}} if word else {"output_config": {"effort": "low"}}
    thinking = {"type": "adaptive"}
    if version > _ADAPTIVE_FROM:  # these leave the thoughts' text out unless asked
        thinking["display"] = "summarized"
    return {"output_config": {"effort": effort.name.lower()}, "thinking": thinking}


def takes_forced_tools(model: str) -> bool:
    """Whether the model accepts a tool choice that demands a call: 5.5 ended that, in Fable and Mythos 5.1 did."""
    since = (5, 1) if "fable" in model or "mythos" in model else (5, 5)
    version = version_of(model)
    return version < since or version == _NEWEST  # a name that says nothing is not held against it
