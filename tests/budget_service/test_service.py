"""The service over real sockets: who may call, what each status means, paging, draining, metrics."""

import asyncio
import hashlib
import socket
import urllib.request
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from atlas_api.v1 import budget_pb2 as pb
from atlas_sidecar.budget_service.serve import ServeSettings, TlsFiles, serve
from atlas_sidecar.budget_service.store import StoreError
from tests.budget_service.running import bearer, client, service, settle_fact, sync_request, usd, want_of

TOKENS = f"""
admin-token            *         admin
sha256:{hashlib.sha256(b"acme-token").hexdigest()}  acme   # a sidecar's
search-token           acme/search
"""


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(database=f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def guarded(settings: ServeSettings, tmp_path: Path) -> ServeSettings:
    (tmp_path / "tokens").write_text(TOKENS)
    return ServeSettings(settings.database, token_file=str(tmp_path / "tokens"))


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def node(path: str, limit: float | None = None, **more: Any) -> pb.SetBudgetRequest:
    return pb.SetBudgetRequest(
        node=pb.BudgetNode(budget=path, daily_limit=None if limit is None else usd(limit), **more)
    )


async def test_a_sidecar_gets_a_lease_reports_its_spend_and_people_see_both(database_url: str) -> None:
    async with service(ServeSettings(database=database_url)) as address, client(address) as budget:
        await budget.SetBudget(node("acme", 10))
        answer = await budget.Sync(sync_request(1, wants=(want_of(1),)))
        (grant,) = answer.grants
        assert (grant.amount, grant.ttl.seconds, answer.next_sync.seconds) == (usd(1), 90, 30)
        answer = await budget.Sync(sync_request(2, settle_fact(1, "a1", 0.25, lease=grant.lease_id)))
        assert dict(answer.applied_seq) == {"i1": 1}
        (shown,) = (await budget.GetBudget(pb.GetBudgetRequest(budget="acme"))).nodes
        assert (shown.state.spent, shown.state.leased, shown.state.limit) == (usd(0.25), usd(0.75), usd(10))
        assert shown.active_sidecars == 1
        request = pb.ListSpendRequest(budget="acme", group_by=["model", "outcome", "label:team"])
        (row,) = (await budget.ListSpend(request)).rows
        assert dict(row.group) == {"model": "m1", "outcome": "answered", "label:team": "blue"}
        assert (row.attempts, row.cost) == (1, usd(0.25))
        denial = (await budget.Reserve(pb.ReserveRequest(sidecar_id="s", incarnation="i", want=want_of(10)))).denial
        assert (denial.budget, denial.reason) == ("acme", pb.Denial.REASON_EXHAUSTED)
        assert denial.retry_at == shown.period_ends


async def test_what_was_told_is_there_after_a_restart(database_url: str) -> None:
    for number in (1, 2):
        async with service(ServeSettings(database=database_url)) as address, client(address) as budget:
            if number == 1:
                await budget.SetBudget(node("acme", 10))
            await budget.Sync(sync_request(number, settle_fact(1, "a1", 1), settle_fact(2, "a2", 1)))
            (shown,) = (await budget.GetBudget(pb.GetBudgetRequest(budget="acme"))).nodes
            assert shown.state.spent == usd(2)


async def test_tokens_bind_their_bearer_to_a_subtree_and_only_an_administrator_sets_budgets(
    guarded: ServeSettings,
) -> None:
    async with service(guarded) as address, client(address) as budget:
        for metadata in (None, bearer("wrong"), (("authorization", "Basic acme-token"),)):
            code, _ = await refused(budget.GetBudget(pb.GetBudgetRequest(), metadata=metadata))
            assert code is grpc.StatusCode.UNAUTHENTICATED
        code, detail = await refused(budget.SetBudget(node("acme", 1), metadata=bearer("acme-token")))
        assert (code, "administrator" in detail) == (grpc.StatusCode.PERMISSION_DENIED, True)
        for path in ("acme", "acme/search", "acme/searching"):
            await budget.SetBudget(node(path, 10), metadata=bearer("admin-token"))
        for path in ("acme", "acme/searching"):
            request = pb.GetBudgetRequest(budget=path)
            code, detail = await refused(budget.GetBudget(request, metadata=bearer("search-token")))
            assert (code, path in detail) == (grpc.StatusCode.PERMISSION_DENIED, True)
            wanted = sync_request(1, wants=(want_of(1, path),))
            assert (await refused(budget.Sync(wanted, metadata=bearer("search-token"))))[0] is code
        answer = await budget.Sync(sync_request(1, wants=(want_of(1, "acme/search"),)), metadata=bearer("search-token"))
        assert len(answer.grants) == 1
        foreign = sync_request(2, settle_fact(1, "x", 1, "acme"), settle_fact(2, "y", 1, "acme/search/deep"))
        answer = await budget.Sync(foreign, metadata=bearer("search-token"))
        assert [(q.seq, "subtree" in q.reason) for q in answer.quarantined] == [(1, True)]
        assert dict(answer.applied_seq) == {"i1": 2}


async def test_a_changed_token_file_holds_within_a_moment_and_a_broken_one_does_not(
    guarded: ServeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(str(guarded.token_file))
    async with service(guarded) as address, client(address) as budget:
        request = pb.GetBudgetRequest(budget="default")
        await budget.GetBudget(request, metadata=bearer("admin-token"))
        path.write_text("not a line")  # noqa: ASYNC240 # a test's own small file
        await asyncio.sleep(1.1)
        await budget.GetBudget(request, metadata=bearer("admin-token"))
        assert "line 1" in caplog.text
        assert "not a line" not in caplog.text
        path.write_text("new-token * admin")  # noqa: ASYNC240 # the same
        await asyncio.sleep(1.1)
        await budget.GetBudget(request, metadata=bearer("new-token"))
        code, _ = await refused(budget.GetBudget(request, metadata=bearer("admin-token")))
        assert code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "example.org:0", "192.0.2.1:0"])
async def test_it_does_not_serve_strangers_by_accident(settings: ServeSettings, listen: str) -> None:
    for tls in (None, TlsFiles("cert", "key")):
        with pytest.raises(StoreError, match="beyond loopback"):
            await serve(ServeSettings(settings.database, (listen,), tls))


async def test_bad_requests_are_refused_with_the_reason_and_change_nothing(settings: ServeSettings) -> None:
    negative = want_of(1)
    negative.amount.nano_usd = -1
    late = want_of(1)
    late.longest_attempt.seconds = -1
    async with service(settings) as address, client(address) as budget:
        calls: list[tuple[Awaitable[object], str]] = [
            (budget.Sync(pb.SyncRequest(sidecar_id="s", sync_seq=1)), "incarnation"),
            (budget.Sync(pb.SyncRequest(sidecar_id="s" * 201, incarnation="i")), "sidecar_id"),
            (budget.Sync(pb.SyncRequest(sidecar_id="s\0", incarnation="i")), "sidecar_id"),
            (budget.Sync(pb.SyncRequest(sidecar_id="s", incarnation="i", sync_seq=2**64 - 1)), "sync_seq"),
            (budget.Sync(sync_request(1, wants=(negative,))), "negative"),
            (budget.Sync(sync_request(1, wants=(late,))), "longest_attempt"),
            (budget.Sync(sync_request(1, wants=(want_of(1, "no path!"),))), "no node path"),
            (budget.Sync(sync_request(1, wants=tuple(want_of(1, name=str(n)) for n in range(65)))), "at most 64"),
            (budget.Reserve(pb.ReserveRequest(sidecar_id="s", incarnation="i")), "want_id"),
            (budget.SetBudget(node("acme", -1)), "negative"),
            (budget.SetBudget(node("acme", 1, time_zone="Mars/Olympus")), "time zone"),
            (budget.GetBudget(pb.GetBudgetRequest(budget="a b")), "no node path"),
            (budget.GetBudget(pb.GetBudgetRequest(budget="default", period="monday")), "day like"),
            (budget.GetBudget(pb.GetBudgetRequest(budget="default", page_size=-1)), "page_size"),
            (budget.ListSpend(pb.ListSpendRequest(group_by=["color"])), "color"),
            (budget.ListSpend(pb.ListSpendRequest(page_token="x")), "page_token"),
        ]  # fmt: skip
        for call, reason in calls:
            code, detail = await refused(call)
            assert (code, reason in detail) == (grpc.StatusCode.INVALID_ARGUMENT, True), (reason, detail)
        code, detail = await refused(budget.GetBudget(pb.GetBudgetRequest(budget="ghost")))
        assert (code, "ghost" in detail) == (grpc.StatusCode.NOT_FOUND, True)
        await budget.SetBudget(node("acme", 1))
        code, _ = await refused(budget.SetBudget(node("acme", 1, etag="99")))
        assert code is grpc.StatusCode.ABORTED


async def test_trees_and_sums_come_in_pages(settings: ServeSettings) -> None:
    async with service(settings) as address, client(address) as budget:
        names = [f"acme/n{number:02}" for number in range(7)]
        facts = [settle_fact(seq, f"a{seq}", seq, name) for seq, name in enumerate(names, 1)]
        await budget.SetBudget(node("acme"))
        await budget.Sync(sync_request(1, *facts))
        request = pb.GetBudgetRequest(budget="acme", recursive=True, page_size=3)
        seen: list[str] = []
        while True:
            page = await budget.GetBudget(request)
            seen += [status.node.budget for status in page.nodes]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert seen == ["acme", *names]
        sums = pb.ListSpendRequest(budget="acme", group_by=["budget"], page_size=5)
        first = await budget.ListSpend(sums)
        sums.page_token = first.next_page_token
        second = await budget.ListSpend(sums)
        assert [row.group["budget"] for row in [*first.rows, *second.rows]] == names
        assert second.next_page_token == ""


async def test_health_reflection_and_metrics_are_served(settings: ServeSettings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with (
        service(ServeSettings(settings.database, metrics_listen=f"127.0.0.1:{port}")) as address,
        grpc.aio.insecure_channel(address) as channel,
        client(address) as budget,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # stubs know no aio
        async for answer in reflection.ServerReflectionInfo(iter([listing])):
            names = {each.name for each in answer.list_services_response.service}
            assert {"atlas_api.v1.Budget", "grpc.health.v1.Health"} <= names
        await budget.SetBudget(node("acme", 1))
        await budget.Sync(sync_request(1, settle_fact(1, "a", 0.5), settle_fact(2, "", 1)))
        text = await asyncio.to_thread(
            lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        )
        assert "atlas_budget_attempts_posted_total 1.0" in text
        assert "atlas_budget_facts_quarantined_total 1.0" in text
        assert 'atlas_budget_calls_total{code="OK",method="Sync"} 1.0' in text


async def test_many_calls_at_once_share_transactions_and_each_gets_its_own_answer(database_url: str) -> None:
    async with service(ServeSettings(database=database_url)) as address, client(address) as budget:
        await budget.SetBudget(node("acme", 1000))
        calls = [
            budget.Sync(
                sync_request(1, settle_fact(1, f"a{n}", 1, i=f"i{n}"), incarnation=f"i{n}", wants=(want_of(0.5),))
            )
            for n in range(300)
        ]
        answers = await asyncio.gather(*calls)
        assert [dict(answer.applied_seq) for answer in answers] == [{f"i{n}": 1} for n in range(300)]
        assert len({grant.lease_id for answer in answers for grant in answer.grants}) == 300
        (shown,) = (await budget.GetBudget(pb.GetBudgetRequest(budget="acme"))).nodes
        assert (shown.state.spent, shown.state.leased) == (usd(300), usd(150))


async def test_a_calls_end_is_waited_for_when_the_service_stops(settings: ServeSettings) -> None:
    async with client("127.0.0.1:1"):
        pass
    async with service(settings) as address, client(address) as budget:
        await budget.SetBudget(node("acme", 1000))
        calls = [asyncio.ensure_future(budget.Sync(sync_request(1, incarnation=f"i{n}"))) for n in range(50)]
        await asyncio.sleep(0.01)
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [
        r for r in results if isinstance(r, grpc.aio.AioRpcError) and r.code() is not grpc.StatusCode.UNAVAILABLE
    ]
    assert failures == []
