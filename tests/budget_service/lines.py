"""A TCP line between processes that can be cut: connections are reset, and what was on its way is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random


class Line:
    """Passes every connection to a port of this host on; `cuts` counts connections that were cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.cuts = 0
        self._down = False
        self._ends: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def cut(self, chance: random.Random, share: float) -> None:
        """Reset this share of the connections, in both directions."""
        for near, far in list(self._ends.items()):
            if chance.random() < share:
                self.cuts += 1
                near.transport.abort()
                far.transport.abort()

    async def out_of_order(self, chance: random.Random, seconds: float) -> None:
        """Cut every connection and let none through for a while."""
        self._down = True
        self.cut(chance, 1.0)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._down = False

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            if self._down:
                raise ConnectionError
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            near.transport.abort()
            return
        self._ends[near] = far
        try:
            await asyncio.gather(_pass_on(reader, far), _pass_on(far_reader, near))
        finally:
            del self._ends[near]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the end or a cut, then close the other side too."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
