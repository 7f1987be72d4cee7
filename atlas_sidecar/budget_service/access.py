"""Who calls, and what they may see and change: bearer tokens and client certificates, each bound to a subtree.

The file has one line for each: `WHO SUBTREE [admin]`, where WHO is a token, `sha256:HEX` of a token, or `cert:NAME`
(a client certificate's common name or DNS name), and SUBTREE a node path or `*`. `#` begins a comment.

Rules kept here:
- Only hashes are kept. A presented token is compared with every one of them, each in constant time.
- A changed file is taken over when it is valid; otherwise the old rules stay, and the log says why, without the line.
- Without a file: on loopback everybody may do everything; behind mutual TLS, everything but SetBudget.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from atlas_sidecar.budget_service.books import is_path
from atlas_sidecar.budget_service.store import StoreError
from atlas_sidecar.budget_service.values import EVERYWHERE

logger = logging.getLogger(__name__)
CHECK_INTERVAL_S = 1.0
_HEX_DIGITS = 64


class Caller(NamedTuple):
    """What a caller may name, and whether it may set budgets."""

    subtree: str
    admin: bool


class Entry(NamedTuple):
    """A line of the file: the kind ("token", "cert"), the token's SHA-256 or the certificate's name, and its rights."""

    kind: str
    key: bytes
    caller: Caller


def parse(text: str) -> list[Entry]:
    """Read the file's lines. Raises StoreError naming the line, never its content."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        entry = _entry(words)
        if entry is None:
            raise StoreError(f"token file, line {number}: it must read TOKEN|sha256:HEX|cert:NAME  SUBTREE|*  [admin]")
        entries.append(entry)
    return entries


def _entry(words: list[str]) -> Entry | None:
    if len(words) not in (2, 3) or words[2:] not in ([], ["admin"]):
        return None
    who, subtree = words[:2]
    if subtree != EVERYWHERE and not is_path(subtree):
        return None
    caller = Caller(subtree, len(words) == 3)
    if who.startswith("cert:"):
        return Entry("cert", who.removeprefix("cert:").encode(), caller)
    if who.startswith("sha256:"):
        digits = who.removeprefix("sha256:")
        try:
            return Entry("token", bytes.fromhex(digits), caller) if len(digits) == _HEX_DIGITS else None
        except ValueError:
            return None
    return Entry("token", hashlib.sha256(who.encode()).digest(), caller)


class Access:
    """Tells who a caller is. `path` None: `everybody` is what all of them may do."""

    def __init__(
        self, path: str | None, everybody: Caller | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = Path(path) if path else None
        self._everybody = everybody
        self._clock = clock
        self._checked_s = clock()
        self._stamp: tuple[int, int, int] | None = None
        self._entries: list[Entry] = []
        if self._path is not None:
            self._load(self._path)

    def __repr__(self) -> str:
        return f"Access({len(self._entries)} entries)"

    def _load(self, path: Path) -> None:
        try:
            stat = path.stat()
            self._stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            self._entries = parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read the token file: {type(error).__name__}") from error

    def _reload(self) -> None:
        now_s = self._clock()
        if self._path is None or now_s - self._checked_s < CHECK_INTERVAL_S:
            return
        self._checked_s = now_s
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size, stat.st_ino) != self._stamp:
                self._load(self._path)
                logger.info("token file read again: %d entries", len(self._entries))
        except (StoreError, OSError) as error:
            logger.error("token file not taken over, the old rules stay: %s", error)

    def caller(self, authorization: str, certificate_names: Iterable[bytes] = ()) -> Caller | None:
        """Return what the bearer of these may do; None for nobody we know."""
        self._reload()
        if self._everybody is not None:
            return self._everybody
        found: Caller | None = None
        scheme, _, token = authorization.partition(" ")
        presented = hashlib.sha256(token.strip().encode()).digest() if scheme.lower() == "bearer" else b""
        names = set(certificate_names)
        for entry in self._entries:  # all of them, whichever matches: time tells nothing
            matches = hmac.compare_digest(entry.key, presented) if entry.kind == "token" else entry.key in names
            if matches and found is None:
                found = entry.caller
        return found
