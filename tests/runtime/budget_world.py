"""A sidecar's budget in virtual time: the ledger in memory, its log on a real disk; it can be killed and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from atlas_sidecar.adapters.clock import VirtualClock
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.core.leases import BudgetSettings, Hold, Reservation, Settlement
from atlas_sidecar.core.types import ModelRef, Usage
from atlas_sidecar.runtime.budget import Budget
from tests.runtime.ledger_gateway import USD, Ledger, LedgerGateway

MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")
USAGE = Usage(10, None, None, 20, None)
NODE = "acme/search"
START_UNIX_S = 1_795_435_200.0  # 2026-11-23 12:00 UTC


@dataclass
class World:
    """One sidecar, its clock, its disk, and the service."""

    directory: Path
    settings: BudgetSettings = field(default_factory=lambda: BudgetSettings(node=NODE, sidecar_id="pod-1"))
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START_UNIX_S))
    with_service: bool = True

    def __post_init__(self) -> None:
        self.ledger = Ledger(lambda: int(self.clock.unix_s() * 1000))
        if self.with_service:
            self.ledger.set_budget("acme", 10 * USD)
        self.gateway = LedgerGateway(self.ledger)
        self.budget = self._make()

    def _make(self) -> Budget:
        self.log = DiskSpendLog(self.directory, sidecar_id="pod-1", local=not self.with_service, segment_bytes=16_384)
        return Budget(self.settings, self.clock, self.log, self.gateway if self.with_service else None)

    async def start(self) -> Budget:
        await self.budget.start()
        return self.budget

    async def kill(self) -> None:
        """End like kill -9: nothing is said or written any more."""
        loop = getattr(self.budget._books, "_loop", None)
        if loop is not None:
            await loop.stop()
        with contextlib.suppress(OSError):
            os.close(self.log._fd)
        self.log._drop_lock()

    async def restart(self) -> Budget:
        await self.kill()
        self.budget = self._make()
        return await self.start()

    async def restart_after_close(self) -> Budget:
        self.budget = self._make()
        return await self.start()

    async def reserve(self, amount: int | None, node: str = "") -> Reservation:
        """Reserve under a new attempt id; virtual time passes while it waits."""
        hold = Hold(self.budget.resolve(node), self.clock.new_id(), amount, MODEL)
        task = asyncio.ensure_future(self.budget.reserve(hold))
        await self.clock.run(task)
        return await task

    def settle(self, reservation: Reservation, cost: int | None, *, estimated: bool = False) -> None:
        self.budget.settle(reservation, Settlement(cost, estimated, USAGE))

    async def spend(self, amount: int, cost: int | None = None) -> Reservation:
        reservation = await self.reserve(amount)
        self.settle(reservation, amount if cost is None else cost)
        return reservation
