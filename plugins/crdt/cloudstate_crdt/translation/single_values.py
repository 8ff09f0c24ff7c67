"""A register, a flag and a vote on the protocol."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from google.protobuf.message import Message

from cloudstate.crdt_pb2 import CrdtClock, FlagDelta, LWWRegisterDelta, VoteDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.translation.faults import BadDelta, Incompatible
from cloudstate_crdt.translation.translation import Translation, Viewpoint, Writer
from cloudstate_crdt.types.flag import Flag
from cloudstate_crdt.types.lwwregister import Clock, LWWRegister
from cloudstate_crdt.types.vote import Vote

__all__ = ["FlagTranslation", "LWWRegisterTranslation", "Tally", "VoteTranslation"]

_CLOCKS = {
    CrdtClock.DEFAULT: Clock.DEFAULT,
    CrdtClock.REVERSE: Clock.REVERSE,
    CrdtClock.CUSTOM: Clock.CUSTOM,
    CrdtClock.CUSTOM_AUTO_INCREMENT: Clock.CUSTOM_AUTO_INCREMENT,
}
_CUSTOM = (Clock.CUSTOM, Clock.CUSTOM_AUTO_INCREMENT)


class LWWRegisterTranslation(Translation[LWWRegister, Segment, LWWRegisterDelta]):
    """A register is known by its value; how it is dated is the replicas' affair."""

    state_type: ClassVar[type[Lattice]] = LWWRegister
    delta_class: ClassVar[type[Message]] = LWWRegisterDelta

    def content(self, state: LWWRegister, viewpoint: Viewpoint) -> Segment:
        return Segment("", b"") if state.written is None else state.written.value

    def whole(self, content: Segment) -> LWWRegisterDelta:
        return LWWRegisterDelta(value=content.item())

    def difference(self, had: Segment, has: Segment) -> LWWRegisterDelta | None:
        return self.whole(has) if has != had else None

    def after(self, had: Segment | None, delta: LWWRegisterDelta) -> Segment:
        if delta.clock not in _CLOCKS:
            raise BadDelta(f"expected a known clock, found {delta.clock}")
        return Segment.of(delta.value)

    def is_foreseen(self, had: Segment | None, delta: LWWRegisterDelta) -> bool:
        # Only the default clock dates a write later than the one that is there.
        return delta.clock == CrdtClock.DEFAULT

    def write(self, state: LWWRegister, delta: LWWRegisterDelta, writer: Writer) -> LWWRegister:
        clock = _CLOCKS[delta.clock]
        now = delta.custom_clock_value if clock in _CUSTOM else writer.now_ms
        try:
            return state.set(writer.replica, delta.value, now=now, clock=clock)
        except ValueError as error:
            raise BadDelta(str(error)) from error


class FlagTranslation(Translation[Flag, bool, FlagDelta]):
    """A flag is known by whether it is on."""

    state_type: ClassVar[type[Lattice]] = Flag
    delta_class: ClassVar[type[Message]] = FlagDelta

    def content(self, state: Flag, viewpoint: Viewpoint) -> bool:
        return state.enabled

    def whole(self, content: bool) -> FlagDelta:  # noqa: FBT001  # as for all types
        return FlagDelta(value=content)

    def difference(self, had: bool, has: bool) -> FlagDelta | None:  # noqa: FBT001  # likewise
        if had and not has:
            raise Incompatible("expected a flag that is on, found one that is off")
        return FlagDelta(value=True) if has and not had else None

    def after(self, had: bool | None, delta: FlagDelta) -> bool:  # noqa: FBT001  # likewise
        if had and not delta.value:
            raise BadDelta("expected a flag to stay on, found one turned off")
        return bool(delta.value)

    def write(self, state: Flag, delta: FlagDelta, writer: Writer) -> Flag:
        # Whoever says that it is off did not know of the one who has turned it on meanwhile.
        return state.enable() if delta.value else Flag()


class Tally(NamedTuple):
    """What is known of a vote.

    Attributes:
        self_vote: This node's own voice.
        votes_for: How many members vote for.
        total_voters: How many members there are.
    """

    self_vote: bool
    votes_for: int
    total_voters: int


#: What a user function begins a vote with that it makes itself (Cloudstate protocol, Vote).
_NEW_VOTE = Tally(self_vote=False, votes_for=0, total_voters=1)


class VoteTranslation(Translation[Vote, Tally, VoteDelta]):
    """A vote is known by its result, and by the voice of one's own node."""

    state_type: ClassVar[type[Lattice]] = Vote
    delta_class: ClassVar[type[Message]] = VoteDelta

    def content(self, state: Vote, viewpoint: Viewpoint) -> Tally:
        members = viewpoint.members
        return Tally(state.voice_of(viewpoint.node), state.votes_for(members), len(members))

    def whole(self, content: Tally) -> VoteDelta:
        return VoteDelta(**content._asdict())

    def difference(self, had: Tally, has: Tally) -> VoteDelta | None:
        return self.whole(has) if has != had else None

    def after(self, had: Tally | None, delta: VoteDelta) -> Tally:
        # A user function counts its own voice at once; the other fields say nothing on this way.
        had, voice = had or _NEW_VOTE, bool(delta.self_vote)
        return had._replace(self_vote=voice, votes_for=had.votes_for + voice - had.self_vote)

    def is_foreseen(self, had: Tally | None, delta: VoteDelta) -> bool:
        # Who begins a vote does not know how many nodes there are.
        return had is not None

    def write(self, state: Vote, delta: VoteDelta, writer: Writer) -> Vote:
        return state.vote(writer.replica, is_for=bool(delta.self_vote))
