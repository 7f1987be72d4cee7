"""The parts of a chat-completions answer that are read: narrow structs, everything else is skipped unread.

One set for chunks and whole answers, for OpenAI, Groq and compatible servers (DeepSeek, Mistral, vLLM, OpenRouter): a
field that only one of them sends is optional. A wrong type anywhere is a malformed answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

_NOTHING: Final = msgspec.Raw()


class _Struct(msgspec.Struct, gc=False):
    """Holds no cycles, so that the garbage collector need not look."""


class ToolFunction(_Struct):
    """Name and arguments; some servers send the arguments as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments (or their fragment) as JSON text."""
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class CustomTool(_Struct):
    """A call whose input is text of the tool's own form."""

    name: str | None = None
    input: str | None = None


class ToolFragment(_Struct):
    """A fragment of a tool call, or a whole one."""

    index: int | None = None
    id: str | None = None
    function: ToolFunction | None = None
    custom: CustomTool | None = None

    @property
    def name(self) -> str:
        """The tool's name, where this fragment has it."""
        said = self.custom or self.function
        return (said.name if said else None) or ""

    @property
    def text(self) -> str:
        """The arguments, or the input of a custom tool."""
        if self.custom is not None:
            return self.custom.input or ""
        return self.function.text if self.function else ""


class ContentText(_Struct):
    """One thought of a Mistral thinking part."""

    text: str | None = None


class ContentPart(_Struct):
    """A part where content is a list (Mistral)."""

    text: str | None = None
    thinking: list[ContentText] | None = None


class Delta(_Struct):
    """What one choice adds, or its whole message."""

    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None  # DeepSeek, vLLM
    reasoning: str | None = None  # Groq, OpenRouter, newer vLLM
    reasoning_details: list[Any] | None = None  # OpenRouter
    refusal: str | None = None
    tool_calls: list[ToolFragment] | None = None
    function_call: ToolFunction | None = None  # the form before tools: one call, without an id
    annotations: msgspec.Raw = _NOTHING
    audio: dict[str, Any] | None = None
    executed_tools: msgspec.Raw = _NOTHING  # Groq's compound systems

    @property
    def only_text(self) -> str:
        """The text, when there is nothing beside it: nearly every chunk."""
        if (
            self.tool_calls
            or self.function_call
            or self.reasoning
            or self.reasoning_content
            or self.reasoning_details
            or self.refusal
            or self.annotations is not _NOTHING
            or self.audio
            or self.executed_tools is not _NOTHING
        ):
            return ""
        return self.content if isinstance(self.content, str) else ""

    def opaque_parts(self) -> Iterator[tuple[str, str]]:
        """Yield what we only pass on: its name and its JSON."""
        for name in ("annotations", "executed_tools"):
            raw = bytes(getattr(self, name))
            if raw not in {b"", b"null", b"[]", b"{}"}:
                yield name, raw.decode()


class Choice(_Struct):
    """One choice; `error`: OpenRouter."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None


class PromptDetails(_Struct):
    """Counts inside `prompt_tokens`."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class CompletionDetails(_Struct):
    """Counts inside `completion_tokens`."""

    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class ChatUsage(_Struct):
    """Token counts as reported."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class Groq(_Struct):
    """Groq's envelope in a stream; `usage_breakdown`: which models a compound system asked."""

    usage: ChatUsage | None = None
    usage_breakdown: Any = None
    error: str | dict[str, Any] | None = None


class Chunk(_Struct):
    """A chunk, a whole answer, or an error in the place of one."""

    choices: list[Choice] | None = None
    usage: ChatUsage | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    prompt_filter_results: Any = None  # Azure
    x_groq: Groq | None = None
    usage_breakdown: Any = None  # Groq's, of a whole answer
    mcp_list_tools: Any = None
    error: str | dict[str, Any] | None = None
