"""Claude on Amazon Bedrock and on Google Cloud: the SDKs' own clients, real signatures and tokens, a local server."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.anthropic_eventstream import CONTENT_TYPE, EventStreamParser
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Usage
from tests.adapters.google_cloud import service_account
from tests.adapters.replay import Answer, Upstream, call, collect, model, splits

EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüß dich"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]
BEDROCK_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def frame(payload: bytes, headers: dict[str, str]) -> bytes:
    """Encode one frame, as AWS describes it."""
    packed = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(packed) + len(payload) + 16, len(packed))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    return prelude + packed + payload + struct.pack(">I", zlib.crc32(prelude + packed + payload))


def chunk(event: dict[str, Any]) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode()
    return frame(payload, {":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"})


def exception(kind: str) -> bytes:
    return frame(b'{"message": "no"}', {":message-type": "exception", ":exception-type": kind})


def bedrock_answer(body: bytes, seed: int | None = None) -> Answer:
    headers = {"content-type": CONTENT_TYPE, "x-amzn-requestid": "aws-7"}
    return Answer(headers=headers, chunks=[body] if seed is None else splits(body, seed), pause_s=0.001)


@pytest.fixture
def bedrock(upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AnthropicProvider:
    pytest.importorskip("botocore", reason="the extra `bedrock` is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = ProviderSettings("claude", "anthropic-bedrock", upstream.url, extra={"aws_region": "eu-west-1"})
    return AnthropicProvider(settings)


async def test_bedrock_is_asked_with_a_signature_over_what_is_sent(
    bedrock: AnthropicProvider, upstream: Upstream
) -> None:
    auth: Any = pytest.importorskip("botocore.auth")
    request_class: Any = pytest.importorskip("botocore.awsrequest").AWSRequest
    secret = pytest.importorskip("botocore.credentials").Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")
    upstream.answer(bedrock_answer(b"".join(map(chunk, EVENTS))))
    async with aclosing(bedrock):
        got = await collect(bedrock, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert (got.error, got.text, got.usage) == (None, "Grüß dich", Usage(input_tokens=9, output_tokens=5))
    assert got.head is not None
    assert got.head.provider_request_id == "aws-7"
    seen = upstream.requests[0]
    assert seen.path == f"/model/{BEDROCK_MODEL}/invoke-with-response-stream"
    assert seen.json["anthropic_version"] == "bedrock-2023-05-31"
    assert not {"model", "stream"} & set(seen.json)
    scheme, _, rest = seen.headers["authorization"].partition(" ")
    fields = dict(item.strip().split("=", 1) for item in rest.split(","))
    assert scheme == "AWS4-HMAC-SHA256"
    headers = {name: seen.headers[name] for name in fields["SignedHeaders"].split(";")}
    request = request_class("POST", upstream.url + seen.path, headers, seen.body)
    request.context["timestamp"] = seen.headers["x-amz-date"]
    signer = auth.SigV4Auth(secret, "bedrock", "eu-west-1")
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert fields["Signature"] == expected


@pytest.mark.parametrize("seed", range(5))
async def test_bedrocks_frames_are_read_in_any_split(bedrock: AnthropicProvider, upstream: Upstream, seed: int) -> None:
    upstream.answer(bedrock_answer(b"".join(map(chunk, EVENTS)), seed))
    async with aclosing(bedrock):
        got = await collect(bedrock, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert (got.error, got.text) == (None, "Grüß dich")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (exception("throttlingException"), ErrorClass.RATE_LIMITED),
        (exception("modelTimeoutException"), ErrorClass.TIMEOUT),
        (exception("internalServerException"), ErrorClass.TEMPORARY),
        (exception("validationException"), ErrorClass.INVALID_REQUEST),
        (chunk(EVENTS[0])[:-3], ErrorClass.TEMPORARY),  # ends within a frame
        (b"".join(map(chunk, EVENTS))[:-1] + b"\x00", ErrorClass.STREAM_BROKEN),  # a wrong checksum at the very end
        (b"".join(map(chunk, EVENTS[:3])), ErrorClass.STREAM_BROKEN),
    ],
)
async def test_bedrocks_exceptions_and_broken_frames_have_their_classes(
    bedrock: AnthropicProvider, upstream: Upstream, body: bytes, expected: ErrorClass
) -> None:
    upstream.answer(bedrock_answer(body))
    async with aclosing(bedrock):
        got = await collect(bedrock, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert got.error is not None
    assert got.error.error_class is expected


async def test_bedrock_answers_whole_and_refuses_in_its_own_words(
    bedrock: AnthropicProvider, upstream: Upstream
) -> None:
    said = {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "usage": {}}
    upstream.answer(
        Answer.json(said), Answer.json({"message": "Too many requests"}, 429, {"x-amzn-requestid": "aws-8"})
    )
    async with aclosing(bedrock):
        asked = call(model=model(BEDROCK_MODEL, "anthropic-bedrock"), stream=False)
        assert (await collect(bedrock, asked)).text == "x"
        got = await collect(bedrock, asked)
    assert upstream.requests[0].path == f"/model/{BEDROCK_MODEL}/invoke"
    assert got.error is not None
    assert (got.error.error_class, got.error.provider_request_id) == (ErrorClass.RATE_LIMITED, "aws-8")


async def test_bedrocks_name_of_an_error_is_read_from_its_header(
    bedrock: AnthropicProvider, upstream: Upstream
) -> None:
    headers = {"x-amzn-errortype": "ServiceQuotaExceededException:http://internal.amazon.com/coral/"}
    upstream.answer(Answer.json({"message": "Your request was denied."}, 400, headers))
    async with aclosing(bedrock):
        got = await collect(bedrock, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert got.error is not None
    assert got.error.error_class is ErrorClass.QUOTA_EXHAUSTED


async def test_bedrock_without_credentials_is_an_auth_error(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("botocore", reason="the extra `bedrock` is not installed")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # A region of its own: the SDK keeps the sessions that it made.
    settings = ProviderSettings("claude", "anthropic-bedrock", upstream.url, extra={"aws_region": "eu-north-1"})
    async with aclosing(AnthropicProvider(settings)) as provider:
        got = await collect(provider, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert got.error is not None
    assert (got.error.error_class, got.error.code) == (ErrorClass.AUTH, "no_credentials")
    assert upstream.requests == []


async def test_bedrock_takes_an_api_key_instead(upstream: Upstream) -> None:
    pytest.importorskip("botocore", reason="the extra `bedrock` is not installed")
    settings = ProviderSettings(
        "claude", "anthropic-bedrock", upstream.url, lambda: "bedrock-key", extra={"aws_region": "eu-west-1"}
    )
    upstream.answer(bedrock_answer(b"".join(map(chunk, EVENTS))))
    async with aclosing(AnthropicProvider(settings)) as provider:
        got = await collect(provider, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
    assert (got.error, upstream.requests[0].headers["authorization"]) == (None, "Bearer bedrock-key")


@given(st.binary(max_size=200), st.lists(st.integers(1, 60), max_size=5))
def test_any_bytes_are_frames_or_an_error(data: bytes, sizes: list[int]) -> None:
    parser = EventStreamParser()
    position = 0
    try:
        for size in [*sizes, len(data)]:
            parser.feed(data[position : position + size])
            position += size
    except msgspec.DecodeError:
        return
    assert len(data) < 12 or not parser.is_empty or not data


async def test_google_cloud_is_asked_with_a_token_of_its_own_credentials(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, upstream.url)))
    settings = ProviderSettings(
        "claude", "anthropic-vertex", f"{upstream.url}/v1", extra={"project_id": "p-1", "region": "europe-west1"}
    )
    token = Answer.json({"access_token": "ya29.fake", "expires_in": 3600, "token_type": "Bearer"})
    upstream.answer(token, Answer.sse(*EVENTS))
    name = "claude-sonnet-4-5@20250929"
    async with aclosing(AnthropicProvider(settings)) as provider:
        for _ in range(2):  # the token is kept
            got = await collect(provider, call(model=model(name, "anthropic-vertex")))
            assert (got.error, got.text) == (None, "Grüß dich")
    _, asked, again = upstream.requests
    path = "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models/"
    assert asked.path == f"{path}{name}:streamRawPredict"
    assert (asked.headers["authorization"], again.headers["authorization"]) == ("Bearer ya29.fake",) * 2
    assert "model" not in asked.json
    assert asked.json["anthropic_version"]


async def test_google_cloud_without_credentials_is_an_auth_error(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    settings = ProviderSettings("claude", "anthropic-vertex", f"{upstream.url}/v1", extra={"project_id": "p-1"})
    async with aclosing(AnthropicProvider(settings)) as provider:
        got = await collect(provider, call(model=model("claude-sonnet-4-5", "anthropic-vertex")))
    assert got.error is not None
    assert (got.error.error_class, got.error.code) == (ErrorClass.AUTH, "no_credentials")
    assert upstream.requests == []


async def test_bedrock_without_a_region_says_so_and_takes_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("botocore", reason="the extra `bedrock` is not installed")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    async with aclosing(AnthropicProvider(ProviderSettings("claude", "anthropic-bedrock"))) as provider:
        got = await collect(provider, call(model=model(BEDROCK_MODEL, "anthropic-bedrock")))
        assert got.error is not None
        assert (got.error.error_class, got.error.code) == (ErrorClass.OTHER, "not_usable")
        monkeypatch.setenv("AWS_REGION", "eu-west-3")
        await provider.open()
        assert provider.address == ("bedrock-runtime.eu-west-3.amazonaws.com", 443)


async def test_an_extra_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    async with aclosing(AnthropicProvider(ProviderSettings("claude", "anthropic-bedrock"))) as provider:
        with pytest.raises(ProviderError, match="extra is not installed"):
            await provider.open()
