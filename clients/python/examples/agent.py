"""An agent that asks its sidecar, calls a tool, and says what happened on the way.

`python agent.py [--role R] [--timeout SECONDS] QUESTION`, with ATLAS_TARGET if the sidecar is elsewhere. The answer is
on stdout, notes in brackets are on stderr. Ctrl-C cancels. Needs the package `atlas-api` alone.
"""

import argparse
import json
import os
import secrets
import signal
import sys
import time

from atlas_api.client import Answer, AtlasError, Router, connect
from atlas_api.v1 import router_pb2 as pb

MAX_TURNS = 4
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = pb.Tool(
    name="get_weather", description="Returns the weather of a city.", parameters_json_schema=json.dumps(SCHEMA)
)


def get_weather(arguments_json: str) -> str:
    """Stand in for a real tool."""
    return f"rain, 12 C in {json.loads(arguments_json).get('city', 'nowhere')}"


def note(text: str) -> None:
    """Say something that is no part of the answer."""
    print(f"[{text}]", file=sys.stderr, flush=True)


def show(answer: Answer) -> pb.Completed:
    """Print the answer while it comes; return its end."""
    completed = pb.Completed()
    for event in answer:
        match event.WhichOneof("event"):
            case "delta":
                print(event.delta.text, end="", flush=True)
            case "hop_failed":
                hop = event.hop_failed
                kind = pb.ErrorClass.Name(hop.error_class).removeprefix("ERROR_CLASS_").lower()
                then = f"{hop.next.id} is asked next" if hop.HasField("next") else "no model is left"
                note(f"{hop.model.id} failed: {kind}; {then}")
            case "reset":
                print()
                note("starting over")
            case "completed":
                completed = event.completed
    return completed


def results(message: pb.ChatMessage) -> list[pb.Part]:
    """Run the tools that a message calls; return their results as parts."""
    parts = []
    for part in message.parts:
        if part.HasField("tool_call"):
            call = part.tool_call
            output = get_weather(call.arguments_json)
            note(f"{call.name}({call.arguments_json}) = {output}")
            result = pb.ToolResult(call_id=call.id, name=call.name, parts=[pb.Part(text=output)])
            parts.append(pb.Part(tool_result=result))
    return parts


def converse(router: Router, request: pb.GenerateRequest, timeout_s: float) -> None:
    """Ask, run the tools, and ask again until there is an answer; raises AtlasError."""
    parent = os.environ.get("TRACEPARENT") or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    ends_s = time.monotonic() + timeout_s
    for _ in range(MAX_TURNS):
        answer = router.generate(request, ends_s - time.monotonic(), [("traceparent", parent)])
        signal.signal(signal.SIGINT, lambda *_, answer=answer: answer.cancel())
        completed = show(answer)
        request.messages.append(completed.message)
        if not (parts := results(completed.message)):
            print()
            cost = f"{completed.cost.nano_usd / 1e9:.6f} USD"
            note(f"{completed.model.id} answered for {cost}, trace {completed.trace_id}")
            return
        request.messages.append(pb.ChatMessage(role=pb.ChatMessage.ROLE_TOOL, parts=parts))
    note(f"no answer after {MAX_TURNS} turns")


def explain(error: AtlasError) -> None:
    """Say why there is no answer, and what helps."""
    note(f"no answer: {error}")
    match error.reason:
        case "BUDGET_EXHAUSTED":
            note("the budget is used up: ask for more, or wait for the next day")
        case "ALL_MODELS_FAILED":
            for attempt in error.attempts:
                note(f"hop {attempt.hop}, {attempt.model.id}: HTTP {attempt.http_status}")
    if error.retry_after_s is not None:
        note(f"trying again may help in {error.retry_after_s:.0f} s")


def main() -> int:
    """Ask one question; return 0, 1 without an answer, 130 when cancelled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", default="worker")
    parser.add_argument("--timeout", type=float, default=120, help="seconds, for the whole conversation")
    parser.add_argument("question")
    arguments = parser.parse_args()
    request = pb.GenerateRequest(
        requirements=pb.Requirements(agent_type=arguments.role),
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text=arguments.question)])],
        tools=[TOOL],
        stream_policy=pb.STREAM_POLICY_RESTART,
    )
    with connect() as router:
        try:
            converse(router, request, arguments.timeout)
        except AtlasError as error:
            explain(error)
            return 130 if error.code.name == "CANCELLED" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
