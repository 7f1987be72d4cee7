"""`serve --workers N`: several processes behind one address."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.e2e.process import Served, environment, run, serving

LIMIT_USD = 3
CONFIG = f"budget: {{daily_limit_usd: {LIMIT_USD}, spend_log: %s}}\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("workers")
    (home / "atlas.yaml").write_text(CONFIG % (home / "books"))
    listen = f"127.0.0.1:0,unix:{home}/s"
    with serving(
        home, "--simulate", "--workers", "2", "--config", str(home / "atlas.yaml"), ATLAS_LISTEN=listen
    ) as found:
        yield found


def asked(address: str) -> pb.HealthResponse:
    """Ask over a connection of its own: the kernel deals connections, not calls."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer: pb.HealthResponse = RouterStub(channel).Health(pb.HealthRequest(), timeout=10, wait_for_ready=True)
        return answer


def both(address: str) -> dict[int, pb.HealthResponse]:
    found: dict[int, pb.HealthResponse] = {}
    until_s = time.monotonic() + 20
    while len(found) < 2 and time.monotonic() < until_s:
        answer = asked(address)
        found[answer.worker] = answer
    return found


def pids_below(parent: int) -> set[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return {int(pid) for pid in children.read_text().split()}


def test_both_workers_answer_at_one_port_and_say_who_they_are(served: Served) -> None:
    assert set(both(served.address)) == {1, 2}


def test_without_a_budget_service_the_workers_share_the_daily_limit(served: Served) -> None:
    limits = [answer.budget.daily_limit.nano_usd for answer in both(served.address).values()]
    assert limits == [LIMIT_USD * 10**9 // 2] * 2


def test_each_worker_keeps_its_own_books_and_socket(served: Served) -> None:
    both(served.address)
    assert (served.home / "books/simulated/worker-1/lock").exists()
    assert (served.home / "books/simulated/worker-2/lock").exists()
    assert asked(f"unix:{served.home}/s").worker == 1
    assert asked(f"unix:{served.home}/s.2").worker == 2


def test_a_port_in_use_is_refused_though_its_holder_shares_it_among_its_workers(served: Served, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        env = environment(tmp_path, ATLAS_LISTEN=served.address)
        ended = run("serve", "--simulate", "--workers", workers, env=env)
        assert ended.returncode == 1
        assert "address already in use" in ended.stderr


def test_a_worker_that_dies_is_started_again_and_the_other_goes_on(served: Served) -> None:
    before = pids_below(served.process.pid)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s and not (
        len(pids_below(served.process.pid)) == 2 and min(before) not in pids_below(served.process.pid)
    ):
        assert asked(served.address).worker in (1, 2)  # never out of service
    assert set(both(served.address)) == {1, 2}


def test_sigterm_drains_all_workers(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate", "--workers", "2") as served:
        both(served.address)
        pids = pids_below(served.process.pid)
        assert served.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert served.log.count('"stopped"') == 2


def test_workers_end_in_order_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--simulate", "--workers", "2") as served:
        both(served.address)
        pids = pids_below(served.process.pid)
        served.process.kill()
        served.process.wait()
        until_s = time.monotonic() + 15
        while any(_alive(pid) for pid in pids):
            assert time.monotonic() < until_s, "a worker outlived its supervisor"
            time.sleep(0.05)
        assert served.log.count('"stopped"') == 2


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_configuration_that_cannot_be_served_ends_all_with_its_status(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("budget: {spend_log: /proc/nowhere}\n")
    env = environment(tmp_path)
    ended = run("serve", "--simulate", "--workers", "2", "--config", str(tmp_path / "atlas.yaml"), env=env)
    assert ended.returncode == 1
    assert "serving on" not in ended.stdout


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_a_number_of_workers_that_makes_no_sense_is_wrong_usage(count: str, tmp_path: Path) -> None:
    assert run("serve", "--workers", count, env=environment(tmp_path)).returncode == 2
