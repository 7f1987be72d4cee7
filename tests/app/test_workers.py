"""What is different for each worker."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from atlas_sidecar.app.workers import Worker, of_worker
from tests.app.test_places import configuration


def test_one_process_has_the_configuration_as_it_is(tmp_path: Path) -> None:
    whole = configuration(tmp_path)
    assert of_worker(whole, None) is whole


@pytest.mark.parametrize("count", [2, 3, 7, 64])
def test_the_parts_of_a_limit_are_never_more_than_the_limit(count: int, tmp_path: Path) -> None:
    whole = configuration(tmp_path, "budget: {daily_limit_usd: 10.000000001}\n")
    parts = [
        of_worker(whole, Worker(n, count)).settings.budget.daily_limit_usd or Decimal(0) for n in range(1, count + 1)
    ]
    assert Decimal("10.000000001") - count * Decimal("1e-9") < sum(parts) <= Decimal("10.000000001")


def test_with_a_budget_service_each_worker_may_lease_of_the_whole(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "budget: {daily_limit_usd: 10, service: 'budget:50061', sidecar_id: pod-a}\n")
    second = of_worker(whole, Worker(2, 4)).settings.budget
    assert (second.daily_limit_usd, second.sidecar_id) == (Decimal(10), "pod-a-2")


def test_no_limit_stays_no_limit(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "budget: {daily_limit_usd: null}\n")
    assert of_worker(whole, Worker(1, 2)).settings.budget.daily_limit_usd is None


def test_what_cannot_be_shared_is_numbered(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "listen: ['127.0.0.1:50051', 'unix:/run/a.sock']\nmetrics_listen: 127.0.0.1:9464\n")
    first, third = (of_worker(whole, Worker(n, 3)).settings for n in (1, 3))
    assert first.listen == ("127.0.0.1:50051", "unix:/run/a.sock")
    assert third.listen == ("127.0.0.1:50051", "unix:/run/a.sock.3")
    assert (first.metrics_listen, third.metrics_listen) == ("127.0.0.1:9464", "127.0.0.1:9466")
