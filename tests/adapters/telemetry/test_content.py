"""Content capture: prompts and answers in the conventions' JSON, bounded; nothing of them where it is off."""

import json
from pathlib import Path

import pytest

from atlas_sidecar.adapters.telemetry.content import (
    MAX_BYTES,
    MAX_TEXT,
    Room,
    answer_attributes,
    content_attributes,
    prompt_attributes,
)
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings
from atlas_sidecar.core.types import (
    Blob,
    Content,
    Message,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from tests.adapters.telemetry.trees import attributes, traced_rig
from tests.runtime.rig import ask

CAPTURE = TelemetrySettings(capture_content=True)


def message(role: Role, *contents: Content) -> Message:
    return Message(role, tuple(Part(content) for content in contents))


async def test_prompt_and_answer_are_on_the_hop_only(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []}, settings=CAPTURE)
    await rig.generate(ask("why is the sky blue"))
    hop = attributes(keeper.named("chat"))
    assert json.loads(hop["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "why is the sky blue"}]}
    ]
    (answer,) = json.loads(hop["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    assert answer["parts"][0]["content"] == hop["output.value"]
    assert hop["input.value"] == "why is the sky blue"
    others = [span for span in keeper.spans if not span.name.startswith("chat")]
    assert not any("sky" in str(attributes(span)) for span in others)


async def test_an_answer_of_tool_calls_is_captured_too(tmp_path: Path) -> None:
    script = [{"tool_call": {"name": "find", "arguments": {"q": "sky"}}}]
    rig, keeper, _ = await traced_rig(tmp_path, {"a": script}, settings=CAPTURE)
    await rig.generate(ask(tools=(Tool("find", "", ""),)))
    hop = attributes(keeper.named("chat"))
    (answer,) = json.loads(hop["gen_ai.output.messages"])
    (call,) = [part for part in answer["parts"] if part["type"] == "tool_call"]
    assert (call["name"], json.loads(call["arguments"])) == ("find", {"q": "sky"})
    assert answer["finish_reason"] == "tool_calls"
    assert "find" in hop["output.value"]


def test_an_answer_of_text_shows_its_text_and_one_without_its_parts() -> None:
    told = answer_attributes(message(Role.ASSISTANT, Reasoning("hm"), Text("a"), Text("b")), "stop", Room())
    assert (told["output.value"], told["output.mime_type"]) == ("ab", "text/plain")
    told = answer_attributes(message(Role.ASSISTANT, ToolCall("t1", "find", "{}")), "tool_calls", Room())
    assert json.loads(str(told["output.value"]))[0]["name"] == "find"
    assert told["output.mime_type"] == "application/json"
    assert answer_attributes(message(Role.ASSISTANT), "stop", Room()) == {}


async def test_off_is_off(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    await rig.generate(ask("why is the sky blue"))
    assert not any("sky" in str(attributes(span)) or "input.value" in attributes(span) for span in keeper.spans)


def test_every_kind_of_part_has_a_form_and_bytes_stay_out() -> None:
    told = prompt_attributes(
        ask(
            messages=(
                message(Role.SYSTEM, Text("be brief")),
                message(Role.USER, Blob("image/png", data=b"\x89PNG"), Blob("image/png", uri="https://example.com/a")),
                message(
                    Role.ASSISTANT, Reasoning("hm"), ToolCall("t1", "find", '{"q":1}'), Opaque("openai", "thing", "{}")
                ),
                message(Role.TOOL, ToolResult("t1", "find", (Part(Text("found")),))),
            )
        ),
        Room(),
    )
    assert json.loads(str(told["gen_ai.system_instructions"])) == [{"type": "text", "content": "be brief"}]
    user, assistant, tool = json.loads(str(told["gen_ai.input.messages"]))
    assert user["parts"] == [
        {"type": "blob", "mime_type": "image/png", "bytes": 4},
        {"type": "uri", "mime_type": "image/png", "uri": "https://example.com/a"},
    ]
    assert [part["type"] for part in assistant["parts"]] == ["reasoning", "tool_call", "thing"]
    assert tool["parts"] == [{"type": "tool_call_response", "id": "t1", "response": "found"}]


def test_what_is_long_is_cut_and_stays_json() -> None:
    many = tuple(message(Role.USER, Text(f"{number} " + "x" * 20_000)) for number in range(200))
    told = prompt_attributes(ask(messages=many), Room())
    messages = json.loads(str(told["gen_ai.input.messages"]))
    assert [one["parts"][0]["content"][:4] for one in messages] == [f"{number} " for number in range(194, 200)]
    assert all(len(one["parts"][0]["content"]) == MAX_TEXT for one in messages)
    assert len(str(told["input.value"])) == MAX_TEXT


@pytest.mark.parametrize("text", ["x" * 9000, "漢" * 9000, "🙂" * 9000, "\0" * 9000, "short"])
def test_what_one_hop_carries_is_bounded_and_stays_json(text: str) -> None:
    system = message(Role.SYSTEM, *[Text(text)] * 30)
    many = tuple(message(Role.USER, *[Text(text)] * 30) for _ in range(100))
    answer = message(Role.ASSISTANT, *[Text(text)] * 30, *[ToolCall("t" * 9000, "find", text)] * 30)
    told = content_attributes(ask(messages=(system, *many)), answer, "stop")
    assert sum(len(str(value).encode()) for value in told.values()) <= MAX_BYTES
    for key in ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"):
        assert isinstance(json.loads(str(told[key])), list)
    assert str(told["output.value"]).startswith(text[:100])
    assert json.loads(str(told["gen_ai.output.messages"]))[0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://b.s3.example.com/x.png?X-Amz-Signature=canary", "https://b.s3.example.com/x.png"),
        ("https://user:canary@example.com/a@b#canary", "https://example.com/a@b"),
        ("https://user:canary@example.com?canary", "https://example.com"),
        ("gs://bucket/object", "gs://bucket/object"),
        ("file-123", "file-123"),
        ("DATA:image/png;base64,canary", "data:"),
    ],
)
def test_of_a_uri_only_the_place_is_told(uri: str, told: str) -> None:
    attributes = prompt_attributes(ask(messages=(message(Role.USER, Blob("image/png", uri=uri)),)), Room())
    assert "canary" not in str(attributes)
    ((part,),) = [one["parts"] for one in json.loads(str(attributes["gen_ai.input.messages"]))]
    assert (part["mime_type"], part["uri"]) == ("image/png", told)
