"""LWWRegister, Flag and Vote: what a user function does, with the suite in a proxy's place."""

from __future__ import annotations

from cloudstate.crdt_pb2 import CUSTOM, CUSTOM_AUTO_INCREMENT, REVERSE, CrdtClock, CrdtDelta
from cloudstate_tck.crdt_messages import delete, replies
from cloudstate_tck.crdt_scripts import Asked, Script, asked, cases_of, restarted, told
from cloudstate_tck.crdt_values import (
    flag_delta,
    flag_state,
    flag_update,
    register_delta,
    register_state,
    register_update,
    vote_delta,
    vote_state,
    vote_update,
)

__all__ = ["CASES"]


def reads(value: str) -> Asked:
    """Expect a register's value, and nothing to be replicated."""
    return asked(gives=replies(register_state(value)))


def writes(value: str, clock: CrdtClock | None = None, custom: int = 0) -> Asked:
    """Set a register; expect the value, and that it is replicated with its clock."""
    answer = replies(register_state(value), register_delta(value, clock, custom))
    return asked(register_update(value, clock, custom), gives=answer)


REGISTER = (
    Script(
        "a new one is replicated with its first value",
        (asked(gives=replies(register_state(""), register_delta(""))),),
    ),
    Script("a value is replicated", (writes("one"), writes("two"))),
    Script(
        "it starts with what is replicated",
        (restarted(register_delta("one")), reads("one")),
    ),
    Script(
        "a delta takes the place of the first value",
        (told(register_delta("one")), reads("one")),
    ),
    Script(
        "the last value counts, from here or elsewhere",
        (
            writes("A"),
            told(register_delta("B"), register_delta("C")),
            reads("C"),
            writes("D"),
            told(register_delta("D")),
            writes("E"),
        ),
    ),
    Script(
        "a clock is replicated with the value",
        (
            writes("A", REVERSE),
            writes("A", CUSTOM, 123),
            writes("A", CUSTOM_AUTO_INCREMENT, 456),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            writes("A"),
            told(register_delta("B")),
            reads("B"),
            writes("C"),
            restarted(register_delta("C")),
            reads("C"),
            told(register_delta("D")),
            writes("E"),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            writes("one"),
            asked(delete(), gives=replies(register_state("one"), deletes=True)),
        ),
    ),
)

OFF = asked(gives=replies(flag_state(False)))
ON = asked(gives=replies(flag_state(True)))
TURNED_ON = asked(flag_update(), gives=replies(flag_state(True), flag_delta(True)))

FLAG = (
    Script("a new one is off", (OFF,)),
    Script("turning it on is replicated", (TURNED_ON,)),
    Script(
        "it starts with what is replicated",
        (restarted(flag_delta(False)), OFF, restarted(flag_delta(True)), ON),
    ),
    Script(
        "a delta creates it",
        (told(flag_delta(False)), OFF, restarted(), told(flag_delta(True)), ON),
    ),
    Script(
        "once on it stays on",
        (
            told(flag_delta(False)),
            OFF,
            TURNED_ON,
            told(flag_delta(True), flag_delta(False)),
            ON,
            restarted(),
            told(flag_delta(True)),
            ON,
            asked(flag_update(), gives=replies(flag_state(True))),
            told(flag_delta(True), flag_delta(False)),
            ON,
        ),
    ),
    Script("it comes back as it was", (OFF, TURNED_ON, restarted(flag_delta(True)), ON)),
    Script(
        "a user function deletes it",
        (TURNED_ON, asked(delete(), gives=replies(flag_state(True), deletes=True))),
    ),
)


def counted(self_vote: bool, votes_for: int, total: int) -> Asked:  # noqa: FBT001
    """Expect the votes, and nothing to be replicated."""
    return asked(gives=replies(vote_state(self_vote, votes_for, total)))


def votes(self_vote: bool, votes_for: int, total: int, sends: CrdtDelta | None) -> Asked:  # noqa: FBT001
    """Vote; expect the votes after it, and what is replicated."""
    answer = replies(vote_state(self_vote, votes_for, total), sends)
    return asked(vote_update(self_vote), gives=answer)


FOR, AGAINST = vote_delta(True), vote_delta(False)

VOTE = (
    Script("a new one has one voter and no vote", (counted(False, 0, 1),)),
    Script(
        "a vote that changes is replicated",
        (
            votes(True, 1, 1, FOR),
            votes(True, 1, 1, None),
            votes(False, 0, 1, AGAINST),
            votes(False, 0, 1, None),
        ),
    ),
    Script(
        "it starts with what is replicated",
        (restarted(vote_delta(True, 2, 3)), counted(True, 2, 3), votes(False, 1, 3, AGAINST)),
    ),
    Script(
        "a delta creates it",
        (told(vote_delta(False, 3, 5)), counted(False, 3, 5), votes(True, 4, 5, FOR)),
    ),
    Script(
        "votes here and elsewhere add up",
        (
            told(vote_delta(False, 2, 4)),
            counted(False, 2, 4),
            votes(True, 3, 4, FOR),
            told(vote_delta(True, 5, 7), vote_delta(True, 4, 6)),
            votes(False, 3, 6, AGAINST),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            counted(False, 0, 1),
            told(vote_delta(False, 2, 5)),
            votes(True, 3, 5, FOR),
            restarted(vote_delta(True, 3, 5)),
            counted(True, 3, 5),
            votes(False, 2, 5, AGAINST),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            votes(True, 1, 1, FOR),
            asked(delete(), gives=replies(vote_state(True, 1, 1), deletes=True)),
        ),
    ),
)

CASES = (
    *cases_of(35, "LWWRegister", *REGISTER),
    *cases_of(44, "Flag", *FLAG),
    *cases_of(60, "Vote", *VOTE),
)
