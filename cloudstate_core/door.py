"""Refusing requests before they are read.

When more comes than can be served, most of a server's time goes into what it refuses. A front end
can see that a request is there long before it has read it, and a handler that refuses requests can
say so before it has them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cloudstate_core.errors import LimitExceeded

__all__ = ["Door"]


@runtime_checkable
class Door(Protocol):
    """A handler that can say beforehand whom it would refuse.

    Front ends may ask the outermost handler; one that does not gets the same answer, later.
    """

    def room(self) -> int:
        """Return how many requests may come in this turn of the loop; not more than 0 if none."""
        ...

    def expect(self, requests: int) -> None:
        """Set places aside, until the end of the next turn, for requests that will be handled."""
        ...

    def refusal(self) -> LimitExceeded:
        """Return what to tell those for whom there is no room.

        It is the same object as long as callers are to be told the same; do not raise it.
        """
        ...

    def turned_away(self, requests: int) -> None:
        """Take note that requests were refused for want of room."""
        ...
