"""What the loopback providers of the fault table do: one script for each of two models, `first` and `second`.

A script is a list of answers, one for each request; the last one repeats. GOOD answers whole, and carries on where the
request ends in an assistant's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.adapters.replay import Answer, Seen

TEXT: Final = "The tide tables for Tuesday: low water at six, high water at noon, and calm between them."
WORDS: Final = [word + " " for word in TEXT.split(" ")[:-1]] + [TEXT.rpartition(" ")[2]]
FIRST_TOKEN_S: Final = 1.0
IDLE_S: Final = 2.2
SAID: Final = 4  # chunks before a stream breaks


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE: Final = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 18}}
ROLE: Final = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
BEGUN: Final = [ROLE, *[chunk(word) for word in WORDS[:SAID]]]
BREAK_S: Final = 0.002  # so that what is said before a break arrives before it


def spoken(words: list[str]) -> Answer:
    return Answer.sse(ROLE, *[chunk(word) for word in words], chunk(finish="stop"), USAGE, "[DONE]")


def paused(answer: Answer, after: int, pause_s: float) -> Answer:
    """Return an answer with a pause after so many of its chunks (and one at its end)."""
    chunks = answer.chunks
    return Answer(chunks=[b"".join(chunks[:after]), b"".join(chunks[after:])], pause_s=pause_s)


GOOD: Final = spoken(WORDS)


def status(code: int, body: Any = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer.json(body or {"error": {"message": "no", "type": "error"}}, code, named)


def coded(code: int, name: str, message: str = "no") -> Answer:
    return status(code, {"error": {"message": message, "type": "invalid_request_error", "code": name}})


def broken(*more: Any, after: str = "end") -> Answer:
    return Answer.sse(*BEGUN, *more, after=after, pause_s=BREAK_S)


HTML: Final = Answer(502, {"content-type": "text/html"}, [b"<html>Bad Gateway 429</html>"])
RESET: Final = Answer(before="reset")
SILENT: Final = Answer(before="stall")
HEADERS_ONLY: Final = Answer(after="stall")
ROLE_ONLY: Final = Answer.sse(ROLE, after="stall")
CUT: Final = broken(after="cut")
STALL: Final = broken(after="stall")
IN_STREAM_ERROR: Final = {"error": {"message": "no", "type": "server_error", "code": "server_error"}}
REFUSES_PREFILL: Final = coded(400, "unsupported", "The conversation must end with a user message.")
FILTERED: Final = Answer.sse(ROLE, chunk(finish="content_filter"), USAGE, "[DONE]")
DOWN: Final = status(503)


@dataclass(frozen=True)
class Fault:
    """One row of the table. `ends`: by its class the call ends, whatever another model could do; `breaks`: after
    content, so that FAIL ends there; `hopeless`: no script succeeds within the attempts that the rules give it.
    """

    group: str
    name: str
    first: list[Answer]
    second: list[Answer]
    ends: bool = False
    breaks: bool = False
    hopeless: bool = False


def fault(group: str, name: str, *first: Answer, second: tuple[Answer, ...] = (GOOD,), **marks: bool) -> Fault:
    return Fault(group, name, list(first), list(second), **marks)


def once(answer: Answer) -> tuple[Answer, ...]:
    return answer, GOOD


_STATUS = "an HTTP status instead of an answer"
_OPENING = "before the first content"
_MIDDLE = "in the middle of the answer"
_REQUEST = "what is wrong with this request for this model"
_BOTH = "both models are in trouble"

FAULTS: Final = [
    fault("no fault", "nothing is wrong", GOOD),
    fault(_STATUS, "429 once", *once(status(429))),
    fault(_STATUS, "429 always", status(429)),
    fault(_STATUS, "429 once, Retry-After: 1", *once(status(429, retry_after="1"))),
    fault(_STATUS, "429 always, Retry-After: 60", status(429, retry_after="60")),
    fault(_STATUS, "429 insufficient_quota", coded(429, "insufficient_quota")),
    fault(_STATUS, "500 once", *once(status(500))),
    fault(_STATUS, "500 twice", status(500), status(500), GOOD),
    fault(_STATUS, "500 always", status(500)),
    fault(_STATUS, "500 always, Retry-After: 60", status(500, retry_after="60")),
    fault(_STATUS, "502 always, as HTML", HTML),
    fault(_STATUS, "503 once", *once(status(503))),
    fault(_STATUS, "503 always, Retry-After: 60", status(503, retry_after="60")),
    fault(_STATUS, "504 always", status(504)),
    fault(_STATUS, "529 always", status(529)),
    fault(_STATUS, "401 always", status(401)),
    fault(_STATUS, "403 always", status(403)),
    fault(_STATUS, "404 always", status(404)),
    fault(_OPENING, "connection reset once", *once(RESET)),
    fault(_OPENING, "connection reset always", RESET),
    fault(_OPENING, "silence: not even a status", SILENT),
    fault(_OPENING, "headers, then silence", HEADERS_ONLY),
    fault(_OPENING, "an empty first event, then silence", ROLE_ONLY),
    fault(_OPENING, "a slow first token, within its limit", paused(GOOD, 1, FIRST_TOKEN_S / 5)),
    fault(_OPENING, "an error event once", Answer.sse(ROLE, IN_STREAM_ERROR), GOOD),
    fault(_OPENING, "a malformed event once", Answer.sse(ROLE, '{"id": "c", "choi'), GOOD),
    fault(_OPENING, "cut after the headers, always", Answer(after="cut")),
    fault(_MIDDLE, "cut", CUT, breaks=True),
    fault(_MIDDLE, "stall", STALL, breaks=True),
    fault(_MIDDLE, "a malformed event", broken('{"id": "c", "choi'), breaks=True),
    fault(_MIDDLE, "an error event", broken(IN_STREAM_ERROR), breaks=True),
    fault(_MIDDLE, "the end without a finish reason and [DONE]", broken(), breaks=True),
    fault(_MIDDLE, "[DONE] without a finish reason", broken("[DONE]"), breaks=True),
    fault(_MIDDLE, "a finish reason, and no [DONE]", broken(chunk(finish="stop")), breaks=True),
    fault(_MIDDLE, "a pause longer than the first-token limit", paused(GOOD, SAID, FIRST_TOKEN_S * 1.3)),
    fault(_MIDDLE, "cut, and the next model refuses the prefill", CUT, second=(REFUSES_PREFILL, GOOD), breaks=True),
    fault(_MIDDLE, "cut, and the next model is reset once", CUT, second=once(RESET), breaks=True),
    fault(_REQUEST, "the context is too long", coded(400, "context_length_exceeded")),
    fault(_REQUEST, "an unsupported parameter", coded(400, "unsupported_parameter")),
    fault(_REQUEST, "400 invalid request", status(400), ends=True),
    fault(_REQUEST, "400 content filter", coded(400, "content_filter"), ends=True),
    fault(_REQUEST, "an answer that is filtered before any content", FILTERED, ends=True),
    fault(
        _BOTH,
        "flapping: 503, reset, cut, 500, then well; 503, 500, then well",
        DOWN,
        RESET,
        CUT,
        status(500),
        GOOD,
        second=(DOWN, status(500), GOOD),
        breaks=True,
    ),
    fault(_BOTH, "429 once, Retry-After: 0, the other one down", *once(status(429, retry_after="0")), second=(DOWN,)),
    fault(_BOTH, "cut once, the other one down", *once(CUT), second=(DOWN,), breaks=True),
    fault(_BOTH, "503 always", DOWN, second=(DOWN,), hopeless=True),
    fault(
        _BOTH,
        "429 always, Retry-After: 60 and 30",
        status(429, retry_after="60"),
        second=(status(429, retry_after="30"),),
        hopeless=True,
    ),
    fault(_BOTH, "401 always", status(401), second=(status(401),), hopeless=True),
    fault(_BOTH, "silence", SILENT, second=(SILENT,), hopeless=True),
    fault(_BOTH, "cut always", CUT, second=(CUT,), breaks=True, hopeless=True),
    fault(
        _BOTH,
        "the context is too long",
        coded(400, "context_length_exceeded"),
        second=(coded(400, "context_length_exceeded"),),
        hopeless=True,
    ),
]


class Script:
    """Chooses an upstream's answers: the list in order, the last one again and again."""

    def __init__(self, answers: list[Answer]) -> None:
        self._answers = list(answers)

    def __call__(self, seen: Seen) -> Answer:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        last = seen.json["messages"][-1]
        if answer is REFUSES_PREFILL and last["role"] != "assistant":
            return GOOD
        if (answer is not GOOD and answer is not CUT) or last["role"] != "assistant":
            return answer
        assert TEXT.startswith(last["content"])
        rest = TEXT[len(last["content"]) :]
        if answer is CUT:
            return Answer.sse(ROLE, chunk(rest[:1]), chunk(rest[1:9]), after="cut", pause_s=BREAK_S)
        return spoken([rest[:1], rest[1:9], rest[9:]])
