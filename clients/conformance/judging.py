"""Compares what a runner saw with what a scenario expects, and runners with each other.

Rules kept here:
- A runner's events are read as the messages they claim to be: what is no proto JSON of the contract fails.
- What differs from call to call by nature (times, ids, learned scores, how text was cut into deltas) is taken out once,
  here, so that all that is left must be the same in every language and over every transport.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from atlas_api.v1 import router_pb2 as pb
from clients.conformance.scenarios import Scenario

VOLATILE = {
    "attempt_id", "config_version", "decision_id", "elapsed", "last_seq", "provider_request_id", "rejection_detail",
    "started_at", "time_to_first_token", "trace_id", "uptime", "version", "waited_before",
}  # fmt: skip
LEARNED = {
    "budget", "in_flight", "models", "providers", "reliability", "remaining_budget", "score", "speed", "success_rate"
}  # fmt: skip
EVENTS = {
    "events": pb.GenerateEvent,
    "collect": pb.GenerateEvent,
    "select": pb.SelectResponse,
    "health": pb.HealthResponse,
}
LONG = 2000


def normalise(scenario: Scenario, run: str, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same wherever it runs; raises ValueError where it is no answer of the contract."""
    text = json.dumps(seen, ensure_ascii=False).replace(scenario.prefix(run), "")
    result: dict[str, Any] = json.loads(text)
    result.pop("message", None)
    kind = EVENTS.get(scenario.read)
    events = [_message(kind(), event) for event in result.get("events", [])] if kind else []
    if scenario.read == "events":
        events = _events(events)
    result["events"] = [_steady(event, frozenset(scenario.keep)) for event in events]
    result["violations"] = sorted(violation["field"] for violation in result.get("violations") or [])
    result["text"] = _short(result.get("text") or "")
    return result


def differences(expected: Any, seen: Any, at: str = "") -> list[str]:
    """Return where `seen` lacks what is expected: mappings may have more, lists may not, "*" is anything there."""
    if expected is None:
        return [] if seen in (None, "", {}) else [f"{at}: there should be none, not {seen!r}"]
    if expected == "*":
        return [] if seen else [f"{at}: missing"]
    if isinstance(expected, str) and isinstance(seen, dict) and ".events[" in at:
        return [] if expected in seen else [f"{at}: expected {expected}, not {'/'.join(seen)}"]
    if isinstance(expected, Mapping):
        if not isinstance(seen, Mapping):
            return [f"{at}: expected {dict(expected)!r}, not {seen!r}"]
        return [line for key, value in expected.items() for line in differences(value, seen.get(key), f"{at}.{key}")]
    if isinstance(expected, list):
        if not isinstance(seen, list) or len(seen) != len(expected):
            return [f"{at}: expected {len(expected)} of them, not {seen!r}"]
        pairs = enumerate(zip(expected, seen, strict=True))
        return [line for i, (one, other) in pairs for line in differences(one, other, f"{at}[{i}]")]
    return [] if expected == seen else [f"{at}: expected {expected!r}, not {seen!r}"]


def judge(scenario: Scenario, result: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a normalised result."""
    expected = dict(scenario.expect)
    wait = expected.pop("retry_after_s", None)
    wrong = differences(expected, result, scenario.name)
    if wait is not None and not wait[0] <= (result.get("retry_after_s") or 0) <= wait[1]:
        wrong.append(f"{scenario.name}.retry_after_s: expected {wait}, not {result.get('retry_after_s')!r}")
    if result["status"] != "OK" and "reason" not in expected and result.get("reason"):
        wrong.append(f"{scenario.name}.reason: expected none, not {result['reason']}")
    return wrong


def _message(kind: Message, raw: Any) -> dict[str, Any]:
    try:
        return MessageToDict(ParseDict(raw, kind), preserving_proto_field_name=True)
    except Exception as error:
        raise ValueError(f"no {kind.DESCRIPTOR.name}: {error}") from error


def _events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check the numbering, join the deltas of a part, and check the whole text against the deltas."""
    numbers = [int(event.pop("seq", 0)) for event in events]
    if numbers != list(range(1, len(events) + 1)):
        raise ValueError(f"seq is {numbers}")
    joined: list[dict[str, Any]] = []
    for event in events:
        if not (joined and _join(joined[-1].get("delta"), event.get("delta"))):
            joined.append(event)
    return joined


def _join(last: dict[str, Any] | None, delta: dict[str, Any] | None) -> bool:
    if not last or not delta or last.get("index", 0) != delta.get("index", 0):
        return False
    for kind in ("text", "reasoning", "refusal", "tool_arguments_json"):
        if kind in last and kind in delta:
            last[kind] += delta[kind]
            return True
    return False


def _steady(value: Any, keep: frozenset[str]) -> Any:
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in LEARNED or key in keep}
        return {
            key: "*" if key in VOLATILE - keep else _steady(each, keep)
            for key, each in kept.items()
            if not (key == "message" and isinstance(each, str))
        }
    if isinstance(value, list):
        return [_steady(each, keep) for each in value]
    return _short(value) if isinstance(value, str) else value


def _short(text: str) -> str:
    if len(text) <= LONG:
        return text
    return f"{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
