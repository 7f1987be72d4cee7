"""What is wrong with a request is refused by field; what is right arrives word for word."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.types import Blob, Capability, Complexity, StreamPolicy, ToolMode
from atlas_sidecar.server.messages import message_to
from atlas_sidecar.server.requests import generate_from, select_from

USER = pb.ChatMessage.ROLE_USER
ASSISTANT = pb.ChatMessage.ROLE_ASSISTANT
TOOL = pb.ChatMessage.ROLE_TOOL


def hello(**changes: Any) -> pb.GenerateRequest:
    values: dict[str, Any] = {"messages": [said(USER, pb.Part(text="hello"))]} | changes
    return pb.GenerateRequest(**values)


def said(role: Any, *parts: pb.Part) -> pb.ChatMessage:
    return pb.ChatMessage(role=role, parts=list(parts))


TOOL_F = pb.Tool(name="f")
WRONG: list[tuple[str, pb.GenerateRequest]] = [
    ("messages", pb.GenerateRequest()),
    ("messages", hello(messages=[said(pb.ChatMessage.ROLE_SYSTEM, pb.Part(text="s"))])),
    ("messages", hello(messages=[said(USER, pb.Part(text="")), said(USER, pb.Part(text=" \n"))])),
    ("messages[0].parts[0].signature", hello(messages=[said(USER, pb.Part(text="x", signature=b"\xff"))])),
    ("messages[0].parts[0].opaque.json", hello(messages=[said(ASSISTANT, pb.Part(opaque=pb.Opaque(json="{")))])),
    (
        "provider_options_json['google'].generationConfig",
        hello(provider_options_json={"google": '{"generationConfig": null}'}),
    ),
    (
        "provider_options_json['google'].generation_config",
        hello(provider_options_json={"google": '{"generation_config": {}}'}),
    ),
    ("messages[0].role", hello(messages=[said(0, pb.Part(text="x"))])),
    ("messages[0].role", hello(messages=[said(99, pb.Part(text="x"))])),
    ("messages[0].parts", hello(messages=[said(USER)])),
    ("messages[0].parts[0]", hello(messages=[said(USER, pb.Part())])),
    ("messages[0].parts[0].blob", hello(messages=[said(USER, pb.Part(blob=pb.Blob(mime_type="a/b")))])),
    *(
        ("messages[0].parts[0].blob.uri", hello(messages=[said(USER, pb.Part(blob=pb.Blob(mime_type="a/b", uri=uri)))]))
        for uri in ("data:", "data:a/b;base64,%%%", "data:a/b;base64,a")
    ),
    ("messages[0].parts[0].blob.mime_type", hello(messages=[said(USER, pb.Part(blob=pb.Blob(data=b"x")))])),
    ("messages[0].parts[0].tool_call.name", hello(messages=[said(ASSISTANT, pb.Part(tool_call=pb.ToolCall(id="1")))])),
    ("messages[0].parts[0].tool_call.id", hello(messages=[said(ASSISTANT, pb.Part(tool_call=pb.ToolCall(name="f")))])),
    (
        "messages[0].parts[0].tool_call.arguments_json",
        hello(
            messages=[said(ASSISTANT, pb.Part(tool_call=pb.ToolCall(id="1", name="f", arguments_json="[1]")))],
        ),
    ),
    ("messages[0].parts[0].tool_call", hello(messages=[said(USER, pb.Part(tool_call=pb.ToolCall(id="1", name="f")))])),
    ("messages[0].parts[0].tool_result.call_id", hello(messages=[said(TOOL, pb.Part(tool_result=pb.ToolResult()))])),
    ("tools[0].name", hello(tools=[pb.Tool()])),
    ("tools[0].name", hello(tools=[pb.Tool(name="no spaces")])),
    ("tools[1].name", hello(tools=[TOOL_F, TOOL_F])),
    ("tools[0].parameters_json_schema", hello(tools=[pb.Tool(name="f", parameters_json_schema="{")])),
    ("tool_choice.mode", hello(tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_REQUIRED))),
    ("tool_choice.name", hello(tools=[TOOL_F], tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_NAMED, name="g"))),
    ("response_format.json_schema", hello(response_format=pb.ResponseFormat(json_schema="[]"))),
    ("response_format.json_object", hello(response_format=pb.ResponseFormat(json_schema="{}", json_object=True))),
    ("sampling.temperature", hello(sampling=pb.Sampling(temperature=-1))),
    ("sampling.temperature", hello(sampling=pb.Sampling(temperature=float("nan")))),
    ("sampling.top_p", hello(sampling=pb.Sampling(top_p=1.5))),
    ("sampling.stop", hello(sampling=pb.Sampling(stop=[""]))),
    ("limits.max_output_tokens", hello(limits=pb.Limits(max_output_tokens=-1))),
    ("limits.max_cost", hello(limits=pb.Limits(max_cost=pb.Money(nano_usd=-1)))),
    ("limits.max_hops", hello(limits=pb.Limits(max_hops=-1))),
    ("limits.max_attempts_per_model", hello(limits=pb.Limits(max_attempts_per_model=-1))),
    ("limits.idle_timeout", hello(limits=pb.Limits(idle_timeout=Duration(seconds=-1)))),
    ("stream_policy", hello(stream_policy=77)),
    ("requirements.complexity", hello(requirements=pb.Requirements(complexity=9))),  # type: ignore[arg-type]
    ("requirements.capabilities[0]", hello(requirements=pb.Requirements(capabilities=[0]))),  # type: ignore[list-item]
    (
        "requirements.performance.min_success_rate",
        hello(requirements=pb.Requirements(performance=pb.Performance(min_success_rate=2))),
    ),
    ("requirements.session_id", hello(requirements=pb.Requirements(session_id="x" * 300))),
    ("request_id", hello(request_id="x" * 300)),
    ("labels", hello(labels={"": "x"})),
    ("labels['team']", hello(labels={"team": "x" * 300})),
    ("provider_options_json['openai']", hello(provider_options_json={"openai": "not json"})),
    ("provider_options_json['openai'].model", hello(provider_options_json={"openai": '{"model": "x"}'})),
    ("provider_options_json['openai'].max_tokens", hello(provider_options_json={"openai": '{"max_tokens": 1}'})),
    ("provider_options_json['openai'].service_tier", hello(provider_options_json={"openai": '{"service_tier": "a"}'})),
    ("provider_options_json['a'].inference_geo", hello(provider_options_json={"a": '{"inference_geo": "us"}'})),
    ("provider_options_json['a'].fallbacks", hello(provider_options_json={"a": '{"fallbacks": [{"model": "x"}]}'})),
    (
        "provider_options_json['google'].maxOutputTokens",
        hello(provider_options_json={"google": '{"generationConfig": {"maxOutputTokens": 5}}'}),
    ),
]


@pytest.mark.parametrize(("field", "request_"), WRONG, ids=[f"{i}-{field}" for i, (field, _) in enumerate(WRONG)])
def test_a_wrong_field_is_named(field: str, request_: pb.GenerateRequest) -> None:
    with pytest.raises(AtlasError) as raised:
        generate_from(request_)
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert [v.field for v in raised.value.violations] == [field]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AtlasError) as raised:
        generate_from(pb.GenerateRequest(tools=[pb.Tool()], limits=pb.Limits(max_hops=-1)))
    assert {v.field for v in raised.value.violations} == {"messages", "tools[0].name", "limits.max_hops"}


def test_an_empty_select_is_a_medium_task_of_the_default_role() -> None:
    requirements, need = select_from(pb.SelectRequest())
    assert (requirements.agent_type, requirements.complexity) == ("", Complexity.MEDIUM)
    assert (need.input_tokens, need.max_output_tokens) == (0, None)


@pytest.mark.parametrize("field", ["context_tokens", "max_output_tokens"])
@pytest.mark.parametrize("count", [-1, 2**62])
def test_absurd_token_counts_of_select_are_refused(field: str, count: int) -> None:
    with pytest.raises(AtlasError) as raised:
        select_from(pb.SelectRequest(**{field: count}))  # type: ignore[arg-type]
    assert [v.field for v in raised.value.violations] == [field]


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:image/png;base64,aGk=", b"hi"),
        ("DATA:text/plain;charset=utf-8;base64,aGk%3D", b"hi"),
        ("data:text/plain,a%20b", b"a b"),
    ],
)
def test_a_data_uri_is_bytes(uri: str, data: bytes) -> None:
    parsed = generate_from(hello(messages=[said(USER, pb.Part(blob=pb.Blob(mime_type="image/png", uri=uri)))]))
    assert parsed.messages[0].parts[0].content == Blob("image/png", data)


def test_what_is_right_arrives() -> None:
    parsed = generate_from(
        hello(
            requirements=pb.Requirements(agent_type="Research-Supervisor", capabilities=[pb.CAPABILITY_TOOLS]),
            tools=[TOOL_F],
            tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_NAMED, name="f", disable_parallel=True),
            limits=pb.Limits(max_cost=pb.Money(nano_usd=0), idle_timeout=Duration(nanos=500_000_000)),
            stream_policy=pb.STREAM_POLICY_BUFFER,
            labels={"team": "search"},
            provider_options_json={"openai": '{"logprobs": true}'},
        )
    )
    assert parsed.requirements.capabilities == {Capability.TOOLS}
    assert parsed.tool_choice == (ToolMode.NAMED, "f", True)
    assert (parsed.limits.max_cost_nano_usd, parsed.limits.idle_s) == (0, 0.5)
    assert parsed.stream_policy is StreamPolicy.BUFFER
    assert parsed.labels == {"team": "search"}
    assert parsed.provider_options == {"openai": {"logprobs": True}}


PARTS = st.one_of(
    st.builds(lambda text: pb.Part(text=text), st.text()),
    st.builds(lambda data: pb.Part(blob=pb.Blob(mime_type="image/png", data=data, name="n")), st.binary(min_size=1)),
    st.builds(lambda uri: pb.Part(blob=pb.Blob(mime_type="image/png", uri=uri)), st.text(min_size=1)),
    st.builds(lambda t, r: pb.Part(reasoning=pb.Reasoning(text=t, redacted=r)), st.text(), st.booleans()),
    st.builds(lambda p, t, j: pb.Part(opaque=pb.Opaque(provider=p, type=t, json=json.dumps(j))), *[st.text()] * 3),
    st.builds(
        lambda i, n: pb.Part(tool_call=pb.ToolCall(id=i, name=n, arguments_json='{"a": 1}')),
        st.text(min_size=1),
        st.text(min_size=1),
    ),
)


@given(part=PARTS, signature=st.text().map(str.encode), origin=st.text(), cached=st.booleans())
def test_a_message_comes_back_word_for_word(part: pb.Part, signature: bytes, origin: str, cached: bool) -> None:
    part.signature, part.signature_origin, part.cache_breakpoint = signature, origin, cached
    message = said(ASSISTANT, part)
    parsed = generate_from(hello(messages=[said(USER, pb.Part(text="hello")), message]))
    assert message_to(parsed.messages[1]) == message


@given(st.binary(max_size=300))
def test_any_message_that_parses_is_converted_or_refused(data: bytes) -> None:
    request = pb.GenerateRequest()
    try:
        request.MergeFromString(data)
    except Exception:  # noqa: BLE001  # no protobuf at all: gRPC refuses it before us
        return
    with suppress(AtlasError):
        generate_from(request)
