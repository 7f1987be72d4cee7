"""Runs the central budget service as a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from atlas_sidecar.adapters.telemetry.logs import configure_logging
from atlas_sidecar.adapters.telemetry.native_lines import native_lines


class BudgetStartError(Exception):
    """The service cannot start; the message says why."""


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """How to serve; empty = the service's default. See budget_service.serve.ServeSettings."""

    database: str
    listen: tuple[str, ...] = ()
    metrics_listen: str = ""
    token_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    insecure: bool = False
    health_listen: str = ""


def serve_budget(options: BudgetOptions) -> None:
    """Serve until SIGTERM or SIGINT; raises BudgetStartError."""
    from atlas_sidecar.budget_service.serve import ServeSettings, TlsFiles, serve  # noqa: PLC0415 - with its database
    from atlas_sidecar.budget_service.store import StoreError  # noqa: PLC0415

    tls = None
    if options.cert_file and options.key_file:
        tls = TlsFiles(options.cert_file, options.key_file, options.client_ca_file)
    settings = ServeSettings(
        database=options.database,
        listen=options.listen or ServeSettings().listen,
        tls=tls,
        token_file=options.token_file,
        insecure=options.insecure,
        metrics_listen=options.metrics_listen,
        health_listen=options.health_listen,
    )
    try:
        with native_lines() as stderr:
            configure_logging("info", stderr)
            asyncio.run(serve(settings))
    except (StoreError, OSError) as error:
        raise BudgetStartError(str(error)) from None


def migrate_budget(database: str) -> None:
    """Bring a ledger to this version's schema; raises BudgetStartError."""
    from atlas_sidecar.budget_service.serve import migrate  # noqa: PLC0415 - with its database
    from atlas_sidecar.budget_service.store import StoreError  # noqa: PLC0415

    configure_logging("info")
    try:
        asyncio.run(migrate(database))
    except (StoreError, OSError) as error:
        raise BudgetStartError(str(error)) from None
