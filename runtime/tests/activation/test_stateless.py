"""Conditions of requests for a service that keeps nothing."""

from __future__ import annotations

import pytest
from runtime_doubles.engines import ORDERS, Notes, order
from runtime_doubles.routes import Handlers

from cloudstate_core.errors import NoVersions
from cloudstate_core.handler import Conditions
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.stateless import StatelessService


async def test_a_version_is_refused_and_a_key_is_passed_along() -> None:
    handlers = Handlers()
    service = StatelessService(ORDERS, handlers, print, ManualClock(), Notes())

    with pytest.raises(NoVersions, match="no entities"):
        await service.handle(order(conditions=Conditions("k", 7)))
    with pytest.raises(NoVersions, match="no entities"):
        await anext(service.stream(order(conditions=Conditions("k", 7))))
    assert handlers.requests == []

    await service.handle(order(conditions=Conditions("k")))
    assert [each.conditions for each in handlers.requests] == [Conditions("k")]
