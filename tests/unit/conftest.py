"""What several unit tests share."""

import pytest

from tests.postgresql import server


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server; ask it for a database of the test's own."""
    with server() as one:
        yield one
