"""Words of providers that are shown: codes, paths of parameters and ids are, prompts and keys are not."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.wire.errors import Fault
from atlas_sidecar.adapters.providers.wire.shown import repeats, safe_code, safe_id, safe_param
from tests.adapters.chat_servers import GOOD, failed, make
from tests.adapters.replay import Answer, Upstream, call, collect

CODES = "invalid_value OperationNotSupported RESOURCE_EXHAUSTED SAFETY tokens rateLimitExceeded invalid_base64_image "
CODES += "ValidationException APIConnectionError error_429 of_tomorrow"
NO_CODES = (
    "secret Secret my-secret odd sk-abc_def gsk_abcdef AIzaSyabcdef AKIAIOSFODNNEXAMPLE canarykey-5d1e-0000 a_5d1e8f "
)
NO_CODES += "token_1234 aBcDeFgH _x schlüssel_x a_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"


@pytest.mark.parametrize("code", CODES.split())
def test_what_looks_like_a_code_is_shown(code: str) -> None:
    assert safe_code(code) == code


@pytest.mark.parametrize("code", ["", "two words", "w_" * 40, *NO_CODES.split()])
def test_what_could_be_a_prompt_or_a_key_is_not_shown(code: str) -> None:
    assert safe_code(code) == ""


@pytest.mark.parametrize(
    ("param", "shown"),
    [
        ("messages[1].tool_calls[0].id", True),
        ("reasoning.effort", True),
        ("tools[0].function.parameters", True),
        ("secret", False),
        ("messages[0].gsk_abcdef", False),
        ("messages.AIzaSy", False),
        ("messages[0] said", False),
        ("messages" + ".content" * 20, False),
        ("", False),
    ],
)
def test_a_parameter_is_shown_where_it_begins_with_a_field_of_a_request(param: str, shown: bool) -> None:
    assert safe_param(param) == (param if shown else "")


def test_an_id_that_looks_like_a_key_is_not_shown() -> None:
    assert safe_id("req_011CS5d1e") == "req_011CS5d1e"
    assert safe_id("sk-proj-abc") == ""


@given(st.text(max_size=80))
def test_any_text_is_judged(text: str) -> None:
    assert safe_code(text) in {"", text}
    assert safe_param(text) in {"", text}
    assert len(safe_id(text * 3)) <= 128


def test_nothing_shown_repeats_the_key_in_use_whatever_the_key_looks_like() -> None:
    taxonomy = openai_taxonomy("openai", lambda: "Team_Blue_Key")
    for text in ("team_blue_key", "x_team_blue_key_x", "blue_key", "invalid_team_blue_key"):
        fault = Fault(400, code=text, kind=text, param=f"messages.{text}")
        error = taxonomy.error(fault, http_status=400, headers={}, now_unix_s=0.0)
        assert (error.code, error.message) == ("", "openai: the provider finds the request invalid (HTTP 400)")
        assert taxonomy.filtered(text).code == ""
    assert "Team_Blue_Key" not in repr(taxonomy)
    assert taxonomy.shown("invalid_api_key") == "invalid_api_key"
    assert not repeats("", "key")
    assert not repeats("key", None)


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_request_id_that_repeats_the_key_is_not_shown(kind: str, upstream: Upstream) -> None:
    key = "team-blue-0001"
    headers = {"content-type": "text/event-stream", "x-request-id": f"req_{key}", "x-ratelimit-remaining-tokens": "7"}
    async with aclosing(make(kind, upstream.url, api_key=lambda: key)) as adapter:
        for _ in range(4):  # the first through the SDK, the later ones without it
            upstream.answer(Answer(200, headers, Answer.sse(*GOOD).chunks))
            got = await collect(adapter, call())
            assert got.head is not None
            assert got.head.rate_limit is not None
            assert (got.head.provider_request_id, got.head.rate_limit.tokens_remaining) == ("", 7)
            upstream.answer(Answer.json({"error": {}}, 503, headers))
            assert failed(await collect(adapter, call())).provider_request_id == ""
