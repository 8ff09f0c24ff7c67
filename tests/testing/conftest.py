"""The services that the tests of the kit call: those of the kinds' own tests, and the example."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sys.path += [
    str(CHECKOUT / "plugins" / "eventsourced" / "tests"),
    str(CHECKOUT / "plugins" / "action" / "tests"),
    str(CHECKOUT / "plugins" / "kv" / "tests"),
    str(CHECKOUT / "examples" / "shopping_cart"),
]


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries
