"""Looks prices up in a process of its own, which ends at once.

The price data takes up to 30 MB and half a second of a core; a sidecar needs a handful of its numbers, once. So a child
looks them up while the parent goes on, and takes the memory with it.

Rules kept here:
- The child gets no environment but what it needs to run: no key is in it.
- Where no child can be had, the parent looks them up itself. A price that is not known is None, either way.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from atlas_sidecar.adapters.prices import GenaiPrices
from atlas_sidecar.core.money import Price

Pair: TypeAlias = tuple[str, str]  # provider kind, the provider's model name

_log: Final = logging.getLogger(__name__)
_TIMEOUT_S: Final = 30.0
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT")


class PriceLookup:
    """A lookup under way: make it, do other work, then ask for the `result`."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._pairs = sorted(set(pairs))
        self._child: subprocess.Popen[bytes] | None = None
        if not self._pairs:
            return
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            self._child = subprocess.Popen(  # noqa: S603 - this very program, nothing of a caller's
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            _log.debug("no process for the prices: %s", error.strerror)

    def result(self) -> Mapping[Pair, Price | None]:
        """Wait for the prices and return them."""
        if not self._pairs:
            return {}
        if self._child is not None:
            try:
                answer, _ = self._child.communicate(json.dumps(self._pairs).encode(), _TIMEOUT_S)
                prices = msgspec.json.decode(answer, type=list[Price | None])
                return dict(zip(self._pairs, prices, strict=True))
            except (OSError, ValueError, msgspec.MsgspecError, subprocess.TimeoutExpired):
                _log.warning("the process for the prices failed; they are looked up here")
                self._child.kill()
                self._child.communicate()
        return look_up(self._pairs)


def look_up(pairs: Iterable[Pair]) -> dict[Pair, Price | None]:
    """Look prices up in this process."""
    prices = GenaiPrices(lambda: datetime.now(UTC))
    return {(kind, model): prices.price(kind, model) for kind, model in pairs}


def main() -> None:
    """Answer the pairs on stdin with their prices on stdout."""
    pairs = [(str(kind), str(model)) for kind, model in json.load(sys.stdin)]
    found = look_up(pairs)
    sys.stdout.buffer.write(msgspec.json.encode([found[pair] for pair in pairs]))


if __name__ == "__main__":
    main()
