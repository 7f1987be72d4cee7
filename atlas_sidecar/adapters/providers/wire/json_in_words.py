"""JSON output asked for in words, for APIs that take no response format beside tools. Pure."""

from __future__ import annotations


def json_beside_tools(schema_json: str) -> str:
    """Return the sentence for the system text; `schema_json` "": any object."""
    suffix = f" that fits this JSON schema: {schema_json}" if schema_json else ""
    return f"When you do not call a function, answer with one JSON object and nothing else{suffix}"
