"""A budget service in this process, over real sockets, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2 import Money
from atlas_sidecar.budget_service.serve import ServeSettings, serve

if TYPE_CHECKING:
    from atlas_api.v1.budget_pb2_grpc import BudgetAsyncStub


@asynccontextmanager
async def service(settings: ServeSettings) -> AsyncIterator[str]:
    """Serve on a free port; yield its address."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    listen = settings.listen if settings.listen != ServeSettings().listen else ("127.0.0.1:0",)
    task = asyncio.create_task(serve(replace(settings, listen=listen), stop=stop, announce=ready.set_result))
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield (await ready).removeprefix("serving on ").split(", ")[0]
    finally:
        stop.set()
        await task


@asynccontextmanager
async def client(address: str, credentials: grpc.ChannelCredentials | None = None) -> "AsyncIterator[BudgetAsyncStub]":
    channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    async with channel:
        yield BudgetStub(channel)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def usd(amount: float) -> Money:
    return Money(nano_usd=round(amount * 1e9))


def sync_request(seq: int, *facts: pb.Fact, incarnation: str = "i1", wants: tuple[pb.Want, ...] = ()) -> pb.SyncRequest:
    return pb.SyncRequest(sidecar_id="s1", incarnation=incarnation, sync_seq=seq, facts=facts, wants=wants)


def settle_fact(seq: int, attempt: str, amount: float, node: str = "acme/a", lease: str = "", i: str = "i1") -> pb.Fact:
    settle = pb.Settle(attempt_id=attempt, lease_id=lease, budget=node, cost=usd(amount), labels={"team": "blue"})
    settle.model.id = "m1"
    settle.admitted_at.GetCurrentTime()
    return pb.Fact(incarnation=i, seq=seq, settle=settle)


def want_of(amount: float, node: str = "acme/a", name: str = "w1", minimum: float = 0) -> pb.Want:
    return pb.Want(want_id=name, budget=node, amount=usd(amount), minimum=usd(minimum))
