"""Error bodies of any shape: read without fail, classed by their fields, never shown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.groq import groq_taxonomy
from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.wire.errors import (
    Fault,
    Taxonomy,
    Verdict,
    cause_of,
    fault_of_body,
    request_id,
)
from atlas_sidecar.core.errors import ErrorClass, ProviderError

TAXONOMY = openai_taxonomy("openai")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "type", "message", "status", "param", "status_code", "detail", "details", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())), st.integers(200, 599))
def test_any_body_is_read_and_gives_a_class_and_a_message_of_our_own_words(body: bytes, status: int) -> None:
    fault = fault_of_body(status, body)
    error = TAXONOMY.error(fault, http_status=status, headers={}, now_unix_s=0.0)
    assert re.fullmatch(
        r"openai: [a-z' ]+ \(HTTP \d{3}(, [A-Za-z0-9_.-]{1,64})?(, parameter [\w.\[\]]+)?\)", error.message
    )
    assert len(error.code) <= 64


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
            Fault(400, "c", "t", "m", "p"),
        ),
        (
            {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
            Fault(400, "", "BadRequestError", "m"),
        ),
        ({"detail": "m"}, Fault(400, message="m")),
        ({"error": "m"}, Fault(400, message="m")),
        ([{"error": {"status": "UNAVAILABLE", "code": 503, "message": "m"}}], Fault(400, "", "UNAVAILABLE", "m")),
        ([], Fault(400)),
        ("m", Fault(400)),
    ],
)
def test_the_shapes_that_servers_use_are_read(body: Any, fault: Fault) -> None:
    found = fault_of_body(400, json.dumps(body).encode())
    assert found._replace(error={}) == fault


@pytest.mark.parametrize("number", [503, "503"])
@pytest.mark.parametrize("name", ["code", "status_code", "status"])
def test_a_numeric_code_within_a_200_stands_for_its_status(name: str, number: Any) -> None:
    assert fault_of_body(200, json.dumps({"error": {name: number}}).encode()).status == 503
    assert fault_of_body(429, json.dumps({"error": {name: number}}).encode()).status == 429


@pytest.mark.parametrize("number", [200, 99, 1000, "5030", "٥٠٣", True, None, 503.0])
def test_a_code_that_is_no_error_status_is_not_one(number: Any) -> None:
    assert fault_of_body(200, json.dumps({"error": {"code": number}}).encode()).status == 200


def test_text_refines_only_the_statuses_that_its_rule_names() -> None:
    text = "This model's maximum context length is 8192 tokens"
    assert TAXONOMY.verdict(Fault(400, message=text)).error_class is ErrorClass.CONTEXT_TOO_LONG
    assert TAXONOMY.verdict(Fault(500, message=text)).error_class is ErrorClass.TEMPORARY
    large = Fault(429, "rate_limit_exceeded", message="Request too large for gpt-4o")
    assert TAXONOMY.verdict(large).error_class is ErrorClass.CONTEXT_TOO_LONG
    quoted = Fault(429, "rate_limit_exceeded", message="He said: Request too large")
    assert TAXONOMY.verdict(quoted).error_class is ErrorClass.RATE_LIMITED


def refused(**error: Any) -> Verdict:
    return TAXONOMY.verdict(fault_of_body(400, json.dumps({"error": {"message": "m", **error}}).encode()))


@pytest.mark.parametrize(
    "error",
    [
        {"code": None, "param": "reasoning_effort"},
        {"code": None, "param": "reasoning.effort"},
        {"code": None, "param": "model"},
        {"code": "of_tomorrow", "param": "stop"},
        {"code": None, "param": "tools[0].function.parameters"},
        {"code": None, "param": "text.format.schema"},
        {"code": "invalid_value", "param": "reasoning_effort"},
        {"code": "array_above_max_length", "param": "stop"},
        {"code": "invalid_json_schema"},
        {"code": "invalid_function_parameters"},
        {"code": "invalid_encrypted_content"},
        {"code": "unsupported_image_media_type"},
        {"code": "OperationNotSupported"},
        {"code": "data_residency_mismatch"},
        {"code": "string_above_max_length", "param": "messages[1].tool_calls[0].id"},
        {"code": "string_above_max_length", "param": "input[2].call_id"},
        {
            "code": "invalid_request_error",
            "message": "The `reasoning_content` in the thinking mode must be passed back",
        },
        {"code": None, "message": "Unrecognized request argument supplied: reasoning_effort"},
    ],
)
def test_what_only_this_model_refuses_leaves_the_next_one_its_chance(error: dict[str, Any]) -> None:
    verdict = refused(**error)
    assert (verdict.error_class, verdict.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)


def test_groq_too_refuses_how_a_model_is_to_answer_without_blame() -> None:
    groq = groq_taxonomy("groq")
    verdict = groq.verdict(Fault(400, kind="invalid_request_error", param="reasoning_effort"))
    assert (verdict.error_class, verdict.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)
    assert groq.verdict(Fault(400, param="messages")).error_class is ErrorClass.INVALID_REQUEST


@pytest.mark.parametrize("param", [None, "messages[1].content", "messages[1].content[0].text", "input[0].content"])
def test_a_text_above_the_maximum_length_is_too_long(param: str | None) -> None:
    assert refused(code="string_above_max_length", param=param).error_class is ErrorClass.CONTEXT_TOO_LONG


@pytest.mark.parametrize("param", [None, "", "messages", "messages[0].role", "name"])
def test_what_every_model_would_refuse_is_invalid(param: str | None) -> None:
    assert refused(code=None, param=param).error_class is ErrorClass.INVALID_REQUEST


@pytest.mark.parametrize(
    "code", ["bio_policy", "cyber_policy", "misalignment_policy_violation", "image_content_policy_violation"]
)
def test_every_policy_is_a_filter(code: str) -> None:
    verdict = refused(code=code)
    assert (verdict.error_class, verdict.breaks_model) == (ErrorClass.CONTENT_FILTERED, False)


@pytest.mark.parametrize(
    "words",
    [
        "The decoder prompt (length 21535) is longer than the maximum model length of 16384.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "The prompt (total length 5000) is too long to fit into the model (context length 4096).",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "the request exceeds the available context size. try increasing it",
    ],
)
def test_compatible_servers_say_in_words_that_a_request_is_too_long(words: str) -> None:
    assert (
        TAXONOMY.verdict(Fault(400, kind="BadRequestError", message=words)).error_class is ErrorClass.CONTEXT_TOO_LONG
    )
    assert TAXONOMY.verdict(Fault(500, message=words)).error_class is ErrorClass.TEMPORARY


def test_digits_in_a_body_mean_nothing() -> None:
    body = b'{"error": {"message": "429 503 insufficient_quota 401", "code": "weird"}}'
    assert TAXONOMY.verdict(fault_of_body(400, body)).error_class is ErrorClass.INVALID_REQUEST


def test_a_wait_in_the_words_counts_only_where_waiting_helps() -> None:
    def wait_s(status: int) -> float | None:
        fault = Fault(status, message="Please try again in 20s")
        return TAXONOMY.error(fault, http_status=status, headers={}, now_unix_s=0.0).retry_after_s

    assert wait_s(429) == 20.0
    assert wait_s(400) is None


def test_a_request_id_is_bounded() -> None:
    assert request_id({"x-request-id": "r" * 500}) == "r" * 128
    assert request_id({"apim-request-id": "a"}) == "a"
    assert request_id({}) == ""


def test_our_error_is_found_under_what_an_sdk_wraps_around_it() -> None:
    ours = ProviderError(ErrorClass.TEMPORARY, "m")
    outer, middle = RuntimeError("outer"), ValueError("middle")
    outer.__cause__, middle.__context__ = middle, ours
    assert cause_of(outer) is ours
    loop = RuntimeError()
    loop.__cause__ = RuntimeError()
    loop.__cause__.__cause__ = loop
    assert cause_of(loop) is None


def test_a_provider_may_add_its_own_statuses_and_kinds() -> None:
    taxonomy = Taxonomy("x", status_of_kind={"overloaded_error": 529}, statuses={418: TAXONOMY.verdict(Fault(404))})
    assert taxonomy.verdict(Fault(200, kind="overloaded_error")).error_class is ErrorClass.OVERLOADED
    assert taxonomy.verdict(Fault(418)).error_class is ErrorClass.MODEL_UNAVAILABLE
