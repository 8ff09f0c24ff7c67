from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate.entity_pb2 import MetadataEntry
from cloudstate_core.metadata import EMPTY_METADATA, Metadata

ENTRIES = st.lists(st.tuples(st.text(), st.text() | st.binary()))


def test_keys_are_found_in_any_case_and_keep_their_spelling() -> None:
    metadata = Metadata([("X-Id", "1"), ("x-id", "2"), ("other", b"\x00")])

    assert metadata.get("x-ID") == "1"
    assert metadata.get_all("X-ID") == ("1", "2")
    assert metadata.get("other") == b"\x00"
    assert metadata.get("none") is None
    assert "OTHER" in metadata
    assert "none" not in metadata
    assert [key for key, _ in metadata] == ["X-Id", "x-id", "other"]


def test_a_change_returns_a_copy() -> None:
    one = Metadata([("a", "1"), ("b", "2"), ("A", "3")])

    assert one.set("a", "9") == Metadata([("b", "2"), ("a", "9")])
    assert one.add("a", "9").get_all("a") == ("1", "3", "9")
    assert one.remove("a") == Metadata([("b", "2")])
    assert one == Metadata([("a", "1"), ("b", "2"), ("A", "3")])
    assert len(EMPTY_METADATA.add("a", "1")) == 1
    assert len(EMPTY_METADATA) == 0


def test_equal_metadata_has_equal_hashes_and_no_other_type_is_equal() -> None:
    assert hash(Metadata([("a", "1")])) == hash(Metadata([("a", "1")]))
    assert Metadata([("a", "1")]) != Metadata([("a", b"1")])
    assert Metadata() != ()


def test_an_entry_without_a_value_counts_as_empty_text() -> None:
    wire = WireMetadata(entries=[MetadataEntry(key="a")])

    assert list(Metadata.from_wire(wire)) == [("a", "")]


def test_its_representation_shows_no_values() -> None:
    assert repr(Metadata([("authorization", "secret")])) == "Metadata(['authorization'])"


@given(ENTRIES)
def test_the_wire_keeps_everything_in_order(entries: list[tuple[str, str | bytes]]) -> None:
    wire = WireMetadata.FromString(Metadata(entries).to_wire().SerializeToString())

    assert list(Metadata.from_wire(wire)) == entries


@given(ENTRIES, st.text())
def test_after_removing_a_key_it_is_gone_and_all_else_is_there(
    entries: list[tuple[str, str | bytes]], key: str
) -> None:
    left = Metadata(entries).remove(key)

    assert key not in left
    assert list(left) == [entry for entry in entries if entry[0].lower() != key.lower()]
