"""What an operator's platform needs of the budget service: probes without TLS, and migrations on their own."""

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from atlas_sidecar.budget_service.serve import ServeSettings, serve
from atlas_sidecar.cli import main


async def test_health_is_served_alone_on_a_port_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = ServeSettings(f"sqlite:///{tmp_path}/ledger.db", listen=("127.0.0.1:0",), health_listen="127.0.0.1:0")
    task = asyncio.create_task(serve(settings, stop=stop, announce=ready.set_result))
    await ready
    (address,) = [record.args[0] for record in caplog.records if record.msg == "health on %s" and record.args]  # type: ignore[index]
    async with grpc.aio.insecure_channel(str(address)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        sync: Any = channel.unary_unary("/atlas_api.v1.Budget/Sync")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sync(b"")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    stop.set()
    await task


def test_migrate_makes_the_schema_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "migrate", "--database", f"sqlite:///{tmp_path}/ledger.db"]) == 0
    assert "this version's schema" in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        assert database.execute("SELECT MAX(version) FROM schema_version").fetchone()[0] >= 1
    database.close()


def test_migrate_leaves_a_newer_schema_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert main(["budget", "migrate", "--database", url]) == 0
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        database.execute("INSERT INTO schema_version (version) VALUES (9999)")
    database.close()
    assert main(["budget", "migrate", "--database", url]) == 1
    assert "9999" in capsys.readouterr().err
