"""For tests of plugins and applications: contract suites, fakes, and time moved by hand."""

from __future__ import annotations

from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore

__all__ = ["FaultyStore", "ManualClock"]
