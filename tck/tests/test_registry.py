from __future__ import annotations

import pytest

from cloudstate_tck.case import Case, Phase
from cloudstate_tck.registry import (
    FUNCTION_PHASES,
    HOSTILE_PHASES,
    PROXY_PHASES,
    all_cases,
    in_order,
    select,
)


async def run(examination):
    """Examine nothing."""


def case(id_: str, phase: Phase = Phase.MODEL, kind: str = "eventsourced", title: str = "") -> Case:
    return Case(id_, title or f"case {id_}", kind, phase, frozenset(), run)


def test_every_case_of_the_original_suite_for_what_is_served_is_here():
    ids = {found.id for found in all_cases()}

    assert {"D1", "R1"} <= ids
    assert {*(f"E{n}" for n in range(1, 22)), *(f"EP{n}" for n in range(1, 6))} <= ids
    assert {*(f"V{n}" for n in range(1, 20)), *(f"VP{n}" for n in range(1, 6))} <= ids
    assert {*(f"A{n}" for n in range(1, 35)), *(f"AP{n}" for n in range(1, 10))} <= ids
    assert {*(f"C{n}" for n in range(1, 83)), *(f"CP{n}" for n in range(1, 7))} <= ids


def test_every_case_has_a_title_of_its_own_within_its_heading():
    titles = [(found.phase, found.kind, found.title) for found in all_cases()]

    assert len(set(titles)) == len(titles)


def test_a_user_function_is_examined_before_the_proxy_in_front_of_it():
    phases = [found.phase for found in all_cases()]

    assert phases == sorted(phases)
    assert phases[0] is Phase.DISCOVERY


def test_numbers_sort_as_numbers_within_a_kind():
    ordered = in_order([case("E10"), case("E9"), case("EX1"), case("E1")])

    assert [found.id for found in ordered] == ["E1", "E9", "E10", "EX1"]


def test_two_cases_of_one_id_are_an_error():
    with pytest.raises(ValueError, match="two cases have the id 'E1'"):
        in_order([case("E1"), case("E1", Phase.PROXY)])


def test_every_case_belongs_to_exactly_one_way_of_examining_but_discovery():
    for found in all_cases():
        ways = [p for p in (FUNCTION_PHASES, PROXY_PHASES, HOSTILE_PHASES) if found.phase in p]
        assert len(ways) == (2 if found.phase is Phase.DISCOVERY else 1)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), ["E1", "E2", "E10"]),
        (("E1",), ["E1"]),
        (("e1*",), ["E1", "E10"]),
        (("*snapshot*",), ["E10"]),
        (("*SNAPSHOT*", "E2"), ["E2", "E10"]),
        (("X*",), []),
    ],
)
def test_patterns_choose_by_id_or_title(only, expected):
    cases = in_order([case("E1"), case("E2"), case("E10", title="a Snapshot is taken")])

    found = select(cases, phases=set(Phase), only=only)

    assert [each.id for each in found] == expected


def test_a_kind_keeps_discovery_and_reflection():
    cases = [
        case("D1", Phase.DISCOVERY, "discovery"),
        case("R1", Phase.REFLECTION, "reflection"),
        case("E1"),
        case("V1", kind="kv"),
    ]

    found = select(cases, phases=set(Phase), kinds=("kv",))

    assert [each.id for each in found] == ["D1", "R1", "V1"]
