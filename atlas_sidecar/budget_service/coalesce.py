"""Gather commands that arrive together into one transaction.

Rules kept here:
- At most 256 commands, or what arrives within 2 ms of the first; while one transaction runs, the next one gathers.
- Commands keep their order. What is waiting is bounded: beyond that the caller is told to come back.
- A command that breaks the transaction breaks only itself: the batch is then run one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence

from atlas_sidecar.budget_service.store import Store, StoreUnavailableError
from atlas_sidecar.budget_service.values import Command, Outcome

logger = logging.getLogger(__name__)
MAX_BATCH = 256
MAX_WAITING = 20_000
GATHER_S = 0.002
Waiting = tuple[Command, "asyncio.Future[Outcome]"]


class Coalescer:
    """The one way by which commands reach the store. `observe` hears each transaction's size."""

    def __init__(self, store: Store, now_ms: Callable[[], int], observe: Callable[[int], None]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._observe = observe
        self._waiting: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to run transactions."""
        self._task = asyncio.create_task(self._run(), name="ledger transactions")

    async def close(self) -> None:
        """Run what is waiting, then stop."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def submit(self, command: Command) -> Outcome:
        """Return the command's outcome once it lasts. Raises StoreUnavailableError."""
        if self._closed or len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailableError(
                "the service is shutting down" if self._closed else "too many calls are waiting"
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        self._arrived.set()
        return await future

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if self._waiting and len(self._waiting) < MAX_BATCH and not self._closed:
                await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                self._observe(len(batch))
                await self._transact(batch)
            if self._closed:
                return

    async def _transact(self, batch: Sequence[Waiting]) -> None:
        try:
            outcomes = await self._store.transact([command for command, _ in batch], self._now_ms())
        except StoreUnavailableError as error:
            _fail(batch, error)
        except Exception as error:  # a task supervisor: one broken command must not stop the others
            if len(batch) == 1:
                logger.exception("a command broke its transaction")
                _fail(batch, error)
                return
            for each in batch:
                await self._transact([each])
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for _, future in batch:
        if not future.done():  # its caller may have gone
            future.set_exception(error)
