"""The two counters on the protocol."""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import Message

from cloudstate.crdt_pb2 import GCounterDelta, PNCounterDelta
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.translation.faults import BadDelta, Incompatible
from cloudstate_crdt.translation.translation import Translation, Viewpoint, Writer
from cloudstate_crdt.types.gcounter import MAX_COUNT, GCounter
from cloudstate_crdt.types.pncounter import PNCounter

__all__ = ["GCounterTranslation", "PNCounterTranslation"]

_INT64 = range(-(2**63), 2**63)


class GCounterTranslation(Translation[GCounter, int, GCounterDelta]):
    """A counter that grows is known by its total."""

    state_type: ClassVar[type[Lattice]] = GCounter
    delta_class: ClassVar[type[Message]] = GCounterDelta

    def content(self, state: GCounter, viewpoint: Viewpoint) -> int:
        return state.value

    def whole(self, content: int) -> GCounterDelta:
        if content > 2**64 - 1:
            raise Incompatible(f"expected a total of 64 bits, found {content}")
        return GCounterDelta(increment=content)

    def difference(self, had: int, has: int) -> GCounterDelta | None:
        if has < had:
            raise Incompatible(f"expected a total of at least {had}, found {has}")
        return self.whole(has - had) if has > had else None

    def after(self, had: int | None, delta: GCounterDelta) -> int:
        # The field is unsigned, and what it is read into elsewhere is not.
        if delta.increment > MAX_COUNT:
            raise BadDelta(f"expected an increment of at most {MAX_COUNT}, found {delta.increment}")
        return (had or 0) + delta.increment

    def write(self, state: GCounter, delta: GCounterDelta, writer: Writer) -> GCounter:
        try:
            return state.increment(writer.replica, delta.increment)
        except ValueError as error:
            raise BadDelta(str(error)) from error


class PNCounterTranslation(Translation[PNCounter, int, PNCounterDelta]):
    """A counter is known by its total."""

    state_type: ClassVar[type[Lattice]] = PNCounter
    delta_class: ClassVar[type[Message]] = PNCounterDelta

    def content(self, state: PNCounter, viewpoint: Viewpoint) -> int:
        return state.value

    def whole(self, content: int) -> PNCounterDelta:
        if content not in _INT64:
            raise Incompatible(f"expected a change of 64 bits, found {content}")
        return PNCounterDelta(change=content)

    def difference(self, had: int, has: int) -> PNCounterDelta | None:
        return self.whole(has - had) if has != had else None

    def after(self, had: int | None, delta: PNCounterDelta) -> int:
        return (had or 0) + delta.change

    def write(self, state: PNCounter, delta: PNCounterDelta, writer: Writer) -> PNCounter:
        try:
            return state.change(writer.replica, delta.change)
        except ValueError as error:
            raise BadDelta(str(error)) from error
