"""GSet and ORSet: what a user function does, with the suite in a proxy's place."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_tck.crdt_messages import delete, replies
from cloudstate_tck.crdt_scripts import Asked, Script, Told, asked, cases_of, restarted, told
from cloudstate_tck.crdt_values import (
    gset_delta,
    gset_state,
    gset_update,
    orset_add,
    orset_clear,
    orset_delta,
    orset_remove,
    orset_state,
)
from cloudstate_tck.model.crdt_pb2 import Update

__all__ = ["CASES"]


def adds(elements: str, *, gives: str, sends: str = "") -> Asked:
    """Add letters to a GSet; expect its letters, and those that are replicated, if any."""
    delta = gset_delta(sends) if sends else None
    return asked(*map(gset_update, elements), gives=replies(gset_state(gives), delta))


def grows(*letters: str) -> Told:
    """Tell of letters that a GSet got elsewhere, a delta for each word."""
    return told(*map(gset_delta, letters))


GSET = (
    Script("a new one is empty", (adds("", gives=""),)),
    Script(
        "only new elements are replicated",
        (
            adds("ab", gives="ab", sends="ab"),
            adds("bc", gives="abc", sends="c"),
            adds("ca", gives="abc"),
        ),
    ),
    Script(
        "it starts with what is replicated",
        (restarted(gset_delta("abc")), adds("cde", gives="abcde", sends="de")),
    ),
    Script("a delta creates it", (grows("xy"), adds("z", gives="xyz", sends="z"))),
    Script(
        "elements from here and elsewhere come together",
        (
            adds("a", gives="a", sends="a"),
            grows("a", "b", "c"),
            adds("", gives="abc"),
            adds("cde", gives="abcde", sends="de"),
            grows("f"),
            adds("gdb", gives="abcdefg", sends="g"),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            adds("a", gives="a", sends="a"),
            grows("b"),
            adds("", gives="ab"),
            adds("c", gives="abc", sends="c"),
            restarted(gset_delta("abc")),
            adds("", gives="abc"),
            grows("d"),
            adds("e", gives="abcde", sends="e"),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            adds("x", gives="x", sends="x"),
            asked(delete(), gives=replies(gset_state("x"), deletes=True)),
        ),
    ),
)


def changes(written: str, *, gives: Iterable[str], sends: CrdtDelta | None = None) -> Asked:
    """Change an ORSet as written, such as `+a -b clear`; expect its letters and the delta."""
    return asked(*map(_change, written.split()), gives=replies(orset_state(gives), sends))


def _change(written: str) -> Update:
    match written[0]:
        case "+":
            return orset_add(written[1:])
        case "-":
            return orset_remove(written[1:])
        case _:
            return orset_clear()


ORSET = (
    Script("a new one is empty", (changes("", gives=""),)),
    Script(
        "only what has changed is replicated",
        (
            changes("+a +b", gives="ab", sends=orset_delta(added="ab")),
            changes("+b +c", gives="abc", sends=orset_delta(added="c")),
            changes("+c +a", gives="abc"),
            changes("-b -d", gives="ac", sends=orset_delta(removed="b")),
            changes("-c -d +b +c", gives="abc", sends=orset_delta(added="b")),
            changes("clear", gives="", sends=orset_delta(cleared=True)),
            changes("+a clear +x", gives="x", sends=orset_delta(cleared=True, added="x")),
        ),
    ),
    Script(
        "it starts with what is replicated",
        (
            restarted(orset_delta(added="abc")),
            changes("-c +d", gives="abd", sends=orset_delta(removed="c", added="d")),
        ),
    ),
    Script(
        "a delta creates it",
        (
            told(orset_delta(added="xy")),
            changes("-x +z", gives="yz", sends=orset_delta(removed="x", added="z")),
        ),
    ),
    Script(
        "changes here and elsewhere come together",
        (
            changes("+a", gives="a", sends=orset_delta(added="a")),
            told(orset_delta(added="ab"), orset_delta(added="cd"), orset_delta(removed="bd")),
            changes("", gives="ac"),
            changes("+c +d +e", gives="acde", sends=orset_delta(added="de")),
            told(orset_delta(removed="ac", added="f")),
            changes("+g -a -d", gives="efg", sends=orset_delta(removed="d", added="g")),
            told(orset_delta(cleared=True, added="xyz")),
            changes("+q +x -z", gives="qxy", sends=orset_delta(removed="z", added="q")),
            told(orset_delta(removed="xy", added="rp")),
            changes("+s", gives="pqrs", sends=orset_delta(added="s")),
            told(orset_delta(added="abc")),
            changes("clear +abc", gives=["abc"], sends=orset_delta(cleared=True, added=["abc"])),
        ),
    ),
    Script(
        "it comes back as it was",
        (
            changes("+a", gives="a", sends=orset_delta(added="a")),
            told(orset_delta(removed="a", added="b")),
            changes("", gives="b"),
            changes("+c", gives="bc", sends=orset_delta(added="c")),
            restarted(orset_delta(added="bc")),
            changes("", gives="bc"),
            told(orset_delta(cleared=True, added="pq")),
            changes("+x +y -x", gives="pqy", sends=orset_delta(added="y")),
        ),
    ),
    Script(
        "a user function deletes it",
        (
            changes("+x", gives="x", sends=orset_delta(added="x")),
            asked(delete(), gives=replies(orset_state("x"), deletes=True)),
        ),
    ),
)

CASES = (*cases_of(19, "GSet", *GSET), *cases_of(27, "ORSet", *ORSET))
