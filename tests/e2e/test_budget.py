"""A real sidecar, the real budget service and an upstream, over real sockets: what callers see of a budget."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import router_pb2 as router
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.serve import ServeSettings
from tests.budget_service.kill_world import OUTPUT_CAP, SidecarProcess, Upstream
from tests.budget_service.running import service
from tests.budget_service.test_replicas import free_port
from tests.e2e.in_process import asked, details_of

SYNC_S = 2.0
FELT_WITHIN_S = 1.2 * SYNC_S + 1.0  # Syncs are spread by a fifth
DEAR, CHEAP = 400_000, 40_000  # nano-USD per token of output
LIMIT = 50_000_000  # two answers of the dear model at their longest
CONFIG = """
listen: ["127.0.0.1:{port}"]
log_level: error
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: "a-test-key"}}
models:
  dear: {{provider: up, context_window: 8000, max_output_tokens: {cap}, reasoning_score: 9, speed_score: 5,
          price: {{input: 1.0, output: 400.0}}}}
  cheap: {{provider: up, context_window: 8000, max_output_tokens: {cap}, reasoning_score: 5, speed_score: 5,
           price: {{input: 1.0, output: 40.0}}}}
roles:
  worker: {{tiers: [[dear], [cheap]]}}
budget: {{node: acme/search, service: "{service}", spend_log: "{log}"}}
"""


@dataclass
class Scene:
    """A sidecar's Router and the service behind it."""

    generate: Any
    health: Any
    budget: Any

    async def ask(self) -> str:
        """Return which model answered. Raises grpc.aio.AioRpcError."""
        model = ""
        async for event in self.generate(asked(), timeout=10):
            if event.HasField("completed"):
                model = event.completed.model.id
        return model

    async def refusal(self) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask()
        return caught.value

    async def limit(self, nano_usd: int | None, path: str = "acme") -> None:
        node = pb.BudgetNode(budget=path, daily_limit=None if nano_usd is None else router.Money(nano_usd=nano_usd))
        await self.budget.SetBudget(pb.SetBudgetRequest(node=node))

    async def felt(self, nano_usd: int | None) -> None:
        """Wait until the sidecar knows this limit and has reported everything."""
        for _ in range(300):
            budget = (await self.health(router.HealthRequest(), timeout=10)).budget
            limit = budget.daily_limit.nano_usd if budget.HasField("daily_limit") else None
            if budget.HasField("last_sync") and limit == nano_usd and not budget.unreported_facts:
                return
            await asyncio.sleep(0.1)
        pytest.fail("the sidecar never heard of it")

    async def spent(self) -> int:
        (shown,) = (await self.budget.GetBudget(pb.GetBudgetRequest(budget="acme"))).nodes
        spent: int = shown.state.spent.nano_usd
        return spent

    async def until_exhausted(self) -> tuple[list[str], grpc.aio.AioRpcError]:
        """Ask until the budget is out; return who answered, and the refusal."""
        models: list[str] = []
        for _ in range(300):
            try:
                models.append(await self.ask())
            except grpc.aio.AioRpcError as error:
                return models, error
        pytest.fail("the budget never ran out")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A sidecar at acme/search whose root has a limit; Syncs come every two seconds."""
    upstream = Upstream(random.Random(3), cuts=0.0)
    settings = ServeSettings(f"sqlite:///{tmp_path}/ledger.db", rules=Rules(sync_ms=int(SYNC_S * 1000)))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(await upstream.start())
        address = await stack.enter_async_context(service(settings))
        sidecar = SidecarProcess(0, free_port(), tmp_path)
        text = CONFIG.format(
            port=sidecar.port, upstream=upstream.port, service=address, cap=OUTPUT_CAP, log=tmp_path / "spend"
        )
        (tmp_path / "0.yaml").write_text(text)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(each))
            for each in (f"127.0.0.1:{sidecar.port}", address)
        ]
        sidecar_stub: Any = RouterStub(channels[0])
        scene = Scene(sidecar_stub.Generate, sidecar_stub.Health, BudgetStub(channels[1]))
        await scene.limit(LIMIT)
        await sidecar.start()
        try:
            yield scene
        finally:
            assert await sidecar.end(signal.SIGTERM) == 0, (tmp_path / "0.log").read_text()


def read(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, float]:
    """Return the reason and the seconds to wait."""
    info, wait = ErrorInfo(), RetryInfo()
    for detail in details_of(error):
        _ = detail.Unpack(info) or detail.Unpack(wait)
    return info, wait.retry_delay.seconds + wait.retry_delay.nanos / 1e9


async def test_a_cheaper_model_answers_while_any_fits_and_then_the_refusal_says_which_node_and_when_it_renews(
    scene: Scene,
) -> None:
    await scene.limit(None)
    await scene.felt(None)
    assert await scene.ask() == "dear"
    await scene.felt(None)
    limit = await scene.spent() + OUTPUT_CAP * DEAR  # the prompt's price is not in it: the dear one does not fit
    await scene.limit(limit)
    await scene.felt(limit)
    models, error = await scene.until_exhausted()
    assert set(models) == {"cheap"}
    assert len(models) >= 8
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info, wait_s = read(error)
    assert info.reason == "BUDGET_EXHAUSTED"
    assert info.metadata["node"] == "acme"
    assert info.metadata["renews_at"].endswith("T00:00:00Z")
    assert 0 < wait_s <= 86_400
    await scene.felt(limit)
    left = limit - await scene.spent()
    assert 0 <= left < 2 * OUTPUT_CAP * CHEAP, "no cheap answer fits any more, and nothing is overspent"


async def test_a_raised_limit_is_felt_within_a_sync_interval_and_a_second(scene: Scene) -> None:
    await scene.until_exhausted()
    ends_s = time.monotonic() + 3.0
    while time.monotonic() < ends_s:  # for a while, so that the sidecar asks less and less often
        await scene.until_exhausted()
        await asyncio.sleep(0.1)
    await scene.limit(2 * LIMIT)
    raised_s = time.monotonic()
    while True:
        try:
            assert await scene.ask()
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() - raised_s < FELT_WITHIN_S
            await asyncio.sleep(0.05)


async def test_a_limit_lowered_below_what_is_spent_refuses_at_the_next_sync(scene: Scene) -> None:
    await scene.ask()
    await scene.ask()
    await scene.felt(LIMIT)
    await scene.limit(1_000_000)
    lowered_s = time.monotonic()
    while True:
        try:
            await scene.ask()
            assert time.monotonic() - lowered_s < FELT_WITHIN_S
        except grpc.aio.AioRpcError:
            break
    assert read(await scene.refusal())[0].reason == "BUDGET_EXHAUSTED"
    await scene.limit(None)
    await scene.felt(None)
    assert await scene.ask() == "dear", "without a limit everything fits"
