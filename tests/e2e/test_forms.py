"""What a model's API has no room for is known before a hop: it is passed over, in words, and nothing is sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas_api.v1 import router_pb2 as pb
from tests.e2e.in_process import asked, running

# Every kind in one role, none of which answers: only the decision is looked at.
CONFIGURATION = """\
providers:
  claude: {kind: anthropic, base_url: "http://127.0.0.1:9", api_key: none}
  bedrock: {kind: anthropic-bedrock, aws_region: eu-west-1, base_url: "http://127.0.0.1:9", api_key: none}
  chat: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: none, wire: chat}
  responses: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: none, wire: responses}
  gemini: {kind: google, base_url: "http://127.0.0.1:9", api_key: none}
  groq: {base_url: "http://127.0.0.1:9", api_key: none}
timeouts: {connect_s: 0.2}
fallback: {attempts_per_model: 1}
roles:
  worker: {tiers: [[claude, bedrock, chat, responses, gemini, groq]]}
models:
"""
MODELS = {
    "claude": "claude-sonnet-5-5",
    "bedrock": "eu.anthropic.claude-sonnet-4-6-v1:0",
    "chat": "gpt-4o",
    "responses": "gpt-4o",
    "gemini": "gemini-4-argon",
    "groq": "llama-4",
}
ABLE = "[tools, image_input, document_input, audio_input]"
ALL = set(MODELS)


def configuration() -> str:
    return CONFIGURATION + "".join(
        f"  {name}: {{provider: {name}, model: {model!r}, context_window: 100000, max_output_tokens: 1000,"
        f" reasoning_score: 8, speed_score: 5, capabilities: {ABLE}, price: {{input: 1, output: 2}}}}\n"
        for name, model in MODELS.items()
    )


def blob(mime_type: str, uri: str = "") -> pb.Part:
    return pb.Part(blob=pb.Blob(mime_type=mime_type, uri=uri) if uri else pb.Blob(mime_type=mime_type, data=b"x"))


SITE = "https://example.com/x"
CASES = [
    (blob("image/png"), ALL, ""),
    (blob("image/gif"), ALL - {"gemini"}, "takes no GIF image"),
    (blob("image/heic"), {"gemini"}, "takes no HEIC image"),
    (blob("image/png", SITE), ALL - {"bedrock"}, "takes no image by its address"),
    (blob("application/pdf"), ALL - {"groq"}, "takes no PDF"),
    (blob("application/json"), ALL, ""),
    (blob("audio/wav"), {"chat", "gemini"}, "takes no audio"),
    (blob("application/pdf", SITE), {"claude", "responses", "gemini"}, "takes no PDF by its address"),
    (blob("application/pdf", "file-1"), {"chat", "responses"}, "takes no file uploaded to OpenAI"),
    (blob("application/msword"), {"responses"}, "takes no document that is neither PDF nor text"),
    (blob("audio/ogg"), {"gemini"}, "takes no audio that is not WAV or MP3"),
    (blob("video/mp4", SITE), {"gemini"}, "takes no video by its address"),
    (blob("image/png", "ftp://example.com/x"), set(), "takes no address that is not https"),
]


@pytest.mark.parametrize(("part", "takers", "words"), CASES, ids=lambda value: str(value).replace("\n", " ")[:60])
async def test_a_model_whose_api_lacks_a_form_is_passed_over(
    tmp_path: Path, part: pb.Part, takers: set[str], words: str
) -> None:
    async with running(configuration(), tmp_path) as sidecar:
        message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[part])
        heard = await sidecar.generate(pb.GenerateRequest(messages=[message]))
    decision = heard.last.failed.decision
    rejected = {c.model.id: c.rejection_detail for c in decision.candidates if c.rejection}
    assert {attempt.model.id for attempt in heard.attempts} == takers - rejected.keys()
    assert {name for name in ALL if words and words in rejected.get(name, "")} == ALL - takers
    if not takers:
        assert heard.reason == "NO_ELIGIBLE_MODEL"


async def test_a_claude_that_refuses_forced_tool_calls_is_passed_over_for_them(tmp_path: Path) -> None:
    async with running(configuration(), tmp_path) as sidecar:
        for mode, forced in ((pb.ToolChoice.MODE_REQUIRED, True), (pb.ToolChoice.MODE_AUTO, False)):
            request = asked(tools=[pb.Tool(name="f")], tool_choice=pb.ToolChoice(mode=mode))
            heard = await sidecar.generate(request)
            sidecar.forget_evidence()
            refused = {"claude"} if forced else set()
            assert {attempt.model.id for attempt in heard.attempts} == ALL - refused


async def test_a_cache_for_an_hour_costs_more_and_stands_against_nobody(tmp_path: Path) -> None:
    async with running(configuration(), tmp_path) as sidecar:
        options = {"claude": '{"cache_control": {"type": "ephemeral", "ttl": "1h"}}'}
        heard = await sidecar.generate(asked(provider_options_json=options))
    assert {attempt.model.id for attempt in heard.attempts} == ALL
