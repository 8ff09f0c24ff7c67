"""What the tests of value entities share: two services, served over either link."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog

sys.path.append(str(Path(__file__).parent))

from serving_boards import LINKS, Serve, serve


@pytest.fixture(params=LINKS)
def serving(request: pytest.FixtureRequest) -> Serve:
    """Serves boards over each of the links."""
    return partial(serve, request.param)


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries
