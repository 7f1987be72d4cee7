"""An answer in the chat-completions dialect, streamed or whole, as core events. Pure.

Rules kept here:
- Chunks are decoded straight from bytes into narrow structs; what is not named here is skipped unread.
- Text, reasoning and refusal have one part each, numbered as they appear; every tool call has its own part.
- A tool call always has an id and a name: a missing id is made from the answer's id and the call's place, the same for
  the same answer. What comes before the name waits for it.
- A call of a custom tool is one opaque part, and so is audio: they are told whole, at the end.
- `[DONE]` is the terminator. Without a finish reason before it a stream is broken, not short.
- Hosted tools (web search, Groq's executed tools) cost what no count tells: the cost is flagged.
- An answer that ends in a filter without any content is CONTENT_FILTERED; any other empty answer is an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.chat_chunks import (
    Choice,
    Chunk,
    Delta,
    ToolFragment,
)
from atlas_sidecar.adapters.providers.wire.chat_held import Audio, Logprobs, ReasoningDetails
from atlas_sidecar.adapters.providers.wire.chat_request import REASONING_FIELDS, TOOL_CALL, ReasoningOrigin
from atlas_sidecar.adapters.providers.wire.chat_usage import usage_of
from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, fault_of_object
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.adapters.providers.wire.transport import MAX_BODY_BYTES
from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    Opaque,
    OpaqueDelta,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
    UsageReport,
)

DONE: Final = b"[DONE]"
_FUNCTION_CALL: Final = -1  # the index of a call in the form before tools
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.MAX_OUTPUT_TOKENS,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "model_length": FinishReason.MAX_CONTEXT,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_decode = msgspec.json.Decoder(Chunk).decode


class _Call:
    """A tool call as it comes in."""

    __slots__ = ("arguments", "custom", "id", "index", "name", "part")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.part = -1  # not started
        self.arguments = ""  # what came before the start; of a custom tool all of it
        self.custom = False


class ChatDecoder:
    """Decodes one answer; `kind` marks its opaque parts, `metadata` is added to what the answer says.

    `names`: the caller's names of tools, by those that were sent, where they differ.
    No `done_marker`: a finish reason and a clean end will do. `signs_reasoning`: whether the signature
    of reasoning says where it came from, so that it can go back there.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        kind: str,
        now_unix_s: float,
        metadata: dict[str, Any] | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
        done_marker: bool = True,
        signs_reasoning: bool = False,
    ) -> None:
        self.has_content = False
        self.finished = False
        self._taxonomy = taxonomy
        self._kind = kind
        self._now_unix_s = now_unix_s
        self._names = names
        self._signs_reasoning = signs_reasoning
        self._reasoning_field = ""
        self._done_marker = done_marker
        self._parts = 0
        self._text = self._reasoning = self._refusal = self._audio_part = -1
        self._audio, self._logprobs, self._details = Audio(), Logprobs(), ReasoningDetails()
        self._held = 0  # characters that are told at the end only
        self._calls: list[_Call] = []
        self._raw_finish: str | None = None
        self._usage = Usage()
        self._used_hosted_tools = False
        self._metadata = {} if metadata is None else metadata
        self._answer_id = self._tier = ""

    # --- what the loop calls

    def events(self, events: Sequence[SseEvent], out: list[ProviderEvent]) -> None:
        """Take one network read's events; raises ProviderError for an error within the stream."""
        for _, data in events:
            if data == DONE:
                self._finish(out, whole=False)
                return
            self._chunk(_decode(data), out)

    def whole(self, body: bytes, out: list[ProviderEvent]) -> None:
        """Take a body that is the whole answer."""
        chunk = _decode(body)
        self._note("usage_breakdown", chunk.usage_breakdown)
        self._note("mcp_list_tools", chunk.mcp_list_tools)
        self._chunk(chunk, out)
        if chunk.choices:
            self._finish(out, whole=True)

    def end(self, out: list[ProviderEvent]) -> None:
        """Finish at a clean end of the stream where this server sends no `[DONE]`."""
        if not self._done_marker and self._raw_finish:
            self._finish(out, whole=False)

    # --- chunks

    def _chunk(self, chunk: Chunk, out: list[ProviderEvent]) -> None:
        if chunk.error is not None:
            raise self._error(chunk.error)
        if not self._answer_id:
            self._describe(chunk)
        if chunk.service_tier and chunk.service_tier != self._tier:  # known late, sometimes: what was asked may be full
            self._tier = chunk.service_tier
            self._metadata["service_tier"] = self._tier[:256]
        usage = chunk.usage
        if chunk.x_groq is not None:
            if chunk.x_groq.error is not None:
                raise self._error(chunk.x_groq.error)
            said = chunk.x_groq.usage  # the counts in a stream; of a whole answer only what the hardware cached
            if usage is None and said is not None and said.prompt_tokens is not None:
                usage = said
            self._note("usage_breakdown", chunk.x_groq.usage_breakdown)
        if usage is not None:
            self._usage = usage_of(usage, self._tier)
            out.append(UsageReport(self._usage))
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            delta = choice.delta
            # Nearly every chunk: some text of a part that has begun, and nothing beside it.
            beside = choice.finish_reason or choice.error or choice.logprobs
            if delta is not None and self._text >= 0 and not beside:
                text = delta.only_text
                if text:
                    out.append(TextDelta(self._text, text))
                    continue
            self._choice(choice, out)

    def _choice(self, choice: Choice, out: list[ProviderEvent]) -> None:
        if choice.error is not None:
            raise self._error(choice.error)
        if choice.logprobs:
            self._logprobs.add(choice.logprobs)
            self._metadata["logprobs"] = self._logprobs.said
        delta = choice.delta or choice.message
        if delta is not None:
            text = delta.only_text
            if text:
                self._add_text(text, out)
            else:
                self._delta(delta, out)
        if choice.finish_reason:
            self._raw_finish = choice.finish_reason

    def _delta(self, delta: Delta, out: list[ProviderEvent]) -> None:
        self._reason(delta, out)
        if isinstance(delta.content, str):
            self._add_text(delta.content, out)
        else:
            for part in delta.content or ():
                self._add_text(part.text or "", out)
                for thought in part.thinking or ():
                    self._add_reasoning(thought.text or "", out)
        if delta.refusal:
            if self._refusal < 0:
                self._refusal = self._new_part()
            out.append(RefusalDelta(self._refusal, delta.refusal))
        for fragment in delta.tool_calls or ():
            self._fragment(fragment, out)
        if delta.function_call is not None:
            self._fragment(ToolFragment(_FUNCTION_CALL, None, delta.function_call), out)
        if delta.audio:
            if self._audio_part < 0:
                self._audio_part = self._new_part()
            self._hold(self._audio.add(delta.audio))
        for type_, raw in delta.opaque_parts():
            self._used_hosted_tools |= type_ == "executed_tools" or (type_ == "annotations" and "url_citation" in raw)
            out.append(OpaqueDelta(self._new_part(), Opaque(self._kind, type_, raw)))

    def _reason(self, delta: Delta, out: list[ProviderEvent]) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._reasoning_field = self._reasoning_field or REASONING_FIELDS[not delta.reasoning_content]
            self._add_reasoning(reasoning, out)
        if delta.reasoning_details:
            self._hold(self._details.add(delta.reasoning_details))

    def _add_text(self, text: str, out: list[ProviderEvent]) -> None:
        if text:
            if self._text < 0:
                self._text = self._new_part()
            out.append(TextDelta(self._text, text))

    def _add_reasoning(self, text: str, out: list[ProviderEvent]) -> None:
        if text:
            if self._reasoning < 0:
                self._reasoning = self._new_part()
            out.append(ReasoningDelta(self._reasoning, text))

    def _hold(self, characters: int) -> None:
        self._held += characters
        if self._held > MAX_BODY_BYTES:
            raise self._taxonomy.broken("the answer is too large", has_content=self.has_content)

    def _new_part(self) -> int:
        self.has_content = True
        self._parts += 1
        return self._parts - 1

    # --- tool calls

    def _fragment(self, fragment: ToolFragment, out: list[ProviderEvent]) -> None:
        name, arguments = fragment.name, fragment.text
        call = self._call_of(fragment, name)
        call.id = call.id or fragment.id or ""
        call.name = call.name or name
        if fragment.custom is not None and call.part < 0:
            call.custom, call.part = True, self._new_part()
        if call.custom:
            call.arguments += arguments
            self._hold(len(arguments))
        elif call.part < 0:
            call.arguments += arguments
            if call.name:
                self._start(call, out)
        elif arguments:
            out.append(ToolArguments(call.part, arguments))
            call.arguments = "+"  # some were sent

    def _call_of(self, fragment: ToolFragment, name: str) -> _Call:
        """Return a fragment's call, by index; a new id and name under a used index begin a new one."""
        known = None
        if fragment.index is not None:
            known = next((call for call in reversed(self._calls) if call.index == fragment.index), None)
        elif self._calls and (not name or (fragment.id and fragment.id == self._calls[-1].id)):
            known = self._calls[-1]
        begins = known is None or bool(name and fragment.id and known.id and fragment.id != known.id)
        if known is not None and not begins:
            return known
        call = _Call(fragment.index)
        self._calls.append(call)
        return call

    def _start(self, call: _Call, out: list[ProviderEvent]) -> None:
        call.part = self._new_part()
        call.id = call.id or call_id(self._answer_id, self._calls.index(call))
        out.append(ToolCallStart(call.part, call.id, self._names.get(call.name, call.name)))
        if call.arguments:
            out.append(ToolArguments(call.part, call.arguments))

    # --- the end

    def _finish(self, out: list[ProviderEvent], *, whole: bool) -> None:
        raw = self._raw_finish
        if raw is None and not whole:
            raise self._taxonomy.broken("the answer ended without a finish reason", has_content=self.has_content)
        if raw == "error":
            raise self._taxonomy.broken("the answer ended in an error", has_content=self.has_content)
        if any(call.part < 0 for call in self._calls):
            raise self._taxonomy.broken("a tool call has no name", has_content=self.has_content)
        if raw == "content_filter" and not self.has_content:
            raise self._taxonomy.filtered("content_filter")
        reason = FINISH_REASONS.get(raw or "stop", FinishReason.OTHER)
        if reason is FinishReason.STOP and self._calls:
            reason = FinishReason.TOOL_CALLS
        if reason is FinishReason.STOP and self._refusal >= 0 and self._text < 0:
            reason = FinishReason.REFUSAL
        self._tell_held(out)
        if self._signs_reasoning and (self._reasoning_field or self._details):
            self._sign_reasoning(out)
        for call in self._calls:
            if not call.arguments and not call.custom:
                out.append(ToolArguments(call.part, "{}"))
        self.finished = True
        usage = self._usage.with_unknown_fee() if self._used_hosted_tools else self._usage
        out.append(Finished(reason, raw or "", usage, self._metadata))

    def _sign_reasoning(self, out: list[ProviderEvent]) -> None:
        if self._reasoning < 0:
            self._reasoning = self._new_part()
            out.append(ReasoningDelta(self._reasoning, "", redacted=True))
        origin = ReasoningOrigin(self._taxonomy.provider, self._reasoning_field, self._details.whole())
        out.append(SignatureDelta(self._reasoning, msgspec.json.encode(origin)))

    def _tell_held(self, out: list[ProviderEvent]) -> None:
        if self._audio_part >= 0:
            out.append(OpaqueDelta(self._audio_part, Opaque(self._kind, "audio", self._audio.json())))
        for place, call in enumerate(self._calls):
            if call.custom:
                id_ = call.id or call_id(self._answer_id, place)
                said = {"id": id_, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
                out.append(OpaqueDelta(call.part, Opaque(self._kind, TOOL_CALL, msgspec.json.encode(said).decode())))

    def _describe(self, chunk: Chunk) -> None:
        self._answer_id = chunk.id or ""
        if chunk.prompt_filter_results:
            self._metadata["prompt_filter_results"] = chunk.prompt_filter_results
        for name, value in (
            ("id", chunk.id),
            ("model", chunk.model),
            ("system_fingerprint", chunk.system_fingerprint),
        ):
            if value:
                self._metadata[name] = value[:256]

    def _note(self, name: str, value: Any) -> None:
        if value:
            self._metadata[name] = value

    def _error(self, reported: Any) -> ProviderError:
        fault = fault_of_object(200, {"error": reported})
        if isinstance(reported, str):  # Groq's x_groq.error may be a bare code
            fault = fault._replace(code=reported)
        return self._taxonomy.error(fault, http_status=200, headers={}, now_unix_s=self._now_unix_s)


def call_id(answer_id: str, place: int) -> str:
    """Return an id for a tool call that came without one: the same for the same answer, at most 40 characters."""
    return f"call_{hashlib.blake2b(f'{answer_id}/{place}'.encode(), digest_size=12).hexdigest()}"
