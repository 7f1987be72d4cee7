"""An answer of Gemini's generateContent, streamed or whole, as core events. Sans-I/O.

Rules kept here:
- The wire has no terminator of its own: an answer is complete when a finish reason was seen and the body ends cleanly.
  One that says that it has no candidate at all is complete without, and empty.
- A part with a thought signature stays a part of its own; neighbours of one kind without one are one part.
- A function call has an id always: Gemini's, or one made from the answer's id and the call's place. Arguments that come
  in pieces of any order are put together, and given when the call ends.
- Any other part (executed code, hosted tools, images) is kept whole, as an opaque one.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.google_calls import FunctionCall, StreamedArguments
from atlas_sidecar.adapters.providers.google_errors import FILTERED, MALFORMED, TAXONOMY, bad_end, error_of_fault
from atlas_sidecar.adapters.providers.google_request import OWN_ID
from atlas_sidecar.adapters.providers.google_usage import Counts, Tally
from atlas_sidecar.adapters.providers.wire.errors import fault_of_object
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
    UsageReport,
)

_FINISH: Final = {
    "": FinishReason.STOP,
    "FINISH_REASON_UNSPECIFIED": FinishReason.OTHER,
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.MAX_OUTPUT_TOKENS,
    "CONTINUATION": FinishReason.PAUSE,
    **dict.fromkeys(FILTERED, FinishReason.CONTENT_FILTER),
}
_TEXT, _THOUGHT, _OTHER = "text", "thought", "other"


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[msgspec.Raw] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: Any = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    url_context_metadata: Any = None
    safety_ratings: Any = None
    avg_logprobs: Any = None
    logprobs_result: Any = None
    continuation_token: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: Counts | None = None
    prompt_feedback: _Feedback | None = None
    response_id: str | None = None
    model_version: str | None = None
    model_status: Any = None
    error: msgspec.Raw = msgspec.Raw()


_CHUNK: Final = msgspec.json.Decoder(_Chunk)
_CHUNKS: Final = msgspec.json.Decoder(list[_Chunk])
_PART: Final = msgspec.json.Decoder(_Part)


class GoogleDecoder:
    """Decodes one answer; `kind` names whose opaque parts these are, `metadata` is added to what the answer says.

    `names`: the caller's names of tools, by those that were sent, where they differ.
    """

    def __init__(
        self,
        kind: str = "google",
        metadata: dict[str, Any] | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.has_content = False
        self.finished = False
        self._kind = kind
        self._names = names
        self._metadata = {} if metadata is None else metadata
        self._tally = Tally(kind)
        self._counted = False
        self._parts = 0
        self._open = _OTHER  # the kind of the last part, while more of it may come
        self._called = -1  # the part of the last function call
        self._arguments: StreamedArguments | None = None  # of that call, while more of them may come
        self._finish_reason: str | None = None
        self._blocked = ""
        self._says_nothing = False  # "candidates": []

    def events(self, events: Sequence[SseEvent], out: list[ProviderEvent]) -> None:
        """Take the events of one read; see wire.answer.Decoder."""
        try:
            for event in events:
                data = event.data
                if b"AUDIO" in data or b"IMAGE" in data or b"VIDEO" in data:
                    self._tally.expect_media()
                self._chunk(_CHUNK.decode(data), out)
        finally:
            self._report(out)

    def whole(self, body: bytes, out: list[ProviderEvent]) -> None:
        """Take a whole answer: one chunk, or a list of them; see wire.answer.Decoder."""
        self._tally.expect_media()
        chunks = _CHUNKS.decode(body) if body.lstrip()[:1] == b"[" else [_CHUNK.decode(body)]
        try:
            for chunk in chunks:
                self._chunk(chunk, out)
        finally:
            self._report(out)
        if self._finish_reason is None and any(c.candidates is not None or c.usage_metadata for c in chunks):
            self._finish_reason = ""  # a whole answer may leave it out, and an empty list of candidates too
        self.end(out)

    def end(self, out: list[ProviderEvent]) -> None:
        """The body ended cleanly: that completes the answer when a finish reason was seen, or that there is nothing."""
        if self._says_nothing and self._finish_reason is None and not self.has_content:
            self._finish_reason = ""
        if self._finish_reason is None and not self._blocked:
            return
        usage = self._tally.usage(self._metadata.get("model"), final=True)
        reason = self._blocked or self._finish_reason or ""
        if self._blocked or not self.has_content or reason in MALFORMED:
            error = TAXONOMY.filtered(self._blocked) if self._blocked else bad_end(reason)
            if error is not None:
                out.append(UsageReport(usage))
                raise error
        finish = _FINISH.get(reason, FinishReason.OTHER)
        if self._called >= 0 and finish is FinishReason.STOP:
            finish = FinishReason.TOOL_CALLS
        self._end_call(out)
        out.append(Finished(finish, reason, usage, self._metadata))
        self.finished = True

    def _chunk(self, chunk: _Chunk, out: list[ProviderEvent]) -> None:
        if bytes(chunk.error) not in {b"", b"null"}:
            fault = fault_of_object(200, {"error": msgspec.json.decode(chunk.error)})
            raise error_of_fault(fault, 200, {}, 0.0)
        if chunk.usage_metadata is not None:
            self._counted = True
            self._tally.count(chunk.usage_metadata)
            tier, traffic = chunk.usage_metadata.service_tier, chunk.usage_metadata.traffic_type
            if tier is not None or traffic is not None:
                self._note(service_tier=tier, traffic_type=traffic)
        if "model" not in self._metadata:
            self._note(id=chunk.response_id, model=chunk.model_version)
        if chunk.model_status is not None:
            self._note(model_status=chunk.model_status)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self._blocked = chunk.prompt_feedback.block_reason
        self._says_nothing = chunk.candidates == [] or (self._says_nothing and chunk.candidates is None)
        for candidate in chunk.candidates or ():
            if not candidate.index:
                self._candidate(candidate, out)

    def _candidate(self, candidate: _Candidate, out: list[ProviderEvent]) -> None:
        if candidate.content is not None:
            for raw in candidate.content.parts or ():
                self._part(raw, out)
        self._finish_reason = candidate.finish_reason or self._finish_reason
        if isinstance(candidate.logprobs_result, dict):
            self._add_logprobs(candidate.logprobs_result)
        if (
            candidate.finish_reason is candidate.grounding_metadata is candidate.citation_metadata is None
            and candidate.url_context_metadata is candidate.safety_ratings is None
        ):
            return  # most chunks
        self._note(
            finish_message=candidate.finish_message,
            grounding_metadata=candidate.grounding_metadata,
            citation_metadata=candidate.citation_metadata,
            url_context_metadata=candidate.url_context_metadata,
            safety_ratings=candidate.safety_ratings,
            avg_logprobs=candidate.avg_logprobs,
            continuation_token=candidate.continuation_token,
        )
        self._tally.ground(candidate.grounding_metadata)

    def _part(self, raw: msgspec.Raw, out: list[ProviderEvent]) -> None:
        part = _PART.decode(raw)
        signature = part.thought_signature
        if part.function_call is not None:
            index = self._call(part.function_call, raw, out)
        elif part.text is not None:
            if not part.text and not signature:
                return
            kind = _THOUGHT if part.thought else _TEXT
            index = self._next(kind, alone=bool(signature))
            out.append(ReasoningDelta(index, part.text) if part.thought else TextDelta(index, part.text))
        else:
            text = bytes(raw).decode()
            out.append(OpaqueDelta(self._next(_OTHER), Opaque(self._kind, _name_of(raw), text)))
            return  # its signature is inside
        if signature:
            out.append(SignatureDelta(index, signature.encode()))

    def _call(self, call: FunctionCall, raw: msgspec.Raw, out: list[ProviderEvent]) -> int:
        """Take a call, or more of the one that goes on; return its part."""
        if call.name:
            self._end_call(out)
            self._called = self._next(_OTHER)
            made = f"{OWN_ID}{self._metadata.get('id') or f'{zlib.crc32(raw):08x}'}_{self._called}"
            out.append(ToolCallStart(self._called, call.id or made, self._names.get(call.name, call.name)))
            if not call.will_continue and not call.partial_args:
                out.append(ToolArguments(self._called, call.arguments))
                return self._called
            self._arguments = StreamedArguments()
        if self._arguments is None:
            raise msgspec.ValidationError("a function call has no name")
        for piece in call.partial_args or ():
            self._arguments.add(piece)
        if not call.will_continue:
            self._end_call(out)
        return self._called

    def _end_call(self, out: list[ProviderEvent]) -> None:
        if self._arguments is not None:
            out.append(ToolArguments(self._called, self._arguments.json()))
            self._arguments = None

    def _next(self, kind: str, *, alone: bool = False) -> int:
        """Return the part that content of this kind belongs to: the last one while that is open, else a new one."""
        self.has_content = True
        if alone or kind == _OTHER or kind != self._open:
            self._parts += 1
        self._open = _OTHER if alone else kind
        return self._parts - 1

    def _report(self, out: list[ProviderEvent]) -> None:
        """Append what was counted since the last report, also where an error follows: it is charged."""
        if self._counted:
            self._counted = False
            out.append(UsageReport(self._tally.usage(self._metadata.get("model"), final=False)))

    def _note(self, **said: Any) -> None:
        self._metadata.update((key, value) for key, value in said.items() if value or value == 0)

    def _add_logprobs(self, said: dict[str, Any]) -> None:
        """Keep the log probabilities: each chunk has those of its own tokens."""
        kept = self._metadata.setdefault("logprobs_result", {})
        for name, value in said.items():
            if isinstance(kept.get(name), list) and isinstance(value, list):
                kept[name].extend(value)
            else:
                kept[name] = value


def _name_of(raw: msgspec.Raw) -> str:
    """Return what kind of part this is: its first member that is none of the common ones."""
    names = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return next((name for name in names if name not in {"thought", "thoughtSignature"}), "thoughtSignature")
