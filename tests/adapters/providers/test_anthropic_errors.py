"""What the sentences of Anthropic and Bedrock mean: what ends the chain, what only this model, and who is to blame."""

from __future__ import annotations

import json

import pytest

from atlas_sidecar.adapters.providers.anthropic_errors import TAXONOMY, fault_of_refusal
from atlas_sidecar.core.errors import ErrorClass, ProviderError


def refused(message: str, status: int = 400, kind: str = "invalid_request_error") -> ProviderError:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    return TAXONOMY.error(fault_of_refusal(status, {}, body), http_status=status, headers={}, now_unix_s=0)


def refused_by_bedrock(message: str, status: int = 400, named: str = "ValidationException") -> ProviderError:
    headers = {"x-amzn-errortype": f"{named}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    fault = fault_of_refusal(status, headers, json.dumps({"message": message}).encode())
    return TAXONOMY.error(fault, http_status=status, headers=headers, now_unix_s=0)


@pytest.mark.parametrize(
    "message",
    [
        'tool_choice: type "tool" and "any" are not supported for this model.',
        "messages.0.content.0.image.source: URL sources are not supported",
        "role 'system' is not supported on this model",
        "output_config.format.schema: For 'integer' type, properties maximum, minimum are not supported",
        "messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 5347412 bytes > 5242880 bytes",
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png' or 'image/gif'",
        "messages.0.content.0.pdf.source.base64.data: A maximum of 100 PDF pages may be provided.",
        "Could not process image",
        "Unable to download the file. Please verify the URL and try again.",
        "Compiled grammar is too large, which would cause performance issues. Simplify your tool schemas.",
        "tools: Tool names must be unique.",
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.3.content.0: unexpected `tool_use_id` found in `web_search_tool_result` blocks: srvtoolu_01Wr57BkH7",
        "messages.1.content.0: Invalid `signature` in `thinking` block. It is bound to a different conversation.",
    ],
)
def test_what_only_claude_refuses_moves_on_to_the_next_model_and_blames_nobody(message: str) -> None:
    error = refused(message)
    assert (error.error_class, error.breaks_model, error.scope) == (ErrorClass.MODEL_UNAVAILABLE, False, "model")
    assert message not in error.message


@pytest.mark.parametrize(
    "message",
    [
        "messages.0.content.0.text: Field required",
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        "metadata.user_id: String should match pattern '^[a-z]+$'",
        "messages: at least one message is required",
    ],
)
def test_what_any_model_would_refuse_is_an_invalid_request(message: str) -> None:
    assert refused(message).error_class is ErrorClass.INVALID_REQUEST


@pytest.mark.parametrize("apostrophe", ["'", "\u2019"])
def test_a_model_that_bedrock_does_not_have_under_this_name_is_unavailable(apostrophe: str) -> None:
    message = (
        f"Invocation of model ID anthropic.claude-sonnet-4-5 with on-demand throughput isn{apostrophe}t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )
    for text in (message, "The provided model identifier is invalid."):
        error = refused_by_bedrock(text)
        assert (error.error_class, error.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, True)


def test_bedrock_names_its_errors_in_a_header() -> None:
    quota = refused_by_bedrock("Your request was denied.", named="ServiceQuotaExceededException")
    assert (quota.error_class, quota.scope, quota.code) == (
        ErrorClass.QUOTA_EXHAUSTED,
        "provider",
        "ServiceQuotaExceededException",
    )
    slower = refused_by_bedrock("Too many requests", 429, "ThrottlingException")
    assert (slower.error_class, slower.code) == (ErrorClass.RATE_LIMITED, "ThrottlingException")
    failed = refused_by_bedrock("The system encountered an unexpected error.", 424, "ModelErrorException")
    assert failed.error_class is ErrorClass.TEMPORARY


def test_a_filter_and_a_disabled_organization_are_told_from_a_bad_request() -> None:
    filtered = refused("Output blocked by content filtering policy")
    assert (filtered.error_class, filtered.breaks_model) == (ErrorClass.CONTENT_FILTERED, False)
    disabled = refused("This organization has been disabled.")
    assert (disabled.error_class, disabled.scope) == (ErrorClass.AUTH, "provider")
