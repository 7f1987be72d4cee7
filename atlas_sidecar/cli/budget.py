"""`atlas-sidecar budget serve` and `budget migrate`: the central budget service and its database."""

from __future__ import annotations

import argparse
import os
import sys

from atlas_sidecar.app.budget import BudgetOptions, BudgetStartError, migrate_budget, serve_budget
from atlas_sidecar.cli.client import FAILED, WRONG_USAGE
from atlas_sidecar.cli.text import Style, note, say
from atlas_sidecar.cli.usage import UsageError


def serve(arguments: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    database = _database(arguments, "serve")
    if (arguments.cert_file is None) != (arguments.key_file is None):
        raise UsageError("budget serve: --cert-file and --key-file go together")
    options = BudgetOptions(
        database=database,
        listen=tuple(arguments.listen or ()),
        metrics_listen=arguments.metrics_listen,
        token_file=arguments.token_file,
        cert_file=arguments.cert_file,
        key_file=arguments.key_file,
        client_ca_file=arguments.client_ca_file,
        insecure=arguments.insecure,
        health_listen=arguments.health_listen,
    )
    try:
        serve_budget(options)
    except BudgetStartError as error:
        note(Style(sys.stderr)(f"cannot serve: {error}", "red"))
        return WRONG_USAGE
    return 0


def migrate(arguments: argparse.Namespace) -> int:
    """Bring the ledger to this version's schema; return the exit status."""
    database = _database(arguments, "migrate")
    try:
        migrate_budget(database)
    except BudgetStartError as error:
        note(Style(sys.stderr)(f"cannot migrate: {error}", "red"))
        return FAILED
    say("the ledger has this version's schema")
    return 0


def _database(arguments: argparse.Namespace, command: str) -> str:
    database = arguments.database or os.environ.get("ATLAS_BUDGET_DATABASE", "")
    if not database:
        raise UsageError(
            f"budget {command}: which ledger? Give --database sqlite:///PATH/ledger.db or postgresql://USER@HOST/DB"
        )
    return str(database)
