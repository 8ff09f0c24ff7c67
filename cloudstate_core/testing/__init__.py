"""For tests of plugins and applications: contract suites, fakes, and time moved by hand."""

from __future__ import annotations

from cloudstate_core.testing.clock import ManualClock

__all__ = ["ManualClock"]
