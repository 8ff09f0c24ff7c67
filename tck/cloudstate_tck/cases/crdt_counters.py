"""GCounter and PNCounter: what a user function does, with the suite in a proxy's place."""

from __future__ import annotations

from cloudstate_tck.crdt_messages import delete, replies
from cloudstate_tck.crdt_scripts import Asked, Script, asked, cases_of, restarted, told
from cloudstate_tck.crdt_values import (
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    pncounter_delta,
    pncounter_state,
    pncounter_update,
)

__all__ = ["CASES"]


def counts(*increments: int, gives: int, sends: int | None = None) -> Asked:
    """Increment a GCounter; expect its value, and what is replicated of it."""
    delta = None if sends is None else gcounter_delta(sends)
    answer = replies(gcounter_state(gives), delta)
    return asked(*map(gcounter_update, increments), gives=answer)


def changes(*by: int, gives: int, sends: int | None = None) -> Asked:
    """Change a PNCounter; expect its value, and what is replicated of it."""
    delta = None if sends is None else pncounter_delta(sends)
    return asked(*map(pncounter_update, by), gives=replies(pncounter_state(gives), delta))


GCOUNTER = (
    Script("a new one is zero", (counts(gives=0),)),
    Script(
        "increments of one command are one delta",
        (counts(42, gives=42, sends=42), counts(1, 2, 3, gives=48, sends=6)),
    ),
    Script(
        "it starts with what is replicated",
        (restarted(gcounter_delta(42)), counts(123, gives=165, sends=123)),
    ),
    Script(
        "a delta creates it",
        (told(gcounter_delta(42)), counts(123, gives=165, sends=123)),
    ),
    Script(
        "changes here and elsewhere add up",
        (
            counts(1, gives=1, sends=1),
            told(gcounter_delta(2), gcounter_delta(3)),
            counts(gives=6),
            counts(4, gives=10, sends=4),
            told(gcounter_delta(5)),
            counts(6, gives=21, sends=6),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            counts(1, gives=1, sends=1),
            told(gcounter_delta(2)),
            counts(gives=3),
            counts(3, gives=6, sends=3),
            restarted(gcounter_delta(6)),
            counts(gives=6),
            told(gcounter_delta(4)),
            counts(5, gives=15, sends=5),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            counts(42, gives=42, sends=42),
            asked(delete(), gives=replies(gcounter_state(42), deletes=True)),
        ),
    ),
)

PNCOUNTER = (
    Script("a new one is zero", (changes(gives=0),)),
    Script(
        "changes of one command are one delta",
        (changes(1, -2, 3, gives=2, sends=2), changes(-4, 5, -6, gives=-3, sends=-5)),
    ),
    Script(
        "it starts with what is replicated",
        (restarted(pncounter_delta(42)), changes(-123, gives=-81, sends=-123)),
    ),
    Script(
        "a delta creates it",
        (told(pncounter_delta(-42)), changes(123, gives=81, sends=123)),
    ),
    Script(
        "changes here and elsewhere add up",
        (
            changes(1, gives=1, sends=1),
            told(pncounter_delta(-2), pncounter_delta(3)),
            changes(gives=2),
            changes(-4, gives=-2, sends=-4),
            told(pncounter_delta(5)),
            changes(-6, gives=-3, sends=-6),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            changes(1, gives=1, sends=1),
            told(pncounter_delta(-2)),
            changes(gives=-1),
            changes(3, gives=2, sends=3),
            restarted(pncounter_delta(2)),
            changes(gives=2),
            told(pncounter_delta(-4)),
            changes(5, gives=3, sends=5),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            changes(42, gives=42, sends=42),
            asked(delete(), gives=replies(pncounter_state(42), deletes=True)),
        ),
    ),
)

CASES = (*cases_of(3, "GCounter", *GCOUNTER), *cases_of(11, "PNCounter", *PNCOUNTER))
