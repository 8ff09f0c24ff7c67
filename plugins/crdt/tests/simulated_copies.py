"""Copies of entities in a simulated cluster, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudstate_crdt import standard_types
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.replicas import Change, Deleted

REGISTRY = standard_types()


class Broken(AssertionError):
    """What is promised does not hold."""


@dataclass
class Operation:
    """A change that somebody made."""

    entity_id: str
    node: str
    epoch: int
    delta: Change
    amount: int
    made_s: float
    consistency: str
    #: It was written to this node's disk, perhaps with something else of the entity.
    is_stored: bool = False
    #: The command was answered, or waited for other nodes only.
    is_done: bool = False
    is_confirmed: bool = False
    #: It has taken over what a departed writer has left.
    is_adoption: bool = False
    #: Whom its node had forgotten when it made it.
    retired: Retired = field(default_factory=Retired)


def joined(copy: Change | None, change: Change) -> tuple[Change, bool]:
    """The copy with the change, and whether it is another one then."""
    if isinstance(copy, Deleted):
        return copy, False
    if isinstance(change, Deleted):
        return change, True
    if copy is None:
        return change.copy(), True
    return copy, copy.join(change)


def covers(copy: Change | None, change: Change) -> bool:
    if isinstance(copy, Deleted):
        return True
    return copy is not None and not isinstance(change, Deleted) and copy.covers(change)


def copy_of(copy: Change) -> Change:
    return copy if isinstance(copy, Deleted) else copy.copy()


def stripped(change: Change, retired: Retired) -> Change:
    """What is left of a change where its writer may be forgotten."""
    if isinstance(change, Deleted) or not retired:
        return change
    left = change.copy()
    retired.strip(left)
    return left


def present(copy: Change, retired: Retired) -> Change:
    """A copy as a node reads it that has forgotten writers."""
    if isinstance(copy, Deleted) or not retired:
        return copy
    read = copy.copy()
    retired.apply(read)
    return read


def same(one: Change, other: Change) -> bool:
    if isinstance(one, Deleted) or isinstance(other, Deleted):
        return one is other
    return one == other
