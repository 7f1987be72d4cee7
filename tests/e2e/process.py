"""Starts the real program for end-to-end tests, and ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub

PROGRAM = (sys.executable, "-m", "atlas_sidecar")
PROMPT = [pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])]
SLOW = """\
providers:
  sim: {kind: simulated, tokens_per_s: 40, output_tokens: 60}
models:
  m: {provider: sim, context_window: 10000, max_output_tokens: 1000, reasoning_score: 5, speed_score: 5,
      price: {input: 1, output: 2}}
roles: {worker: {tiers: [[m]]}}
"""
KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GROQ_API_KEY")
START_S = 20.0


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of this process without keys and settings, with a home of the test's own."""
    clean = {name: value for name, value in os.environ.items() if name not in KEYS and not name.startswith("ATLAS_")}
    state = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    return {**clean, **state, "ATLAS_LISTEN": "127.0.0.1:0", **extra}


def run(
    *arguments: str, env: Mapping[str, str], stdin: str = "", timeout_s: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=dict(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Served:
    """A running `serve`; `addresses` as it printed them."""

    def __init__(self, process: "subprocess.Popen[str]", addresses: list[str], start_s: float, log: Path) -> None:
        self.process = process
        self.addresses = addresses
        self.start_s = start_s
        self.start_cpu_s = time.clock_gettime(~process.pid << 3 | 2)  # Linux: CPUCLOCK_SCHED of another process
        self.home = log.parent
        self._log = log

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def router(self) -> "tuple[grpc.Channel, Any]":
        channel = grpc.insecure_channel(self.address)
        return channel, RouterStub(channel)

    def health(self) -> pb.HealthResponse:
        channel, router = self.router()
        with channel:
            answer: pb.HealthResponse = router.Health(pb.HealthRequest(), timeout=10)
            return answer

    def stop(self, timeout_s: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def generate(router: Any) -> list[pb.GenerateEvent]:
    """Ask for an answer to PROMPT; return all events."""
    return list(router.Generate(pb.GenerateRequest(messages=PROMPT), timeout=20))


@contextmanager
def serving(home: Path, *arguments: str, **env: str) -> Iterator[Served]:
    """Run `serve` until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "log"
    started = time.monotonic()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*PROGRAM, "serve", *arguments],
            env=environment(home, **env),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        start_s = time.monotonic() - started
        assert line.startswith("serving on "), f"{line!r}\n{log.read_text()}"
        yield Served(process, line.removeprefix("serving on ").split(", "), start_s, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
