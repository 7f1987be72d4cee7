"""A fleet against a provider in trouble, in virtual time: 50 sidecars, each with its own Health and the real decisions
(`rank`, `next_step`), offer twice what the provider can serve after it dropped to a fifth of its capacity.

The provider is a token bucket of work: an answer takes one unit, a refusal a twentieth (reading and refusing a prompt
is work too), so that hammering it costs answers. It is the only one, the worst case: every request is tried, because a
sole target is never turned off. Everything is seeded: the same seed gives the same numbers.
"""

import heapq
import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from atlas_sidecar.core.eligibility import check
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.fallback import (
    Event,
    Fail,
    Failed,
    Plan,
    RetryRefused,
    Skip,
    Skipped,
    Try,
    Verdict,
    Wait,
    next_step,
)
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import Need, Requirements, Snapshot, StreamPolicy, Target, Usage, Weights
from atlas_sidecar.runtime.health import Health
from tests.runtime.health_world import ScriptedProvider, failure, model

SIDECARS = 50
FULL_CAPACITY = 200.0  # answers per second
CAPACITY = 0.2 * FULL_CAPACITY
OFFERED = 2.0 * CAPACITY
WARM_UP_S = 20.0
TROUBLE_S = 240.0
REFUSAL_COST = 0.05
DEADLINE_S = 30.0
SETTLING_S = 30.0  # half the longest time that a circuit stays open, and half the evidence's half-life
CALM_S = 30.0
SOLE = Target(model("sole", "provider"), 1)
SPARE = Target(model("spare", "spare"), 2)
WEIGHTS = Weights(0.3, 0.2, 0.3, 0.2, 0.3)
NEED = Need(input_tokens=1000)


class Trouble(NamedTuple):
    """How the provider says that it is too much."""

    name: str
    error_class: ErrorClass
    retry_after_s: float | None


TROUBLES = [
    Trouble("429 with Retry-After", ErrorClass.RATE_LIMITED, 2.0),
    Trouble("529", ErrorClass.OVERLOADED, None),
    Trouble("500", ErrorClass.TEMPORARY, None),
]


@dataclass
class Tally:
    """What became of the requests of one phase; `attempts` and `answers` are those of the provider in trouble."""

    seconds: float = 0.0
    requests: int = 0
    attempts: int = 0
    answers: int = 0
    spared: int = 0
    failures: int = 0

    @property
    def retry_share(self) -> float:
        return (self.attempts - self.requests) / self.requests

    @property
    def useful_share(self) -> float:
        return self.answers / (CAPACITY * self.seconds)

    def line(self, who: str, trouble: Trouble) -> str:
        return (
            f"{trouble.name:22s} {who:10s} {self.requests:6d} requests {self.attempts:6d} attempts"
            f"  retries {self.retry_share:6.1%}  useful answers {self.useful_share:6.1%} of capacity"
        )


class VirtualClock:
    """The simulation's time, as the port that Health wants."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def monotonic_s(self) -> float:
        return self._world.now_s

    def unix_s(self) -> float:
        return self._world.now_s

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nothing sleeps for real here")

    def jitter(self) -> float:
        return self._world.random.random()

    def new_id(self) -> str:
        return "id"


class ReckoningProvider:
    """Serves what its bucket of work holds (half a second's worth at most) and refuses the rest."""

    def __init__(self, world: "World", trouble: Trouble) -> None:
        self._world = world
        self._trouble = trouble
        self._work = 0.0
        self._at_s = 0.0

    def ask(self) -> tuple[float, ProviderError | None]:
        """Return how long it takes, and the refusal if it is one."""
        now_s = self._world.now_s
        rate = self._world.rate
        self._work = min(0.5 * rate, self._work + (now_s - self._at_s) * rate)
        self._at_s = now_s
        if self._work >= 1.0:
            self._work -= 1.0
            return self._world.random.uniform(0.5, 2.5), None
        self._work = max(0.0, self._work - REFUSAL_COST)
        wait_s = self._trouble.retry_after_s
        more = {} if wait_s is None else {"retry_after_s": wait_s}
        return 0.05, failure(self._trouble.error_class, **more)


class Reckless(Health):
    """The negative control: retries are free, as many as the plan allows."""

    def may_retry(self, provider: str, error_class: ErrorClass) -> bool:
        return True


class World:
    """A discrete-event loop: processes are generators that yield the seconds they let pass."""

    def __init__(
        self, trouble: Trouble, kind: type[Health], trouble_s: float = TROUBLE_S, has_spare: bool = False, seed: int = 4
    ) -> None:
        self.now_s = 0.0
        self._recovery_s = WARM_UP_S + trouble_s
        self._end_s = self._recovery_s + SETTLING_S + CALM_S
        self.random = random.Random(seed)
        self.in_trouble, self.recovered, self._elsewhen = Tally(trouble_s), Tally(CALM_S), Tally()
        self._targets = [SOLE, SPARE] if has_spare else [SOLE]
        self.provider = ReckoningProvider(self, trouble)
        clock = VirtualClock(self)
        models = [target.model for target in self._targets]
        ports = {one.ref.provider: ScriptedProvider(one.ref.provider) for one in models}
        self.sidecars = [kind(clock, models, ports) for _ in range(SIDECARS)]
        self._queue: list[tuple[float, int, Generator[float, None, None]]] = []
        self._started = 0

    @property
    def rate(self) -> float:
        """What the provider can serve now, answers per second."""
        return CAPACITY if WARM_UP_S <= self.now_s < self._recovery_s else FULL_CAPACITY

    def run(self) -> "World":
        """Run to the end."""
        for health in self.sidecars:
            self._start(self._arrivals(health), self.random.expovariate(OFFERED / SIDECARS))
        while self._queue:
            self.now_s, number, process = heapq.heappop(self._queue)
            pause_s = next(process, None)
            if pause_s is not None:
                heapq.heappush(self._queue, (self.now_s + pause_s, number, process))
        return self

    def _start(self, process: Generator[float, None, None], after_s: float = 0.0) -> None:
        self._started += 1
        heapq.heappush(self._queue, (self.now_s + after_s, self._started, process))

    def _arrivals(self, health: Health) -> Generator[float, None, None]:
        while self.now_s < self._end_s:
            self._start(self._request(health))
            yield self.random.expovariate(OFFERED / SIDECARS)

    def _tally(self) -> Tally:
        if WARM_UP_S <= self.now_s < self._recovery_s:
            return self.in_trouble
        return self.recovered if self.now_s >= self._recovery_s + SETTLING_S else self._elsewhen

    def _snapshot(self, health: Health) -> Snapshot:
        models, providers = health.states(self.now_s)
        return Snapshot(self.now_s, models, providers)

    def _request(self, health: Health) -> Generator[float, None, None]:
        tally = self._tally()
        decision = rank("worker", self._targets, Requirements(), NEED, self._snapshot(health), WEIGHTS, "d")
        plan = Plan(decision.order, (), StreamPolicy.FAIL, self.now_s + DEADLINE_S)
        history: tuple[Event, ...] = ()
        retry_after: ErrorClass | None = None
        tally.requests += 1

        def feasible(target: Target) -> Verdict | None:
            rejected = check(target, Requirements(), NEED, self._snapshot(health)) if history else None
            return None if rejected is None else Verdict(rejected.rejection, rejected.detail, rejected.until_s)

        while True:
            step = next_step(plan, history, self.now_s, self.random.random(), feasible)
            if isinstance(step, Wait):
                last = history[-1]
                provider = step.then.target.model.ref.provider
                if isinstance(last, Failed) and not health.may_retry(provider, last.error_class):
                    history += (RetryRefused(step.then.target),)
                    continue
                retry_after = last.error_class if isinstance(last, Failed) else None
                yield step.seconds
                step = step.then
            if isinstance(step, Skip):
                history += (Skipped(step.target, step.verdict),)
            elif isinstance(step, Fail):
                tally.failures += 1
                return
            else:
                of_interest = step.target is SOLE
                tally.attempts += of_interest
                error = yield from self._attempt(health, step.target, retry_after)
                retry_after = None
                if error is None:
                    tally.answers += of_interest
                    tally.spared += not of_interest
                    return
                history += (self._failed(step, error),)

    def _attempt(
        self, health: Health, target: Target, retry_after: ErrorClass | None
    ) -> Generator[float, None, ProviderError | None]:
        flight = health.begin(target.model, retry_after)
        seconds, error = self.provider.ask() if target is SOLE else (1.5, None)
        yield seconds
        flight.end(error, Usage(), seconds)
        return error

    def _failed(self, step: Try, error: ProviderError) -> Failed:
        return Failed(step.target, step.hop, step.number, error.error_class, self.now_s, error.retry_after_s)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name.replace(" ", "-"))
def test_a_fleet_does_not_hammer_a_provider_in_trouble(trouble: Trouble, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(trouble, Health).run()
    fleet, control = world.in_trouble, World(trouble, Reckless, trouble_s=120.0).run().in_trouble
    with capsys.disabled():
        print()  # noqa: T201  # the numbers are what this simulation is for
        print(fleet.line("fleet", trouble))  # noqa: T201
        print(control.line("reckless", trouble))  # noqa: T201
    assert fleet.retry_share < 0.10
    assert fleet.useful_share > 0.90
    assert control.retry_share > 0.25, "the control shows no amplification: the simulation proves nothing"
    assert control.useful_share < fleet.useful_share
    assert world.recovered.failures < 0.01 * world.recovered.requests, "the trouble outlives its cause"


def test_a_fleet_with_a_second_provider_answers_everything_and_leaves_the_one_in_trouble_alone() -> None:
    world = World(TROUBLES[0], Health, trouble_s=60.0, has_spare=True).run()
    fleet = world.in_trouble
    assert fleet.answers + fleet.spared == fleet.requests
    assert fleet.attempts < 1.5 * CAPACITY * fleet.seconds
    assert world.recovered.answers > 0.5 * world.recovered.requests
