"""For tests of plugins and applications: contract suites, fakes, and time moved by hand."""

from __future__ import annotations

from cloudstate_core.testing.async_entity_kit import AsyncEntityKit
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.entity_kit import EntityKit
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_core.testing.kit.handled import Failed, Handled, KitError, PassedOn

__all__ = [
    "AsyncEntityKit",
    "EntityKit",
    "Failed",
    "FaultyStore",
    "Handled",
    "KitError",
    "ManualClock",
    "PassedOn",
]
