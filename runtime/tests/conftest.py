"""What the tests of the runtime share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

# Builders and doubles, as a package, for what is more than a fixture.
sys.path.append(str(Path(__file__).parent / "doubles"))


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries
