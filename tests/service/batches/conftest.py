"""Empty batch databases: an SQLite file and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.batches import tables
from service.batches.database import database_url
from tests.service.batches.postgres_server import postgres_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.URL]:
    """The address of an empty database of either kind."""
    if request.param == "sqlite":
        yield database_url(None, tmp_path)
        return
    yield (url := database_url(request.getfixturevalue("postgres"), tmp_path))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        tables.metadata.drop_all(connection)
    engine.dispose()
