"""What goes past Python's log, to descriptor 2 itself, comes out as lines of the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.telemetry.native_lines import MAX_LINE, MAX_LINES, Tally, messages

CORE = b"E1128 01:03:35.586451    7558 ssl_transport_security.cc:2563] Handshake failed"


def told(code: str, *, status: int = 0) -> list[str]:
    """Run code with `native_lines` and a log at info, and return the lines on its stderr."""
    program = f"""
import ctypes, logging, os, sys, threading
from atlas_sidecar.adapters.telemetry.logs import configure_logging
from atlas_sidecar.adapters.telemetry.native_lines import native_lines
libc = ctypes.CDLL(None)
with native_lines() as stream:
    configure_logging("info", stream, lambda: ["very-secret"])
{textwrap.indent(textwrap.dedent(code), "    ")}
os.write(2, b"given back\\n")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr.splitlines()


def as_json(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_lines_of_native_code_come_out_as_lines_of_the_log() -> None:
    *lines, last = told(f"os.write(2, {CORE!r} + b'\\n')")
    assert last == "given back"
    (line,) = as_json(lines)
    assert (line["level"], line["logger"]) == ("error", "grpc.core")
    assert line["message"] == "Handshake failed (ssl_transport_security.cc:2563)"


def test_what_python_prints_to_stderr_is_scrubbed_and_one_message() -> None:
    (line,) = as_json(told("print('first very-secret\\nsecond', file=sys.stderr, flush=True)")[:-1])
    assert (line["level"], line["logger"]) == ("warning", "stderr")
    assert line["message"] == "first [redacted]\nsecond"


def test_a_line_without_an_end_is_passed_on_at_the_end() -> None:
    (line,) = as_json(told("os.write(2, b'no end')")[:-1])
    assert line["message"] == "no end"


def test_the_log_itself_stays_as_it_is_when_it_is_configured_again() -> None:
    lines = told("configure_logging('info'); logging.getLogger('any').warning('once')")
    assert [line["message"] for line in as_json(lines[:-1])] == ["once"]


def test_the_last_words_before_a_crash_are_heard() -> None:
    crash = """
    def last_words():
        libc.write(2, b"F1128 01:03:35.586451 7558 call.cc:1] CHECK failed: ok\\n", 55)
        libc.usleep(100_000)  # stands for Abseil's own stack trace
        libc.abort()
    threading.Thread(target=last_words).start()
    threading.Event().wait(20)
    """
    lines = told(crash, status=-6)
    assert any("Fatal Python error: Aborted" in line for line in lines)
    assert any("CHECK failed: ok (call.cc:1)" in line for line in lines)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"I0000 00:00:1732752000.123456   12345 file.cc:1] x", logging.INFO),
        (b"I1128 01:03:35.577964    7515 log.cc:102] x", logging.INFO),
        (b"W1128 01:03:35.577964    7515 log.cc:102] x", logging.WARNING),
        (b"F1128 01:03:35.577964    7515 log.cc:102] x", logging.CRITICAL),
    ],
)
def test_levels_are_those_of_abseil(line: bytes, level: int) -> None:
    ((found, logger, _),) = messages([line])
    assert (found, logger.name) == (level, "grpc.core")


@given(st.lists(st.one_of(st.binary(), st.just(CORE))))
def test_any_bytes_are_told_and_none_is_a_failure(lines: list[bytes]) -> None:
    found = messages(lines)
    assert sum(logger.name == "grpc.core" for _, logger, _ in found) >= lines.count(CORE)
    assert all(text and len(text) <= MAX_LINE * max(1, len(lines)) + len(lines) for _, _, text in found)


def test_a_flood_is_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    with caplog.at_level(logging.INFO):
        tally.say([CORE] * (MAX_LINES + 7))
        tally._minute -= 1  # the next minute has come
        tally.say([CORE])
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == MAX_LINES + 2
    assert texts[-2] == "7 more lines of native code were left out"


def test_a_process_whose_stderr_is_closed_serves_all_the_same() -> None:
    program = (
        "import os; os.close(2)\n"
        "from atlas_sidecar.adapters.telemetry.native_lines import native_lines\n"
        "with native_lines() as stream:\n    print(stream)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert done.stdout == f"None{os.linesep}"
