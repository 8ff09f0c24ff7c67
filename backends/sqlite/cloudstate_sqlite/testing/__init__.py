"""Disks that fail, for tests of this store and of what stands on it."""

from __future__ import annotations

from cloudstate_sqlite.testing.failing_disk import FailingDisk
from cloudstate_sqlite.testing.power_cut import PowerCutDisk

__all__ = ["FailingDisk", "PowerCutDisk"]
