"""Adapters of servers that speak chat completions, and what such servers say, for the tests of several areas."""

from __future__ import annotations

from typing import Any

from atlas_sidecar.adapters.providers.groq import GroqProvider
from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ProviderError
from tests.adapters.replay import Got

KEY = "sk-secret-0123456789"
Adapter = OpenAIProvider | GroqProvider


def make(kind: str, url: str, **changes: Any) -> Adapter:
    """Return the adapter of a kind, for a server at a URL; `changes`: of its settings."""
    settings = ProviderSettings(**{"name": kind, "kind": kind, "base_url": url, "api_key": lambda: KEY, **changes})
    return GroqProvider(settings) if kind == "groq" else OpenAIProvider(settings)


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return one chunk of a streamed answer."""
    delta = {} if text is None else {"content": text}
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


GOOD = (chunk("Hel"), chunk("lo"), chunk(finish="stop"), "[DONE]")


def failed(got: Got) -> ProviderError:
    """Return the error that an answer ended with; it does not show the key."""
    assert got.error is not None
    assert KEY not in str(got.error)
    assert KEY not in repr(got.error)
    return got.error
