"""What Gemini's refusals say in their words and in their details."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.google_errors import error_of_answer
from atlas_sidecar.core.errors import ErrorClass, ProviderError


def refusal(code: int, message: str, *details: dict[str, Any], headers: dict[str, str] | None = None) -> ProviderError:
    body = {"error": {"code": code, "status": "INVALID_ARGUMENT", "message": message, "details": list(details)}}
    return error_of_answer(code, headers or {}, json.dumps(body).encode(), 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported MIME type: image/gif",
        "Cannot fetch content from the provided URL.",
        "The thinking budget 150 is invalid. Please choose a value between 512 and 24576.",
        "The thinking budget (52428) is invalid.",
        "Budget 0 is invalid. This model only works in thinking mode.",
        "Unable to process input image. Please retry or report in https://developers.generativeai.google",
        "Invalid JSON payload received. Unknown name \"multipleOf\" at 'tools[0]': Cannot find field.",
        "* GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.",
        "CachedContent can not be used with GenerateContent request setting system_instruction",
        "parameters.properties[url].format: only 'enum' and 'date-time' are supported for STRING type",
        "Forced function calling (ANY mode) with a response mime type: 'application/json' is unsupported",
    ],
)
def test_what_only_gemini_or_this_model_refuses_lets_the_chain_go_on(text: str) -> None:
    error = refusal(400, text)
    assert (error.error_class, error.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)


def test_a_request_that_is_wrong_as_such_ends_the_chain() -> None:
    assert refusal(400, "Request contains an invalid argument.").error_class is ErrorClass.INVALID_REQUEST


@pytest.mark.parametrize(("delay", "wait_s"), [("abc", 7.0), ("", 7.0), (3, 7.0), ("34.4s", 34.4), ("0s", 0.0)])
def test_a_delay_that_cannot_be_read_leaves_the_headers_wait(delay: Any, wait_s: float) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    assert refusal(429, "", detail, headers={"retry-after": "7"}).retry_after_s == wait_s


def quota(quota_id: str, **more: Any) -> dict[str, Any]:
    return {"quotaId": quota_id, "quotaValue": "50", **more}


@pytest.mark.parametrize(
    ("violations", "scope"),
    [
        ([quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")], "model"),
        ([quota("GenerateRequestsPerDay", quotaDimensions={"location": "global", "model": "gemini-2.5-pro"})], "model"),
        ([quota("GenerateRequestsPerMinutePerProjectPerModel", quotaValue="0")], "model"),
        ([quota("GenerateRequestsPerMinute"), quota("GenerateRequestsPerDayPerProjectPerModel")], "model"),
        ([quota("GenerateRequestsPerDayPerProject")], "provider"),
        ([quota("GenerateRequestsPerDayPerProjectPerModel"), quota("GenerateRequestsPerDayPerProject")], "provider"),
        ([quota("GenerateRequestsPerDay", quotaDimensions=[])], "provider"),
    ],
)
def test_a_quota_of_one_model_says_nothing_of_the_others(violations: list[Any], scope: str) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [7, *violations]}
    error = refusal(429, "", detail)
    assert (error.error_class, error.scope) == (ErrorClass.QUOTA_EXHAUSTED, scope)
