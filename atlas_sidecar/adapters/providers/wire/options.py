"""The caller's own fields of a provider's body (provider_options_json), merged last. Pure.

Rules kept here:
- Objects are merged, as deep as both go; those of another `type` replace ours: a mixture would mean nothing.
- `tools` are appended: hosted tools stand beside the request's own; so is `include`. Anything else replaces.
- What the sidecar sets or prices was refused at the edge (server/requests.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_options(body: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Merge `options` into a body; objects within the body are copied, not changed."""
    for key, value in options.items():
        old = body.get(key)
        if isinstance(value, Mapping) and isinstance(old, dict) and value.get("type") in (None, old.get("type")):
            body[key] = dict(old)
            merge_options(body[key], value)
        elif key in {"tools", "include"} and isinstance(value, list) and isinstance(old, list):
            body[key] = [*old, *(item for item in value if item not in old)]
        else:
            body[key] = value
