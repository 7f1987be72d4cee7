"""Which of a provider's words may be shown, in errors, spans and logs. Pure.

Rules kept here:
- A provider may put anything into a code, a parameter or an id: a word of the prompt, or the key that was sent. So a
  code must look like one: words of letters, joined, or in CamelCase or UPPER_CASE; a single word must be known here.
- A parameter is a path that begins with a field of a request.
- Whatever looks like a key is never shown; who knows the key asks `repeats` too.
"""

from __future__ import annotations

import re
from typing import Final

_MAX_CODE: Final = 64
_MAX_PARAM: Final = 96
_MAX_ID: Final = 128
_MIN_SECRET: Final = 8  # a shorter part of a key may be any word

_PIECES: Final = re.compile(r"[_.-]")
_PIECE: Final = re.compile(r"[A-Za-z]+\d{0,2}|\d{1,3}")
_LONG_WORD: Final = re.compile(r"[A-Z]{17}|[A-Z]?[a-z]{25}|(?:[a-z][A-Z]){3}")
_CAMEL_CASE: Final = re.compile(r"[a-z][A-Z]")
_KEY: Final = re.compile(r"(?:sk|pk|rk)[-_]|gsk_|xai-|hf_|gh[a-z]_|AIza|A[KS]IA|ya29|eyJ|Bearer", re.ASCII)
_SEGMENTS: Final = re.compile(r"[a-z][a-z_]{0,31}(?:\[\d{1,4}\])*(?:\.(?:[a-z_]{1,32}|\d{1,4})(?:\[\d{1,4}\])*)*")
_NOT_PRINTABLE: Final = re.compile(r"[^!-~]")
_FIELD: Final = re.compile(r"[a-z_]+")
_WORDS: Final = frozenset(
    "blocked cancelled conflict error forbidden internal overloaded refusal requests throttled timeout tokens "
    "unauthorized unavailable".split()
)

# The first fields of what OpenAI's APIs call a parameter: what is said, and how it is to be answered.
CONTENT_FIELDS: Final = frozenset("messages input instructions prompt system contents".split())
KNOB_FIELDS: Final = frozenset(
    "model reasoning reasoning_effort reasoning_format include_reasoning verbosity text stop temperature top_p top_k "
    "seed n logprobs top_logprobs tools tool_choice parallel_tool_calls functions function_call response_format "
    "max_tokens max_completion_tokens max_output_tokens max_tool_calls store include metadata modalities audio "
    "prediction presence_penalty frequency_penalty logit_bias truncation stream stream_options service_tier "
    "prompt_cache_key prompt_cache_retention prompt_cache_options user safety_identifier background "
    "previous_response_id web_search_options".split()
)


def safe_code(code: str) -> str:
    """Return a provider's code when it looks like one; "" for anything that could be text or a key."""
    if len(code) > _MAX_CODE or not code[:1].isalpha() or _KEY.match(code) or _LONG_WORD.search(code):
        return ""
    if not all(_PIECE.fullmatch(piece) for piece in _PIECES.split(code)):
        return ""
    if code.lower() in _WORDS or "_" in code or _CAMEL_CASE.search(code) or code.isupper():
        return code
    return ""


def safe_param(param: str) -> str:
    """Return the path of a parameter ("messages[1].content"); "" for what is none."""
    known = first_field(param) in CONTENT_FIELDS | KNOB_FIELDS and len(param) <= _MAX_PARAM
    return param if known and _SEGMENTS.fullmatch(param) and not _KEY.search(param) else ""


def first_field(param: str) -> str:
    """Return the field of the request that a parameter's path begins with."""
    found = _FIELD.match(param)
    return found[0] if found else ""


def safe_id(identity: str) -> str:
    """Return an id's printable ASCII, at most 128 characters; "" for what looks like a key."""
    return "" if _KEY.match(identity) else _NOT_PRINTABLE.sub("", identity[:_MAX_ID])


def repeats(text: str, secret: str | None) -> bool:
    """Return whether a text has a secret in it, or is a good part of one."""
    if not text or not secret:
        return False
    one, other = text.lower(), secret.lower()
    return other in one or (len(one) >= _MIN_SECRET and one in other)
