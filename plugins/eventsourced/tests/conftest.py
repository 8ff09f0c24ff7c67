"""What the tests of event-sourced entities share: two services, and the shopping cart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent.parent
sys.path += [str(HERE), str(CHECKOUT / "examples" / "shopping_cart")]


from served import LINKS, Serve, serve  # noqa: E402


@pytest.fixture(params=LINKS)
def serving(request: pytest.FixtureRequest) -> Serve:
    """Serves a desk over each of the links."""
    return partial(serve, request.param)


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(params=LINKS)
def asking(request: pytest.FixtureRequest) -> Serve:
    """Serves a desk whose handlers can ask, over each of the links."""
    return partial(serve, request.param, asks=True)
