"""Lets the tests of replicated types import what they share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries
