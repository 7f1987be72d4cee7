"""The log on stderr: JSON lines, or a line for people on a terminal; grpc's, asyncio's and the SDKs' lines too.

Rules kept here:
- One line per request at info, of fixed fields; no prompt, answer, header or provider's text comes into it.
- As a last line of defence every line is scrubbed: known secrets, what follows an Authorization-like word, and what
  looks like a key.
- The log may fail (a closed stderr); serving goes on.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

from atlas_sidecar.core.money import format_usd
from atlas_sidecar.ports import RequestOutcome

REQUESTS: Final = logging.getLogger("atlas_sidecar.request")
REDACTED: Final = "[redacted]"
MAX_LINE: Final = 16_384  # characters of one message, traceback included
_FIELDS: Final = "atlas_fields"
_OF_CALLERS: Final = ("role", "request_id")  # a request line's fields that may hold a caller's own text
_DIM, _RED, _YELLOW, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
_encode: Final = msgspec.json.Encoder().encode
_AFTER_A_WORD: Final = re.compile(
    r"((?:proxy-)?authorization|x-api-key|x-goog-api-key|api[-_]?key|x-amz-security-token|cookie|password|secret)"
    r"(\\?[\"']?\s*[:=,]\s*(?:b(?=[\"']))?\\?[\"']?)(?:bearer\s+|basic\s+)?[^\s\"',;)}\]\\]+",
    re.IGNORECASE,
)
_LIKE_A_KEY: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{12,}|gsk_[A-Za-z0-9]{12,}|AIza[A-Za-z0-9_-]{20,}|(?:Bearer|bearer)\s+[A-Za-z0-9._~+/=-]{8,})"
)
# Loggers of libraries that chat at info; their warnings are kept.
_QUIET: Final = (
    "httpx",
    "httpx2",
    "httpcore",
    "openai",
    "anthropic",
    "groq",
    "google_genai",
    "aiohttp.access",
    "urllib3",
)


class RequestLine:
    """The one line of a call; `write` it at its end."""

    __slots__ = ("_method", "_request_id", "_trace_id")

    def __init__(self, method: str, trace_id: str, request_id: str) -> None:
        self._method = method
        self._trace_id = trace_id
        self._request_id = request_id

    def write(self, outcome: RequestOutcome, elapsed_s: float) -> None:
        """Log how the call ended; Select at debug, as it comes often and does nothing."""
        level = logging.INFO if self._method == "Generate" else logging.DEBUG
        if not REQUESTS.isEnabledFor(level):
            return
        fields: dict[str, Any] = {
            "method": self._method,
            "outcome": outcome.outcome,
            "reason": outcome.reason.value if outcome.reason is not None else None,
            "role": outcome.role[:128],
            "provider": outcome.served_by.provider if outcome.served_by is not None else None,
            "model": outcome.served_by.id if outcome.served_by is not None else None,
            "hops": outcome.hops,
            "attempts": len(outcome.attempts),
            "chain": list(outcome.chain_taken),
            "input_tokens": outcome.usage.total_input_tokens,
            "output_tokens": outcome.usage.total_output_tokens,
            "cost_nano_usd": outcome.cost_nano_usd,
            "cost_estimated": outcome.cost_estimated,
            "budget": outcome.budget_node,
            "duration_s": round(elapsed_s, 6),
            "time_to_first_token_s": _rounded(outcome.time_to_first_token_s),
            "trace_id": self._trace_id,
            "request_id": self._request_id[:128],
        }
        # Made by hand: looking up the caller's frame costs more than the line.
        record = REQUESTS.makeRecord(REQUESTS.name, level, "", 0, self._method, (), None, extra={_FIELDS: fields})
        REQUESTS.handle(record)


class Scrubber:
    """Takes secrets out of text. `secrets` is asked for the keys of now, once a second at most; `before`: old ones."""

    def __init__(self, secrets: Callable[[], Iterable[str]], before: Iterable[str] = ()) -> None:
        self._secrets = secrets
        self._known = tuple(before)
        self._ask_at_s = 0.0

    def __repr__(self) -> str:
        return f"Scrubber({len(self._known)} secrets)"

    def __call__(self, text: str) -> str:
        """Return the text without secrets, known or likely."""
        return _LIKE_A_KEY.sub(REDACTED, _AFTER_A_WORD.sub(rf"\1\2{REDACTED}", self.known(text)))

    def known_now(self) -> tuple[str, ...]:
        """Return the secrets that are looked for."""
        self.known("")
        return self._known

    def known(self, text: str) -> str:
        """Return the text without the secrets that are known: a tenth of the cost, for text of our own making."""
        now_s = time.monotonic()
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + 1.0
            # A key that has just been replaced may still be in a line on its way; longest first, so that none is torn.
            known = {secret for secret in self._secrets() if len(secret) >= 6} | set(self._known[:64])
            self._known = tuple(sorted(known, key=len, reverse=True))
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields of a request."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; never raises for what a library logs."""
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, _FIELDS, None)
        if fields is None:
            line["message"] = self._scrub(_message(record))
            return _encode(line).decode()
        line["message"] = record.msg
        line.update(fields)
        for name in _OF_CALLERS:
            if line[name]:
                line[name] = self._scrub(line[name])
        return self._scrub.known(_encode(line).decode())


class HumanFormatter(logging.Formatter):
    """A line for people on a terminal: time, level where it matters, message."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = getattr(record, _FIELDS, None)
        text = _sentence(fields) if fields is not None else _message(record)
        if record.levelno >= logging.WARNING:
            colour = _RED if record.levelno >= logging.ERROR else _YELLOW
            text = f"{colour}{record.levelname.lower()}{_PLAIN} {text}"
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return self._scrub(f"{_DIM}{clock}{_PLAIN} {text}")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes lines; says nothing when it cannot."""

    def __init__(self, stream: TextIO, scrub: Scrubber) -> None:
        super().__init__(stream)
        self.scrub = scrub
        self.was_given = False
        self.setFormatter(HumanFormatter(scrub) if stream.isatty() else JsonFormatter(scrub))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Stay silent: a log that fails must not stop what it reports on."""


def configure_logging(level: str, stream: TextIO | None = None, secrets: Callable[[], Iterable[str]] = tuple) -> None:
    """Send every logger's lines to `stream` (stderr), as JSON unless it is a terminal. `level`: "info", ...

    `secrets` returns the keys in use; they are taken out of every line. May be called again; keeps a stream once given.
    """
    root = logging.getLogger()
    replaced = [one for one in root.handlers if isinstance(one, _Stderr)]
    given = stream or next((one.stream for one in replaced if one.was_given and not one.stream.closed), None)
    # Calls that began under another configuration still use its keys.
    scrub = Scrubber(secrets, [secret for old in replaced for secret in old.scrub.known_now()])
    handler = _Stderr(given or sys.stderr, scrub)
    handler.was_given = given is not None
    for old in replaced:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("atlas_sidecar").setLevel(level.upper())  # debug is ours: the libraries' would drown it
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        text = str(record.msg)  # arguments that do not fit their format
    if record.exc_info:
        text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…"


def _sentence(fields: dict[str, Any]) -> str:
    end = f"by {fields['provider']}/{fields['model']}" if fields["model"] else f"({fields['reason']})"
    chain = " → ".join(fields["chain"]) if fields["hops"] > 1 else ""
    parts = [
        f"{fields['method']} {fields['outcome']} {end}",
        f"{fields['hops']} hops {fields['attempts']} attempts",
        format_usd(fields["cost_nano_usd"]),
        f"{fields['duration_s']:.2f} s",
        chain,
        f"trace {fields['trace_id']}" if fields["trace_id"] else "",
    ]
    return " · ".join(part for part in parts if part)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _time(unix_s: float) -> str:
    whole = int(unix_s)
    return f"{_second(whole)}.{int((unix_s - whole) * 1000):03d}Z"


@lru_cache(2)
def _second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))
