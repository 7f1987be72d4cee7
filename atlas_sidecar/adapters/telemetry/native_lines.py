"""Lines that go past Python's log: what gRPC's C core, other native code and stray prints write to file descriptor 2.

Theory of operation. Descriptor 2 becomes the end of a pipe; the log itself goes to where it led before. A thread reads
the pipe, tells Abseil's lines by their form ("E1128 01:03:35.586451 7558 file.cc:2563] message") and hands all of it to
Python's log, which formats and scrubs it like any other. Rules kept:
- Level and place of an Abseil line are kept; anything else is a warning of the logger `stderr`, and what came in one
  write is one message.
- At most MAX_LINES messages a minute; how many more there were is said. No line is longer than MAX_LINE.
- A crash is still heard: Python's traceback goes straight to where the log goes (faulthandler). Native code's last
  words are passed on while it writes its own stack trace; what it says within its last milliseconds may be lost.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

MAX_LINES: Final = 120
MAX_LINE: Final = 8_192  # bytes
_MINUTE_S: Final = 60.0
_READ: Final = 65_536
_STDERR: Final = 2
_LAST_WORDS_S: Final = 2.0
# Before Abseil's log is set up, its lines have a Unix time ("I0000 00:00:1732752000.123456 12345 file.cc:1] ...").
_ABSEIL: Final = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d+\.\d+ +\d+ ([^\]\s]+:\d+)\] (.*)", re.DOTALL)
_LEVELS: Final = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_CORE: Final = logging.getLogger("grpc.core")
_OTHER: Final = logging.getLogger("stderr")


@contextmanager
def native_lines() -> Iterator[TextIO | None]:
    """Take descriptor 2 over for a while; yield the stream that the log is to write to, None where 2 is closed."""
    try:
        before = os.dup(_STDERR)
    except OSError:  # nobody listens to this process
        yield None
        return
    with os.fdopen(before, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as stream:
        was_enabled = faulthandler.is_enabled()
        faulthandler.enable(file=stream)
        reader = _Reader()
        try:
            yield stream
        finally:
            os.dup2(before, _STDERR)
            reader.close()
            faulthandler.disable()
            if was_enabled:
                faulthandler.enable(_STDERR)


class _Reader:
    """The pipe and the thread that reads it."""

    def __init__(self) -> None:
        self._lines, write = os.pipe()
        os.dup2(write, _STDERR)
        os.close(write)
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, name="native-lines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass on what is still in the pipe, and end; whoever inherited its other end keeps writing to nobody."""
        os.close(self._stop)
        self._thread.join(_LAST_WORDS_S)
        if not self._thread.is_alive():
            os.close(self._lines)
            os.close(self._stopping)

    def _pass_on(self) -> None:
        os.set_blocking(self._lines, False)
        poll = select.poll()
        poll.register(self._lines, select.POLLIN)
        poll.register(self._stopping, select.POLLIN)
        tally, rest = Tally(), b""
        while True:
            stopped = any(descriptor == self._stopping for descriptor, _ in poll.poll())
            with suppress(BlockingIOError):
                while data := os.read(self._lines, _READ):
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > MAX_LINE:
                        lines, rest = [*lines, rest], b""
                    tally.say(lines)
            if stopped:
                tally.say([rest])
                return


class Tally:
    """Gives lines to the log, so many a minute."""

    def __init__(self) -> None:
        self._minute = -1
        self._said = 0
        self._left_out = 0

    def say(self, lines: list[bytes]) -> None:
        """Log some lines that came together."""
        for level, logger, message in messages(lines):
            minute = int(time.monotonic() / _MINUTE_S)
            if minute != self._minute:
                if self._left_out:
                    _OTHER.warning("%d more lines of native code were left out", self._left_out)
                self._minute, self._said, self._left_out = minute, 0, 0
            if self._said < MAX_LINES:
                self._said += 1
                logger.log(level, "%s", message)
            else:
                self._left_out += 1


def messages(lines: list[bytes]) -> list[tuple[int, logging.Logger, str]]:
    """Return level, logger and text of what some lines say: one for each Abseil line, one for what stands between."""
    found: list[tuple[int, logging.Logger, str]] = []
    between: list[str] = []

    def end_between() -> None:
        if between:
            found.append((logging.WARNING, _OTHER, "\n".join(between)))
            between.clear()

    for raw in lines:
        line = raw[:MAX_LINE].decode("utf-8", "replace").rstrip()
        if not line:
            continue
        told = _ABSEIL.fullmatch(line)
        if told is None:
            between.append(line)
            continue
        end_between()
        found.append((_LEVELS[told[1]], _CORE, f"{told[3]} ({told[2]})"))
    end_between()
    return found
