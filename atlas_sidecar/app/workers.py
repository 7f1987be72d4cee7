"""What is different for each worker of `serve --workers N`: name, books, share of the budget, addresses.

Rules kept here:
- TCP addresses of the Router and of health are shared (SO_REUSEPORT): the kernel gives each connection to one worker.
- What cannot be shared has a number: worker 2 of unix:/run/router.sock listens on unix:/run/router.sock.2, and serves
  its metrics one port up. Worker 1 keeps the names of the configuration.
- Each worker has its own incarnation, spend log and leases: it is a sidecar of its own to the budget service. Without
  one, each worker may spend its part of the daily limit, so that all together never spend more than it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from atlas_sidecar.app.places import host_name, reports_to_service
from atlas_sidecar.config import Configuration
from atlas_sidecar.config.domain import nano_usd
from atlas_sidecar.core.money import NANO_PER_USD

_UNIX: Final = "unix:"


class Worker(NamedTuple):
    """One of `of` processes that serve together; `number` from 1."""

    number: int
    of: int


def of_worker(configuration: Configuration, worker: Worker | None) -> Configuration:
    """Return the configuration as it holds for one worker; None = there is only this process."""
    if worker is None:
        return configuration
    settings = configuration.settings
    budget = settings.budget
    changes: dict[str, object] = {"sidecar_id": f"{budget.sidecar_id or host_name()}-{worker.number}"}
    if budget.daily_limit_usd is not None and not reports_to_service(configuration):
        changes["daily_limit_usd"] = Decimal(nano_usd(budget.daily_limit_usd) // worker.of) / NANO_PER_USD
    return replace(
        configuration,
        settings=settings.model_copy(
            update={
                "listen": tuple(_address(address, worker) for address in settings.listen),
                "metrics_listen": _one_port_up(settings.metrics_listen, worker),
                "budget": budget.model_copy(update=changes),
            }
        ),
    )


def _address(address: str, worker: Worker) -> str:
    numbered = address.startswith(_UNIX) and worker.number > 1
    return f"{address}.{worker.number}" if numbered else address


def _one_port_up(address: str, worker: Worker) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + worker.number - 1}" if address and port != "0" else address
