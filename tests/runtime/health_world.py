"""A clock that only moves when told, a provider whose probes are scripted, and models: where health tests live."""

import asyncio
from collections.abc import AsyncIterator

from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Model, ModelRef, ProviderBatch, ProviderCall, RateLimit, Usage
from atlas_sidecar.runtime.health import Health

NO_USAGE = Usage()


class HandClock:
    """Time that moves when somebody moves it; sleepers wake when their time has come."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def monotonic_s(self) -> float:
        return self.now_s

    def unix_s(self) -> float:
        return 1_700_000_000.0 + self.now_s

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now_s + seconds, woken))
        await woken.wait()

    def jitter(self) -> float:
        return 0.5

    def new_id(self) -> str:
        return "id"

    async def advance(self, seconds: float, step_s: float = 0.5) -> None:
        """Let time pass in steps, so that whoever wakes can sleep again."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = min(end_s, self.now_s + step_s)
            due = [event for at_s, event in self._sleepers if at_s <= self.now_s]
            self._sleepers = [(at_s, event) for at_s, event in self._sleepers if at_s > self.now_s]
            for event in due:
                event.set()
            for _ in range(10):
                await asyncio.sleep(0)


class ScriptedProvider:
    """A provider whose probe does what `outcome` says: a RateLimit or None answers, an exception is raised."""

    kind = "openai"
    address = ("127.0.0.1", 1)

    def __init__(self, name: str, has_credentials: bool = True) -> None:
        self.name = name
        self.has_credentials = has_credentials
        self.outcome: RateLimit | BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.probes = 0
        self.at_once = 0
        self.most_at_once = 0

    async def probe(self) -> RateLimit | None:
        self.probes += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.at_once -= 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        raise NotImplementedError("health never generates")

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


def model(model_id: str, provider: str = "openai") -> Model:
    return Model(ModelRef(model_id, provider, model_id), "openai", 100_000, 4096, 8.0, 8.0)


def failure(error_class: ErrorClass, **more: float | str | bool) -> ProviderError:
    """Make an error; `scope` is set as adapters set it."""
    scope = more.pop("scope", None)
    error = ProviderError(error_class, "as the test wants", **more)  # type: ignore[arg-type]  # fields of various types
    if scope is not None:
        error.scope = str(scope)
    return error


def attempt(health: Health, of: Model, error: ProviderError | None = None, elapsed_s: float = 1.0) -> None:
    """Make one attempt that ends at once."""
    health.begin(of).end(error, NO_USAGE, elapsed_s)


def attempts(health: Health, of: Model, error_class: ErrorClass, count: int) -> None:
    """Fail so many times in a row."""
    for _ in range(count):
        attempt(health, of, failure(error_class))
