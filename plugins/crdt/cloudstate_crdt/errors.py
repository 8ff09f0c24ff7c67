"""Why a state or a delta is not taken in. Whatever it was offered to is as it was before.

* StateRefused
    * MalformedState      the bytes are not what any replica would have written
    * StateTooLarge       there are more bytes than allowed
    * NestedTooDeep       a map in a map in a map ... beyond what is allowed
    * UnknownType         no such type is known here
    * WrongType           the state is one of another type
    * DotReused           one node gave two changes the same number
    * StaleReplica        a node that has come back since speaks from its earlier life

And why a change that was made is not answered as one:

* TooFewReplicas            it is stored here; not enough other nodes said in time that they have it
"""

from __future__ import annotations

from cloudstate_core.errors import CloudstateError
from cloudstate_core.status import Status

__all__ = [
    "DotReused",
    "MalformedState",
    "NestedTooDeep",
    "StaleReplica",
    "StateRefused",
    "StateTooLarge",
    "TooFewReplicas",
    "UnknownType",
    "WrongType",
]


class StateRefused(CloudstateError):
    """A state or a delta was not taken in. Nothing was changed."""

    status = Status.INVALID_ARGUMENT


class MalformedState(StateRefused):
    """The bytes are not what any replica would have written. Nothing was read."""


class StateTooLarge(StateRefused):
    """There are more bytes than allowed. Nothing was read."""

    status = Status.RESOURCE_EXHAUSTED


class NestedTooDeep(StateRefused):
    """A value lies deeper inside maps than allowed. Nothing was changed."""


class UnknownType(StateRefused):
    """A type is named that is not known here. Nothing was changed."""


class WrongType(StateRefused):
    """A state of one type was offered to another. Nothing was changed."""


class DotReused(StateRefused):
    """Two changes carry the same dot: a node lost its state and kept its epoch.

    Nothing was changed. The node has to come back with a new epoch.
    """

    status = Status.DATA_LOSS


class StaleReplica(StateRefused):
    """A node speaks from a life before its present one. Nothing was changed."""

    status = Status.FAILED_PRECONDITION


class TooFewReplicas(CloudstateError):
    """Not enough members have said in time that they have stored a change.

    The change is stored on this node and spreads further; it may be stored elsewhere too.

    Attributes:
        stored: How many members are known to have stored it, this one among them.
        needed: How many should have.
    """

    status = Status.UNAVAILABLE
    # A change made again is another change: a counter would count twice.
    retryable = False

    def __init__(self, stored: int, needed: int, why: str) -> None:
        self.stored = stored
        self.needed = needed
        super().__init__(
            f"expected the change to be stored by {needed} nodes, found {stored}: {why};"
            " the change is kept on this node and still spreads"
        )
