"""The sidecar that is measured: a real one, over the fake upstream, with budget and tracing on."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

import yaml

from atlas_api.v1 import router_pb2 as pb
from bench.processes import Process

KINDS: Final = ("openai", "anthropic", "groq", "google")
CANDIDATES: Final = 30
SAMPLE_RATIO: Final = 0.1
# The name of a model at the upstream tells how it answers (bench/upstream.py).
ANSWERS: Final = {
    "short": "m-chunks-10",
    "stream": "m-chunks-100",
    "paced": "m-chunks-100-paced-50",
    "slow": "m-chunks-100-paced-20",
}
COUNTS: Final = (10, 30, 100, 300, 1000)


def configuration(folder: Path, upstream: str, collector: str, kinds: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Return a configuration: for each provider and kind of answer a role of three models, and a role of 30 models."""
    roots = {"openai": f"{upstream}/v1", "anthropic": upstream, "groq": upstream, "google": upstream}
    models: dict[str, Any] = {}
    roles: dict[str, Any] = {}
    for kind in kinds:
        for answer, name in [*ANSWERS.items(), *((str(count), f"m-chunks-{count}") for count in COUNTS)]:
            ids = [f"{kind}-{answer}-{place}" for place in (1, 2, 3)]
            models.update({i: _model(kind, name, place) for place, i in enumerate(ids)})
            roles[f"{kind}-{answer}"] = {"tiers": [[i] for i in ids]}
    many = [f"candidate-{n}" for n in range(CANDIDATES)]
    models.update({i: _model(kinds[n % len(kinds)], f"m{n}", n % 3) for n, i in enumerate(many)})
    for count in (1, 5, 10, 20, CANDIDATES):
        roles[f"of-{count}"] = {"tiers": [tier for place in range(3) if (tier := many[:count][place::3])]}
    return {
        "listen": ["127.0.0.1:0"],
        "providers": {kind: {"kind": kind, "base_url": roots[kind], "api_key": "none"} for kind in kinds},
        "models": models,
        "roles": roles,
        "default_role": "of-1",
        "budget": {"spend_log": str(folder / "spend"), "daily_limit_usd": 1_000_000},
        "telemetry": {"otlp_endpoint": f"http://{collector}", "sample_ratio": SAMPLE_RATIO},
        **more,
    }


def _model(kind: str, name: str, place: int) -> dict[str, Any]:
    return {
        "provider": kind,
        "model": name,
        "context_window": 100_000,
        "max_output_tokens": 4096,
        "reasoning_score": 9 - place,
        "speed_score": 5 + place,
        "price": {"input": 1, "output": 2},
    }


def start(folder: Path, settings: dict[str, Any], *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[Process, str]:
    """Start a sidecar; return it and its address, when it is SERVING."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    main = "from atlas_sidecar.cli import main; raise SystemExit(main())"
    command = [*prefix, sys.executable, "-c", main, "serve", "--config", str(path), *arguments]
    process = Process(command, folder / "sidecar.log")
    return process, process.line().removeprefix("serving on ").split(",")[0].strip()


def timed_start(folder: Path, settings: dict[str, Any]) -> tuple[Process, str, float]:
    """Start a sidecar; return also the seconds until it was SERVING."""
    started_s = time.perf_counter()
    process, address = start(folder, settings)
    return process, address, time.perf_counter() - started_s


def generate(role: str) -> str:
    """Return a Generate request, as hex."""
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="say ten words")])
    request = pb.GenerateRequest(messages=[message], requirements=pb.Requirements(agent_type=role))
    return request.SerializeToString().hex()


def select(candidates: int) -> str:
    """Return a Select request, as hex."""
    requirements = pb.Requirements(agent_type=f"of-{candidates}")
    return pb.SelectRequest(requirements=requirements, context_tokens=1000).SerializeToString().hex()
