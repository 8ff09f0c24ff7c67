"""What the tests of discovery share."""

from __future__ import annotations

import pytest
from runtime_doubles.specs import TOY
from runtime_doubles.toy_kind import ToyKind

from cloudstate_runtime.function.discovery import Discovery


@pytest.fixture
def discovery() -> Discovery:
    """A runtime with one kind that wants unary methods with keys, and no front end."""
    return Discovery({TOY: ToyKind()}, lambda _: (), max_spec_bytes=4 * 1024 * 1024)
