"""ORMap: what a user function does, with the suite in a proxy's place."""

from __future__ import annotations

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_tck.crdt_messages import delete, replies
from cloudstate_tck.crdt_scripts import Asked, Script, asked, cases_of, restarted, told
from cloudstate_tck.crdt_values import (
    flag_delta,
    flag_state,
    flag_update,
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_delta,
    gset_state,
    gset_update,
    ormap_add,
    ormap_clear,
    ormap_delta,
    ormap_remove,
    ormap_state,
    ormap_update,
    orset_add,
    orset_delta,
    orset_remove,
    orset_state,
    pncounter_delta,
    pncounter_state,
    pncounter_update,
    register_delta,
    register_state,
    register_update,
)
from cloudstate_tck.model.crdt_pb2 import State, Update

__all__ = ["CASES"]

COUNTER, COUNTER_2 = "PNCounter-1", "PNCounter-2"
GCOUNTER = "GCounter-1"
SET, SET_2 = "ORSet-1", "ORSet-2"
GSET = "GSet-1"
REGISTER, REGISTER_2 = "LWWRegister-1", "LWWRegister-2"
FLAG = "Flag-1"
MAP = "ORMap-1"


def changes(*updates: Update, gives: dict[str, State], sends: CrdtDelta | None = None) -> Asked:
    """Change a map; expect its entries, and what is replicated."""
    return asked(*updates, gives=replies(ormap_state(gives), sends))


def counted(key: str, by: int) -> Update:
    return ormap_update(key, pncounter_update(by))


def written(key: str, value: str) -> Update:
    return ormap_update(key, register_update(value))


def with_elements(key: str, elements: str) -> tuple[Update, ...]:
    return tuple(ormap_update(key, orset_add(element)) for element in elements)


PARTS = Script(
    "only what has changed is replicated",
    (
        changes(
            ormap_add(COUNTER),
            ormap_add(SET),
            gives={COUNTER: pncounter_state(0), SET: orset_state()},
            sends=ormap_delta(added={SET: orset_delta(), COUNTER: pncounter_delta(0)}),
        ),
        changes(
            ormap_add(SET),
            written(REGISTER, "zero"),
            gives={
                REGISTER: register_state("zero"),
                COUNTER: pncounter_state(0),
                SET: orset_state(),
            },
            sends=ormap_delta(added={REGISTER: register_delta("zero")}),
        ),
        changes(
            counted(COUNTER, 42),
            written(REGISTER, "one"),
            gives={
                REGISTER: register_state("one"),
                COUNTER: pncounter_state(42),
                SET: orset_state(),
            },
            sends=ormap_delta(
                updated={COUNTER: pncounter_delta(42), REGISTER: register_delta("one")}
            ),
        ),
        changes(
            *with_elements(SET, "abc"),
            gives={
                REGISTER: register_state("one"),
                COUNTER: pncounter_state(42),
                SET: orset_state("abc"),
            },
            sends=ormap_delta(updated={SET: orset_delta(added="abc")}),
        ),
        changes(
            ormap_update(SET, orset_remove("b")),
            ormap_update(SET, orset_add("d")),
            counted(COUNTER, -123),
            written(REGISTER, "two"),
            gives={
                REGISTER: register_state("two"),
                COUNTER: pncounter_state(-81),
                SET: orset_state("acd"),
            },
            sends=ormap_delta(
                updated={
                    SET: orset_delta(removed="b", added="d"),
                    COUNTER: pncounter_delta(-123),
                    REGISTER: register_delta("two"),
                }
            ),
        ),
        changes(
            ormap_remove(SET),
            gives={REGISTER: register_state("two"), COUNTER: pncounter_state(-81)},
            sends=ormap_delta(removed=[SET]),
        ),
        changes(
            ormap_remove(REGISTER),
            ormap_update(FLAG, flag_update()),
            gives={FLAG: flag_state(True), COUNTER: pncounter_state(-81)},
            sends=ormap_delta(removed=[REGISTER], added={FLAG: flag_delta(True)}),
        ),
        changes(ormap_clear(), gives={}, sends=ormap_delta(cleared=True)),
        changes(
            ormap_add(COUNTER_2),
            ormap_clear(),
            ormap_update(GCOUNTER, gcounter_update(123)),
            gives={GCOUNTER: gcounter_state(123)},
            sends=ormap_delta(cleared=True, added={GCOUNTER: gcounter_delta(123)}),
        ),
    ),
)

STARTED = Script(
    "it starts with what is replicated",
    (
        restarted(
            ormap_delta(
                added={
                    COUNTER: pncounter_delta(123),
                    REGISTER: register_delta("one"),
                    GSET: gset_delta("abc"),
                }
            )
        ),
        changes(
            gives={
                COUNTER: pncounter_state(123),
                REGISTER: register_state("one"),
                GSET: gset_state("abc"),
            }
        ),
        changes(
            ormap_remove(REGISTER),
            counted(COUNTER, -42),
            gives={COUNTER: pncounter_state(81), GSET: gset_state("abc")},
            sends=ormap_delta(removed=[REGISTER], updated={COUNTER: pncounter_delta(-42)}),
        ),
    ),
)

CREATED = Script(
    "a delta creates it",
    (
        told(
            ormap_delta(
                added={
                    GCOUNTER: gcounter_delta(42),
                    SET: orset_delta(added="abc"),
                    FLAG: flag_delta(False),
                }
            )
        ),
        changes(
            gives={
                GCOUNTER: gcounter_state(42),
                SET: orset_state("abc"),
                FLAG: flag_state(False),
            }
        ),
    ),
)

MIXED = Script(
    "changes here and elsewhere come together",
    (
        changes(
            ormap_add(COUNTER),
            gives={COUNTER: pncounter_state(0)},
            sends=ormap_delta(added={COUNTER: pncounter_delta(0)}),
        ),
        told(
            ormap_delta(added={SET: orset_delta(added="x")}),
            ormap_delta(
                added={REGISTER: register_delta("one")},
                updated={SET: orset_delta(added="yz")},
            ),
        ),
        changes(
            ormap_add(SET_2),
            written(REGISTER_2, "two"),
            gives={
                COUNTER: pncounter_state(0),
                REGISTER: register_state("one"),
                REGISTER_2: register_state("two"),
                SET: orset_state("xyz"),
                SET_2: orset_state(),
            },
            sends=ormap_delta(added={REGISTER_2: register_delta("two"), SET_2: orset_delta()}),
        ),
        changes(
            counted(COUNTER, 42),
            written(REGISTER, "ONE"),
            gives={
                COUNTER: pncounter_state(42),
                REGISTER: register_state("ONE"),
                REGISTER_2: register_state("two"),
                SET: orset_state("xyz"),
                SET_2: orset_state(),
            },
            sends=ormap_delta(
                updated={COUNTER: pncounter_delta(42), REGISTER: register_delta("ONE")}
            ),
        ),
        told(
            ormap_delta(
                removed=[REGISTER_2],
                added={MAP: ormap_delta(added={COUNTER: pncounter_delta(123)})},
            ),
            ormap_delta(
                removed=[SET],
                updated={
                    SET_2: orset_delta(added="abc"),
                    MAP: ormap_delta(added={REGISTER: register_delta("ABC")}),
                },
            ),
        ),
        changes(
            ormap_update(MAP, counted(COUNTER, -456)),
            gives={
                COUNTER: pncounter_state(42),
                REGISTER: register_state("ONE"),
                SET_2: orset_state("abc"),
                MAP: ormap_state({COUNTER: pncounter_state(-333), REGISTER: register_state("ABC")}),
            },
            sends=ormap_delta(updated={MAP: ormap_delta(updated={COUNTER: pncounter_delta(-456)})}),
        ),
        told(ormap_delta(cleared=True, added={GSET: gset_delta("123")})),
        changes(
            ormap_remove(COUNTER),
            ormap_remove(REGISTER),
            *(ormap_update(GSET, gset_update(element)) for element in "246"),
            gives={GSET: gset_state("12346")},
            sends=ormap_delta(updated={GSET: gset_delta("46")}),
        ),
        changes(
            ormap_clear(),
            ormap_add(GCOUNTER),
            gives={GCOUNTER: gcounter_state(0)},
            sends=ormap_delta(cleared=True, added={GCOUNTER: gcounter_delta(0)}),
        ),
        # What is added elsewhere takes the place of the entry that is here.
        told(ormap_delta(removed=[GSET], added={GCOUNTER: gcounter_delta(42)})),
        changes(
            ormap_update(GCOUNTER, gcounter_update(7)),
            gives={GCOUNTER: gcounter_state(49)},
            sends=ormap_delta(updated={GCOUNTER: gcounter_delta(7)}),
        ),
    ),
)

ORMAP = (
    Script("a new one is empty", (changes(gives={}),)),
    PARTS,
    STARTED,
    CREATED,
    MIXED,
    Script(
        "it comes back as it was",
        (
            told(ormap_delta(added={COUNTER: pncounter_delta(123)})),
            changes(
                counted(COUNTER, 321),
                gives={COUNTER: pncounter_state(444)},
                sends=ormap_delta(updated={COUNTER: pncounter_delta(321)}),
            ),
            restarted(ormap_delta(added={COUNTER: pncounter_delta(444)})),
            changes(gives={COUNTER: pncounter_state(444)}),
            told(ormap_delta(updated={COUNTER: pncounter_delta(-42)})),
            changes(
                counted(COUNTER, -360),
                gives={COUNTER: pncounter_state(42)},
                sends=ormap_delta(updated={COUNTER: pncounter_delta(-360)}),
            ),
        ),
    ),
    Script(
        "a user function deletes it, with a change that is not sent",
        (
            changes(
                ormap_add(FLAG),
                gives={FLAG: flag_state(False)},
                sends=ormap_delta(added={FLAG: flag_delta(False)}),
            ),
            asked(
                ormap_update(FLAG, flag_update()),
                delete(),
                gives=replies(ormap_state({FLAG: flag_state(True)}), deletes=True),
            ),
        ),
    ),
)

CASES = cases_of(52, "ORMap", *ORMAP)
