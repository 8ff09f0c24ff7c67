"""Registers the store."""

from __future__ import annotations

from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.store import StoreBackend
from cloudstate_sqlite.backend import SqliteBackend

__all__ = ["cloudstate_register_stores"]


@hookimpl
def cloudstate_register_stores() -> list[StoreBackend]:
    return [SqliteBackend()]
