"""Two replicas over one database, killed with SIGKILL at random under load: nothing lost, nothing doubled."""

import asyncio
import os
import random
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2 import Money
from atlas_sidecar.budget_service.database import store_for
from atlas_sidecar.budget_service.rules import Rules
from tests.budget_service.replica import Replica, kill_at_random

if TYPE_CHECKING:
    from atlas_api.v1.budget_pb2_grpc import BudgetAsyncStub

    Stubs: TypeAlias = list[BudgetAsyncStub]

SECONDS = float(os.environ.get("ATLAS_REPLICA_SECONDS", "8"))
SIDECARS = 12
LIMIT = 5_000_000
HEALED_WITHIN_S = 30.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Client:
    """An honest sidecar that talks to any replica, repeats what failed, and sometimes what did not."""

    number: int
    chance: random.Random
    seq: int = 0
    sync_seq: int = 0
    applied: int = 0
    facts: list[pb.Fact] = field(default_factory=list)
    leases: dict[str, int] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    spent: int = 0
    answered: int = 0
    failed: int = 0

    @property
    def incarnation(self) -> str:
        return f"incarnation-{self.number}"

    def write(self, fact: pb.Fact) -> None:
        self.seq += 1
        fact.incarnation, fact.seq = self.incarnation, self.seq
        self.facts.append(fact)

    def work(self) -> None:
        """Spend from the leases held, and give one back now and then."""
        for lease_id, left in list(self.leases.items()):
            cost = min(left, self.chance.randint(1, 900))
            if cost and self.chance.random() < 0.8:
                self.leases[lease_id] -= cost
                self.spent += cost
                settle = pb.Settle(attempt_id=f"{self.number}-{self.seq}", lease_id=lease_id, budget="acme/a")
                settle.period, settle.cost.nano_usd = self.period, cost
                self.write(pb.Fact(settle=settle))
            if not self.leases[lease_id] or self.chance.random() < 0.1:
                del self.leases[lease_id]
                self.released.add(lease_id)
                self.write(pb.Fact(release=pb.Release(lease_id=lease_id)))

    period = ""

    def request(self, *, want: bool, final: bool = False) -> pb.SyncRequest:
        self.sync_seq += 1
        request = pb.SyncRequest(
            sidecar_id=f"sidecar-{self.number}", incarnation=self.incarnation, sync_seq=self.sync_seq, facts=self.facts,
            held=[pb.HeldLease(lease_id=lease_id) for lease_id in self.leases], final=final,
        )  # fmt: skip
        if want:
            request.wants.add(
                want_id=f"w{self.sync_seq}", budget="acme/a", amount=Money(nano_usd=4000), minimum=Money(nano_usd=100)
            )
        return request

    async def sync(self, stubs: "Stubs", *, want: bool = True, final: bool = False) -> bool:
        """Say everything once; return whether it was answered."""
        request = self.request(want=want, final=final)
        stub = self.chance.choice(stubs)
        try:
            answer = await stub.Sync(request, timeout=3)
            if self.chance.random() < 0.1:
                await self.chance.choice(stubs).Sync(request, timeout=3)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            self.failed += 1
            return False
        self.answered += 1
        assert list(answer.quarantined) == []
        applied = answer.applied_seq[self.incarnation]
        assert applied >= self.applied, "what was acknowledged is gone"
        self.applied = applied
        self.facts = [fact for fact in self.facts if fact.seq > applied]
        for grant in answer.grants:
            if grant.lease_id not in self.released and grant.lease_id not in self.granted:
                self.granted.add(grant.lease_id)
                self.leases[grant.lease_id] = grant.amount.nano_usd
                self.period = grant.period
        return True

    async def live(self, stubs: "Stubs", until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            self.work()
            await self.sync(stubs)
            await asyncio.sleep(0.02 * self.chance.random())

    async def heal(self, stubs: "Stubs") -> None:
        for lease_id in self.leases:
            self.write(pb.Fact(release=pb.Release(lease_id=lease_id)))
        self.leases.clear()
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + HEALED_WITHIN_S
        for _ in range(1000):
            assert loop.time() < ends_s, "what was spent could not be reported"
            final = not self.facts
            if await self.sync(stubs, want=False, final=final) and final:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(SECONDS + 90)
async def test_replicas_killed_under_load_lose_and_double_nothing(database_url: str) -> None:
    chance = random.Random(5)
    replicas = [Replica(database_url, free_port()) for _ in range(2)]
    await asyncio.gather(*(replica.start() for replica in replicas))  # both migrate the empty database at once
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]
    channels = [grpc.aio.insecure_channel(replica.address, options) for replica in replicas]
    stubs = [BudgetStub(channel) for channel in channels]
    try:
        await stubs[0].SetBudget(
            pb.SetBudgetRequest(node=pb.BudgetNode(budget="acme", daily_limit=Money(nano_usd=LIMIT))),
            wait_for_ready=True,
        )
        clients = [Client(number, random.Random(number)) for number in range(SIDECARS)]
        until_s = asyncio.get_running_loop().time() + SECONDS
        lives = (client.live(stubs, until_s) for client in clients)
        await asyncio.gather(kill_at_random(replicas, chance, 0.8, until_s), *lives)
        await asyncio.gather(*(client.heal(stubs) for client in clients))
        (shown,) = (await stubs[0].GetBudget(pb.GetBudgetRequest(budget="acme"), wait_for_ready=True)).nodes
        (row,) = (await stubs[1].ListSpend(pb.ListSpendRequest(budget="acme"), wait_for_ready=True)).rows
    finally:
        for channel in channels:
            await channel.close()
        for replica in replicas:
            if replica.process is not None and replica.process.returncode is None:
                await replica.kill()
    spent = sum(client.spent for client in clients)
    assert sum(replica.kills for replica in replicas) >= 2
    assert sum(client.failed for client in clients) > 0
    assert spent > LIMIT // 20
    assert (shown.state.spent.nano_usd, row.cost.nano_usd) == (spent, spent)
    assert (shown.state.leased.nano_usd, shown.state.suspense.nano_usd) == (0, 0)
    assert spent <= LIMIT


async def test_eight_stores_migrate_and_use_an_empty_database_at_the_same_time(database_url: str) -> None:
    stores = [store_for(database_url, Rules()) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await store.close()
