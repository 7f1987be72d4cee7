"""Choose the store by its URL."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.sqlite import SqliteStore
from atlas_sidecar.budget_service.store import Store, StoreError


def store_for(url: str, rules: Rules) -> Store:
    """Return the store of `sqlite:///path/ledger.db` or `postgresql://user@host/db`. Raises StoreError for others."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        path = unquote(parts.path)
        if parts.netloc or len(path) < 2:
            raise StoreError("a SQLite ledger is named sqlite:///path/ledger.db")
        return SqliteStore(path[1:] if path.startswith("//") else path, rules)
    if parts.scheme in ("postgresql", "postgres"):
        try:
            from atlas_sidecar.budget_service.postgres import PostgresStore  # noqa: PLC0415 # an extra: absent by default
        except ImportError as error:
            raise StoreError(f"PostgreSQL needs the extra: pip install 'atlas-sidecar[postgres]' ({error})") from error
        return PostgresStore(url, rules)
    raise StoreError("the database is named sqlite:///path/ledger.db or postgresql://user@host/db")
