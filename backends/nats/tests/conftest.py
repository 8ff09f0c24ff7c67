from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudstate_nats.testing import NatsServer, start_nats_server


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    """A real server, for the tests of one file."""
    with start_nats_server() as server:
        yield server
