"""What a request demands of a model: capabilities, and the forms of content that some APIs have no room for."""

from __future__ import annotations

from typing import Any

import pytest

from atlas_sidecar.core.demands import Form, demands_of, form_of
from atlas_sidecar.core.types import (
    Blob,
    Capability,
    GenerateRequest,
    Message,
    Part,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
    ToolResult,
)

TOOL = Tool("f", "", "")


def request(*contents: Text | Blob | ToolResult, tools: tuple[Tool, ...] = (), schema: str = "") -> GenerateRequest:
    message = Message(Role.USER, tuple(Part(content) for content in contents))
    return GenerateRequest(Requirements(), (message,), tools, response_format=ResponseFormat(json_schema=schema))


def capabilities(asked: GenerateRequest) -> frozenset[Capability]:
    return demands_of(asked).capabilities


def test_what_a_request_contains_says_what_the_model_must_be_able_to_do() -> None:
    assert capabilities(request(Text("Hello"))) == frozenset()
    assert capabilities(request(Text("Hello"), tools=(TOOL,))) == {Capability.TOOLS}
    assert capabilities(request(Text("Hello"), schema="{}")) == {Capability.JSON_SCHEMA}
    assert capabilities(request(Blob("IMAGE/png", b"x"))) == {Capability.IMAGE_INPUT}
    assert capabilities(request(Blob("audio/wav", b"x"))) == {Capability.AUDIO_INPUT}
    assert capabilities(request(Blob("application/pdf", b"x"))) == {Capability.DOCUMENT_INPUT}
    inner = ToolResult("c", "f", (Part(Blob("image/png", b"x")),))
    assert capabilities(request(inner)) == {Capability.IMAGE_INPUT}


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (None, frozenset()),
        (ReasoningEffort.NONE, frozenset()),
        (ReasoningEffort.LOW, {Capability.REASONING}),
        (ReasoningEffort.HIGH, {Capability.REASONING}),
    ],
)
def test_only_an_explicit_effort_asks_for_reasoning(
    effort: ReasoningEffort | None, expected: frozenset[Capability]
) -> None:
    asked = GenerateRequest(Requirements(), (), sampling=Sampling(reasoning_effort=effort))
    assert capabilities(asked) == expected


@pytest.mark.parametrize(
    ("blob", "form"),
    [
        (Blob("image/png", b"x"), None),
        (Blob("image/jpg", b"x"), None),
        (Blob("Image/JPEG; q=1", b"x"), None),
        (Blob("application/pdf", b"x"), Form.PDF),
        (Blob("text/csv; charset=utf-8", b"x"), None),
        (Blob("application/json", b"{}"), None),
        (Blob("application/ld+json", b"{}"), None),
        (Blob("audio/x-wav", b"x"), Form.AUDIO),
        (Blob("audio/mpeg", b"x"), Form.AUDIO),
        (Blob("image/gif", b"x"), Form.GIF),
        (Blob("image/heif", b"x"), Form.HEIC),
        (Blob("image/tiff", b"x"), Form.IMAGE_OF_OTHER_FORMAT),
        (Blob("application/zip", b"x"), Form.FILE),
        (Blob("audio/ogg", b"x"), Form.AUDIO_OF_OTHER_FORMAT),
        (Blob("video/mp4", b"x"), Form.VIDEO),
        (Blob("image/png", uri="https://example.com/x.png"), Form.IMAGE_BY_ADDRESS),
        (Blob("application/pdf", uri="HTTPS://example.com/x.pdf"), Form.PDF_BY_ADDRESS),
        (Blob("text/csv", uri="https://example.com/x.csv"), Form.TEXT_BY_ADDRESS),
        (Blob("application/zip", uri="https://example.com/x.zip"), Form.FILE_BY_ADDRESS),
        (Blob("audio/wav", uri="https://example.com/x.wav"), Form.AUDIO_BY_ADDRESS),
        (Blob("video/mp4", uri="https://www.youtube.com/watch?v=1"), Form.VIDEO_BY_ADDRESS),
        (Blob("application/pdf", uri="file-abc"), Form.OPENAI_FILE),
        (Blob("image/png", uri="gs://bucket/x.png"), Form.STORAGE_OBJECT),
        (Blob("video/mp4", uri="https://generativelanguage.googleapis.com/v1beta/files/a"), Form.GOOGLE_FILE),
        (Blob("image/png", uri="ftp://example.com/x.png"), Form.OTHER_ADDRESS),
    ],
    ids=str,
)
def test_a_blob_has_the_form_that_some_apis_do_not_take(blob: Blob, form: Form | None) -> None:
    assert form_of(blob) is form
    assert demands_of(request(Text("See"), blob)).forms == ({form} if form else frozenset())
    assert demands_of(request(ToolResult("c", "f", (Part(blob),)))).forms == ({form} if form else frozenset())


@pytest.mark.parametrize(
    ("mode", "forced"),
    [(ToolMode.AUTO, False), (ToolMode.NONE, False), (ToolMode.REQUIRED, True), (ToolMode.NAMED, True)],
)
def test_a_forced_tool_call_is_a_form_of_its_own(mode: ToolMode, forced: bool) -> None:
    asked = GenerateRequest(Requirements(), (), (TOOL,), ToolChoice(mode, "f"))
    assert (Form.FORCED_TOOL_CALL in demands_of(asked).forms) is forced


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, False),
        ({"anthropic": {"cache_control": {"type": "ephemeral"}}}, False),
        ({"anthropic": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}}, True),
        ({"mine": {"tools": [{"name": "f"}, {"name": "g", "cache_control": {"ttl": "1h"}}]}}, True),
        ({"mine": {"ttl": "5m", "metadata": {"note": "1h"}}}, False),
    ],
)
def test_the_hours_cache_is_asked_for_in_the_callers_own_fields(options: dict[str, Any], asks: bool) -> None:
    asked = GenerateRequest(Requirements(), (), provider_options=options)
    assert (Form.CACHE_FOR_AN_HOUR in demands_of(asked).forms) is asks


def test_options_may_be_nested_as_deep_as_json_may() -> None:
    deep: dict[str, Any] = {"ttl": "1h"}
    for _ in range(10_000):
        deep = {"a": [deep]}
    asked = GenerateRequest(Requirements(), (), provider_options={"anthropic": deep})
    assert Form.CACHE_FOR_AN_HOUR in demands_of(asked).forms
