"""Reads the scenarios, and makes of them the sidecar's configuration and what a runner is given.

Rules kept here:
- A script is counted per model, and breakers, cooldowns and retry quotas are a provider's: so every run of every
  scenario gets a role, models and providers of its own, named "sNN-RUN." and the scenario's name of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PROMPT = [{"role": "ROLE_USER", "parts": [{"text": "Why is the sky blue?"}]}]
MODEL = {
    "context_window": 1_000_000,
    "max_output_tokens": 10_000,
    "reasoning_score": 5,
    "speed_score": 5,
    "capabilities": ["tools"],
    "price": {"input": 1, "output": 2},
}
PACE = {"time_to_first_token_s": 0.001, "tokens_per_s": 10_000}
SIMULATED = ("text", "output_tokens", "tokens_per_s", "script")
KEYS = {
    "name", "models", "request", "metadata", "timeout_ms", "patience_ms", "cancel_at", "read", "target", "keep",
    "expect",
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One scenario; `number` counts from 1 and names it in the sidecar's configuration."""

    number: int
    name: str
    models: Mapping[str, Mapping[str, Any]]
    expect: Mapping[str, Any]
    request: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_ms: int = 20_000
    patience_ms: int = 5_000
    cancel_at: str = ""
    read: str = "events"
    target: str = ""
    keep: tuple[str, ...] = ()

    def prefix(self, run: str) -> str:
        """Return what the names of this run begin with."""
        return f"s{self.number:02}-{run}."


def load(path: Path = HERE / "scenarios.yaml") -> list[Scenario]:
    """Return the scenarios of a file; raises ValueError where one has an unknown key."""
    scenarios = []
    for number, raw in enumerate(yaml.safe_load(path.read_text()), 1):
        if unknown := set(raw) - KEYS:
            raise ValueError(f"{raw.get('name', number)}: unknown {', '.join(sorted(unknown))}")
        scenarios.append(Scenario(number=number, **{**raw, "keep": tuple(raw.get("keep", ()))}))
    return scenarios


def sidecar_config(scenarios: Iterable[Scenario], runs: Iterable[str], listen: list[str]) -> dict[str, Any]:
    """Return the configuration of one sidecar for all runs."""
    providers: dict[str, Any] = {}
    models: dict[str, Any] = {}
    roles: dict[str, Any] = {"worker": {"tiers": [["idle"]]}}
    providers["idle"] = {"kind": "simulated"}
    models["idle"] = {**MODEL, "provider": "idle"}
    for run in runs:
        for scenario in scenarios:
            prefix = scenario.prefix(run)
            for name, given in scenario.models.items():
                simulated = {key: given[key] for key in SIMULATED if key in given}
                script = {name: {"script": simulated.pop("script")}} if "script" in simulated else {}
                providers[prefix + name] = {"kind": "simulated", **PACE, **simulated, "models": script}
                own = {key: value for key, value in given.items() if key not in SIMULATED}
                models[prefix + name] = {**MODEL, **own, "provider": prefix + name, "model": name}
            if scenario.models:
                roles[prefix + "role"] = {"tiers": [[prefix + name] for name in scenario.models]}
    return {
        "listen": listen,
        "providers": providers,
        "models": models,
        "roles": roles,
        "fallback": {"backoff_base_s": 0.02, "backoff_cap_s": 0.05},
        "budget": {"node": "conformance", "daily_limit_usd": 1000},
    }


def runner_input(scenarios: Iterable[Scenario], run: str, others: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what a runner is to do; `others`: the addresses that a scenario's `target` may name."""
    return [
        {
            "name": scenario.name,
            "read": scenario.read,
            "target": others[scenario.target] if scenario.target else "",
            "request": _request(scenario, run),
            "metadata": dict(scenario.metadata),
            "timeout_ms": scenario.timeout_ms,
            "patience_ms": scenario.patience_ms,
            "cancel_at": scenario.cancel_at,
        }
        for scenario in scenarios
    ]


def _request(scenario: Scenario, run: str) -> dict[str, Any]:
    if scenario.read == "health":
        return {}
    prefix = scenario.prefix(run)
    text = json.dumps(scenario.request, ensure_ascii=False)
    for name in scenario.models:
        text = text.replace(f'"${name}"', f'"{prefix}{name}"')
    request: dict[str, Any] = json.loads(text)
    request["requirements"] = {"agent_type": prefix + "role", **request.get("requirements", {})}
    if scenario.read != "select":
        request.setdefault("messages", PROMPT)
    return request
