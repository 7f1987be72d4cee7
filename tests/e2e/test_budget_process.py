"""`atlas-sidecar budget serve` as a process with everything on, and what people and sidecars do with it."""

import json
import random
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import router_pb2 as router
from atlas_api.v1.budget_pb2_grpc import BudgetStub
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.budget_service.kill_world import SidecarProcess, Upstream
from tests.budget_service.test_replicas import free_port
from tests.budget_service.test_start_and_failure import certificate
from tests.e2e.in_process import asked
from tests.e2e.process import PROGRAM, environment, run

ADMIN, SIDECAR = "the-admin-token", "the-sidecar-token"
CONFIG = """
listen: ["127.0.0.1:{port}"]
log_level: debug
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: "a-test-key"}}
models:
  m1: {{provider: up, model: m1, context_window: 8000, max_output_tokens: 60, reasoning_score: 5, speed_score: 5,
       price: {{input: 1.0, output: 4.0}}}}
roles: {{worker: {{tiers: [[m1]]}}}}
budget: {{node: acme/search, service: "{service}", spend_log: "{at}/spend", token_file: "{at}/sidecar",
          tls: {{ca_file: "{at}/service.pem", cert_file: "{at}/pod.pem", key_file: "{at}/pod.key"}}}}
"""


class Served:
    """A running service: its address, its metrics' port, and where its files are."""

    def __init__(self, directory: Path, address: str, metrics_port: int) -> None:
        self.directory = directory
        self.address = f"localhost:{address.rpartition(':')[2]}"
        self.metrics_port = metrics_port

    def credentials(self) -> grpc.ChannelCredentials:
        names = ("service.pem", "pod.key", "pod.pem")
        return grpc.ssl_channel_credentials(*((self.directory / name).read_bytes() for name in names))

    def command(self, *words: str, token: str = "admin") -> "subprocess.CompletedProcess[str]":
        at = self.directory
        files = {"ca": "service.pem", "cert": "pod.pem", "key": "pod.key", "token": token}
        access = [word for name, file in files.items() for word in (f"--{name}-file", str(at / file))]
        return run("budget", *words, "--target", self.address, *access, env=environment(at), timeout_s=60)


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    for name in ("service", "pod"):
        certificate(directory, name)
    (directory / "tokens").write_text(f"{ADMIN} * admin\n{SIDECAR} acme/search\n")
    (directory / "admin").write_text(ADMIN)
    (directory / "sidecar").write_text(SIDECAR)
    metrics_port = free_port()
    words = (
        "budget", "serve", "--listen", "127.0.0.1:0", "--database", f"sqlite:///{directory}/ledger.db",
        "--cert-file", str(directory / "service.pem"), "--key-file", str(directory / "service.key"),
        "--client-ca-file", str(directory / "pod.pem"), "--token-file", str(directory / "tokens"),
        "--metrics-listen", f"127.0.0.1:{metrics_port}",
    )  # fmt: skip
    with (directory / "service.log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, *words], env=environment(directory), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("serving on "), (directory / "service.log").read_text()
        yield Served(directory, line.removeprefix("serving on "), metrics_port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (directory / "service.log").read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def refused(call: Any, *arguments: Any, **options: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=5, **options)
    code: grpc.StatusCode = caught.value.code()
    return code


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_the_process_knows_its_callers_and_serves_health_reflection_and_metrics(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        with grpc.secure_channel(served.address, served.credentials()) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1  # SERVING
            assert "atlas_api.v1.Budget" in ProtoReflectionDescriptorDatabase(channel).get_services()
            budget: Any = BudgetStub(channel)
            node = pb.SetBudgetRequest(node=pb.BudgetNode(budget="acme", daily_limit=router.Money(nano_usd=10**10)))
            assert refused(budget.SetBudget, node) is grpc.StatusCode.UNAUTHENTICATED
            assert refused(budget.SetBudget, node, metadata=bearer(SIDECAR)) is grpc.StatusCode.PERMISSION_DENIED
            budget.SetBudget(node, metadata=bearer(ADMIN), timeout=5)
            beside = pb.SyncRequest(sidecar_id="s", incarnation="i", sync_seq=1)
            beside.wants.add(want_id="w", budget="acme/other", amount=router.Money(nano_usd=1))
            assert refused(budget.Sync, beside, metadata=bearer(SIDECAR)) is grpc.StatusCode.PERMISSION_DENIED
        stranger = grpc.ssl_channel_credentials((tmp_path / "service.pem").read_bytes())
        for other in (grpc.secure_channel(served.address, stranger), grpc.insecure_channel(served.address)):
            with other:
                get: Any = BudgetStub(other).GetBudget
                asking = pb.GetBudgetRequest(budget="acme")
                assert refused(get, asking, metadata=bearer(ADMIN)) is grpc.StatusCode.UNAVAILABLE
        with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        assert 'atlas_budget_calls_total{code="PERMISSION_DENIED",method="SetBudget"} 1.0' in metrics
    assert_no_token_in(tmp_path / "service.log")


async def test_a_sidecar_with_token_and_certificate_reports_and_people_see_it(tmp_path: Path) -> None:
    upstream = Upstream(random.Random(1), cuts=0.0)
    async with await upstream.start():
        with serving(tmp_path) as served:
            assert served.command("set", "acme", "--daily-limit", "10").returncode == 0
            sidecar = SidecarProcess(0, free_port(), tmp_path)
            text = CONFIG.format(port=sidecar.port, upstream=upstream.port, service=served.address, at=tmp_path)
            (tmp_path / "0.yaml").write_text(text)
            await sidecar.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.port}") as channel:
                    generate: Any = RouterStub(channel).Generate
                    events = [event async for event in generate(asked(), timeout=20)]
                assert events[-1].completed.cost.nano_usd == sum(upstream.cost.values())
            finally:
                assert await sidecar.end(signal.SIGTERM) == 0
            shown = served.command("show")
            (row,) = json.loads(served.command("spend", "acme", "--by", "model", "--json").stdout)["rows"]
            wrong = served.command("set", "acme/search", "--daily-limit", "1", token="sidecar")
    assert row["cost"]["nano_usd"] == str(sum(upstream.cost.values()))
    assert "acme" in shown.stdout
    assert "└─ search" in shown.stdout
    assert "$10.00" in shown.stdout
    assert (wrong.returncode, "administrator" in wrong.stderr) == (1, True)
    assert_no_token_in(tmp_path / "service.log", tmp_path / "0.log")


def assert_no_token_in(*logs: Path) -> None:
    for log in logs:
        text = log.read_text()
        assert ADMIN not in text
        assert SIDECAR not in text
