"""The store that needs no plugin, and what every store checks in the same way."""

from __future__ import annotations

from cloudstate_core.stores.memory import MemoryBackend, MemorySettings, MemoryStore

__all__ = ["MemoryBackend", "MemorySettings", "MemoryStore"]
