"""The decoder of Gemini's answers alone: what is counted, kept and concluded from unusual documents."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.google_answer import GoogleDecoder
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Finished,
    ProviderEvent,
    SignatureDelta,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
    UsageReport,
)
from tests.adapters.junk import decode_or_refuse, documents

USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}
OVERLOADED = {"error": {"code": 503, "status": "UNAVAILABLE"}}


def says(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts)}, **more}
    return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate], "responseId": "r1"}


def decode(*documents: Any, whole: bool = False) -> tuple[list[ProviderEvent], Exception | None]:
    """Return the events of a stream (one read) or of a whole answer, and the error it ended in."""
    decoder, out = GoogleDecoder(), list[ProviderEvent]()
    try:
        if whole:
            decoder.whole(json.dumps(documents[0] if len(documents) == 1 else documents).encode(), out)
        else:
            decoder.events([SseEvent(b"", json.dumps(document).encode()) for document in documents], out)
            decoder.end(out)
    except (ProviderError, msgspec.DecodeError) as error:
        return out, error
    return out, None


def finished(*documents: Any, whole: bool = False) -> Finished:
    out, error = decode(*documents, whole=whole)
    assert error is None
    assert isinstance(out[-1], Finished)
    return out[-1]


@pytest.mark.parametrize(
    ("rest", "whole"),
    [([], False), ([OVERLOADED], False), ([{"candidates": 7}], False), ([OVERLOADED], True)],
)
def test_what_was_counted_is_reported_also_before_an_error(rest: list[Any], whole: bool) -> None:
    out, _ = decode({"usageMetadata": USAGE}, *rest, whole=whole)
    assert out[-1] == UsageReport(Usage(input_tokens=9, output_tokens=5))


def test_null_is_read_as_not_said() -> None:
    nothing = {"thought": None, "thoughtSignature": None}
    call = {"functionCall": {"name": "f", "id": None, "args": None}, **nothing}
    document = says({"text": "a", "functionCall": None, **nothing}, call, finish="STOP", index=None)
    out, error = decode({**document, "responseId": None, "modelVersion": None, "promptFeedback": None})
    assert error is None
    assert out[0] == TextDelta(0, "a")
    assert isinstance(out[1], ToolCallStart)
    assert (out[1].name, bool(out[1].id)) == ("f", True)
    assert out[2] == ToolArguments(1, "{}")


@pytest.mark.parametrize(
    ("reason", "expected", "scope", "breaks"),
    [
        ("PUP_LIMITED_DISABLED", ErrorClass.AUTH, "provider", True),
        ("SOMETHING_NEW", ErrorClass.MODEL_UNAVAILABLE, "model", False),
        ("NO_IMAGE", ErrorClass.MODEL_UNAVAILABLE, "model", False),
    ],
)
def test_no_content_and_no_normal_end_is_no_empty_answer(
    reason: str, expected: ErrorClass, scope: str, breaks: bool
) -> None:
    for whole in (False, True):
        _, error = decode(says(finish=reason), whole=whole)
        assert isinstance(error, ProviderError)
        assert (error.error_class, error.scope, error.breaks_model) == (expected, scope, breaks)
        assert error.code == reason


def test_what_an_answer_says_beside_its_content_is_kept() -> None:
    pages, ratings = {"urlMetadata": [{"retrievedUrl": "u"}]}, [{"category": "c", "probability": "LOW"}]
    first = says({"text": "a"}, urlContextMetadata=pages, logprobsResult={"chosenCandidates": [{"token": "a"}]})
    last = says(
        finish="STOP", safetyRatings=ratings, avgLogprobs=-0.5, logprobsResult={"chosenCandidates": [{"token": "b"}]}
    )
    status = {"modelStage": "DEPRECATED", "message": "retires"}
    usage = {**USAGE, "trafficType": "PROVISIONED_THROUGHPUT"}
    assert finished(first, {**last, "usageMetadata": usage, "modelStatus": status}).metadata == {
        "id": "r1",
        "model_status": status,
        "url_context_metadata": pages,
        "safety_ratings": ratings,
        "avg_logprobs": -0.5,
        "logprobs_result": {"chosenCandidates": [{"token": "a"}, {"token": "b"}]},
        "traffic_type": "PROVISIONED_THROUGHPUT",
    }


def piece(path: str, **value: Any) -> dict[str, Any]:
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


@pytest.mark.parametrize("last", [[{"functionCall": {}}], []])
def test_arguments_that_come_in_pieces_are_put_together(last: list[Any]) -> None:
    pieces = [
        piece("$.city", stringValue="New ", willContinue=True),
        piece("$.days", numberValue=3),
        piece("$.city", stringValue="Delhi", willContinue=True),
        piece("$.city"),
        piece("$.stops[0]['a \\'b\\'']", boolValue=True),
        piece("$.stops[1].none", nullValue=None),
        piece("$.stops[2]", stringValue=""),
    ]
    start = {"functionCall": {"name": "f", "id": "c1", "willContinue": True}, "thoughtSignature": "c2ln"}
    out, error = decode(*[says(part) for part in (start, *pieces, *last)], says({"text": "so"}, finish="STOP"))
    assert error is None
    assert out[:2] == [ToolCallStart(0, "c1", "f"), SignatureDelta(0, b"c2ln")]
    arguments = [event for event in out if isinstance(event, ToolArguments)]
    assert len(arguments) == 1
    assert (arguments[0].index, json.loads(arguments[0].fragment)) == (
        0,
        {"city": "New Delhi", "days": 3, "stops": [{"a 'b'": True}, {"none": None}, ""]},
    )
    assert TextDelta(1, "so") in out


def test_a_call_that_begins_ends_the_one_before() -> None:
    first = {
        "functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}], "willContinue": True}
    }
    out, _ = decode(says(first, {"functionCall": {"name": "g", "args": {"b": 2}}}, finish="STOP"))
    calls = [event for event in out if isinstance(event, ToolCallStart | ToolArguments)]
    assert [event.index for event in calls] == [0, 0, 1, 1]
    assert calls[1] == ToolArguments(0, '{"a":1}')


@pytest.mark.parametrize("path", ["", "$", "a", "$.a[1]", "$.a.b", "$..a", "$[0]", "$" + ".a" * 65, "$.a[*]"])
def test_a_piece_without_a_place_makes_an_answer_unreadable(path: str) -> None:
    start = {
        "functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}], "willContinue": True}
    }
    _, error = decode(says(start), says(piece(path, numberValue=1)))
    assert isinstance(error, msgspec.ValidationError)


def test_a_function_call_without_a_name_makes_an_answer_unreadable() -> None:
    _, error = decode(says({"functionCall": {"args": {}}}, finish="STOP"))
    assert isinstance(error, msgspec.ValidationError)


WORDS = (
    "candidates content parts text thought thoughtSignature functionCall name args id finishReason STOP "
    "SAFETY promptFeedback blockReason usageMetadata promptTokenCount candidatesTokenCount error code "
    "status message details violations quotaId retryDelay index responseId groundingMetadata "
    "executableCode logprobsResult avgLogprobs partialArgs jsonPath $.a stringValue willContinue"
)


@given(documents(WORDS), st.booleans())
def test_any_documents_are_an_answer_or_an_error(given_: list[Any], whole: bool) -> None:
    decode_or_refuse(GoogleDecoder(), given_, whole=whole)
