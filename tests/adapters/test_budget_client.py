"""The real client against the real service, over sockets."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import budget_pb2_grpc, router_pb2
from atlas_sidecar.adapters.boot import boottime_s
from atlas_sidecar.adapters.budget_client import BudgetClientSettings, GrpcBudgetGateway
from atlas_sidecar.adapters.budget_wire import denial_from_wire, grant_from_wire, sync_from_wire, sync_to_wire
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.secrets import FileSecret
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.budget_service.serve import ServeSettings, TlsFiles, serve
from atlas_sidecar.core.errors import AtlasError, ErrorClass, Reason
from atlas_sidecar.core.leases import BudgetSettings, Hold, Settlement
from atlas_sidecar.core.spend_records import Fact, FactBody, Finish, LogRecord, Release, Settle, Skip
from atlas_sidecar.core.sync import Denial, DenialReason, Grant, Held, NodePolicy, SyncCall, Want
from atlas_sidecar.core.types import ModelRef, Usage
from atlas_sidecar.ports import GatewayError
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.lease_exchange import LeaseExchange

USD = 1_000_000_000
MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")
SETTLE = Settle(
    "attempt-1",
    "",
    "acme/search",
    "2026-11-23",
    4321,
    True,
    Usage(1, None, 3, 4, None),
    MODEL,
    ErrorClass.TIMEOUT,
    "req-1",
    "prov-1",
    {"team": "a"},
    1_795_435_200.25,
)


@asynccontextmanager
async def service(settings: ServeSettings, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[str]:
    """Run the service in this process; yields its address."""
    stop = asyncio.Event()
    capsys.readouterr()
    serving = asyncio.create_task(serve(settings, stop=stop))
    said = ""
    for _ in range(500):
        said += capsys.readouterr().out
        if "serving on" in said or serving.done():
            break
        await asyncio.sleep(0.02)
    try:
        yield said.removeprefix("serving on ").strip()
    finally:
        stop.set()
        await serving


async def set_limit(channel: grpc.aio.Channel, limit: int | None, token: str = "") -> None:
    money = None if limit is None else router_pb2.Money(nano_usd=limit)
    policy = pb.Policy(on_partition=pb.Policy.ON_PARTITION_OPEN, open_allowance=router_pb2.Money(nano_usd=77))
    node = pb.BudgetNode(budget="acme", daily_limit=money, policy=policy)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    await budget_pb2_grpc.BudgetStub(channel).SetBudget(pb.SetBudgetRequest(node=node), metadata=metadata)


def settings_of(tmp_path: Path, **changes: object) -> ServeSettings:
    values = {"database": f"sqlite:///{tmp_path}/ledger.db", "listen": (f"unix:{tmp_path}/s",)} | changes
    return ServeSettings(**values)  # type: ignore[arg-type]  # the fields' names and types are the caller's care


@pytest.fixture
async def address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[str]:
    async with service(settings_of(tmp_path), capsys) as found:
        async with grpc.aio.insecure_channel(found) as channel:
            await set_limit(channel, 10 * USD)
        yield found


@pytest.fixture
async def gateway(address: str) -> AsyncIterator[GrpcBudgetGateway]:
    made = GrpcBudgetGateway(BudgetClientSettings(address))
    yield made
    await made.close()


def call(seq: int = 1, *facts: Fact, wants: tuple[Want, ...] = (), final: bool = False) -> SyncCall:
    return SyncCall("pod-1", "inc-1", seq, facts, (), wants, final)


async def test_facts_wants_and_node_states_cross_the_wire(gateway: GrpcBudgetGateway) -> None:
    want = Want("want-1", "acme/search", USD, 1000, 60.0)
    answer = await gateway.sync(call(1, Fact("inc-1", 1, SETTLE), wants=(want,)), 5.0)
    assert answer.applied == {"inc-1": 1}
    (grant,) = answer.grants
    assert (grant.want_id, grant.node, grant.amount_nano_usd) == ("want-1", "acme/search", USD)
    assert 0 < grant.ttl_s <= 90
    assert answer.next_sync_s == 30.0
    by_node = {state.node: state for state in answer.nodes}
    assert by_node["acme"].limit_nano_usd == 10 * USD
    assert by_node["acme/search"].limit_nano_usd is None
    assert by_node["acme/search"].policy == NodePolicy(True, 77)
    assert by_node["acme"].period_ends_unix_s is not None


async def test_what_was_settled_is_on_the_ledger_as_it_was_said(address: str, gateway: GrpcBudgetGateway) -> None:
    await gateway.sync(call(1, Fact("inc-1", 1, SETTLE)), 5.0)
    groups = ["provider", "model", "budget", "period", "outcome", "label:team"]
    async with grpc.aio.insecure_channel(address) as channel:
        request = pb.ListSpendRequest(budget="acme", group_by=groups)
        spend = await budget_pb2_grpc.BudgetStub(channel).ListSpend(request)
    (row,) = spend.rows
    assert row.group["provider"] == "anthropic"
    assert (row.group["budget"], row.group["period"], row.group["label:team"]) == ("acme/search", "2026-11-23", "a")
    assert (row.cost.nano_usd, row.estimated_cost.nano_usd, row.attempts) == (4321, 4321, 1)
    assert (row.usage.input_tokens, row.usage.cache_write_tokens, row.usage.output_tokens) == (1, 3, 4)


async def test_a_reserve_brings_a_grant_or_a_denial(gateway: GrpcBudgetGateway) -> None:
    granted = await gateway.reserve("pod-1", "inc-1", Want("w1", "acme", 9 * USD, 9 * USD, 1.0), 5.0)
    assert isinstance(granted, Grant)
    assert granted.amount_nano_usd == 9 * USD
    denied = await gateway.reserve("pod-1", "inc-1", Want("w2", "acme", 2 * USD, 2 * USD, 1.0), 5.0)
    assert isinstance(denied, Denial)
    assert (denied.reason, denied.node) == (DenialReason.EXHAUSTED, "acme")
    assert denied.retry_at_unix_s is not None
    assert denied.retry_at_unix_s > time.time()
    nowhere = await gateway.reserve("pod-1", "inc-1", Want("w3", "nowhere", 1, 1, 1.0), 5.0)
    assert isinstance(nowhere, Denial)
    assert nowhere.reason is DenialReason.UNKNOWN_BUDGET


async def test_a_service_that_is_not_there_is_a_gateway_error_within_the_timeout(tmp_path: Path) -> None:
    gateway = GrpcBudgetGateway(BudgetClientSettings(f"unix:{tmp_path}/nobody"))
    began_s = time.monotonic()
    with pytest.raises(GatewayError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED") as error:
        await gateway.sync(call(), 1.0)
    assert not error.value.refused
    assert time.monotonic() - began_s < 3
    await gateway.close()


async def test_a_service_that_never_answers_is_a_gateway_error_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:  # it listens, and that is all
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        gateway = GrpcBudgetGateway(BudgetClientSettings(f"unix:{tmp_path}/s"))
        began_s = time.monotonic()
        with pytest.raises(GatewayError, match=r"DEADLINE_EXCEEDED|UNAVAILABLE"):
            await gateway.sync(call(), 0.3)
        assert time.monotonic() - began_s < 2
        await gateway.close()


async def test_a_call_that_makes_no_sense_is_refused(gateway: GrpcBudgetGateway) -> None:
    with pytest.raises(GatewayError, match="INVALID_ARGUMENT") as error:
        await gateway.sync(call(1, wants=(Want("w", "no path!", 1, 1, 1.0),)), 5.0)
    assert error.value.refused


async def test_the_token_is_read_again_when_its_file_changes_and_never_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("right-token acme/search\nroot-token * admin\n")
    mine = tmp_path / "token"
    mine.write_text("wrong-token\n")
    async with service(settings_of(tmp_path, token_file=str(tokens)), capsys) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            await set_limit(channel, USD, "root-token")
        settings = BudgetClientSettings(address, FileSecret(str(mine)))
        gateway = GrpcBudgetGateway(settings)
        with pytest.raises(GatewayError, match="UNAUTHENTICATED") as refused:
            await gateway.sync(call(), 5.0)
        assert refused.value.refused
        mine.write_text("right-token\n")
        await gateway.sync(call(), 5.0)
        with pytest.raises(GatewayError, match="PERMISSION_DENIED"):
            await gateway.sync(call(2, wants=(Want("w", "acme/other", 1, 1, 1.0),)), 5.0)
        shown = f"{gateway!r} {settings!r} {refused.value}"
        assert "wrong-token" not in shown
        assert "right-token" not in shown
        await gateway.close()


def make_certificate(directory: Path, name: str) -> tuple[str, str]:
    """Make a key and a certificate that vouches for itself."""
    key, certificate = str(directory / f"{name}.key"), str(directory / f"{name}.pem")
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        f" -addext subjectAltName=DNS:localhost,DNS:{name} -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_mutual_tls_follows_certificate_files_that_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server_certificate, server_key = make_certificate(tmp_path, "service")
    good_certificate, good_key = make_certificate(tmp_path, "pod-1")
    bad_certificate, bad_key = make_certificate(tmp_path, "stranger")
    used_certificate, used_key = tmp_path / "used.pem", tmp_path / "used.key"
    shutil.copyfile(bad_certificate, used_certificate)
    shutil.copyfile(bad_key, used_key)
    tls = TlsFiles(server_certificate, server_key, good_certificate)
    async with service(settings_of(tmp_path, listen=("127.0.0.1:0",), tls=tls), capsys) as address:
        target = f"localhost:{address.rpartition(':')[2]}"
        settings = BudgetClientSettings(
            target, tls=True, ca_file=server_certificate, cert_file=str(used_certificate), key_file=str(used_key)
        )
        gateway = GrpcBudgetGateway(settings)
        with pytest.raises(GatewayError):
            await gateway.sync(call(), 2.0)
        shutil.copyfile(good_certificate, used_certificate)
        shutil.copyfile(good_key, used_key)
        await gateway.sync(call(), 5.0)
        await gateway.close()
        with pytest.raises(GatewayError, match="No such file"):
            await GrpcBudgetGateway(BudgetClientSettings(target, tls=True, ca_file="/nowhere.pem")).sync(call(), 1.0)


def test_every_kind_of_fact_and_every_lease_held_has_a_wire_form() -> None:
    bodies: tuple[FactBody, ...] = (
        SETTLE._replace(cost_nano_usd=None, outcome=None),
        Release("L"),
        Finish("old"),
        Skip(3),
    )
    facts = tuple(Fact("inc-1", 3 + number, body) for number, body in enumerate(bodies))
    message = sync_to_wire(SyncCall("pod-1", "inc-1", 9, facts, (Held("L", 5, 6),), (), True))
    assert [fact.WhichOneof("fact") for fact in message.facts] == ["settle", "release", "finish", "skip"]
    settle = message.facts[0].settle
    assert not settle.HasField("cost")
    assert settle.outcome == router_pb2.ERROR_CLASS_UNSPECIFIED
    assert not settle.usage.HasField("cache_read_tokens")
    assert settle.admitted_at.ToNanoseconds() == 1_795_435_200_250_000_000
    assert (message.facts[3].skip.first, message.facts[3].seq) == (3, 6)
    assert (message.held[0].used.nano_usd, message.held[0].reserved.nano_usd) == (5, 6)
    assert message.final


def test_an_answer_that_makes_no_sense_gives_nothing() -> None:
    money = router_pb2.Money(nano_usd=-5)
    assert grant_from_wire(pb.Grant(lease_id="L", amount=money)).amount_nano_usd == 0
    reason = pb.Denial.Reason.ValueType(99)
    assert denial_from_wire(pb.Denial(reason=reason)).reason is DenialReason.UNSPECIFIED
    answer = sync_from_wire(pb.SyncResponse(grants=[pb.Grant()], nodes=[pb.NodeState()]))
    assert (answer.grants, answer.nodes, answer.next_sync_s) == ((), (), None)


async def test_a_whole_budget_over_the_wire_is_settled_to_the_last_nano_dollar(address: str, tmp_path: Path) -> None:
    clock = SystemClock()
    settings = BudgetSettings(node="acme/search", sidecar_id="pod-1")
    log = DiskSpendLog(tmp_path / "log", sidecar_id="pod-1", local=False)
    budget = Budget(settings, clock, log, GrpcBudgetGateway(BudgetClientSettings(address)), boottime_s)
    await budget.start()

    async def attempt(number: int) -> int:
        hold = Hold("acme/search", clock.new_id(), USD // 4, MODEL)
        try:
            reservation = await budget.reserve(hold)
        except AtlasError as error:
            assert error.reason is Reason.BUDGET_EXHAUSTED  # noqa: PT017 - the other end of the question
            return 0
        await asyncio.sleep(0.01)
        budget.settle(reservation, Settlement(USD // 8 + number, False, Usage(1, None, None, 1, None)))
        return USD // 8 + number

    spent = 0
    for start in range(0, 60, 20):
        spent += sum(await asyncio.gather(*(attempt(number) for number in range(start, start + 20))))
    assert budget.state("acme/search").remaining_nano_usd == 10 * USD - spent
    await budget.close()
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await budget_pb2_grpc.BudgetStub(channel).GetBudget(pb.GetBudgetRequest(budget="acme"))
    state = answer.nodes[0].state
    assert (state.spent.nano_usd, state.leased.nano_usd, state.suspense.nano_usd) == (spent, 0, 0)
    assert spent > 5 * USD
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "log" / "lock").unlink()


class Notes:
    """A journal that keeps nothing."""

    def record(self, body: FactBody) -> Fact:
        raise AssertionError(body)

    def note(self, record: LogRecord) -> None:
        pass

    def forget(self, incarnation: str, seq: int) -> None:
        pass


async def test_a_batch_too_large_for_the_service_is_refused_and_its_facts_go_in_smaller_ones(
    address: str, gateway: GrpcBudgetGateway
) -> None:
    settings = BudgetSettings(node="acme", sidecar_id="pod-1", call_timeout_s=20.0)
    exchange = LeaseExchange(settings, SystemClock(), gateway, Notes(), time.monotonic)
    exchange.begin("inc-1")
    labels = {f"{number:0>200}": "x" * 200 for number in range(60)}
    for number in range(500):  # 12 MB; the service takes 8 MiB
        exchange.outbox.add(SETTLE._replace(attempt_id=f"a{number}", labels=labels), 0.0)
    assert not await exchange.sync()
    assert "RESOURCE_EXHAUSTED" in exchange.problem
    for _ in range(10):
        if exchange.outbox.pending:
            await exchange.sync()
    assert exchange.outbox.pending == 0
    async with grpc.aio.insecure_channel(address) as channel:
        (row,) = (await budget_pb2_grpc.BudgetStub(channel).ListSpend(pb.ListSpendRequest(budget="acme"))).rows
    assert row.attempts == 500
