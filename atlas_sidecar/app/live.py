"""The configuration that holds now, and how another one takes its place.

Rules kept here:
- Atomic: a call sees one engine, whole; those in flight keep theirs, and its providers are closed when they are done.
- Refused loudly, old kept: whatever is wrong with the new file, this sidecar goes on as it was.
- What is bound to the process (addresses, limits, the budget's books, telemetry) stays until a restart, and the log
  says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from atlas_sidecar.app.build import Builder, Built
from atlas_sidecar.app.watch import LOOK_EVERY_S, Watch
from atlas_sidecar.config import ConfigError, Configuration
from atlas_sidecar.ports import Provider
from atlas_sidecar.runtime.engine import Engine
from atlas_sidecar.runtime.health import Health

_log: Final = logging.getLogger(__name__)
# Settings that are bound to the process: a section, or one key of it.
_BOUND: Final = (
    "listen", "tls", "health_listen", "metrics_listen", "limits", "budget", "telemetry",
    "health.probe_interval_s",
)  # fmt: skip

MAX_PROBLEM_CHARACTERS: Final = 1024


class Live:
    """Holds the engine; `engine()` returns it once `start` is done."""

    def __init__(
        self,
        configuration: Configuration,
        builder: Builder,
        health: Health,
        taken: Callable[[Configuration], None] = lambda _: None,
    ) -> None:
        self.configuration = configuration
        self.ready = asyncio.Event()
        self.problem = ""  # why the changed file is refused; "" = what it says is in use
        self._builder = builder
        self._health = health
        self._taken = taken  # told of every change that is in use: the log's level, and the keys it must not show
        self._built: Built | None = None
        self._closing: dict[asyncio.Task[None], Sequence[Provider]] = {}

    def __repr__(self) -> str:
        return f"Live({self.configuration.version}, ready={self.ready.is_set()})"

    def engine(self) -> Engine:
        """Return the engine that holds now."""
        if self._built is None:
            raise RuntimeError("asked for the engine before it was built")
        return self._built.engine

    @property
    def version(self) -> str:
        """The version of the configuration that holds now."""
        return self.configuration.version

    async def start(self) -> None:
        """Build the first engine, let calls in, then open the providers."""
        await self._take(self.configuration, await asyncio.to_thread(self._builder.engine, self.configuration))
        self.ready.set()
        await self._open(list(self.engine().providers.values()))

    async def follow(self, load: Callable[[], Configuration]) -> None:
        """Watch the configuration's files and take every valid change over; runs until it is cancelled."""
        watch = Watch(self.configuration.files)
        await self.ready.wait()  # else the first engine could take the place of a newer one
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if watch.changed():
                await self.reload(load)
                if set(self.configuration.files) != set(watch.files):  # it names another catalog file now
                    watch = Watch(self.configuration.files)

    async def reload(self, load: Callable[[], Configuration]) -> bool:
        """Load and take over; return False when it was refused and the old one kept."""
        try:
            configuration = await asyncio.to_thread(load)
            built = await asyncio.to_thread(self._builder.engine, configuration, self._built)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("the changed configuration is refused, the old one stays in use: %s", problem)
            self.problem = "; ".join(str(problem) for problem in error.problems)[:MAX_PROBLEM_CHARACTERS]
            return False
        except Exception:  # noqa: BLE001 - a supervisor: a mistake of ours must not end the sidecar
            _log.exception("the changed configuration could not be taken over, the old one stays in use")
            self.problem = "it could not be taken over; the log says why"
            return False
        self.problem = ""
        for key in _BOUND:
            setting = attrgetter(key)
            if setting(configuration.settings) != setting(self.configuration.settings):
                _log.warning("%s changed: that needs a restart; until then the old value holds", key)
        await self._take(configuration, built)
        self._taken(configuration)
        _log.info("configuration %s is in use", configuration.version)
        await self._open(list(built.engine.providers.values()))
        return True

    async def close(self) -> None:
        """Close every provider."""
        if self._built is not None:
            await _close(list(self._built.engine.providers.values()))
        for task, providers in list(self._closing.items()):
            task.cancel()
            await _close(providers)

    async def _take(self, configuration: Configuration, built: Built) -> None:
        before = self._built
        self._health.reconfigure(list(built.engine.models.values()), built.engine.providers)
        self.configuration, self._built = configuration, built
        if before is None:
            return
        kept = {id(provider) for provider in built.engine.providers.values()}
        gone = [provider for provider in before.engine.providers.values() if id(provider) not in kept]
        if gone:
            task = asyncio.create_task(self._close_later(gone, before.engine.timeouts.total_s))
            self._closing[task] = gone
            task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def _close_later(self, providers: Sequence[Provider], longest_call_s: float) -> None:
        await asyncio.sleep(longest_call_s)  # every call that began with them is over by then
        await _close(providers)

    async def _open(self, providers: Sequence[Provider]) -> None:
        for provider in providers:  # one after the other: imports are work for one core
            try:
                await provider.open()
            except Exception:  # noqa: BLE001 - a supervisor: the others can still serve
                _log.exception("provider %s cannot be opened", provider.name)


async def _close(providers: Sequence[Provider]) -> None:
    for provider in providers:
        try:
            await provider.aclose()
        except Exception:  # noqa: BLE001 - a supervisor: the others are to be closed too
            _log.exception("provider %s cannot be closed", provider.name)
