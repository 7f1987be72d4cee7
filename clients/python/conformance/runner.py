"""The conformance runner of the Python clients: does what a file says and prints what it saw, as JSON.

`runner.py [--asyncio] --target ADDRESS FILE`; clients/conformance/README.md has the format.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from atlas_api import aio, client
from atlas_api.errors import AtlasError, TextWithdrawn
from atlas_api.v1 import router_pb2 as pb

Step = dict[str, Any]


def run(router: client.Router, step: Step, seen: Step) -> None:
    """Do one scenario with the synchronous client; raises AtlasError."""
    timeout_s, metadata = step["timeout_ms"] / 1000, tuple(step["metadata"].items())
    if step["read"] == "health":
        seen["events"].append(as_json(router.health(timeout_s)))
        return
    if step["read"] == "select":
        decision = router.select(ParseDict(step["request"], pb.SelectRequest()), timeout_s, metadata)
        seen["events"].append({"decision": as_json(decision)})
        return
    answer = router.generate(ParseDict(step["request"], pb.GenerateRequest()), timeout_s, metadata)
    if step["read"] == "text":
        for text in answer.text():
            seen["text"] += text
    elif step["read"] == "collect":
        seen["events"].append({"completed": as_json(answer.collect())})
    else:
        for event in answer:
            seen["events"].append(as_json(event))
            if event.WhichOneof("event") == step["cancel_at"]:
                answer.cancel()


async def run_async(router: aio.Router, step: Step, seen: Step) -> None:
    """Do one scenario with the asyncio client; raises AtlasError."""
    timeout_s, metadata = step["timeout_ms"] / 1000, tuple(step["metadata"].items())
    if step["read"] == "health":
        seen["events"].append(as_json(await router.health(timeout_s)))
        return
    if step["read"] == "select":
        decision = await router.select(ParseDict(step["request"], pb.SelectRequest()), timeout_s, metadata)
        seen["events"].append({"decision": as_json(decision)})
        return
    answer = router.generate(ParseDict(step["request"], pb.GenerateRequest()), timeout_s, metadata)
    if step["read"] == "text":
        async for text in answer.text():
            seen["text"] += text
    elif step["read"] == "collect":
        seen["events"].append({"completed": as_json(await answer.collect())})
    else:
        async for event in answer:
            seen["events"].append(as_json(event))
            if event.WhichOneof("event") == step["cancel_at"]:
                answer.cancel()


def as_json(message: Message) -> Any:
    """Return proto JSON."""
    return MessageToDict(message)


def note(seen: Step, error: AtlasError) -> None:
    """Write down how a call failed."""
    seen.update(status=error.code.name, reason=error.reason, message=error.message, retry_after_s=error.retry_after_s)
    seen["violations"] = [{"field": field, "description": text} for field, text in error.violations]
    seen["attempts"] = len(error.attempts)


def blank(step: Step) -> Step:
    """Return a result in which nothing was seen yet."""
    return {
        "name": step["name"],
        "status": "OK",
        "reason": "",
        "message": "",
        "retry_after_s": None,
        "violations": [],
        "attempts": 0,
        "events": [],
        "text": "",
    }


def all_sync(steps: list[Step], target: str) -> list[Step]:
    """Do every scenario, one after the other."""
    results = []
    with client.connect(target) as shared:
        for step in steps:
            seen = blank(step)
            other = client.connect(step["target"], patience_s=step["patience_ms"] / 1000) if step["target"] else None
            try:
                run(other or shared, step, seen)
            except AtlasError as error:
                note(seen, error)
            except TextWithdrawn:
                seen["status"] = "WITHDRAWN"
            if other is not None:
                other.close()
            results.append(seen)
    return results


async def all_async(steps: list[Step], target: str) -> list[Step]:
    """Do every scenario, one after the other."""
    results = []
    async with aio.connect(target) as shared:
        for step in steps:
            seen = blank(step)
            other = aio.connect(step["target"], patience_s=step["patience_ms"] / 1000) if step["target"] else None
            try:
                await run_async(other or shared, step, seen)
            except AtlasError as error:
                note(seen, error)
            except TextWithdrawn:
                seen["status"] = "WITHDRAWN"
            if other is not None:
                await other.close()
            results.append(seen)
    return results


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asyncio", action="store_true")
    parser.add_argument("--target", required=True)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    steps = json.loads(arguments.file.read_text())
    results = (
        asyncio.run(all_async(steps, arguments.target)) if arguments.asyncio else all_sync(steps, arguments.target)
    )
    json.dump(results, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
