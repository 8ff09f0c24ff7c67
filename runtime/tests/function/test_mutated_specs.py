"""Damaged announcements: a fault, or a service, and never anything else."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from runtime_doubles.specs import (
    TOY,
    entity,
    enum,
    field,
    file,
    message,
    orders_file,
    orders_files,
    service,
    spec,
    spec_of,
)
from runtime_doubles.toy_kind import ToyKind

from cloudstate.entity_pb2 import EntitySpec
from cloudstate_core.errors import InvalidSpec
from cloudstate_runtime.function.discovery import Discovery

DISCOVERY = Discovery({TOY: ToyKind()}, lambda _: (), max_spec_bytes=1 << 20)

RICH = file(
    "rich.proto",
    "rich",
    message(
        "M",
        field("id", 4, key=True),
        field("a", 1, ".rich.M"),
        field("b", 2, "enum .rich.E"),
        field("c", 3, "bytes"),
    ),
    enum_type=[enum("E", ZERO=0, ONE=1)],
    service=[service("S", {"Do": (".rich.M", ".shop.Order")})],
    dependency=["shop/orders.proto", "google/api/annotations.proto"],
)
SMALL = spec(orders_file(), RICH).proto
WHOLE = spec(*orders_files(), RICH).proto

#: More when asked for: the same test is also the long one.
EXAMPLES = int(os.environ.get("CLOUDSTATE_MUTATIONS", "300"))

SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def faults_of(announced: EntitySpec) -> tuple[str, ...]:
    """Announce; return the faults, and use what was accepted if there are none."""
    try:
        deployment = DISCOVERY.deploy("damaged", announced)
    except InvalidSpec as refused:
        return refused.faults
    for each in deployment.entities:
        for method in each.methods.values():
            method.input_class.FromString(b"")
    return ()


def answers(data: bytes) -> None:
    """Announce two services of `data`; whatever is wrong is said in words."""
    faults = faults_of(spec_of(data, entity(), entity("rich.S")))
    assert all(isinstance(fault, str) and fault for fault in faults)


@pytest.mark.parametrize("data", [SMALL, WHOLE], ids=["small", "whole"])
def test_the_announcement_that_is_damaged_was_whole(data: bytes) -> None:
    assert faults_of(spec_of(data, entity(), entity("rich.S"))) == ()


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=6))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(SMALL)
    for place, byte in changes:
        damaged[place] = byte
    answers(bytes(damaged))


@SETTINGS
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_of_the_files_that_everybody_knows(place: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << bit
    answers(bytes(damaged))


@SETTINGS
@given(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)), st.binary(max_size=40))
def test_bytes_cut_out_and_put_in(start: int, end: int, inserted: bytes) -> None:
    answers(SMALL[:start] + inserted + SMALL[end:])


@SETTINGS
@given(st.binary(max_size=200))
@example(b"\x0a\x0a\x0a\x03aaa\x1a\x03a\xff\xfe")
def test_any_bytes(data: bytes) -> None:
    answers(data)


@SETTINGS
@given(
    service_name=st.text(max_size=30),
    entity_type=st.text(max_size=30),
    persistence_id=st.text(max_size=600),
)
def test_any_names(service_name: str, entity_type: str, persistence_id: str) -> None:
    faults = faults_of(
        spec_of(SMALL, entity(service_name, entity_type, persistence_id), entity("rich.S"))
    )

    assert faults
