"""Gemini on Vertex: the SDK's own client, a token of fake credentials, a local server."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import anthropic
import pytest
from google import genai
from google.auth.credentials import AnonymousCredentials

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.google import GoogleProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.sdk import host_and_port
from atlas_sidecar.core.errors import ErrorClass
from tests.adapters.google_cloud import service_account
from tests.adapters.replay import Answer, Upstream, call, collect, model

PARTS = [{"text": "Hello"}, {"executableCode": {"code": "1"}}]
ANSWER = {
    "candidates": [
        {"content": {"parts": [{"text": "Hello"}, {"executableCode": {"code": "1"}}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
}
PLACE = {"project": "p-1", "location": "europe-west1"}


async def test_vertex_is_asked_with_a_token_of_its_own_credentials(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, upstream.url)))
    settings = ProviderSettings("gemini", "vertex", upstream.url, extra=PLACE)
    token = Answer.json({"access_token": "ya29.fake", "expires_in": 3600, "token_type": "Bearer"})
    upstream.answer(token, Answer.sse(ANSWER))
    async with aclosing(GoogleProvider(settings)) as provider:
        assert provider.has_credentials
        for _ in range(2):  # the token is kept
            got = await collect(provider, call(model=model("gemini-2.5-flash", "vertex")))
            assert (got.error, got.text) == (None, "Hello")
            assert [part.provider for part in got.opaque] == ["vertex"]
        assert await provider.probe() is None
    _, asked, again = upstream.requests
    path = "/v1beta1/projects/p-1/locations/europe-west1/publishers/google/models/gemini-2.5-flash"
    assert asked.path == f"{path}:streamGenerateContent?alt=sse"
    assert (asked.headers["authorization"], again.headers["authorization"]) == ("Bearer ya29.fake",) * 2


async def test_vertex_takes_an_api_key_instead(upstream: Upstream) -> None:
    upstream.answer(Answer.json(ANSWER))
    settings = ProviderSettings("gemini", "vertex", upstream.url, lambda: "express-key")
    async with aclosing(GoogleProvider(settings)) as provider:
        got = await collect(provider, call(model=model("gemini-2.5-flash", "vertex"), stream=False))
    assert (got.error, got.text) == (None, "Hello")
    assert upstream.requests[0].headers["x-goog-api-key"] == "express-key"
    assert upstream.requests[0].path == "/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent"


async def test_vertex_without_credentials_is_an_auth_error(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    async with aclosing(GoogleProvider(ProviderSettings("gemini", "vertex", upstream.url, extra=PLACE))) as provider:
        got = await collect(provider, call(model=model("gemini-2.5-flash", "vertex")))
    assert got.error is not None
    assert (got.error.error_class, got.error.code) == (ErrorClass.AUTH, "no_credentials")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west1", "europe-west1-aiplatform.googleapis.com"),
    ],
)
async def test_each_location_has_the_address_that_both_sdks_know(location: str, host: str) -> None:
    gemini = GoogleProvider(ProviderSettings("g", "vertex", extra={"project": "p", "location": location}))
    claude = AnthropicProvider(ProviderSettings("c", "anthropic-vertex", extra={"project_id": "p", "region": location}))
    assert gemini.address == claude.address == (host, 443)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is typed in parts
    made = genai.Client(vertexai=True, project="p", location=location, credentials=credentials)
    assert host_and_port(str(made._api_client._http_options.base_url))[0] == host
    sdk = anthropic.AsyncAnthropicVertex(region=location, project_id="p")
    assert sdk.base_url.host == host
    await sdk.close()
    made.close()
    await made.aio.aclose()
