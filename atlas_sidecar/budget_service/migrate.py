"""Bring a database to this version's schema: numbered files, each applied once, in order.

Rules kept here:
- Migrations are never changed once released; a new one is added.
- The caller holds a lock that keeps every other replica out (SQLite: the database, PostgreSQL: an advisory lock).
- A schema newer than this version is not touched: StoreError, which says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Protocol

from atlas_sidecar.budget_service.store import StoreError

MIGRATIONS = "atlas_sidecar.budget_service.migrations"


class Migrator(Protocol):
    """What migrating needs of a session; `types` replace the placeholders of a migration."""

    types: dict[str, str]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a query yields."""
        ...

    def run(self, sql: str) -> None:
        """Run one statement without parameters."""
        ...


def scripts() -> list[tuple[int, str]]:
    """Return the migrations as (version, SQL), in order."""
    found = [entry for entry in files(MIGRATIONS).iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), entry.read_text(encoding="utf-8")) for entry in found)


def migrate(session: Migrator) -> int:
    """Apply what is missing; return the version reached. Raises StoreError when the database is ahead of us."""
    session.run("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    present = session.rows("SELECT COALESCE(MAX(version), 0) FROM schema_version")[0][0]
    known = scripts()
    newest = known[-1][0]
    if present > newest:
        raise StoreError(
            f"the ledger's schema is version {present}, and this version of atlas-sidecar knows {newest}: "
            "start one at least as new as the one that made it"
        )
    for version, script in known:
        if version <= present:
            continue
        for placeholder, name in session.types.items():
            script = script.replace(placeholder, name)  # noqa: PLW2901 # the same text, filled in
        lines = [line for line in script.splitlines() if not line.startswith("--")]
        for statement in "\n".join(lines).split(";\n"):
            if statement.strip():
                session.run(statement.strip().removesuffix(";"))
        session.run(f"INSERT INTO schema_version (version) VALUES ({version})")
    return newest
