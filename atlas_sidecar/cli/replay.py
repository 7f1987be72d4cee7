"""`atlas-sidecar replay`: a recorded decision, made again offline."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from atlas_sidecar.app.replay import RecordError, Replayed, replay_text
from atlas_sidecar.cli.client import FAILED
from atlas_sidecar.cli.select import decision_lines
from atlas_sidecar.cli.text import Style, say
from atlas_sidecar.cli.usage import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Replay and print; 0 when it is the same decision."""
    try:
        replayed = replay_text(_read(arguments.record))
    except RecordError as error:
        raise UsageError(f"{arguments.record}: no decision record: {error}") from None
    if arguments.json:
        again = MessageToDict(replayed.again, preserving_proto_field_name=True)
        say(json.dumps({"same": replayed.same, "decision": again}, ensure_ascii=False))
    else:
        say(*_lines(replayed, Style(sys.stdout)))
    return 0 if replayed.same else FAILED


def _lines(replayed: Replayed, style: Style) -> list[str]:
    if replayed.same:
        told = [style("the same decision", "bold", "green")]
    else:
        before = replayed.recorded.selected.id or "no model"
        told = [style(f"another decision: {before} was recorded", "bold", "red")]
    return [*told, "", *decision_lines(replayed.again, style, explain=True)]


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{path} cannot be read: {why}") from None
