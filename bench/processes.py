"""The processes of a benchmark: started, asked through pipes, their CPU time read from the operating system.

A worker reads one JSON command a line and answers with one JSON line (`serve_commands`); while it waits it costs
nothing. CPU is user + system of the whole process, threads that have ended included, in nanoseconds: Linux's
CPU clock of another process.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_CPUCLOCK_SCHED: Final = 2


class Process:
    """One process of a benchmark; leaving the context ends it. `say` is what it printed first."""

    def __init__(self, command: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self.name = log.stem
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def line(self) -> str:
        """Return the next line that it prints; ends the benchmark with its log when it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended:\n{self._log.read_text()[-4000:]}")
        return line.strip()

    def ask(self, **command: Any) -> Any:
        """Send a command; return its answer."""
        self.begin(**command)
        return self.answer()

    def begin(self, **command: Any) -> None:
        """Send a command; its `answer` is read later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer of the command that was begun."""
        return json.loads(self.line())

    def cpu_s(self) -> float:
        """Return the CPU time used so far, seconds."""
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)

    def whole_cpu_s(self) -> float:
        """Return the CPU time of this process and its children, seconds."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return self.cpu_s() + sum(time.clock_gettime(~int(pid) << 3 | _CPUCLOCK_SCHED) for pid in children)

    def memory_mb(self) -> float:
        """Return the resident set, MB of 10^6 bytes, without the children."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6

    def stop(self) -> None:
        """End it in order; kill it after 30 s."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def worker(module: str, folder: Path, *arguments: str, name: str = "") -> Process:
    """Start a module of this package as a process."""
    command = [sys.executable, "-m", f"bench.{module}", *arguments]
    return Process(command, folder / f"{name or module}.log")


def serve_commands(handle: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """Read commands from stdin, answer each on stdout, until stdin ends."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        print(json.dumps(loop.run_until_complete(handle(json.loads(line)))), flush=True)
