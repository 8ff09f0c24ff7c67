"""Disks that fail, for tests of this store and of what stands on it."""

from __future__ import annotations

from cloudstate_sqlite.testing.failing_disk import FailingDisk

__all__ = ["FailingDisk"]
