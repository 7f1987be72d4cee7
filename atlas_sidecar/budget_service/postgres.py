"""The ledger in PostgreSQL: for replicas that scale out over one database. Needs the extra `postgres`.

Rules kept here:
- READ COMMITTED; rows are locked FOR UPDATE in the order of sql.py. A serialization failure or a deadlock runs the
  transaction again, from its beginning; a lost connection does not, because its commit may have happened: the caller's
  repetition is safe, since every command is.
- The schema is migrated under an advisory lock: replicas that start together take turns.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolTimeout

from atlas_sidecar.budget_service.migrate import migrate
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.sql import Restart, Row, transact
from atlas_sidecar.budget_service.sql_read import read_budgets, read_spend
from atlas_sidecar.budget_service.store import BudgetQuery, SpendQuery, SpendRow, StoreError, StoreUnavailableError
from atlas_sidecar.budget_service.values import Command, NodeStatus, Outcome

T = TypeVar("T")
MIGRATION_LOCK = 0x41544C4153  # "ATLAS"
MAX_TRIES = 20
CONNECTIONS = 4
CONNECT_TIMEOUT_S = 10.0
ACQUIRE_TIMEOUT_S = 2.0  # no longer than a sidecar waits for its answer
Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresSession:
    """A connection inside a transaction, as sql.py wants it."""

    lock = " FOR UPDATE"
    label = "COALESCE(labels::jsonb ->> ?, '')"
    types = {"{text}": 'TEXT COLLATE "C"', "{bytes}": "BYTEA"}  # noqa: RUF012 # read only

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return what a query yields."""
        return self.connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()

    def run(self, sql: str) -> None:
        """Run one statement."""
        self.connection.execute(sql.encode())

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Insert many rows with one statement, a column at a time: no two of them may have the same key."""
        if not parameters:
            return
        head, _, rest = sql.partition(" VALUES (")
        columns = [list(column) for column in zip(*parameters, strict=True)]
        arrays = ", ".join(f"%s::{_array_type(column)}" for column in columns)
        text = f"{head} SELECT * FROM unnest({arrays}){rest.partition(')')[2]}"
        self.connection.execute(text.encode(), columns)

    def member(self, column: str) -> str:
        """Return the condition that a column is in an array parameter."""
        return f"{column} = ANY(?::text[])"

    def array(self, values: Iterable[str]) -> list[str]:
        """Return the parameter for `member`."""
        return sorted(values)


def _array_type(column: Sequence[Any]) -> str:
    """Return the type of a column's array; a column of NULL alone is a number (texts are NOT NULL in our schema)."""
    known = next((value for value in column if value is not None), 0)
    if isinstance(known, str):
        return "text[]"
    return "bytea[]" if isinstance(known, bytes) else "bigint[]"


class PostgresStore:
    """A Store in a PostgreSQL database; the service in front of it keeps nothing."""

    def __init__(self, url: str, rules: Rules) -> None:
        self.rules = rules
        self._url = url
        self._threads = ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="ledger")
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=ACQUIRE_TIMEOUT_S,
            check=ConnectionPool.check_connection,
            open=False,
            kwargs={"connect_timeout": int(CONNECT_TIMEOUT_S)},
        )

    def __repr__(self) -> str:
        return "PostgresStore()"  # the URL may hold a password

    async def open(self) -> None:
        """Connect and migrate. Raises StoreError."""
        try:
            await self._run(self._open)
        except (StoreUnavailableError, psycopg.Error) as error:
            raise StoreError(f"cannot use the PostgreSQL ledger: {error}") from error

    def _open(self) -> None:
        # One connection without the pool: it fails at once, and says why.
        with psycopg.connect(self._url, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            migrate(PostgresSession(connection))
        self._pool.open(wait=True, timeout=CONNECT_TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections after what is being written."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        self._pool.close()

    async def transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        """Apply commands in one transaction."""
        return await self._run(lambda: self._transact(commands, now_ms))

    def _transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        trees: set[str] = set()
        for attempt in range(MAX_TRIES):
            try:
                with self._pool.connection() as connection:
                    return transact(PostgresSession(connection), commands, now_ms, self.rules, trees)
            except Restart:
                continue
            except (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation):
                time.sleep(random.random() * 0.01 * (attempt + 1))  # noqa: S311 # spreads two replicas, hides nothing
        raise StoreUnavailableError("the transaction kept colliding with others")

    async def budgets(self, query: BudgetQuery, now_ms: int) -> list[NodeStatus]:
        """Return nodes by path."""

        def read() -> list[NodeStatus]:
            with self._pool.connection() as connection:
                return read_budgets(PostgresSession(connection), query, now_ms)

        return await self._run(read)

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Return sums by group."""

        def read() -> list[SpendRow]:
            with self._pool.connection() as connection:
                return read_spend(PostgresSession(connection), query)

        return await self._run(read)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailableError(f"PostgreSQL: {error}") from error
