"""What a provider adapter needs to know; the composition root makes it from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One configured provider.

    `name`: as configured ("openai-eu"); `kind`: which adapter ("openai"). `base_url` "": the SDK's default.
    `api_key` is called for every request and returns the key of now (a key file may rotate), None when there is none.
    `headers` are sent with every request, after the SDK's own. `ca_file`: PEM bundle trusted beside the system's.
    `connect_timeout_s`: TCP and TLS together. `wire`: "chat" or "responses" of OpenAI's kinds; "" = by the model.
    `extra`: kind-specific (the simulated script; azure-openai's `api_version`; openai's `max_tokens_field`).
    """

    name: str
    kind: str
    base_url: str = ""
    api_key: Callable[[], str | None] = field(default=lambda: None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    organization: str | None = None
    ca_file: str | None = None
    connect_timeout_s: float = 5.0
    propagate_traceparent: bool = False
    wire: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
