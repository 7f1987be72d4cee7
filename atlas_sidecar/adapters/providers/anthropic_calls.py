"""The tool calls of one conversation in Anthropic's form: what must be the same in a call and in its result. Pure.

Rules kept here:
- An id in characters that the API does not take gets others, and two different ids never become one. Ids are given in
  the conversation's order, so that what follows later changes none of them.
- Who made a call (a program in Claude's container) and which toolset it belongs to go back as they came: they are kept
  in an opaque part after the call, and the result names the toolset too.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.anthropic_json import decoded
from atlas_sidecar.core.json_text import parse

CALL_FIELDS: Final = "tool_use_fields"  # our opaque type: what else was said of the tool call before it
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")


class Calls:
    """What is known of the calls so far; made for one conversation, asked in its order."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        self._toolsets: dict[str, Any] = {}

    def id(self, identity: str) -> str:
        """Return the id that is sent for a call's id."""
        known = self._ids.get(identity)
        if known is None:
            base = known = _NOT_IN_IDS.sub("_", identity) or "call"
            while known in self._taken:
                self._taken[base] += 1
                known = f"{base}_{self._taken[base]}"
            self._taken[known] = 1
            self._ids[identity] = known
        return known

    def add_fields(self, block: dict[str, Any], raw: str) -> None:
        """Give a `tool_use` block back what `call_fields` kept. Raises ValueError when that is no JSON object."""
        fields = parse(raw)
        if not isinstance(fields, dict):
            raise ValueError("a tool call's fields are no object")
        block.update((key, fields[key]) for key in ("caller", "toolset_name") if key in fields)
        self._toolsets[block["id"]] = fields.get("toolset_name")

    def result(self, call_id: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the `tool_result` block of a call."""
        identity = self.id(call_id)
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": identity, "content": content}
        if toolset := self._toolsets.get(identity):
            block["toolset_name"] = toolset
        return block


class _Caller(msgspec.Struct):
    type: str | None = None


_CALLER: Final = msgspec.json.Decoder(_Caller)


def call_fields(caller: msgspec.Raw, toolset_name: str | None) -> str:
    """Return as JSON what an answer says of a call that is not the model's own and plain; "" when there is nothing."""
    fields: dict[str, Any] = {}
    try:
        if decoded(_CALLER, caller).type != "direct":
            fields["caller"] = caller
    except msgspec.DecodeError:
        pass  # nobody was named
    if toolset_name:
        fields["toolset_name"] = toolset_name
    return msgspec.json.encode(fields).decode() if fields else ""
