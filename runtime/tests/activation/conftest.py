"""What the tests of activations share."""

from __future__ import annotations

import pytest
from runtime_doubles.engines import FakeHome

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.activation import Activation


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(clock: ManualClock) -> FakeHome:
    return FakeHome(clock)


@pytest.fixture
def activation(home: FakeHome) -> Activation:
    return Activation("joe", home)
