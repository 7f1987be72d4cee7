"""`atlas-sidecar demo`."""

from __future__ import annotations

import argparse
import sys

from atlas_sidecar.cli.select import explain_lines
from atlas_sidecar.cli.text import Style, usd
from atlas_sidecar.demo import play


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; return the exit status."""
    del arguments
    style = Style(sys.stdout)
    return play(lambda decision: explain_lines(decision, style), usd)
