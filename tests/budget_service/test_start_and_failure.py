"""Starting where it must not, and a database that fails under it."""

import asyncio
import sqlite3
import subprocess
from pathlib import Path

import grpc
import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_sidecar.budget_service.access import Access, Caller
from atlas_sidecar.budget_service.database import store_for
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.serve import ServeSettings, TlsFiles, serve
from atlas_sidecar.budget_service.sqlite import SqliteStore
from atlas_sidecar.budget_service.store import SpendQuery, StoreError, StoreUnavailableError
from atlas_sidecar.budget_service.values import SyncDone
from atlas_sidecar.cli import main
from tests.budget_service import postgres_server
from tests.budget_service.running import client, service, settle_fact, sync_request, usd
from tests.budget_service.say import NOON, fact, limit, settle, sync


async def migrated(url: str) -> None:
    store = store_for(url, Rules())
    await store.open()
    await store.close()


def pretend_newer(url: str) -> None:
    statement = "INSERT INTO schema_version (version) VALUES (9999)"
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite://")) as connection:
            connection.execute(statement)
        connection.close()
    else:
        import psycopg  # noqa: PLC0415 # an extra

        with psycopg.connect(url) as postgres:
            postgres.execute(statement)


async def test_a_newer_schema_is_left_alone(database_url: str) -> None:
    await migrated(database_url)
    pretend_newer(database_url)
    with pytest.raises(StoreError, match="version 9999"):
        await migrated(database_url)


def test_the_command_ends_with_status_2_when_it_cannot_use_its_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(migrated(f"sqlite:///{tmp_path}/ledger.db"))
    pretend_newer(f"sqlite:///{tmp_path}/ledger.db")
    (tmp_path / "text.db").write_text("this is no database, and long enough to be read as one" * 100)
    for url, words in (
        (f"sqlite:///{tmp_path}/ledger.db", "9999"),
        (f"sqlite:///{tmp_path}/text.db", "not a database"),
        ("sqlite:///", "sqlite:///path/ledger.db"),
        ("mysql://x", "postgresql://user@host/db"),
        ("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1", "PostgreSQL"),
    ):
        assert main(["budget", "serve", "--database", url, "--listen", "127.0.0.1:0"]) == 2
        assert words in capsys.readouterr().err


async def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "ledger.db"), Rules())
    await store.open()
    await store.transact([limit(10**9)], NOON)
    assert store.session is not None
    pages = store.session.rows("PRAGMA page_count")[0][0]
    store.session.rows(f"PRAGMA max_page_count = {pages + 2}")
    applied = 0

    async def report(seq: int) -> int:
        (outcome,) = await store.transact([sync(seq, fact(seq, settle(f"a{seq}", 1)))], NOON)
        assert isinstance(outcome, SyncDone)
        return outcome.applied_seq["i1"]

    async def report_until_full() -> None:
        nonlocal applied
        for seq in range(1, 1000):
            applied = await report(seq)

    with pytest.raises(StoreUnavailableError, match="full"):
        await report_until_full()
    store.session.rows(f"PRAGMA max_page_count = {pages + 1000}")
    assert await report(applied + 1) == applied + 1
    (row,) = await store.spend(SpendQuery("acme"))
    assert row.attempts == applied + 1
    await store.close()


async def test_an_address_in_use_is_said_so(tmp_path: Path) -> None:
    settings = ServeSettings(database=f"sqlite:///{tmp_path}/ledger.db")
    async with service(settings) as address:
        with pytest.raises(StoreError, match="cannot listen"):
            await serve(ServeSettings(settings.database, (address,)))


async def test_a_postgresql_that_crashes_and_comes_back_keeps_what_was_acknowledged() -> None:
    if reason := postgres_server.missing():
        pytest.skip(reason)
    with postgres_server.running(durable=True) as server:
        settings = ServeSettings(database=server.create_database("ledger"))
        async with service(settings) as address, client(address) as budget:
            await budget.SetBudget(pb.SetBudgetRequest(node=pb.BudgetNode(budget="acme", daily_limit=usd(100))))
            for seq in range(1, 21):
                await budget.Sync(sync_request(seq, settle_fact(seq, f"a{seq}", 1)))
            await asyncio.to_thread(server.kill)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await budget.Sync(sync_request(21, settle_fact(21, "a21", 1)), timeout=15)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            await asyncio.to_thread(server.start)
            for attempt in range(22, 60):
                try:
                    answer = await budget.Sync(sync_request(attempt, settle_fact(21, "a21", 1)), timeout=5)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.2)
            else:
                pytest.fail("the service did not come back")
            assert dict(answer.applied_seq) == {"i1": 21}
            (shown,) = (await budget.GetBudget(pb.GetBudgetRequest(budget="acme"))).nodes
            assert shown.state.spent == usd(21)


def certificate(directory: Path, name: str) -> tuple[str, str]:
    """Make a key and a certificate that vouches for itself."""
    key, pem = str(directory / f"{name}.key"), str(directory / f"{name}.pem")
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        f" -addext subjectAltName=DNS:localhost -keyout {key} -out {pem}".split(),
        check=True,
        capture_output=True,
    )
    return pem, key


@pytest.mark.parametrize("listed", [True, False])
async def test_a_client_certificate_may_do_what_its_line_says(tmp_path: Path, listed: bool) -> None:
    server, server_key = certificate(tmp_path, "service")
    pod, pod_key = certificate(tmp_path, "pod-1")
    (tmp_path / "tokens").write_text("cert:pod-1 acme admin\n")  # a test's own small file
    settings = ServeSettings(
        database=f"sqlite:///{tmp_path}/ledger.db",
        listen=("0.0.0.0:0",),
        tls=TlsFiles(server, server_key, pod),
        token_file=str(tmp_path / "tokens") if listed else None,
    )
    files = [Path(name).read_bytes() for name in (server, pod_key, pod)]  # noqa: ASYNC240 # the same
    async with service(settings) as address:
        target = f"localhost:{address.rpartition(':')[2]}"
        request = pb.SetBudgetRequest(node=pb.BudgetNode(budget="acme"))
        async with client(target, grpc.ssl_channel_credentials(*files)) as budget:
            if listed:
                await budget.SetBudget(request)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await budget.SetBudget(pb.SetBudgetRequest(node=pb.BudgetNode(budget="other")))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            await budget.GetBudget(pb.GetBudgetRequest(budget="acme" if listed else "default"))
        async with client(target, grpc.ssl_channel_credentials(files[0])) as stranger:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stranger.GetBudget(pb.GetBudgetRequest(budget="acme"))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "line",
    [
        "one-word",
        "secret a//b",
        "secret acme boss",
        "secret acme admin more",
        "sha256:12 acme",
        f"sha256:{'z' * 64} acme",
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(f"# comment\n\ngood *\n{line}\n")
    with pytest.raises(StoreError, match="line 4") as caught:
        Access(str(tmp_path / "tokens"))
    assert line.split(maxsplit=1)[0] not in str(caught.value).replace("TOKEN", "").replace("sha256:HEX", "")


def test_a_token_is_known_by_itself_or_by_its_hash_and_nothing_else(tmp_path: Path) -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of "test"
    (tmp_path / "tokens").write_text(f"plain acme\nsha256:{digest} * admin\n")
    access = Access(str(tmp_path / "tokens"))
    assert access.caller("Bearer plain") == Caller("acme", admin=False)
    assert access.caller("bearer test") == Caller("*", admin=True)
    for header in ("", "Bearer", "Bearer ", f"Bearer {digest}", "plain", "Basic plain"):
        assert access.caller(header) is None
    assert "plain" not in repr(access)
