"""What the tests of routing share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runtime_doubles.deployed import deploy
from runtime_doubles.routes import ROUTES, Handlers

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def served(handlers: Handlers) -> ServedNow:
    served = ServedNow()
    deployment = deploy(ROUTES, services=("r.A", "r.B", "r.C"))
    served.deploy(deployment, dict.fromkeys(("r.A", "r.B", "r.C"), handlers))
    return served


@pytest.fixture
def reports() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def router(served: ServedNow, reports: list[tuple[str, str]], clock: ManualClock) -> Router:
    return Router(
        served,
        lambda service, text: reports.append((service, text)),
        clock,
        max_hops=16,
        max_pending_effects=3,
    )


@pytest.fixture(autouse=True)
def _nothing_left(router: Router) -> Iterator[None]:
    yield
    assert router._running == 0 or router._effects
