"""What each type has to say for itself: how it looks to a user function, and how that changes it.

A *view* is what a user function can know of a state: a total, a set of elements, a value, with
nothing of who wrote what. Two views of one entity are compared to find out what a user function has
to be told; a delta that it sends is applied to its view, to know what it has, and to the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any as AnyType
from typing import ClassVar, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica

__all__ = ["KeyedTranslation", "Portion", "Translation", "View", "Viewpoint", "Writer"]

StateT = TypeVar("StateT", bound=Lattice)
ContentT = TypeVar("ContentT")
DeltaT = TypeVar("DeltaT", bound=Message)
PlaceT = TypeVar("PlaceT")


class View(NamedTuple):
    """What a user function can know of a state.

    Attributes:
        type_name: Of the state's type, and of its field in `CrdtDelta`.
        content: As the type's `Translation` makes it; compared with `==`, and changed by nobody but
            `advance` and `catch_up`, for the one to whom the view belongs.
    """

    type_name: str
    content: AnyType


class Portion(NamedTuple):
    """What a user function can know of a part of a state.

    Attributes:
        type_name: As of a `View`.
        places: By key or element, what is there: as the type's `KeyedTranslation` makes it.
    """

    type_name: str
    places: Mapping[Segment, AnyType]


class Viewpoint(NamedTuple):
    """From where a state is looked at.

    Attributes:
        node: The name of this node: which voice of a vote is its own.
        members: Names of the nodes whose voices count.
    """

    node: str
    members: Collection[str]


class Writer(NamedTuple):
    """Who changes a state, and when.

    Attributes:
        replica: Who.
        now_ms: The time, in milliseconds since 1970.
    """

    replica: Replica
    now_ms: int


class Translation(ABC, Generic[StateT, ContentT, DeltaT]):
    """One type on the protocol.

    Attributes:
        state_type: The type; its name is also that of the field in `CrdtDelta`.
        delta_class: The message in that field.
    """

    state_type: ClassVar[type[Lattice]]
    delta_class: ClassVar[type[Message]]

    @abstractmethod
    def content(self, state: StateT, viewpoint: Viewpoint) -> ContentT:
        """Return what a user function can know of a state."""

    @abstractmethod
    def whole(self, content: ContentT) -> DeltaT:
        """Return the delta that brings a user function from nothing to this."""

    @abstractmethod
    def difference(self, had: ContentT, has: ContentT) -> DeltaT | None:
        """Return the delta that brings a user function from one to the other; None if none is due.

        Raises:
            Incompatible: No delta does.
        """

    @abstractmethod
    def after(self, had: ContentT | None, delta: DeltaT) -> ContentT:
        """Return what a user function has that has sent a delta; None is before it had anything.

        Raises:
            TranslationFault: It may not send that.
        """

    def advance(self, had: ContentT | None, delta: DeltaT) -> ContentT:
        """Return what `after` returns; it may be `had` itself, changed."""
        return self.after(had, delta)

    def is_foreseen(self, had: ContentT | None, delta: DeltaT) -> bool:
        """Return whether a state that looks as `had` will look as the user function takes it to.

        If not, it has to be looked at after `write`, although nobody else has changed it.
        """
        del had, delta
        return True

    @abstractmethod
    def write(self, state: StateT, delta: DeltaT, writer: Writer) -> StateT:
        """Apply a user function's delta to a state, and return what changed, of the same type.

        The state may have changed in the meantime in ways that the user function did not know of.

        Raises:
            TranslationFault: The state cannot take the delta. It may have taken a part.
            StateRefused: As the fault says, likewise.
        """


class KeyedTranslation(
    Translation[StateT, ContentT, DeltaT], Generic[StateT, ContentT, DeltaT, PlaceT]
):
    """One type that can be large, and be looked at in part."""

    @abstractmethod
    def places(
        self, state: StateT, keys: Iterable[Segment], viewpoint: Viewpoint
    ) -> Mapping[Segment, PlaceT]:
        """Return what a user function can know of a state in some places."""

    @abstractmethod
    def difference_in(self, had: ContentT, places: Mapping[Segment, PlaceT]) -> DeltaT | None:
        """Return what `difference` returns for what was had, and the same with these places."""

    @abstractmethod
    def put(self, had: ContentT, places: Mapping[Segment, PlaceT]) -> None:
        """Change what was had in these places."""
