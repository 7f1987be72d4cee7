"""A provider that answers by a script: for demos, tests and load, without a key.

Rules kept here:
- Deterministic: the same settings and the same calls in the same order give the same answers and the same faults.
- A script is counted per model; what it says is classified by the status alone, as no real provider's body is here.
- Usage is what was sent: a token is a chunk. Time passes only through the injected sleep.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from atlas_sidecar.adapters.providers.simulated_answer import Answer, estimate_input_tokens
from atlas_sidecar.adapters.providers.simulated_script import (
    CutAfter,
    Fail,
    ModelScript,
    Ok,
    Silent,
    SimulatedSettings,
    StallAfter,
    Step,
    parse_script,
)
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Head, ProviderBatch, ProviderCall, ProviderEvent, RateLimit, Usage, UsageReport

__all__ = ["CLASS_OF_STATUS", "SimulatedProvider", "SimulatedSettings", "estimate_input_tokens", "parse_script"]

CLASS_OF_STATUS: Final[Mapping[int, ErrorClass]] = {
    400: ErrorClass.INVALID_REQUEST,
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA_EXHAUSTED,
    403: ErrorClass.AUTH,
    404: ErrorClass.MODEL_UNAVAILABLE,
    408: ErrorClass.TEMPORARY,
    409: ErrorClass.TEMPORARY,
    413: ErrorClass.CONTEXT_TOO_LONG,
    422: ErrorClass.INVALID_REQUEST,
    429: ErrorClass.RATE_LIMITED,
    500: ErrorClass.TEMPORARY,
    502: ErrorClass.TEMPORARY,
    503: ErrorClass.OVERLOADED,
    504: ErrorClass.TIMEOUT,
    529: ErrorClass.OVERLOADED,
}
TICK_S: Final = 0.002  # chunks that fall due within one tick come in one read, as they would from a socket


class SimulatedProvider:
    """Answers every model by its script. `kind` is the kind it stands in for; `sleep` lets time pass."""

    def __init__(
        self,
        name: str,
        settings: SimulatedSettings | None = None,
        *,
        kind: str = "simulated",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._settings = settings or SimulatedSettings()
        self._kind = kind
        self._sleep = sleep
        self._calls: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"SimulatedProvider({self._name!r}, kind={self._kind!r}, calls={self._calls!r})"

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def kind(self) -> str:
        """The kind it stands in for."""
        return self._kind

    @property
    def has_credentials(self) -> bool:
        """Always: it needs none."""
        return True

    @property
    def address(self) -> tuple[str, int]:
        """A name that tells telemetry that nothing was called."""
        return "simulated", 0

    async def open(self) -> None:
        """Do nothing: there is nothing to import."""

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    async def probe(self) -> RateLimit | None:
        """Succeed; a probe does not count as a call of the script."""
        return None

    async def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Answer by the script; see ports.Provider."""
        script, step, number = self._next_step(call)
        if isinstance(step, Silent):
            await _forever()
        await self._sleep(script.time_to_first_token_s)
        request_id = f"sim_{call.model.ref.id}_{self._settings.seed}_{number}"
        if isinstance(step, Fail):
            raise _failure(step, request_id)
        answer = Answer(call, script, step, request_id)
        head: list[ProviderEvent] = [Head(200, request_id), UsageReport(Usage(input_tokens=answer.input_tokens))]
        if not call.stream:
            yield await self._whole(answer, head, step, script)
            return
        chunks, end = answer.chunks, _end(step, len(answer.chunks))
        stride = max(1, int(script.tokens_per_s * TICK_S))
        batch = head
        for start in range(0, end, stride):
            if start:
                await self._sleep(min(stride, end - start) / script.tokens_per_s)
            batch += answer.events(start, min(start + stride, end))
            yield batch
            batch = []
        if isinstance(step, CutAfter | StallAfter):
            yield [*batch, UsageReport(answer.usage(end))]
            if isinstance(step, CutAfter):
                raise _cut(bool(end), request_id)
            await _forever()
        yield [*batch, answer.finished(len(chunks))]

    async def _whole(self, answer: Answer, head: list[ProviderEvent], step: Step, script: ModelScript) -> ProviderBatch:
        count = len(answer.chunks)
        if isinstance(step, CutAfter):
            raise _cut(False, answer.request_id)
        if isinstance(step, StallAfter):
            await _forever()
        await self._sleep(count / script.tokens_per_s)
        return [*head, *answer.events(0, count), answer.finished(count)]

    def _next_step(self, call: ProviderCall) -> tuple[ModelScript, Step, int]:
        models, ref = self._settings.models, call.model.ref
        key = ref.model if ref.model in models or ref.id not in models else ref.id
        number = self._calls.get(key, 0)
        self._calls[key] = number + 1
        script = models.get(key, self._settings.default)
        step = script.step(number)
        if isinstance(step, Ok):
            # A text seed, so that chance does not depend on how calls to several models interleave.
            chance = random.Random(f"{self._settings.seed}:{key}:{number}").random()  # noqa: S311 - no secret is made
            for fault in self._settings.faults:
                chance -= fault.probability
                if chance < 0:
                    return script, fault.fail, number
        return script, step, number


def _end(step: Step, chunks: int) -> int:
    return min(step.chunks, chunks) if isinstance(step, CutAfter | StallAfter) else chunks


def _failure(step: Fail, request_id: str) -> ProviderError:
    other = ErrorClass.TEMPORARY if step.status >= 500 else ErrorClass.INVALID_REQUEST
    error = ProviderError(
        CLASS_OF_STATUS.get(step.status, other),
        f"the simulated provider answered {step.status}",
        code=f"simulated_{step.status}",
        http_status=step.status,
        retry_after_s=step.retry_after_s,
    )
    error.provider_request_id = request_id
    return error


def _cut(content_was_sent: bool, request_id: str) -> ProviderError:
    error = ProviderError(
        ErrorClass.STREAM_BROKEN if content_was_sent else ErrorClass.TEMPORARY,
        "the simulated provider cut the connection",
        code="simulated_cut",
        http_status=200,
    )
    error.provider_request_id = request_id
    return error


async def _forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
