import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atlas_sidecar.budget_service.database import store_for
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.store import MemoryStore, Store
from tests.budget_service import postgres_server

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """One server for the session: what it costs to start is paid once."""
    if reason := postgres_server.missing():
        pytest.skip(reason)
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: postgres_server.Server) -> Iterator[str]:
    name = f"ledger{next(NUMBERS)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store of each kind, in memory included: all keep one contract."""
    rules = Rules()
    if request.param == "memory":
        opened: Store = MemoryStore(rules)
    elif request.param == "sqlite":
        opened = store_for(f"sqlite:///{tmp_path}/ledger.db", rules)
    else:
        opened = store_for(request.getfixturevalue("postgres_url"), rules)
    await opened.open()
    yield opened
    await opened.close()
