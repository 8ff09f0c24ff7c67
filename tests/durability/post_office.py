"""Two services that send letters to each other, for the tests of messages: a sender, a receiver.

`cloudstate run post_office:sender post_office:receiver` serves them.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity

SENDER, RECEIVER = "post.Sender", "post.Receiver"

_TEXT, _NUMBER = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT64


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="post.proto", package="post", syntax="proto3")
    file.dependency.extend(["cloudstate/entity_key.proto", "google/protobuf/empty.proto"])
    letter = file.message_type.add(name="Letter")
    for number, (name, type_) in enumerate(
        [("id", _TEXT), ("to", _TEXT), ("sender", _TEXT), ("number", _NUMBER), ("key", _TEXT)], 1
    ):
        field = letter.field.add(name=name, number=number, type=type_)
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if name == "id":
            field.options.Extensions[entity_key_pb2.entity_key] = True
    sender = file.service.add(name="Sender")
    sender.method.add(name="Send", input_type=".post.Letter", output_type=".post.Letter")
    receiver = file.service.add(name="Receiver")
    receiver.method.add(
        name="Receive", input_type=".post.Letter", output_type=".google.protobuf.Empty"
    )
    receiver.method.add(name="Count", input_type=".post.Letter", output_type=".post.Letter")
    return file


def _declared() -> type[Message]:
    pool = Default()
    try:
        pool.FindFileByName("post.proto")
    except KeyError:
        pool.Add(_described())
    return GetMessageClass(pool.FindMessageTypeByName("post.Letter"))


Letter = _declared()


class Letters:
    """What went through one entity.

    Attributes:
        count: How many letters.
    """

    def __init__(self) -> None:
        self.count = 0


sender = EventSourcedEntity(Default().FindServiceByName(SENDER), init_state=Letters)
receiver = EventSourcedEntity(Default().FindServiceByName(RECEIVER), init_state=Letters)


@sender.command_handler("Send")
def send(state: Letters, letter: Letter, ctx: EventSourcedCommandContext) -> Letter:
    """Note a letter, and have it brought to its receiver."""
    ctx.emit(letter)
    sent = Letter(id=letter.to, sender=letter.id, number=state.count, key=letter.key)
    ctx.effect(RECEIVER, "Receive", sent)
    return sent


@receiver.command_handler("Receive")
def receive(letter: Letter, ctx: EventSourcedCommandContext) -> Empty:
    """Note a letter that came."""
    ctx.emit(letter)
    return Empty()


@receiver.command_handler("Count")
def count(state: Letters, letter: Letter) -> Letter:
    """Say how many came."""
    return Letter(id=letter.id, number=state.count)


@sender.event_handler(Letter)
def sent(state: Letters, letter: Letter) -> None:
    """Count what was sent."""
    state.count += 1


@receiver.event_handler(Letter)
def received(state: Letters, letter: Letter) -> None:
    """Count what came."""
    state.count += 1
