from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.any_pb2 import Any
from pinboard.pinboard_pb2 import Note, Text

from cloudstate.value_entity_pb2 import ValueEntityAction, ValueEntityDelete, ValueEntityUpdate
from cloudstate_core.anys import AnyError, encode
from cloudstate_core.context import CommandFailed
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.draft import Draft
from cloudstate_kv.state_type import state_type_of

A = encode(Note(text="a"))
NOTES = state_type_of(Note, "here")


def new_context(
    stored: Any | None = None, make: Callable[[], object] | None = None
) -> ValueEntityCommandContext:
    return ValueEntityCommandContext(
        entity_id="e",
        service_name="pinboard.Pinboard",
        command_name="Pin",
        command_id=1,
        draft=Draft(NOTES, make, stored),
    )


def updated(text: str) -> ValueEntityAction:
    return ValueEntityAction(update=ValueEntityUpdate(value=encode(Note(text=text))))


def test_without_a_value_the_state_is_none() -> None:
    context = new_context()

    assert context.state is None
    assert context.state_action is None


def test_without_a_value_the_state_is_what_the_entity_makes() -> None:
    context = new_context(make=lambda: Note(text="new"))

    assert context.state == Note(text="new")
    context.update(Note(text="x"))
    context.delete()
    assert context.state == Note(text="new")
    # What was made is not stored for being read.
    assert context.state_action == ValueEntityAction(delete=ValueEntityDelete())


def test_the_state_is_what_is_stored_and_reading_it_changes_nothing() -> None:
    context = new_context(A)

    assert context.state == Note(text="a")
    assert context.state is context.state
    context.state.text = "changed in place"
    assert context.state_action is None


def test_of_several_changes_the_last_one_counts_and_each_is_seen() -> None:
    context = new_context(A)
    context.update(Note(text="b"))
    assert context.state == Note(text="b")
    context.delete()
    assert context.state is None
    assert context.state_action == ValueEntityAction(delete=ValueEntityDelete())
    context.update(Note(text="c"))
    assert context.state == Note(text="c")
    assert context.state_action == updated("c")


def test_a_value_is_stored_as_it_was_given() -> None:
    context, note = new_context(), Note(text="b")
    context.update(note)

    note.text = "later"

    assert context.state == Note(text="b")
    assert context.state_action == updated("b")


def test_a_packed_copy_of_another_reader_is_not_changed() -> None:
    stored = encode(Note(text="a"))
    context = new_context(stored)
    context.state.text = "x"

    assert stored == A
    assert new_context(stored).state == Note(text="a")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "expected a state of type pinboard.Note, found None; ctx.delete() leaves no state"),
        (Text(), "expected a state of type pinboard.Note, found Text"),
        ("a", "expected a state of type pinboard.Note, found str"),
        (A, "expected a state of type pinboard.Note, found Any"),
    ],
    ids=["none", "another message", "a text", "an any"],
)
def test_a_value_of_another_type_is_refused_and_nothing_is_changed(value: object, why: str) -> None:
    context = new_context()
    context.update(Note(text="b"))

    with pytest.raises(AnyError) as caught:
        context.update(value)

    assert str(caught.value) == why
    assert context.state == Note(text="b")
    assert context.state_action == updated("b")


def test_what_is_stored_with_another_type_is_named_when_it_is_read() -> None:
    context = new_context(encode(Text(text="x")))

    with pytest.raises(AnyError) as caught:
        _ = context.state
    assert str(caught.value) == (
        "expected a stored state of type 'type.googleapis.com/pinboard.Note', found "
        "'type.googleapis.com/pinboard.Text': it was stored with another state_type than "
        "pinboard.Note"
    )
    context.update(Note(text="b"))
    assert context.state == Note(text="b")


def test_a_failure_leaves_the_handler() -> None:
    context = new_context()

    with pytest.raises(CommandFailed):
        context.fail("no")


def test_after_the_handler_returned_nothing_can_be_changed() -> None:
    context = new_context()
    context.finish()

    for use in (context.delete, lambda: context.update(Note())):
        with pytest.raises(RuntimeError, match="was used after its handler returned"):
            use()
    assert context.state_action is None
