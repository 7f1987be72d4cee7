"""An answer of Anthropic's Messages API, streamed or whole, as core events. Sans-I/O.

Rules kept here:
- The terminator of a stream is `message_stop`. Unknown events and deltas are skipped, unknown blocks are opaque parts.
- Each content block that says something is a part of its own; the citations of a text follow it as an opaque part, and
  so does what a tool call says beside its arguments.
- Null stands for what is not said. A hosted call that the token limit cut keeps its first form: its input is no JSON.
- A refusal or a full context window without any content is an error; with content it is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.anthropic_calls import CALL_FIELDS, call_fields
from atlas_sidecar.adapters.providers.anthropic_errors import TAXONOMY, context_full, error_of
from atlas_sidecar.adapters.providers.anthropic_json import decoded, is_json
from atlas_sidecar.adapters.providers.anthropic_request import CITATIONS
from atlas_sidecar.adapters.providers.anthropic_usage import ReportedUsage, counted
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    Opaque,
    OpaqueDelta,
    ProviderEvent,
    ReasoningDelta,
    SignatureDelta,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
    UsageReport,
)

_FINISH: Final = {
    "compaction": FinishReason.PAUSE,
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "model_context_window_exceeded": FinishReason.MAX_CONTEXT,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "": FinishReason.STOP,
}


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    data: str | None = None
    citation: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    encrypted_content: msgspec.Raw = msgspec.Raw()
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None


class _Message(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    usage: ReportedUsage | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    input_transformations: Any = None


class _Event(msgspec.Struct):
    type: str | None = None
    index: int = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    message: _Message | None = None
    usage: ReportedUsage | None = None
    context_management: Any = None
    input_transformations: Any = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    caller: msgspec.Raw = msgspec.Raw()
    toolset_name: str | None = None
    citations: list[msgspec.Raw] | None = None


class _Open(msgspec.Struct):
    """A block that is being streamed: its first form, its part (-1: nothing was told yet), what its end will need."""

    block: _Block
    raw: msgspec.Raw
    part: int = -1
    fragments: list[str] = []
    citations: list[msgspec.Raw] = []
    fields: dict[str, msgspec.Raw] = {}  # what replaces those of the first form


_EVENT: Final = msgspec.json.Decoder(_Event)
_MESSAGE: Final = msgspec.json.Decoder(_Message)
_BLOCK: Final = msgspec.json.Decoder(_Block)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class AnthropicDecoder:
    """Decodes one answer; `kind` names whose opaque parts these are, `metadata` is added to what the answer says.

    `names`: the caller's names of tools, by those that were sent, where they differ.
    """

    def __init__(
        self,
        kind: str = "anthropic",
        metadata: dict[str, Any] | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.has_content = False
        self.finished = False
        self._kind = kind
        self._names = names
        self._metadata = {} if metadata is None else metadata
        self._open: dict[int, _Open] = {}
        self._parts = 0
        self._usage = Usage()
        self._stop_reason = ""

    def events(self, events: Sequence[SseEvent], out: list[ProviderEvent]) -> None:
        """Take the events of one read; see wire.answer.Decoder."""
        for event in events:
            self._event(event.data, out)
            if self.finished:
                return

    def whole(self, body: bytes, out: list[ProviderEvent]) -> None:
        """Take a whole message; see wire.answer.Decoder."""
        message = decoded(_MESSAGE, body)
        if message.type == "error":
            raise error_of(body)
        if message.type != "message":
            raise msgspec.DecodeError("no message")
        self._start(message)
        for raw in message.content or ():
            self._begin(0, raw, out)
            self._close(0, out)
        self._count(message.usage, whole=True)
        self._stop_reason = message.stop_reason or ""
        self._finish(out)

    def end(self, out: list[ProviderEvent]) -> None:
        """Do nothing: only message_stop ends a stream."""

    def _event(self, data: bytes, out: list[ProviderEvent]) -> None:
        try:
            event = _EVENT.decode(data)
        except msgspec.DecodeError:  # here and not around it: this is each chunk's way, and one call fewer
            event = decoded(_EVENT, data)
        kind = event.type
        if kind == "content_block_delta":
            if event.delta is not None:
                self._delta(event.index, event.delta, out)
        elif kind == "content_block_start":
            self._begin(event.index, event.content_block, out)
        elif kind == "content_block_stop":
            self._close(event.index, out)
        elif kind == "message_start" and event.message is not None:
            self._start(event.message)
            self._count(event.message.usage, whole=False)
            out.append(UsageReport(self._usage))
        elif kind == "message_delta":
            self._message_delta(event)
            out.append(UsageReport(self._usage))
        elif kind == "message_stop":
            self._finish(out)
        elif kind == "error":
            raise error_of(data)

    def _part(self, open_block: _Open) -> int:
        """Return the block's part, a new one the first time: this is where content begins."""
        if open_block.part < 0:
            open_block.part = self._parts
            self._parts += 1
            self.has_content = True
        return open_block.part

    def _delta(self, index: int, delta: _Delta, out: list[ProviderEvent]) -> None:
        open_block = self._open.get(index)
        if open_block is None:
            raise msgspec.DecodeError("a delta of no block")
        if delta.type == "text_delta":
            if delta.text:
                out.append(TextDelta(self._part(open_block), delta.text))
        elif delta.type == "thinking_delta":
            if delta.thinking:
                out.append(ReasoningDelta(self._part(open_block), delta.thinking))
        elif delta.type == "signature_delta":
            self._signature(open_block, delta.signature or "", out)
        elif delta.type == "input_json_delta":
            if open_block.block.type == "tool_use" and delta.partial_json:
                out.append(ToolArguments(open_block.part, delta.partial_json))
            open_block.fragments.append(delta.partial_json or "")
        elif delta.type == "citations_delta":
            open_block.citations.append(delta.citation.copy())
        elif delta.type == "compaction_delta":
            told = {"content": delta.content, "encrypted_content": delta.encrypted_content}
            open_block.fields.update((name, raw.copy()) for name, raw in told.items() if bytes(raw))

    def _signature(self, open_block: _Open, signature: str, out: list[ProviderEvent]) -> None:
        if not signature:
            return
        if open_block.part < 0:  # thinking that is not shown: the part is reasoning all the same
            out.append(ReasoningDelta(self._part(open_block), ""))
        out.append(SignatureDelta(open_block.part, signature.encode()))

    def _begin(self, index: int, raw: msgspec.Raw, out: list[ProviderEvent]) -> None:
        block = decoded(_BLOCK, raw)
        self._open[index] = open_block = _Open(block, raw.copy())
        if block.type == "text":
            if block.text:
                out.append(TextDelta(self._part(open_block), block.text))
        elif block.type == "thinking":
            if block.thinking:
                out.append(ReasoningDelta(self._part(open_block), block.thinking))
            self._signature(open_block, block.signature or "", out)
        elif block.type == "redacted_thinking":
            part = self._part(open_block)
            out += ReasoningDelta(part, "", redacted=True), SignatureDelta(part, (block.data or "").encode())
        elif block.type == "tool_use":
            part = self._part(open_block)
            name = block.name or ""
            out.append(ToolCallStart(part, block.id or f"call_{part}", self._names.get(name, name)))

    def _close(self, index: int, out: list[ProviderEvent]) -> None:
        open_block = self._open.pop(index, None)
        if open_block is None:
            raise msgspec.DecodeError("the end of no block")
        block = open_block.block
        if block.type == "text":
            told = [bytes(citation).decode() for citation in (*(block.citations or ()), *open_block.citations)]
            if citations := [citation for citation in told if citation not in {"", "null"}]:
                self._add_opaque(CITATIONS, f"[{','.join(citations)}]", out)
        elif block.type == "tool_use":
            if not any(open_block.fragments):
                arguments = bytes(block.input).decode()
                out.append(ToolArguments(open_block.part, "{}" if arguments in {"", "null"} else arguments))
            if fields := call_fields(block.caller, block.toolset_name):
                self._add_opaque(CALL_FIELDS, fields, out)
        elif block.type not in {"thinking", "redacted_thinking"}:
            opaque = Opaque(self._kind, block.type or "", _completed(open_block))
            out.append(OpaqueDelta(self._part(open_block), opaque))

    def _add_opaque(self, kind: str, text: str, out: list[ProviderEvent]) -> None:
        out.append(OpaqueDelta(self._parts, Opaque(self._kind, kind, text)))
        self._parts += 1

    def _start(self, message: _Message) -> None:
        usage = message.usage or ReportedUsage()
        self._note(id=message.id, model=message.model, container=message.container, service_tier=usage.service_tier)
        self._note(stop_sequence=message.stop_sequence, stop_details=message.stop_details)
        self._note(context_management=message.context_management, diagnostics=message.diagnostics)
        self._note(input_transformations=message.input_transformations)

    def _message_delta(self, event: _Event) -> None:
        delta = event.delta or _Delta()
        self._stop_reason = delta.stop_reason or self._stop_reason
        self._note(stop_sequence=delta.stop_sequence, stop_details=delta.stop_details, container=delta.container)
        self._note(context_management=event.context_management, input_transformations=event.input_transformations)
        self._count(event.usage, whole=True)

    def _note(self, **said: Any) -> None:
        self._metadata.update((key, value) for key, value in said.items() if value)

    def _count(self, usage: ReportedUsage | None, *, whole: bool) -> None:
        """Take a usage report over; `whole`: its output count is final."""
        if usage is None:
            return
        self._note(server_tool_use=usage.server_tool_use, iterations=usage.iterations)
        self._usage = counted(self._usage, usage, self._metadata, whole=whole)

    def _finish(self, out: list[ProviderEvent]) -> None:
        if not self.has_content and self._stop_reason in {"refusal", "model_context_window_exceeded"}:
            out.append(UsageReport(self._usage))
            if self._stop_reason == "refusal":
                raise TAXONOMY.filtered("refusal")
            raise context_full()
        reason = _FINISH.get(self._stop_reason, FinishReason.OTHER)
        out.append(Finished(reason, self._stop_reason, self._usage, self._metadata))
        self.finished = True


def _completed(open_block: _Open) -> str:
    """Return an opaque block as JSON: its first form, with what was streamed after it in place of its own."""
    fields = dict(open_block.fields)
    streamed = "".join(open_block.fragments)
    if is_json(streamed):  # a call that the token limit cut is no JSON
        fields["input"] = msgspec.Raw(streamed.encode())
    if not fields:
        return bytes(open_block.raw).decode()
    block = decoded(_FIELDS, open_block.raw)
    block.update(fields)
    return msgspec.json.encode(block).decode()
