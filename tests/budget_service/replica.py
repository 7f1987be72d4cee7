"""A replica as its own process: `python -m tests.budget_service.replica DATABASE PORT`; it can be killed for real."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence

from atlas_sidecar.budget_service.serve import ServeSettings, serve


class Replica:
    """A replica on a port of its own that comes back after each kill."""

    def __init__(self, database: str, port: int) -> None:
        self.database = database
        self.port = port
        self.process: asyncio.subprocess.Process | None = None
        self.kills = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.budget_service.replica", self.database, str(self.port),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line.startswith(b"serving on"), line

    async def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.wait()
        self.kills += 1


async def kill_at_random(replicas: Sequence[Replica], chance: random.Random, pause_s: float, until_s: float) -> None:
    """Kill one after the other, and start it again, until then; one replica always stays up."""
    while asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(pause_s * (0.5 + chance.random()))
        replica = chance.choice(replicas)
        await replica.kill()
        await asyncio.sleep(pause_s * chance.random() / 2)
        await replica.start()


def main() -> None:
    os.environ["GRPC_VERBOSITY"] = "NONE"
    database, port = sys.argv[1:]
    asyncio.run(serve(ServeSettings(database=database, listen=(f"127.0.0.1:{port}",))))


if __name__ == "__main__":
    main()
