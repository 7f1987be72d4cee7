"""Collects the deltas of an answer into the message that the caller appends to its conversation.

Rules kept here:
- A delta's index is that of its part within the answer; parts may interleave, each keeps its own order.
- Signatures carry the kind of provider that made them, so that they go back to that kind only.
- `carry_on` keeps plain text for a continuation: the next hop's first text goes on in the same part. A prefill may not
  end in white space, so the next model is asked without it, and what it repeats of it is not sent twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas_sidecar.core.types import (
    Content,
    Delta,
    Message,
    Opaque,
    OpaqueDelta,
    Part,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    ToolArguments,
    ToolCall,
    ToolCallStart,
)

MAX_CHARACTERS = 16 * 1024 * 1024  # of one hop's answer
_PIECE_CHARACTERS = 100


class _Builder:
    """One part in the making."""

    __slots__ = ("fragments", "kind", "name", "opaque", "redacted", "signature", "tool_id")

    def __init__(self, kind: type[Delta]) -> None:
        self.kind = kind
        self.fragments: list[str] = []
        self.tool_id = ""
        self.name = ""
        self.opaque: Opaque | None = None
        self.redacted = False
        self.signature = b""

    def content(self) -> Content:
        joined = "".join(self.fragments)
        if self.kind is ToolCallStart:
            return ToolCall(self.tool_id, self.name, joined or "{}")
        if self.kind is ReasoningDelta:
            return Reasoning(joined, self.redacted)
        if self.opaque is not None:
            return self.opaque
        return Text(joined)


class Answer:
    """The answer of one hop, or of several where one carries on the text of another."""

    def __init__(self, provider_kind: str) -> None:
        self._kind = provider_kind
        self._parts: dict[int, _Builder] = {}
        self._carried = False
        self._offset: int | None = None
        self._owed = ""  # white space that the caller has and the prefill lacked
        self.has_content = False
        self.plain_text = True
        self.chunks = 0
        self.output_characters = 0
        self._beside = 0  # characters of what is no output, and something for each piece that is no text

    def carry_on(self, provider_kind: str) -> None:
        """Keep what is there; what follows is from another provider and goes on in the last part."""
        self._kind = provider_kind
        text = self.text()
        self._owed = text[len(text.rstrip()) :]
        self._carried = True
        self._offset = None
        self.has_content = False
        self.chunks = 0
        self.output_characters = 0

    @property
    def is_too_large(self) -> bool:
        """Whether more has come than any model says: it is kept in memory until the end, so it must end."""
        return self.output_characters + self._beside > MAX_CHARACTERS

    def prefill(self) -> str:
        """Return the text that another model is to carry on."""
        return self.text().rstrip()

    def add(self, delta: Delta) -> Delta | None:
        """Take one delta in; return it as the caller should see it: moved after a continuation, None = nothing new."""
        self.has_content = True
        self.chunks += 1
        if self._carried:
            delta = self._moved(delta)
            if self._owed:
                if isinstance(delta, TextDelta):
                    delta = self._without_owed(delta)
                    if not delta.text:
                        return None
                else:
                    self._owed = ""
        index = delta.index
        part = self._parts.get(index)
        if part is None:
            part = self._parts[index] = _Builder(type(delta))
        if isinstance(delta, TextDelta):  # most of them
            part.fragments.append(delta.text)
            self.output_characters += len(delta.text)
            return delta
        self.plain_text = False
        self._add_other(part, delta)
        return delta

    def _add_other(self, part: _Builder, delta: Delta) -> None:
        self._beside += _PIECE_CHARACTERS
        match delta:
            case ToolArguments(_, text) | RefusalDelta(_, text):
                part.fragments.append(text)
                self.output_characters += len(text)
            case ReasoningDelta(_, text, redacted):
                part.fragments.append(text)
                part.redacted = part.redacted or redacted
                self.output_characters += len(text)
            case ToolCallStart(_, call_id, name):
                part.kind, part.tool_id, part.name = ToolCallStart, call_id, name
            case SignatureDelta(_, signature):
                part.signature += signature
                self._beside += len(signature)
            case OpaqueDelta(_, opaque):
                part.opaque = opaque
                self._beside += len(opaque.json)

    def _moved(self, delta: Delta) -> Delta:
        if self._offset is None:
            last = max(self._parts, default=-1)
            joins = isinstance(delta, TextDelta) and last >= 0
            self._offset = (last if joins else last + 1) - delta.index
        return delta._replace(index=delta.index + self._offset) if self._offset else delta

    def _without_owed(self, delta: TextDelta) -> TextDelta:
        """Take away what the text begins with of the white space that the caller has already."""
        text, owed = delta.text, self._owed
        same = 0
        while same < len(text) and same < len(owed) and text[same] == owed[same]:
            same += 1
        self._owed = owed[same:] if same == len(text) else ""
        return TextDelta(delta.index, text[same:])

    def text(self) -> str:
        """Return the plain text so far."""
        return "".join(
            fragment for part in self._parts.values() if part.kind is TextDelta for fragment in part.fragments
        )

    def message(self) -> Message:
        """Return the whole answer as an assistant message."""
        parts = []
        for index in sorted(self._parts):
            builder = self._parts[index]
            origin = self._kind if builder.signature else ""
            parts.append(Part(builder.content(), signature=builder.signature, signature_origin=origin))
        return Message(Role.ASSISTANT, tuple(parts))


def merge_text(deltas: Sequence[Delta]) -> Sequence[Delta]:
    """Return the deltas with neighbouring text of one part joined: fewer messages to write, the same answer."""
    if len(deltas) < 2:
        return deltas
    merged: list[Delta] = []
    run: list[str] = []
    last: Delta | None = None
    for delta in deltas:
        if isinstance(delta, TextDelta) and isinstance(last, TextDelta) and delta.index == last.index:
            run.append(delta.text)
            continue
        if len(run) > 1 and last is not None:
            merged[-1] = TextDelta(last.index, "".join(run))
        merged.append(delta)
        run = [delta.text] if isinstance(delta, TextDelta) else []
        last = delta
    if len(run) > 1 and last is not None:
        merged[-1] = TextDelta(last.index, "".join(run))
    return merged
