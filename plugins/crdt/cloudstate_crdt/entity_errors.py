"""Why a command at a replicated entity is not answered as its user function would have it.

* EntityDeleted      there is no such entity any more, on any node, for ever
* EntityTerminating  its user function's end has gone, or the store has; it begins anew at once
* EntityCrashed      its user function broke the protocol; it begins anew at once
* SlowReader         the client does not take what it is sent
"""

from __future__ import annotations

from cloudstate_core.errors import CloudstateError, LimitExceeded
from cloudstate_core.status import Status

__all__ = ["EntityCrashed", "EntityDeleted", "EntityTerminating", "SlowReader"]


class EntityDeleted(CloudstateError):
    """The entity was deleted. Its id is not used again."""

    status = Status.NOT_FOUND

    def __init__(self) -> None:
        super().__init__("Entity deleted")


class EntityTerminating(CloudstateError):
    """The entity left memory before the command was answered. Nothing of it was stored."""

    status = Status.UNAVAILABLE
    retryable = True

    def __init__(self, *, detail: str = "") -> None:
        super().__init__("Entity terminating", detail=detail)


class EntityCrashed(CloudstateError):
    """The user function broke the protocol, which ends all that the entity had begun."""

    def __init__(self, *, detail: str = "") -> None:
        super().__init__("Entity terminating", detail=detail)


class SlowReader(LimitExceeded):
    """A client takes its messages more slowly than they are made. Those that wait are lost."""
