"""The store as a plugin offers it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar

from cloudstate_core.clock import Clock
from cloudstate_core.errors import SettingsError
from cloudstate_core.store import StateStore, StoreBackend
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store

__all__ = ["SqliteBackend"]


class SqliteBackend(StoreBackend):
    """Keeps state in one SQLite file in the data directory."""

    name: ClassVar[str] = "sqlite"
    settings_type: ClassVar[type] = SqliteSettings
    durable: ClassVar[bool] = True

    def open(
        self, settings: object, data_dir: Path, clock: Clock
    ) -> AbstractAsyncContextManager[StateStore]:
        return open_store(_own(settings), data_dir, clock)

    def describe(self, settings: object, data_dir: Path) -> str:
        return f"in {data_dir / _own(settings).file}"


def _own(settings: object) -> SqliteSettings:
    if not isinstance(settings, SqliteSettings):
        raise SettingsError(
            f"expected settings of type SqliteSettings, found {type(settings).__name__}"
        )
    return settings
