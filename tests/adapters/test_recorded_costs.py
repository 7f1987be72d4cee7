"""What every recorded answer cost by our adapters and arithmetic, held against genai-prices, to the nano-dollar.

Theirs is the whole of the usage as their own extractors read it: audio, the hour's cache, searches. What they leave to
the caller, the searches of OpenAI's answers, is counted here from the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices.data_snapshot import get_snapshot

from atlas_sidecar.adapters.prices import GenaiPrices
from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.google import GoogleProvider
from atlas_sidecar.adapters.providers.groq import GroqProvider
from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.money import NANO_PER_USD, cost_nano_usd, is_priced
from atlas_sidecar.ports import Provider
from tests.adapters.replay import Answer, Recording, Upstream, call, collect, load, name_of

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FLAVOUR = {"chat": "chat", "responses": "responses"}
ANSWERS = [row for provider in ("anthropic", "google", "groq", "openai") for row in load(provider) if row.status == 200]


def documents(recording: Recording) -> list[dict[str, Any]]:
    """Return the JSON documents of a body, read plainly."""
    text = recording.body.decode()
    try:
        whole = json.loads(text)
    except ValueError:
        lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [one for one in found if isinstance(one, dict)]
    return whole if isinstance(whole, list) else [whole]


def whole_answer(recording: Recording) -> dict[str, Any]:
    """Return model and usage in the shape of a unary answer; of a stream, each field's last value."""
    answer: dict[str, Any] = {}
    for document in documents(recording):
        inner = document.get("message") or document.get("response") or document
        for key in ("model", "modelVersion"):
            answer[key] = inner.get(key) or answer.get(key)
        for key in ("usage", "usageMetadata"):
            said = inner.get(key) or document.get(key) or (document.get("x_groq") or {}).get("usage")
            if isinstance(said, Mapping):
                kept = {name: value for name, value in said.items() if value is not None}
                answer[key] = {**answer.get(key, {}), **kept}
    return answer


def their_cost_nano_usd(recording: Recording) -> tuple[str, int] | None:
    """Return the model and what the answer cost by genai-prices alone, rounded up; None where it cannot say."""
    answer = whole_answer(recording)
    key = "default" if recording.provider == "groq" else FLAVOUR.get(recording.endpoint, "default")
    try:
        extracted = get_snapshot().extract_usage(answer, recording.provider, api_flavor=key)
    except (LookupError, ValueError):
        return None
    if extracted.model is None:
        return None
    usage = extracted.usage
    if recording.provider == "openai":
        usage = usage + GenaiUsage(web_searches=searches(recording))
    total = extracted.model.calc_price(usage, extracted.provider, genai_request_timestamp=NOW).total_price
    name = answer.get("model") or answer.get("modelVersion") or ""
    return name, int((total * NANO_PER_USD).to_integral_value(ROUND_CEILING))


def searches(recording: Recording) -> int:
    """Return how often OpenAI's hosted search was asked, by the items of the finished answer."""
    finished = [document.get("response") or document for document in documents(recording)]
    output: list[Any] = next((answer["output"] for answer in reversed(finished) if answer.get("output")), [])
    return sum(item["type"] == "web_search_call" and item["action"]["type"] == "search" for item in output)


# Containers are charged by the time, the audio of gpt-4o-mini has no price in the package, nor has its preview search.
UNPRICED = re.compile(rb'"container(_id)?": ?["{]|"audio_tokens": ?[1-9]|"web_search_preview"')
PRICED = [row for row in ANSWERS if their_cost_nano_usd(row) is not None]


def provider_for(recording: Recording, url: str) -> Provider:
    settings = ProviderSettings(recording.provider, recording.provider, url, lambda: "test-key")
    if recording.endpoint == "responses":
        return OpenAIProvider(ProviderSettings("openai", "openai", url, lambda: "test-key", wire="responses"))
    kinds: dict[str, Callable[[ProviderSettings], Provider]] = {
        "anthropic": AnthropicProvider,
        "google": GoogleProvider,
        "groq": GroqProvider,
        "openai": OpenAIProvider,
    }
    return kinds[recording.provider](settings)


@pytest.mark.parametrize("recording", PRICED, ids=name_of)
async def test_a_recorded_answer_costs_what_genai_prices_says(recording: Recording, upstream: Upstream) -> None:
    theirs = their_cost_nano_usd(recording)
    assert theirs is not None
    name, expected = theirs
    upstream.answer(Answer.of(recording))
    provider = provider_for(recording, upstream.url)
    got = await collect(provider, call(recording))
    await provider.aclose()
    if got.error is not None:
        pytest.skip("the answer is an error to us; what it cost is estimated")
    price = GenaiPrices(lambda: NOW).price(recording.provider, name)
    assert cost_nano_usd(got.usage, price) == expected, (name, got.usage, Decimal(expected) / NANO_PER_USD)
    assert is_priced(got.usage, price) is (UNPRICED.search(recording.body) is None)
