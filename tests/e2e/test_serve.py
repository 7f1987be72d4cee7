"""`atlas-sidecar serve` as a real process, reached over real channels."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.e2e.process import PROGRAM, PROMPT, SLOW, Served, environment, generate, run, serving


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sidecar"), "--simulate", ATLAS_LISTEN="127.0.0.1:0,localhost:0") as served:
        yield served


def check(channel: grpc.Channel, service: str = "") -> health_pb2.HealthCheckResponse:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer: health_pb2.HealthCheckResponse = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return answer


def raw_select(channel: grpc.Channel, data: bytes) -> bytes:
    call: Any = channel.unary_unary("/atlas_api.v1.Router/Select")
    answer: bytes = call(data, timeout=5)
    return answer


def test_it_prints_every_address_with_its_real_port_and_nothing_else_on_stdout(simulated: Served) -> None:
    assert len(simulated.addresses) == 2
    assert all(int(address.rpartition(":")[2]) > 0 for address in simulated.addresses)


def test_it_serves_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as served:
        sys.stderr.write(f"start to SERVING: {served.start_s:.2f} s, {served.start_cpu_s:.2f} s of CPU\n")
        assert served.start_cpu_s < 1.5  # wall time says more of a shared machine than of us; one SDK costs 0.5-1.6 s


def test_a_call_that_comes_before_the_prices_are_there_is_answered_with_them(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as served:
        channel, router = served.router()
        with channel:
            decision = router.Select(pb.SelectRequest(), timeout=10).decision
    assert decision.selected.id
    assert all(candidate.HasField("estimated_cost") for candidate in decision.candidates)


def test_select_generate_and_health_answer_over_every_address(simulated: Served) -> None:
    for address in simulated.addresses:
        with grpc.insecure_channel(address) as channel:
            router = RouterStub(channel)
            assert router.Select(pb.SelectRequest(), timeout=10).decision.selected.id
            events = generate(router)
            assert events[-1].completed.cost.nano_usd > 0
            assert router.Health(pb.HealthRequest(), timeout=10).status == pb.HealthResponse.STATUS_SERVING


def test_health_and_decisions_name_the_same_configuration(simulated: Served) -> None:
    channel, router = simulated.router()
    with channel:
        decision = router.Select(pb.SelectRequest(), timeout=10).decision
    assert decision.config_version == simulated.health().config_version != ""


def test_grpc_health_says_serving_for_the_whole_and_for_the_router(simulated: Served) -> None:
    with grpc.insecure_channel(simulated.address) as channel:
        for service in ("", "atlas_api.v1.Router"):
            assert check(channel, service).status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services(simulated: Served) -> None:
    with grpc.insecure_channel(simulated.address) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"atlas_api.v1.Router", "grpc.health.v1.Health"} <= set(services)


def test_a_message_over_the_limit_and_bytes_that_are_no_protobuf_leave_the_server_up(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text("limits: {max_message_bytes: 65536}\n")
    with serving(tmp_path / "home", "--simulate", "--config", str(config)) as served:
        with grpc.insecure_channel(served.address) as channel:
            with pytest.raises(grpc.RpcError) as large:
                raw_select(channel, b"\x0a" + b"\xff" * 100_000)
            with pytest.raises(grpc.RpcError):
                raw_select(channel, b"\xff\xff\xff\xff")
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.health().status == pb.HealthResponse.STATUS_SERVING


def test_health_listen_serves_health_alone(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "atlas.yaml"
    config.write_text(f"health_listen: 127.0.0.1:{port}\n")
    with (
        serving(tmp_path / "home", "--simulate", "--config", str(config)),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        answer = check(channel)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            raw_select(channel, b"")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ------------------------------------------------------------------------------------------- Unix sockets


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")  # a socket's path has at most 107 bytes


def test_a_socket_is_open_to_owner_and_group_and_gone_after_the_end(short: Path) -> None:
    path = short / "router.sock"
    with serving(short / "home", "--simulate", ATLAS_LISTEN=f"unix:{path}") as served:
        assert served.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o770
        assert served.health().version
        assert served.stop() == 0
    assert not path.exists()


def test_a_stale_socket_file_is_replaced(short: Path) -> None:
    path = short / "router.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(short / "home", "--simulate", ATLAS_LISTEN=f"unix:{path}") as served:
        assert served.health().version


def test_a_socket_that_another_sidecar_holds_is_refused(short: Path) -> None:
    path = short / "router.sock"
    with serving(short / "home", "--simulate", ATLAS_LISTEN=f"unix:{path}") as first:
        second = run("serve", "--simulate", env=environment(short / "other", ATLAS_LISTEN=f"unix:{path}"))
        assert second.returncode == 1
        assert "another server is listening there" in second.stderr
        assert first.health().version


def test_a_file_that_is_no_socket_is_left_alone(short: Path) -> None:
    path = short / "notes.txt"
    path.write_text("mine")
    refused = run("serve", "--simulate", env=environment(short / "home", ATLAS_LISTEN=f"unix:{path}"))
    assert refused.returncode == 1
    assert path.read_text() == "mine"


def test_a_port_that_is_taken_is_refused_and_named(simulated: Served, tmp_path: Path) -> None:
    refused = run("serve", "--simulate", env=environment(tmp_path, ATLAS_LISTEN=simulated.address))
    assert refused.returncode == 1
    assert f"cannot listen on {simulated.address}: address already in use" in refused.stderr
    assert refused.stdout == ""


# ------------------------------------------------------------------------------------------- the end


def test_sigterm_lets_the_call_in_flight_finish_and_exits_0(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        channel, router = served.router()
        with channel:
            events = router.Generate(pb.GenerateRequest(messages=PROMPT), timeout=20)
            first = next(event for event in events if event.HasField("delta"))
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(grpc.RpcError) as refused:
                generate(router)
            rest = list(events)
        assert first.delta.text
        assert rest[-1].HasField("completed")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in (refused.value.details() or "")
        assert served.process.wait(10) == 0
    assert '"draining' in served.log
    assert '"stopped"' in served.log


def test_while_it_drains_grpc_health_says_not_serving(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        channel, router = served.router()
        with channel:
            events = router.Generate(pb.GenerateRequest(messages=PROMPT), timeout=20)
            next(iter(events))
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            answer = check(channel)
            list(events)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert served.process.wait(10) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW.replace("tokens_per_s: 40", "tokens_per_s: 1"))
    with serving(tmp_path / "home", "--config", str(config)) as served:
        channel, router = served.router()
        with channel:
            events = router.Generate(pb.GenerateRequest(messages=PROMPT), timeout=60)
            next(iter(events))
            served.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(3) == 1


# ------------------------------------------------------------------------------------------- configuration


def test_a_wrong_configuration_ends_with_2_and_names_every_mistake(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text("listen: [nowhere]\nfallback:\n  max_hop: 3\n")
    refused = run("serve", "--config", str(config), env={**environment(tmp_path), "ATLAS_LISTEN": ""})
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert f"{config}:1: listen[0]" in refused.stderr
    assert f"{config}:3: fallback.max_hop: unknown key; did you mean max_hops?" in refused.stderr
    assert "2 mistakes in the configuration" in refused.stderr


def test_without_any_provider_it_says_which_variables_there_are_and_names_simulate(tmp_path: Path) -> None:
    refused = run("serve", env=environment(tmp_path))
    assert refused.returncode == 2
    assert "ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY or GOOGLE_API_KEY, GROQ_API_KEY" in refused.stderr
    assert "atlas-sidecar serve --simulate" in refused.stderr


def test_a_key_in_the_environment_is_enough_and_shows_nowhere(tmp_path: Path) -> None:
    with serving(tmp_path, OPENAI_API_KEY="sk-CANARY-0123456789") as served:
        health = served.health()
        assert [provider.provider for provider in health.providers if provider.status != 5] == ["openai"]
        assert served.stop() == 0
    assert "CANARY" not in served.log


def test_simulated_money_has_books_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as served:
        channel, router = served.router()
        with channel:
            generate(router)
        assert served.stop() == 0
    names = [path.name for path in (tmp_path / "state" / "atlas-sidecar").iterdir()]
    assert names == ["simulated-default"]


def test_what_was_spent_today_is_remembered_over_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as served:
        channel, router = served.router()
        with channel:
            cost = generate(router)[-1].completed.cost.nano_usd
        assert served.stop() == 0
    with serving(tmp_path, "--simulate") as again:
        assert again.health().budget.spent_today.nano_usd == cost > 0


def test_two_sidecars_of_one_user_keep_separate_books(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as first, serving(tmp_path, "--simulate") as second:
        channel, router = first.router()
        with channel:
            generate(router)
        assert first.health().budget.spent_today.nano_usd > 0
        assert second.health().budget.spent_today.nano_usd == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    return certificate, key


def test_tls_asks_for_a_client_certificate_that_the_authority_signed(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    public, key = certificate
    config = tmp_path / "atlas.yaml"
    config.write_text(f"tls: {{cert_file: {public}, key_file: {key}, client_ca_file: {public}}}\n")
    with serving(tmp_path / "home", "--simulate", "--config", str(config)) as served:
        options = ("--target", served.address, "--ca-file", str(public))
        proved = run("health", *options, "--cert-file", str(public), "--key-file", str(key), env=environment(tmp_path))
        assert proved.returncode == 0, proved.stderr
        refused = run("health", *options, "--timeout", "3", env=environment(tmp_path))
        assert refused.returncode == 1


def test_a_certificate_without_its_key_is_refused_at_the_start(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    public, _ = certificate
    config = tmp_path / "atlas.yaml"
    config.write_text(f"tls: {{cert_file: {public}, key_file: {public}}}\n")
    refused = run("serve", "--simulate", "--config", str(config), env=environment(tmp_path))
    assert refused.returncode == 2
    assert "are no PEM certificate and its unencrypted private key" in refused.stderr


# ------------------------------------------------------------------------------------------- logs


def test_the_log_is_json_lines_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate") as served:
        channel, router = served.router()
        with channel:
            generate(router)
        assert served.stop() == 0
    lines = [json.loads(line) for line in served.log.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert [line["outcome"] for line in lines if line["logger"] == "atlas_sidecar.request"] == ["ok"]
    assert "hello" not in served.log


def test_it_runs_as_a_module_too() -> None:
    shown = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("atlas-sidecar 0.")
