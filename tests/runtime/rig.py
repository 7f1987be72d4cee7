"""A router put together for tests: real health, budget and chain, providers that answer by a script, a fast clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.providers.simulated import SimulatedProvider, parse_script
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.adapters.telemetry.quiet import NoTelemetry
from atlas_sidecar.core.leases import BudgetSettings
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.types import (
    Capability,
    Complexity,
    GenerateRequest,
    Limits,
    Message,
    Model,
    ModelRef,
    Part,
    Requirements,
    Role,
    StreamPolicy,
    Target,
    Text,
    Weights,
)
from atlas_sidecar.ports import Clock, Telemetry
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.chain import ChainTools
from atlas_sidecar.runtime.engine import Engine, FallbackSettings, Timeouts
from atlas_sidecar.runtime.events import Completed, Failure, RouterEvent
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.learning import Learning
from atlas_sidecar.runtime.router import CallContext, Router
from atlas_sidecar.runtime.snapshots import Snapshots

WEIGHTS = {
    Complexity.HIGH: Weights(0.4, 0.3, 0.2, 0.1, 0.0),
    Complexity.MEDIUM: Weights(0.3, 0.2, 0.3, 0.2, 0.3),
    Complexity.LOW: Weights(0.2, 0.2, 0.4, 0.2, 1.0),
}
EVERYTHING = frozenset(Capability)


class FastClock(SystemClock):
    """The machine's clock, but waits of the chain take a thousandth of their time; they are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(seconds / 1000)


def model(model_id: str, provider: str, reasoning: float, **changes: Any) -> Model:
    """Return a model that can do everything, with a price of 1 and 2 USD per million tokens."""
    values: dict[str, Any] = {
        "ref": ModelRef(model_id, provider, f"{model_id}-name"),
        "provider_kind": "simulated",
        "context_window": 100_000,
        "max_output_tokens": 4_096,
        "reasoning_score": reasoning,
        "speed_score": 8.0,
        "capabilities": EVERYTHING,
        "price": Price(1_000_000_000, 2_000_000_000),
    }
    return Model(**(values | changes))


@dataclass
class Rig:
    """A router over simulated providers; `models` in the order in which they are preferred, one tier each."""

    router: Router
    engine: Engine
    budget: Budget
    health: Health
    clock: SystemClock
    context: CallContext = field(default_factory=lambda: CallContext({}))

    async def generate(self, request: GenerateRequest) -> list[tuple[int, RouterEvent]]:
        """Return every event with its hop."""
        return [(b.hop, e) async for b in self.router.generate(request, self.context) for e in b.events]


async def rig(
    tmp_path: Path,
    scripts: Mapping[str, list[Any]],
    *,
    models: list[Model] | None = None,
    timeouts: Timeouts | None = None,
    fallback: FallbackSettings | None = None,
    daily_limit_nano_usd: int | None = None,
    telemetry: Callable[[Clock], Telemetry] = lambda _: NoTelemetry(),
    clock: SystemClock | None = None,
) -> Rig:
    """Build a rig whose models a, b, c, ... each have a provider of the same name with this script."""
    chosen = models or [model(name, name, 9.0 - i) for i, name in enumerate(scripts)]
    settings = {
        name: parse_script(
            {
                "time_to_first_token_s": 0.001,
                "tokens_per_s": 20_000,
                "output_tokens": 10,
                "models": {f"{name}-name": {"script": script}},
            }
        )
        for name, script in scripts.items()
    }
    clock = clock or FastClock()
    providers = {name: SimulatedProvider(name, settings[name]) for name in scripts}
    targets = tuple(Target(m, tier) for tier, m in enumerate(chosen, start=1))
    engine = Engine(
        config_version="test",
        models={m.ref.id: m for m in chosen},
        roles={"worker": targets},
        default_role="worker",
        providers=providers,
        weights=WEIGHTS,
        timeouts=timeouts or Timeouts(),
        fallback=fallback or FallbackSettings(),
    )
    health = Health(clock, chosen, providers)
    budget = Budget(BudgetSettings(daily_limit_nano_usd=daily_limit_nano_usd), clock, DiskSpendLog(tmp_path / "spend"))
    await budget.start()
    learning = Learning()
    tools = ChainTools(health, budget, learning, Snapshots(health, budget, learning, clock), clock)
    return Rig(Router(lambda: engine, tools, telemetry(clock)), engine, budget, health, clock)


def ask(text: str = "hello", policy: StreamPolicy = StreamPolicy.FAIL, **changes: Any) -> GenerateRequest:
    """Return a request of one user message for a worker with a hard task."""
    values: dict[str, Any] = {
        "requirements": Requirements(complexity=Complexity.HIGH),
        "messages": (Message(Role.USER, (Part(Text(text)),)),),
        "stream_policy": policy,
        "limits": Limits(),
    }
    return GenerateRequest(**(values | changes))


def names(events: list[tuple[int, RouterEvent]]) -> list[str]:
    """Return the events' names, neighbouring deltas as one."""
    told: list[str] = []
    for _, event in events:
        name = type(event).__name__
        name = "delta" if name.endswith(("Delta", "Start", "Arguments")) else name
        if name != "delta" or told[-1:] != ["delta"]:
            told.append(name)
    return told


def completed(events: list[tuple[int, RouterEvent]]) -> Completed:
    """Return the last event, which must be Completed."""
    last = events[-1][1]
    assert isinstance(last, Completed), last
    return last


def failed(events: list[tuple[int, RouterEvent]]) -> Failure:
    """Return the last event, which must be Failure."""
    last = events[-1][1]
    assert isinstance(last, Failure), last
    return last
