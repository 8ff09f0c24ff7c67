from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from notebook.notebook_pb2 import LineAdded, Text

from cloudstate.entity_pb2 import ClientAction, Reply
from cloudstate_core.anys import AnyError, encode
from cloudstate_core.context import CommandFailed
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.context import EventSourcedCommandContext

A, B = LineAdded(line="a"), LineAdded(line="b")


class Entity:
    """What an event does to a state of numbers: it is replaced, and events named "bad" break it."""

    def __init__(self) -> None:
        self.applied: list[tuple[Any, int]] = []

    def apply(self, event: Any, sequence: int) -> object:
        self.applied.append((event, sequence))
        if event == encode("bad"):
            raise ZeroDivisionError("bad")
        return [sequence for _, sequence in self.applied]


@pytest.fixture
def entity() -> Entity:
    return Entity()


@pytest.fixture
def context(entity: Entity) -> EventSourcedCommandContext:
    return EventSourcedCommandContext(
        entity_id="e",
        service_name="notebook.Notebook",
        command_name="Write",
        command_id=7,
        sequence=4,
        state=["old"],
        apply=entity.apply,
        metadata=Metadata([("a", "1")]),
    )


def test_it_says_where_the_entity_stands(context: EventSourcedCommandContext) -> None:
    assert (context.sequence, context.state) == (4, ["old"])
    assert (context.entity_id, context.service_name) == ("e", "notebook.Notebook")
    assert (context.command_name, context.command_id) == ("Write", 7)
    assert context.metadata == Metadata([("a", "1")])


def test_an_event_is_applied_at_once_with_the_next_sequence(
    context: EventSourcedCommandContext, entity: Entity
) -> None:
    context.emit(A)

    assert entity.applied == [(encode(A), 5)]
    assert (context.sequence, context.state) == (5, [5])
    context.emit(B)
    assert entity.applied == [(encode(A), 5), (encode(B), 6)]
    assert (context.sequence, context.state) == (6, [5, 6])
    assert context.events == [encode(A), encode(B)]


def test_an_event_is_what_it_was_when_it_was_emitted(context: EventSourcedCommandContext) -> None:
    event = LineAdded(line="a")
    context.emit(event)
    event.line = "changed"

    assert context.events == [encode(A)]


def test_what_cannot_be_packed_is_not_emitted_and_does_no_harm(
    context: EventSourcedCommandContext, entity: Entity
) -> None:
    with pytest.raises(AnyError, match="found list"):
        context.emit(["a"])

    assert (entity.applied, context.events, context.sequence) == ([], [], 4)
    assert context.client_action(Text()).HasField("reply")


def test_an_event_that_cannot_be_applied_fails_the_command_though_the_handler_goes_on(
    context: EventSourcedCommandContext,
) -> None:
    context.emit(A)
    with pytest.raises(ZeroDivisionError):
        context.emit("bad")

    assert context.events == [encode(A)]
    assert context.sequence == 5
    with pytest.raises(ZeroDivisionError, match="bad"):
        context.client_action(Text())


def test_an_event_that_cannot_be_applied_is_not_made_good_by_failing(
    context: EventSourcedCommandContext,
) -> None:
    with pytest.raises(ZeroDivisionError):
        context.emit("bad")
    with pytest.raises(CommandFailed):
        context.fail("sorry")

    # A failure would leave the entity in memory, with half an event in it.
    with pytest.raises(ZeroDivisionError):
        context.client_action(None)


def test_events_beside_a_reply_do_not_change_it(context: EventSourcedCommandContext) -> None:
    context.emit(A)

    assert context.client_action(Text(text="a")) == ClientAction(
        reply=Reply(payload=encode(Text(text="a")))
    )


def test_nothing_is_emitted_after_the_handler_has_returned(
    context: EventSourcedCommandContext, entity: Entity
) -> None:
    context.finish()

    with pytest.raises(RuntimeError, match="'Write' was used after its handler returned"):
        context.emit(A)
    assert entity.applied == []
