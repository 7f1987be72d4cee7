"""A request in the dialect of OpenAI's Responses API. Pure.

Rules kept here:
- Nothing is stored at the provider (`store: false`): the conversation is sent whole, and reasoning comes back encrypted
  as the part's signature, to be sent again with the next turn. `options` may overrule.
- The conversation becomes items (openai_responses_items.py).
- The wire knows neither `stop` nor `seed`: they are left out, and named. It takes no audio.
"""

from __future__ import annotations

from typing import Final

from atlas_sidecar.adapters.providers.openai_responses_items import Items
from atlas_sidecar.adapters.providers.wire.chat_request import (
    JSON_ONLY,
    Body,
    Dialect,
    JsonObject,
    must_say_json,
    parameters,
    schema_name,
    tool_choice,
)
from atlas_sidecar.adapters.providers.wire.options import merge_options
from atlas_sidecar.adapters.providers.wire.schemas import is_strict, parameters_object, schema_object
from atlas_sidecar.adapters.providers.wire.tools import wire_name
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Capability, GenerateRequest, ProviderCall

MAX_ID: Final = 64
MIN_OUTPUT_TOKENS: Final = 16  # the API refuses less
_UNKNOWN: Final = frozenset({"stop", "seed"})


def responses_body(call: ProviderCall, dialect: Dialect) -> Body:
    """Return the JSON body of one Responses call. Raises ProviderError for what the wire cannot say."""
    request, model = call.request, call.model
    if call.prefill:  # `prefill: true` was configured by mistake: the answer begins anew
        refused = ProviderError(
            ErrorClass.MODEL_UNAVAILABLE, "the Responses API takes no prefill", code="prefill", breaks_model=False
        )
        refused.sent = False  # nothing may be charged
        raise refused
    body: JsonObject = {"model": model.ref.model, "store": False}
    max_id, marked = MAX_ID if dialect.openais_limits else None, dialect.breakpoints(model.ref.model)
    body["input"] = list(Items(model.ref.provider, max_id, marked=marked).of(request.messages))
    if must_say_json(request):
        body["input"].insert(0, {"role": "system", "content": [{"type": "input_text", "text": JSON_ONLY}]})
    if call.stream:
        body["stream"] = True
    if call.cap_was_asked or call.max_output_tokens < model.max_output_tokens:
        body["max_output_tokens"] = max(MIN_OUTPUT_TOKENS, call.max_output_tokens)
    word, fields, left_out = parameters(call, dialect, _UNKNOWN)
    body.update(fields)
    if Capability.REASONING in model.capabilities:
        body["include"] = ["reasoning.encrypted_content"]
    if word is not None:
        body["reasoning"] = {"effort": word}
    _add_tools(body, request)
    _add_format(body, request)
    merge_options(body, call.options)
    return Body(body, left_out)


def _add_tools(body: JsonObject, request: GenerateRequest) -> None:
    if not request.tools:
        return
    body["tools"] = [
        {
            "type": "function",
            "name": wire_name(tool.name),
            "description": tool.description,
            "parameters": parameters_object(tool.parameters_json_schema),
            "strict": False,  # the API's own default is true here
        }
        for tool in request.tools
    ]
    choice = tool_choice(request.tool_choice, named=lambda name: {"type": "function", "name": name})
    if choice is not None:
        body["tool_choice"] = choice


def _add_format(body: JsonObject, request: GenerateRequest) -> None:
    wanted = request.response_format
    if wanted.json_schema:
        schema = schema_object(wanted.json_schema)
        described = {"name": schema_name(wanted.name), "schema": schema, "strict": is_strict(schema)}
        body["text"] = {"format": {"type": "json_schema", **described}}
    elif wanted.json_object:
        body["text"] = {"format": {"type": "json_object"}}
