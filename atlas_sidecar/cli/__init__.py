"""The command line: parse, call, print. stdout is the answer, stderr the log; 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from atlas_sidecar.cli.parser import parser
from atlas_sidecar.cli.usage import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    # gRPC's core has a line at info for each stranger who knocks at a TLS port. Errors are worth reading.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away: nothing is wrong with us
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        sys.stderr.write(f"atlas-sidecar: {error}\n")
        return 2
    return status
