"""`atlas-sidecar serve`, `check-config` and `config-schema`."""

from __future__ import annotations

import argparse
import json
import os
import sys

from atlas_sidecar.app import check, run
from atlas_sidecar.app.workers import Worker
from atlas_sidecar.cli.client import WRONG_USAGE
from atlas_sidecar.cli.text import Style, note, say, table
from atlas_sidecar.config import ConfigError, Configuration, Problem, load


def serve(arguments: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    worker = Worker(*map(int, arguments.worker.split("/"))) if arguments.worker else None

    def load_again() -> Configuration:
        return load(arguments.config, os.environ, simulate=arguments.simulate)

    try:
        configuration = load_again()
    except ConfigError as error:
        return tell_mistakes(error)
    try:
        if arguments.workers > 1:
            return run.run_workers(configuration, _again(arguments), arguments.workers, announce=say)
        return run.run(configuration, load_again, announce=say, worker=worker)
    except run.StartError as error:
        note(Style(sys.stderr)(f"cannot start: {error}", "red"))
        return error.status


def _again(arguments: argparse.Namespace) -> list[str]:
    """Return the command of a worker: this one, without the number of workers."""
    command = [sys.executable, "-m", "atlas_sidecar", "serve"]
    if arguments.config:
        command += ["--config", arguments.config]
    return [*command, "--simulate"] if arguments.simulate else command


def tell_mistakes(error: ConfigError) -> int:
    """Say what is wrong with a configuration; return the exit status."""
    style = Style(sys.stderr)
    count = len(error.problems)
    for problem in error.problems:
        note(str(problem))
    note(style(f"{count} mistake{'s' if count != 1 else ''} in the configuration: nothing was started", "red"))
    return WRONG_USAGE


def check_config(arguments: argparse.Namespace) -> int:
    """Check a configuration and say what would be served; return the exit status."""
    try:
        configuration = load(arguments.config, os.environ, simulate=arguments.simulate)
    except ConfigError as error:
        return tell_mistakes(error)
    if wrong := check.mistakes(configuration):
        return tell_mistakes(ConfigError([Problem("", mistake) for mistake in wrong]))
    say(*overview(configuration, Style(sys.stdout)))
    return 0


def overview(configuration: Configuration, style: Style) -> list[str]:
    """Return what a configuration would serve, in lines."""
    settings = configuration.settings
    limit = settings.budget.daily_limit_usd
    budget = f"{'no limit' if limit is None else f'${limit} a day'} at node {settings.budget.node}"
    keeper = f"kept by {settings.budget.service}" if settings.budget.service else "kept by this sidecar alone"
    lines = [
        f"{style('valid', 'green', 'bold')}: {configuration.source}, configuration {configuration.version}",
        f"listen {', '.join(settings.listen)}{'; TLS' if settings.tls else ''}; "
        f"health {settings.health_listen or 'on the same'}; metrics {settings.metrics_listen or 'off'}",
        f"budget {budget}, {keeper}",
        "",
    ]
    rows: list[list[str]] = []
    warnings = check.missing_here(configuration)
    for name, entry in configuration.providers.items():
        key = configuration.keys[name]
        missing = key.is_missing and not configuration.simulate
        state = style(f"no key ({key.origin} is not set)", "yellow") if missing else f"key: {key.origin}"
        rows.append([name, entry.kind_of(name), "simulated" if configuration.simulate else state, entry.base_url or ""])
        if missing:
            warnings.append(f"provider {name} has no key: its models will be passed over")
    lines += table([style(cell, "dim") for cell in ("provider", "kind", "", "at")], rows)
    lines += ["", *table([style(cell, "dim") for cell in ("role", "tier", "models")], _tiers(configuration))]
    served = set(configuration.providers) if not configuration.simulate else None
    for role, role_entry in settings.roles.items():
        providers = {settings.models[model].provider for tier in role_entry.tiers for model in tier}
        if served is not None and not any(p in served and not configuration.keys[p].is_missing for p in providers):
            warnings.append(f"role {role}: no provider of its models has a key, so nothing can serve it")
    return [*lines, *(["", *(style(f"warning: {warning}", "yellow") for warning in warnings)] if warnings else [])]


def _tiers(configuration: Configuration) -> list[list[str]]:
    settings = configuration.settings
    rows = []
    for role, entry in settings.roles.items():
        name = f"{role} (default)" if role == settings.default_role else role
        for number, tier in enumerate(entry.tiers, 1):
            rows.append([name if number == 1 else "", str(number), ", ".join(tier)])
    return rows


def config_schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema of the configuration."""
    from atlas_sidecar.config.schema import json_schema  # noqa: PLC0415 - heavy, and nobody else needs it

    del arguments
    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
