"""A conversation as the input items of OpenAI's Responses API, and what is kept of its items to be sent again. Pure.

Rules kept here:
- A turn of the assistant becomes one item for each part, in order; any other message its results and its opaque items,
  in order, then one message of what is left.
- What an item has beside its content is its part's signature: encrypted reasoning, a message's phase, a call's
  namespace and caller. A result goes back to the caller of its call.
- Dropped: reasoning without a signature of this kind, or with one of another configured provider (its key may be of an
  organisation that cannot read it), and opaque content of another kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.blobs import data_uri, file_name, named_text, unsendable
from atlas_sidecar.adapters.providers.wire.chat_request import JsonObject, with_breakpoint
from atlas_sidecar.adapters.providers.wire.schemas import json_object
from atlas_sidecar.adapters.providers.wire.tools import wire_id, wire_name
from atlas_sidecar.core.demands import Form, form_of, plain_mime_type
from atlas_sidecar.core.types import Blob, Message, Opaque, Part, Reasoning, Role, Text, ToolCall, ToolResult

KIND: Final = "openai"  # the kind whose signatures and opaque items this wire makes and takes


class ItemSignature(msgspec.Struct, omit_defaults=True):
    """What an item needs beside its content to be sent again; it is the part's signature, as JSON.

    `provider`: the configured provider that made encrypted reasoning.
    """

    id: str = ""
    encrypted_content: str = ""
    provider: str = ""
    phase: str = ""
    namespace: str = ""
    caller: dict[str, Any] | None = None


_NONE: Final = ItemSignature()


def signature_of(part: Part) -> ItemSignature:
    """Return a part's signature, an empty one where it has none of this wire."""
    if not part.signature or part.signature_origin != KIND:
        return _NONE
    try:
        return msgspec.json.decode(part.signature, type=ItemSignature)
    except (msgspec.DecodeError, RecursionError):
        return _NONE


class Items:
    """Writes one conversation; `provider`: the configured one that it goes to; `max_id`: the longest id of a call.

    `marked`: whether the model takes cache breakpoints.
    """

    def __init__(self, provider: str, max_id: int | None = None, *, marked: bool = False) -> None:
        self._provider = provider
        self._max_id = max_id
        self._marked = marked
        self._callers: dict[str, dict[str, Any]] = {}  # of calls, by their ids

    def of(self, messages: Iterable[Message]) -> Iterator[JsonObject]:
        """Yield the items. Raises ProviderError for content that the API has no form for."""
        for message in messages:
            if message.role is Role.ASSISTANT:
                for part in message.parts:
                    yield from self._assistants(part)
                continue
            for part in message.parts:
                if isinstance(part.content, ToolResult):
                    yield self._result(part.content)
                elif isinstance(part.content, Opaque):
                    yield from _opaque(part.content)
            contents = [
                with_breakpoint(_content(part.content), part, marked=self._marked)
                for part in message.parts
                if isinstance(part.content, Text | Blob)
            ]
            if contents:
                yield {"role": "system" if message.role is Role.SYSTEM else "user", "content": contents}

    def _assistants(self, part: Part) -> Iterator[JsonObject]:
        match part.content:
            case Text(text) if text:
                phase = signature_of(part).phase
                yield {"role": "assistant", "content": text, **({"phase": phase} if phase else {})}
            case ToolCall() as call:
                yield self._call(call, signature_of(part))
            case Reasoning(text):
                yield from self._reasoning(text, signature_of(part))
            case Opaque() as opaque:
                yield from _opaque(opaque)
            case ToolResult() as result:
                yield self._result(result)
            case _:
                pass  # the API's own turns hold no images or documents

    def _call(self, call: ToolCall, signature: ItemSignature) -> JsonObject:
        item: JsonObject = {
            "type": "function_call",
            "call_id": wire_id(call.id, self._max_id),
            "name": wire_name(call.name),
            "arguments": call.arguments_json or "{}",
        }
        if signature.namespace:
            item["namespace"] = signature.namespace
        if signature.caller:
            item["caller"] = self._callers[call.id] = signature.caller
        return item

    def _reasoning(self, text: str, signature: ItemSignature) -> Iterator[JsonObject]:
        if not signature.encrypted_content or signature.provider not in {"", self._provider}:
            return
        summary = [{"type": "summary_text", "text": text}] if text else []
        encrypted = signature.encrypted_content
        yield {"type": "reasoning", "id": signature.id, "summary": summary, "encrypted_content": encrypted}

    def _result(self, result: ToolResult) -> JsonObject:
        contents = [_content(part.content) for part in result.parts if isinstance(part.content, Text | Blob)]
        output: str | list[JsonObject] = contents
        if all(content["type"] == "input_text" for content in contents):
            text = "\n".join(content["text"] for content in contents)
            output = f"Error: {text}" if result.is_error else text
        elif result.is_error:
            output = [{"type": "input_text", "text": "Error:"}, *contents]
        call_id = wire_id(result.call_id, self._max_id)
        item: JsonObject = {"type": "function_call_output", "call_id": call_id, "output": output}
        if result.call_id in self._callers:
            item["caller"] = self._callers[result.call_id]
        return item


def _opaque(opaque: Opaque) -> Iterator[JsonObject]:
    """Yield an item of this kind as it came; nothing for what is no item (annotations) or not ours."""
    if opaque.provider != KIND:
        return
    item = json_object(opaque.json)
    if item is not None and item.get("type") == opaque.type:
        yield item


def _content(content: Text | Blob) -> JsonObject:
    if isinstance(content, Text):
        return {"type": "input_text", "text": content.text}
    kind, uploaded = plain_mime_type(content).partition("/")[0], form_of(content) is Form.OPENAI_FILE
    if kind == "image":
        source = {"file_id": content.uri} if uploaded else {"image_url": content.uri or data_uri(content)}
        return {"type": "input_image", "detail": "auto", **source}
    if kind in {"audio", "video"}:
        raise unsendable(content)
    if content.data is None:
        return {"type": "input_file", "file_id" if uploaded else "file_url": content.uri}
    text = named_text(content)
    if text is not None:
        return {"type": "input_text", "text": text}
    return {"type": "input_file", "filename": file_name(content), "file_data": data_uri(content)}
