"""The official SDKs called directly, typed, as an agent without a sidecar would: one process for each provider.

Commands: {"model": ..., "streamed": bool, "calls": n} -> {"first_s": [...], "chunks": n}

    python -m bench.direct openai http://127.0.0.1:PORT
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from bench.processes import serve_commands

PROMPT: Final = "say ten words"
_MESSAGES: Final = [{"role": "user", "content": PROMPT}]
Ask = Callable[[str, bool], AsyncIterator[str]]


def openai(url: str) -> Ask:
    """Return how chat completions are asked for, with the client class of OpenAI's SDK."""
    client: Any = importlib.import_module("openai").AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0)
    return _chat(client, {"stream_options": {"include_usage": True}})


def groq(url: str) -> Ask:
    """Return the same with Groq's."""
    return _chat(importlib.import_module("groq").AsyncGroq(api_key="none", base_url=url, max_retries=0), {})


def _chat(client: Any, of_streams: dict[str, Any]) -> Ask:
    async def ask(model: str, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            answer = await client.chat.completions.create(model=model, messages=_MESSAGES)
            yield answer.choices[0].message.content
            return
        stream = await client.chat.completions.create(model=model, messages=_MESSAGES, stream=True, **of_streams)
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text

    return ask


def anthropic(url: str) -> Ask:
    """Return how messages are asked for."""
    client: Any = importlib.import_module("anthropic").AsyncAnthropic(api_key="none", base_url=url, max_retries=0)

    async def ask(model: str, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            answer = await client.messages.create(model=model, messages=_MESSAGES, max_tokens=1000)
            yield answer.content[0].text
            return
        async for event in await client.messages.create(model=model, messages=_MESSAGES, max_tokens=1000, stream=True):
            if event.type == "content_block_delta":
                yield event.delta.text

    return ask


def google(url: str) -> Ask:
    """Return how content is asked for."""
    genai: Any = importlib.import_module("google.genai")
    client = genai.Client(api_key="none", http_options={"base_url": url})

    async def ask(model: str, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            answer = await client.aio.models.generate_content(model=model, contents=PROMPT)
            yield answer.text
            return
        async for chunk in await client.aio.models.generate_content_stream(model=model, contents=PROMPT):
            if text := chunk.text:
                yield text

    return ask


def main() -> None:
    """Answer commands."""
    ask = {"openai": openai, "groq": groq, "anthropic": anthropic, "google": google}[sys.argv[1]](sys.argv[2])

    async def handle(command: dict[str, Any]) -> Any:
        first_s, chunks = [], 0
        for _ in range(command["calls"]):
            started_s, first = time.perf_counter(), True
            async for _text in ask(command["model"], command["streamed"]):
                if first:
                    first_s.append(time.perf_counter() - started_s)
                    first = False
                chunks += 1
        return {"first_s": first_s, "chunks": chunks}

    serve_commands(handle)


if __name__ == "__main__":
    main()
