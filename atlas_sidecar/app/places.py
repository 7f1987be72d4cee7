"""Where this sidecar keeps its books, and whether it tells the budget service.

Rules kept here:
- Simulated money never meets real money: `--simulate` has books of its own, on disk and at the service.
- Sidecars on one host do not share a log: the next free numbered directory is taken.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from atlas_sidecar.config import Configuration

_log: Final = logging.getLogger(__name__)
_MAX_SIDECARS: Final = 256
SIMULATED_ROOT: Final = "simulated"


def spend_log_directory(configuration: Configuration, environ: Mapping[str, str], below: str = "") -> Path:
    """Return the directory of the spend log: the configured one, else a free one in the user's state directory; what
    is simulated lies in one of its own, and `below` is one worker's within it.
    """
    if configuration.settings.budget.spend_log:
        directory = Path(configuration.settings.budget.spend_log)
        return (directory / "simulated" if configuration.simulate else directory) / below
    node = re.sub(r"[^A-Za-z0-9._-]+|^\.+", "_", configuration.settings.budget.node)  # ".." would lead out of it
    name = f"simulated-{node}" if configuration.simulate else node
    base = _state_directory(environ)
    numbered = (base / (name if number == 1 else f"{name}-{number}") / below for number in range(1, _MAX_SIDECARS))
    return next((directory for directory in numbered if _is_free(directory)), base / name / below)


def reports_to_service(configuration: Configuration) -> bool:
    """Whether spend goes to the budget service; simulated spend does only below a root `simulated`, as no real one."""
    budget = configuration.settings.budget
    return bool(budget.service) and (not configuration.simulate or budget.node.partition("/")[0] == SIMULATED_ROOT)


def host_name() -> str:
    """Return what names this sidecar when the configuration does not."""
    return socket.gethostname() or "sidecar"


def _state_directory(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    given = environ.get("XDG_STATE_HOME", "") or (f"{home}/.local/state" if home else "")
    directory = Path(given, "atlas-sidecar") if given else None
    if directory is not None and given.startswith("/"):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(directory, os.W_OK):
                return directory
        except OSError:
            pass  # a container's read-only root, or a user without a home: see below
    try:
        fallback = Path(tempfile.gettempdir(), f"atlas-sidecar-{os.getuid()}")
    except FileNotFoundError:  # nothing at all can be written: opening the spend log says so, by this name
        return Path("/tmp/atlas-sidecar")  # noqa: S108 - as above
    if not _is_ours(fallback):
        fallback = Path(tempfile.mkdtemp(prefix="atlas-sidecar-"))
    _log.warning(
        "the state directory cannot be written: the spend log is kept in %s and may not survive a restart; "
        "budget.spend_log names a better place",
        fallback,
    )
    return fallback


def _is_ours(directory: Path) -> bool:
    """Make a directory that only we may enter; return False where somebody else made it: /tmp is everybody's."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _is_free(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
