"""The options of `atlas-sidecar budget show | set | spend`.

Nothing heavy is imported here: parser.py needs it at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], int]


def add_to(
    subparsers: Any, lazily: Callable[[str, str], Run], add_target: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the three commands below `atlas-sidecar budget`; each sets `run`, which takes the parsed arguments.

    `lazily` returns the function of a module of this package, imported when it runs; `add_target` adds what every
    client command has: --target, --timeout, --json, TLS files.
    """
    for name, function, does, options in (
        ("show", "show", "draw the tree of budgets with what is spent, leased and left", _show),
        ("set", "put", "set a node's limit, time zone or policy; needs an administrator's token", _set),
        ("spend", "spend", "sum what was spent, by model, node, label and more", _spend),
    ):
        command = subparsers.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        options(command)
        command.add_argument("--token-file", metavar="FILE", help="holds the bearer token; default: ATLAS_BUDGET_TOKEN")
        add_target(command)
        command.set_defaults(run=lazily("budget_client", function))


def _show(command: argparse.ArgumentParser) -> None:
    command.add_argument("node", nargs="?", default="", help="path of a node; default: all that the token may see")
    command.add_argument("--period", metavar="DAY", default="", help="a day like 2026-11-23; default: the running one")


def _set(command: argparse.ArgumentParser) -> None:
    command.add_argument("node", help="path of a node: acme/search")
    limits = command.add_mutually_exclusive_group()
    limits.add_argument("--daily-limit", metavar="USD", help="what the node may spend in one local day")
    limits.add_argument("--no-limit", action="store_true", help="remove the node's own limit")
    command.add_argument("--time-zone", metavar="ZONE", help="IANA name; on a root only")
    command.add_argument(
        "--on-partition",
        choices=("closed", "open", "inherit"),
        help="what a sidecar does that cannot reach the service",
    )
    command.add_argument(
        "--open-allowance", metavar="USD", help="with open: what one sidecar may spend unseen in a day"
    )
    command.add_argument(
        "--on-lost", choices=("presume-spent", "reclaim", "inherit"), help="what becomes of a lost pod's lease"
    )
    command.add_argument("--etag", help="as `show --json` gave it: refuse when the node was changed since")


def _spend(command: argparse.ArgumentParser) -> None:
    command.add_argument("node", nargs="?", default="", help="path of a node, all below it included")
    command.add_argument(
        "--by", default="model", metavar="NAMES", help="provider, model, budget, period, outcome, label:NAME; by comma"
    )
    command.add_argument("--since", metavar="TIME", help="a day or ISO time, UTC; default: today 00:00")
    command.add_argument("--until", metavar="TIME", help="a day or ISO time, UTC; default: now")
