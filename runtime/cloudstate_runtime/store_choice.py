"""Which of the installed store backends keeps the state."""

from __future__ import annotations

from cloudstate_core.errors import SettingsError
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import StoreBackend

__all__ = ["choose_store"]


def choose_store(name: str, plugins: Plugins) -> StoreBackend:
    """Return the backend of a name, or the only durable one if the name is empty.

    Raises:
        SettingsError: There is none of that name, or not exactly one durable one.
    """
    known = ", ".join(sorted(plugins.stores)) or "none"
    if name:
        if name not in plugins.stores:
            raise SettingsError(f"store {name!r} is not installed; installed are {known}")
        return plugins.stores[name]
    durable = [store for store in plugins.stores.values() if store.durable]
    match durable:
        case [only]:
            return only
        case []:
            raise SettingsError(
                "no installed plugin keeps state on disk; install a store backend, or ask for "
                "state that ends with the process with --memory"
            )
        case _:
            names = ", ".join(sorted(store.name for store in durable))
            raise SettingsError(
                f"several installed stores are durable ({names}); say which with --store or the "
                "setting runtime.store"
            )
