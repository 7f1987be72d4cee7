"""The commands and their options, with help that teaches by examples.

Nothing heavy is imported here: each command imports its own module when it runs.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from atlas_sidecar import __version__
from atlas_sidecar.cli import budget_options

_MAX_WORKERS: Final = 64
_DEFAULT_TARGET: Final = "127.0.0.1:50051"
_BUDGET_TARGET: Final = "127.0.0.1:50061"
_EXAMPLES: Final = """\
try it without any key:
  atlas-sidecar demo                                   one tour, 20 seconds
  atlas-sidecar serve --simulate                       serve; then, in another terminal:
  atlas-sidecar generate "What is a sidecar?"          an answer, streamed
  atlas-sidecar select --role supervisor --explain     which model would serve, and why
  atlas-sidecar health                                 providers, models, budget

with providers:
  export ANTHROPIC_API_KEY=...                         or OPENAI_API_KEY, GEMINI_API_KEY, GROQ_API_KEY
  atlas-sidecar serve                                  or: serve --config atlas.yaml
"""


class _Parser(argparse.ArgumentParser):
    """Says what may have been meant, where argparse lists all that there is."""

    def error(self, message: str) -> NoReturn:
        match = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if match:
            choices = [choice.strip(" '") for choice in match[2].split(",")]
            near = difflib.get_close_matches(match[1], choices, 1)
            message += f"; did you mean {near[0]}?" if near else ""
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1].split("=")[0], list(self._option_string_actions), 1)
            message += f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"{self.prog}: {message}\nsee: {self.prog} --help\n")
        sys.exit(2)


def _lazily(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        status: int = getattr(importlib.import_module(f"atlas_sidecar.cli.{module}"), function)(arguments)
        return status

    return run


def parser() -> argparse.ArgumentParser:
    """Return the parser; a parsed command has its function as `run`."""
    top = _Parser(
        prog="atlas-sidecar",
        description="Picks an LLM for each request of one agent pod, runs it, falls back, and keeps the books.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"atlas-sidecar {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _serve(commands)
    _config(commands)
    _select(commands)
    _generate(commands)
    _health(commands)
    _budget(commands)
    return top


def _add(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    does: str,
    run: Callable[[argparse.Namespace], int],
    more: str = "",
) -> _Parser:
    command = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --sim for --simulate today would be another option's prefix tomorrow
    )
    command.set_defaults(run=run)
    return command


def _serve(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _add(commands, "serve", "serve the Router, until SIGTERM or Ctrl-C", _lazily("serving", "serve"), _SERVE)
    command.add_argument("--config", metavar="FILE", help="YAML; default: ATLAS_CONFIG, else the environment alone")
    command.add_argument("--simulate", action="store_true", help="answer for every provider itself: no key, no cost")
    helps = "processes that share the TCP ports, for more than one core; each its own books and limits"
    command.add_argument("--workers", type=_count_of_workers, default=1, metavar="N", help=helps)
    command.add_argument("--worker", default="", help=argparse.SUPPRESS)  # K/N: what the supervisor tells a worker
    _add(commands, "demo", "show the main job end to end, without any key", _lazily("demo", "run"))


def _count_of_workers(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if not 1 <= count <= _MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {_MAX_WORKERS}")
    return count


_SERVE: Final = """\
prints "serving on ADDR[, ADDR]" on stdout when ready; the log is on stderr.

environment:
  ATLAS_CONFIG   the configuration file
  ATLAS_LISTEN   addresses in place of the file's `listen`, separated by commas
  ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY or GOOGLE_API_KEY, GROQ_API_KEY

examples:
  atlas-sidecar serve --simulate
  ATLAS_LISTEN=unix:/run/atlas/router.sock atlas-sidecar serve --config atlas.yaml
  atlas-sidecar check-config atlas.yaml                what it would serve
  atlas-sidecar config-schema > atlas.schema.json      for your editor
"""


def _config(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "check a configuration and say what it would serve"
    command = _add(commands, "check-config", does, _lazily("serving", "check_config"))
    command.add_argument("config", nargs="?", metavar="FILE", help="YAML; default: ATLAS_CONFIG, else the environment")
    command.add_argument("--simulate", action="store_true", help="as serve --simulate would take it")
    does = "print the JSON schema of the configuration, with what each key means"
    _add(commands, "config-schema", does, _lazily("serving", "config_schema"))


def _target(command: argparse.ArgumentParser, variable: str, default: str) -> None:
    group = command.add_argument_group("which one to ask")
    group.add_argument("--target", metavar="ADDR", help=f"HOST:PORT or unix:/PATH; default: {variable}, else {default}")
    group.add_argument("--timeout", type=float, metavar="S", help="give up after so many seconds")
    group.add_argument("--ca-file", metavar="FILE", help="PEM file: use TLS, and trust these authorities")
    group.add_argument("--cert-file", metavar="FILE", help="PEM file with a client certificate")
    group.add_argument("--key-file", metavar="FILE", help="PEM file with its private key")
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


def _requirements(command: argparse.ArgumentParser) -> None:
    command.add_argument("--role", metavar="R", help="a configured role, or an agent's type that contains one")
    command.add_argument(
        "--complexity", choices=("low", "medium", "high"), help="how hard the task is; default: medium"
    )
    command.add_argument("--model", metavar="ID", action="append", help="only this model; may be repeated")
    command.add_argument("--use-case", metavar="U", action="append", help="prefer models that are good at it")
    command.add_argument("--budget", metavar="NODE", help="the budget node to charge; default: the sidecar's own")
    command.add_argument("--session", metavar="ID", help="stay on the session's last model while it is good")


def _select(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "ask a running sidecar which model would serve, and why; calls no provider"
    command = _add(commands, "select", does, _lazily("select", "run"))
    _requirements(command)
    command.add_argument("--context-tokens", metavar="N", type=_count, default=0, help="input tokens that must fit")
    command.add_argument(
        "--explain", action="store_true", help="show every candidate with its terms, and every rejection"
    )
    command.add_argument("--record", metavar="FILE", help="keep all that the decision was made from, for `replay`")
    _target(command, "ATLAS_TARGET", _DEFAULT_TARGET)
    does = "make a recorded decision again, offline, and compare"
    command = _add(commands, "replay", does, _lazily("replay", "run"), _REPLAY)
    command.add_argument("record", metavar="FILE", help="what select --record wrote; - reads it from stdin")
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


_REPLAY: Final = """\
0: the same decision; 1: another one, which shows when the formula changed since; 2: no record

examples:
  atlas-sidecar select --role supervisor --record decision.json
  atlas-sidecar replay decision.json
"""


def _generate(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "ask a running sidecar for an answer; streams it to stdout, says on stderr what happened on the way"
    command = _add(commands, "generate", does, _lazily("generate", "run"))
    command.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to ask; - reads it from stdin")
    command.add_argument("--message", metavar="FILE", help="read the prompt from a file")
    command.add_argument("--system", metavar="TEXT", help="a system message before it")
    _requirements(command)
    command.add_argument(
        "--policy",
        choices=("fail", "restart", "continue", "buffer"),
        help="when a stream breaks after content was sent",
    )
    command.add_argument("--max-output-tokens", metavar="N", type=_count, help="the longest answer")
    command.add_argument("--explain", action="store_true", help="show the decision before the answer, on stderr")
    _target(command, "ATLAS_TARGET", _DEFAULT_TARGET)


def _health(commands: argparse._SubParsersAction[_Parser]) -> None:
    does = "ask a running sidecar how its providers, models and budget are"
    _target(_add(commands, "health", does, _lazily("health", "run")), "ATLAS_TARGET", _DEFAULT_TARGET)


def _budget(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = commands.add_parser("budget", help="the central budget service: serve, show, set, spend")
    below = command.add_subparsers(dest="budget_command", metavar="COMMAND", required=True)
    serve = _add(below, "serve", "serve the central budget service", _lazily("budget", "serve"))
    migrate = _add(below, "migrate", "bring the ledger to this version's schema", _lazily("budget", "migrate"))
    help_database = "sqlite:///PATH or postgresql://USER@HOST/DB; default: ATLAS_BUDGET_DATABASE"
    for each in (serve, migrate):
        each.add_argument("--database", metavar="URL", help=help_database)
    help_listen = f"HOST:PORT or unix:/PATH; may be repeated; default: {_BUDGET_TARGET}"
    serve.add_argument("--listen", metavar="ADDR", action="append", help=help_listen)
    serve.add_argument("--metrics-listen", metavar="ADDR", default="", help="Prometheus, HOST:PORT")
    help_health = "grpc.health.v1 alone, without TLS, for a kubelet's probes: HOST:PORT"
    serve.add_argument("--health-listen", metavar="ADDR", default="", help=help_health)
    serve.add_argument("--token-file", metavar="FILE", help="who may call: bearer tokens, see the operator's guide")
    serve.add_argument("--cert-file", metavar="FILE", help="PEM file with the server's certificate: use TLS")
    serve.add_argument("--key-file", metavar="FILE", help="PEM file with its private key")
    serve.add_argument("--client-ca-file", metavar="FILE", help="PEM file: clients need a certificate that it signed")
    serve.add_argument("--insecure", action="store_true", help="allow TCP beyond loopback without TLS and tokens")
    budget_options.add_to(below, _lazily, lambda each: _target(each, "ATLAS_BUDGET_TARGET", _BUDGET_TARGET))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)
