"""The ledger in a SQLite file: the embedded default.

Rules kept here:
- WAL, synchronous FULL, BEGIN IMMEDIATE: what is acknowledged survives a power cut, and two processes on one file take
  turns. One thread writes, another one reads; nothing of SQLite happens on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from atlas_sidecar.budget_service.migrate import migrate
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.sql import Restart, Row, transact
from atlas_sidecar.budget_service.sql_read import read_budgets, read_spend
from atlas_sidecar.budget_service.store import (
    BudgetQuery,
    SpendQuery,
    SpendRow,
    StoreError,
    StoreUnavailableError,
)
from atlas_sidecar.budget_service.values import Command, NodeStatus, Outcome

T = TypeVar("T")
BUSY_TIMEOUT_S = 10.0
MAX_RESTARTS = 20


class SqliteSession:
    """A connection, as sql.py wants it."""

    lock = ""  # BEGIN IMMEDIATE has locked the database
    label = "COALESCE((SELECT value FROM json_each(labels) WHERE key = ?), '')"
    types = {"{text}": "TEXT", "{bytes}": "BLOB"}  # noqa: RUF012 # read only

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    def configure(self) -> None:
        """Set the journal and how durable a commit is; another process may be doing the same at this moment."""
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # changing the journal mode does not wait for others
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
        self.connection.execute("PRAGMA synchronous = FULL")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return what a query yields."""
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, sql: str) -> None:
        """Run one statement."""
        self.connection.execute(sql)

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""
        self.connection.executemany(sql, parameters)

    def member(self, column: str) -> str:
        """Return the condition that a column is in an array parameter."""
        return f"{column} IN (SELECT value FROM json_each(?))"

    def array(self, values: Iterable[str]) -> str:
        """Return the parameter for `member`."""
        return json.dumps(sorted(values))


class SqliteStore:
    """A Store in one file; several processes may open it."""

    def __init__(self, path: str, rules: Rules) -> None:
        self.path = path
        self.rules = rules
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-write")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-read")
        self._write: SqliteSession | None = None
        self._read: SqliteSession | None = None

    @property
    def session(self) -> SqliteSession | None:
        """The writing connection, None while closed."""
        return self._write

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    async def open(self) -> None:
        """Create the file and its tables. Raises StoreError."""
        try:
            self._write = await self._in(self._writer, self._connect)
            self._read = await self._in(self._reader, lambda: SqliteSession(self.path))
        except (StoreUnavailableError, OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open the ledger {self.path!r}: {error}") from error

    def _connect(self) -> SqliteSession:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        session = SqliteSession(self.path)
        session.configure()
        session.run("BEGIN IMMEDIATE")
        try:
            migrate(session)
        except BaseException:
            session.run("ROLLBACK")
            session.connection.close()
            raise
        session.run("COMMIT")
        return session

    async def close(self) -> None:
        """Close the file after what is being written."""
        for pool, session in ((self._writer, self._write), (self._reader, self._read)):
            if session is not None:
                await self._in(pool, session.connection.close)
            pool.shutdown()
        self._write = self._read = None

    async def transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        """Apply commands in one transaction."""
        return await self._in(self._writer, lambda: self._transact(commands, now_ms))

    def _transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        session = _opened(self._write)
        session.run("BEGIN IMMEDIATE")
        try:
            trees: set[str] = set()
            for _ in range(MAX_RESTARTS):
                try:
                    outcomes = transact(session, commands, now_ms, self.rules, trees)
                    break
                except Restart:  # nothing is written yet, and the database stays locked
                    continue
            else:
                raise StoreUnavailableError("the leases' trees kept changing")
            session.run("COMMIT")
        except BaseException:
            if session.connection.in_transaction:
                session.run("ROLLBACK")
            raise
        return outcomes

    async def budgets(self, query: BudgetQuery, now_ms: int) -> list[NodeStatus]:
        """Return nodes by path."""
        return await self._in(self._reader, lambda: read_budgets(_opened(self._read), query, now_ms))

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Return sums by group."""
        return await self._in(self._reader, lambda: read_spend(_opened(self._read), query))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except sqlite3.OperationalError as error:  # busy, disk full, I/O error
            raise StoreUnavailableError(f"SQLite: {error}") from error


def _opened(session: SqliteSession | None) -> SqliteSession:
    if session is None:
        raise StoreUnavailableError("the ledger is closed")
    return session
