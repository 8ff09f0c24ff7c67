from __future__ import annotations

from functools import partial

import pytest
from serving import LINKS, Serve, serving


@pytest.fixture(params=list(LINKS))
def serve(request: pytest.FixtureRequest) -> Serve:
    """What serves an entity from a store; every test runs with both links."""
    return partial(serving, request.param)
