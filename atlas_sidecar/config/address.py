"""Listen and target addresses: "127.0.0.1:50051", "[::1]:0", "localhost:50051", "unix:/run/atlas/router.sock"."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_MAX_UNIX_PATH: Final = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
_MAX_PORT: Final = 65535
WANTED: Final = "HOST:PORT such as 127.0.0.1:50051, or unix:/PATH such as unix:/run/atlas/router.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect. A Unix socket has `path`, TCP has `host` and `port` (0 = any free one)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return bool(self.path)

    @property
    def is_loopback(self) -> bool:
        """Whether only this host (or, for a Unix socket, this file system) can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse an address; raises ValueError that says what is wrong."""
    if text.startswith("unix:"):
        return _unix(text)
    host, colon, port_text = text.rpartition(":")
    if not colon:
        raise ValueError(f"has no port; write {WANTED}")
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > _MAX_PORT:
        raise ValueError(f"has no port from 0 to {_MAX_PORT} after the last colon; write {WANTED}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("has no IPv6 address between the brackets; write [::1]:50051") from None
    elif ":" in host:
        raise ValueError("has an IPv6 address without brackets; write [::1]:50051")
    elif not _HOST.match(host):
        raise ValueError(f"has no host before the port; write {WANTED}, or 0.0.0.0:{port_text} for every interface")
    return Address(host=host, port=int(port_text))


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("//"):  # the URL form: unix:///run/x.sock
        path = path[2:]
    if not path.startswith("/"):
        raise ValueError("needs an absolute path; write unix:/run/atlas/router.sock")
    if len(path.encode()) > _MAX_UNIX_PATH:
        raise ValueError(f"is longer than the {_MAX_UNIX_PATH} bytes that a Unix socket's path may have")
    return Address(path=path)
