"""What is looked at before a command that is sent with conditions.

All of it happens in the command's turn. So a command that is sent again while the first one runs
waits behind it, and finds what came of it.
"""

from __future__ import annotations

from cloudstate_core.durable.remembered import recalled
from cloudstate_core.errors import NoVersions, VersionMismatch
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import Engine, version_of
from cloudstate_core.store import EntityKey, StateStore

__all__ = ["Recall", "check_no_version", "check_version"]


class Recall:
    """Finds the answer to a command that was carried out before.

    Args:
        store: Where it is remembered.
        persistence_id: Whose entities they are.
    """

    def __init__(self, store: StateStore, persistence_id: str) -> None:
        self._store = store
        self._persistence_id = persistence_id

    async def outcome(self, entity_id: str, request: Request) -> Outcome | None:
        """Return what came of a command under its key before; None if it is new.

        Raises:
            KeyReused: It was another command.
            StoreError: Nobody can tell now. Nothing was begun.
        """
        conditions = request.conditions
        if conditions is None or not conditions.command_key:
            return None
        key = EntityKey(self._persistence_id, entity_id)
        kept = await self._store.remembered_reply(key, conditions.command_key)
        if kept is None:
            return None
        return recalled(kept, request, entity_id, conditions.command_key)


def check_version(entity_id: str, request: Request, engine: Engine) -> None:
    """Return if an entity, which is open, has the version that the caller expects.

    Raises:
        VersionMismatch: It has another one.
        NoVersions: It has none.
    """
    expected = None if request.conditions is None else request.conditions.expected_version
    if expected is None:
        return
    actual = version_of(engine)
    if actual is None:
        raise NoVersions(
            f"expected no if-match: entities of service {request.service!r} have no versions"
        )
    if actual != expected:
        raise VersionMismatch(entity_id, expected=expected, actual=actual)


def check_no_version(request: Request) -> None:
    """Return if a request for a service without entities expects no version.

    Raises:
        NoVersions: It does.
    """
    if request.conditions is not None and request.conditions.expected_version is not None:
        raise NoVersions(
            f"expected no if-match: service {request.service!r} has no entities with versions, so "
            "there is none to compare"
        )
