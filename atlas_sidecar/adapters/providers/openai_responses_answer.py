"""An answer of OpenAI's Responses API, streamed or whole, as core events. Pure.

Rules kept here:
- An output item is one part, but a message has a part for each of its contents. Parts are numbered as they appear.
- What was streamed is not said again when its item is done; what was not streamed is said then. So a stream, a whole
  answer and a server that leaves events out are read by the same code.
- The terminator is `response.completed` or `response.incomplete`; `response.failed` and `error` say why by their code;
  what such an answer cost is told before.
- What an item needs to be sent again is its part's signature: encrypted reasoning, a phase, a caller.
- Items of hosted tools, and whatever else we do not know, are opaque.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.openai_responses_items import KIND, ItemSignature
from atlas_sidecar.adapters.providers.openai_responses_usage import HostedCalls, ReportedUsage
from atlas_sidecar.adapters.providers.wire.chat_answer import call_id
from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, fault_of_object
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
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

_EMPTY: Final = frozenset({b"", b"null", b"[]"})


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct, gc=False):
    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None
    phase: str | None = None
    namespace: str | None = None
    caller: dict[str, Any] | None = None
    summary: list[_Content] | None = None
    content: list[_Content] | str | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    service_tier: str | None = None
    error: dict[str, Any] | str | None = None
    incomplete_details: _Incomplete | None = None
    output: list[msgspec.Raw] | None = None
    usage: ReportedUsage | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class ResponsesDecoder:
    """Decodes one answer; `metadata` is added to what the answer says.

    `names`: the caller's names of tools, by those that were sent, where they differ.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        now_unix_s: float,
        metadata: dict[str, Any] | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.has_content = False
        self.finished = False
        self._taxonomy = taxonomy
        self._now_unix_s = now_unix_s
        self._metadata = {} if metadata is None else metadata
        self._names = names
        self._parts: dict[tuple[int, str, int], int] = {}  # (item, what, content) -> part
        self._done: set[int] = set()  # items
        self._arguments: set[int] = set()  # items whose arguments were streamed
        self._summary: dict[int, int] = {}  # item -> the summary or content that was streamed last
        self._kinds: set[str] = set()
        self._hosted = HostedCalls()

    def events(self, events: Sequence[SseEvent], out: list[ProviderEvent]) -> None:
        """Take one network read's events; raises ProviderError for an error within the stream."""
        for _, data in events:
            event = _decode_event(data)
            if event.type == "response.output_text.delta":
                self._text(event.output_index, event.content_index, event.delta, out)
            elif event.type in _ENDS:
                self._end(_decode_response(event.response), out)
                return
            elif event.type == "error":
                raise self._error(msgspec.json.decode(data))
            else:
                self._event(event, out)

    def whole(self, body: bytes, out: list[ProviderEvent]) -> None:
        """Take a body that is the whole answer."""
        response = _decode_response(body)
        if response.error is not None or response.output is not None:
            self._end(response, out)

    def end(self, out: list[ProviderEvent]) -> None:
        """A clean end without a terminator is no end of an answer."""

    # --- events

    def _event(self, event: _Event, out: list[ProviderEvent]) -> None:
        index = event.output_index
        match event.type:
            case "response.output_item.added":
                item = _decode_item(event.item)
                if item.type == "function_call":
                    self._start_call(index, item, out)
            case "response.function_call_arguments.delta":
                if (index, "call", 0) in self._parts and event.delta:
                    fragment = _checked(event.delta)
                    self._arguments.add(index)
                    out.append(ToolArguments(self._parts[index, "call", 0], fragment))
            case "response.reasoning_summary_text.delta":
                self._reasoning(index, event.summary_index, event.delta, out)
            case "response.reasoning_text.delta":
                self._reasoning(index, event.content_index, event.delta, out)
            case "response.refusal.delta":
                self._refusal(index, event.content_index, event.delta, out)
            case "response.output_item.done":
                self._item(index, event.item, out)

    def _part(self, index: int, what: str, content: int = 0) -> int:
        key = (index, what, content)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = len(self._parts)
            self.has_content = True
            self._kinds.add(what)
        return part

    def _text(self, index: int, content: int, text: Any, out: list[ProviderEvent]) -> None:
        if text:
            checked = _checked(text)
            out.append(TextDelta(self._part(index, "text", content), checked))

    def _refusal(self, index: int, content: int, text: Any, out: list[ProviderEvent]) -> None:
        if text:
            checked = _checked(text)
            out.append(RefusalDelta(self._part(index, "refusal", content), checked))

    def _reasoning(self, index: int, place: int, text: Any, out: list[ProviderEvent]) -> None:
        if text:
            checked = _checked(text)
            gap = "\n\n" if self._summary.get(index, place) != place else ""
            self._summary[index] = place
            out.append(ReasoningDelta(self._part(index, "reasoning"), gap + checked))

    def _start_call(self, index: int, item: _Item, out: list[ProviderEvent]) -> None:
        if (index, "call", 0) not in self._parts and item.name:
            part, name = self._part(index, "call"), self._names.get(item.name, item.name)
            out.append(ToolCallStart(part, item.call_id or call_id(item.id or "", index), name))

    # --- whole items

    def _item(self, index: int, raw: msgspec.Raw, out: list[ProviderEvent]) -> None:
        """Say of an item what was not streamed."""
        if index in self._done:
            return
        self._done.add(index)
        item = _decode_item(raw)
        contents = item.content if isinstance(item.content, list) else []
        if item.type == "message":
            self._message(index, contents, item.phase or "", out)
        elif item.type == "reasoning":
            if index not in self._summary:
                for place, said in enumerate(item.summary or contents):
                    self._reasoning(index, place, said.text, out)
            self._encrypted(index, item, out)
        elif item.type == "function_call":
            self._start_call(index, item, out)
            if (index, "call", 0) not in self._parts:
                raise self._taxonomy.broken("a tool call has no name", has_content=self.has_content)
            if index not in self._arguments:
                out.append(ToolArguments(self._parts[index, "call", 0], item.arguments or "{}"))
            if item.namespace or item.caller:
                signature = ItemSignature(namespace=item.namespace or "", caller=item.caller)
                self._sign(self._parts[index, "call", 0], signature, out)
        else:
            self._hosted.note(item.type, raw)
            opaque = Opaque(KIND, item.type, bytes(raw).decode())
            out.append(OpaqueDelta(self._part(index, "opaque"), opaque))

    def _message(self, index: int, contents: Sequence[_Content], phase: str, out: list[ProviderEvent]) -> None:
        for place, content in enumerate(contents):
            if (index, "text", place) not in self._parts:
                self._text(index, place, content.text, out)
            if (index, "refusal", place) not in self._parts:
                self._refusal(index, place, content.refusal, out)
            if phase and (index, "text", place) in self._parts:
                self._sign(self._parts[index, "text", place], ItemSignature(phase=phase), out)
            annotations = bytes(content.annotations)
            if annotations not in _EMPTY:
                part = self._part(index, "annotations", place)
                out.append(OpaqueDelta(part, Opaque(KIND, "annotations", annotations.decode())))

    def _encrypted(self, index: int, item: _Item, out: list[ProviderEvent]) -> None:
        if not item.encrypted_content:
            return
        silent = (index, "reasoning", 0) not in self._parts
        part = self._part(index, "reasoning")
        if silent:
            out.append(ReasoningDelta(part, "", redacted=True))
        self._sign(part, ItemSignature(item.id or "", item.encrypted_content, self._taxonomy.provider), out)

    def _sign(self, part: int, signature: ItemSignature, out: list[ProviderEvent]) -> None:
        out.append(SignatureDelta(part, msgspec.json.encode(signature)))

    # --- the end

    def _end(self, response: _Response, out: list[ProviderEvent]) -> None:
        usage = self._hosted.billed(response.usage, response.model, response.service_tier)
        if response.error is not None or response.status == "failed":
            self._charge(usage, out)
            raise self._error({"error": response.error or {}})
        if response.status not in {None, "completed", "incomplete"}:
            self._charge(usage, out)
            raise self._taxonomy.broken("the answer did not come to its end", has_content=self.has_content)
        for index, raw in enumerate(response.output or ()):
            self._item(index, raw, out)
        usage = self._hosted.billed(response.usage, response.model, response.service_tier)  # with what was not streamed
        raw_finish = (response.incomplete_details and response.incomplete_details.reason) or response.status or ""
        if raw_finish == "content_filter" and not self.has_content:
            self._charge(usage, out)
            raise self._taxonomy.filtered(raw_finish)
        said = {"id": response.id, "model": response.model, "service_tier": response.service_tier}
        self._metadata.update((name, value[:256]) for name, value in said.items() if value)
        self.finished = True
        out.append(Finished(self._finish_reason(raw_finish), raw_finish, usage, self._metadata))

    def _charge(self, usage: Usage, out: list[ProviderEvent]) -> None:
        """Tell what an answer cost that ends in an error."""
        if usage != Usage():
            out.append(UsageReport(usage))

    def _finish_reason(self, raw: str) -> FinishReason:
        if raw in _REASONS:
            return _REASONS[raw]
        if raw not in {"", "completed"}:
            return FinishReason.OTHER
        if "call" in self._kinds:
            return FinishReason.TOOL_CALLS
        return FinishReason.REFUSAL if "refusal" in self._kinds and "text" not in self._kinds else FinishReason.STOP

    def _error(self, document: Any) -> ProviderError:
        fault = fault_of_object(200, document)
        if fault.kind == "error":  # the flat form: {"type": "error", "code": ..., "message": ...}
            fault = fault._replace(kind="")
        return self._taxonomy.error(fault, http_status=200, headers={}, now_unix_s=self._now_unix_s)


_REASONS: Final = {
    "max_output_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise msgspec.ValidationError("a delta is no text")
    return text
