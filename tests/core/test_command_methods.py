from __future__ import annotations

import asyncio
from functools import partial, wraps
from typing import Any as AnyType

import pytest
from google.protobuf import any_pb2, descriptor_pool, empty_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import Int64Value

from cloudstate import entity_key_pb2, legacy_entity_key_pb2
from cloudstate_core.answering import answer
from cloudstate_core.anys import AnyError, Json, encode, pack_message
from cloudstate_core.command_methods import CommandMethods
from cloudstate_core.context import CommandContext, CommandFailed
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Slot
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status


def room() -> ServiceDescriptor:
    file = FileDescriptorProto(name="command_methods/room.proto", package="room", syntax="proto3")
    file.dependency.extend([any_pb2.DESCRIPTOR.name, empty_pb2.DESCRIPTOR.name])
    file.message_type.add(name="Line").field.add(name="text", number=1, type=9, label=1)
    service = file.service.add(name="Room")
    service.method.add(name="Say", input_type=".room.Line", output_type=".room.Line")
    service.method.add(name="Hear", input_type=".room.Line", output_type=".google.protobuf.Empty")
    service.method.add(
        name="Wrap", input_type=".google.protobuf.Any", output_type=".google.protobuf.Any"
    )
    # The pool of generated code, as an application's own service is in: only there is an `Any` the
    # `Any` that everybody imports.
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName("command_methods/room.proto").services_by_name["Room"]


ROOM = room()
Line: AnyType = GetMessageClass(ROOM.methods_by_name["Say"].input_type)
HELLO = pack_message(Line(text="hello"))


class RoomContext(CommandContext):
    """What the kind of these tests gives to its handlers."""


def context(**fields: AnyType) -> RoomContext:
    defaults = {"entity_id": "e", "service_name": "room.Room", "command_name": "x", "command_id": 7}
    return RoomContext(**{**defaults, **fields})


def methods_with(name: str, function: AnyType, **options: bool) -> CommandMethods:
    methods = CommandMethods(ROOM, RoomContext, [Slot("mood", lambda a: a is dict)])
    methods.add(name, function, **options)
    return methods


async def test_a_handler_is_given_what_its_annotations_ask_for() -> None:
    def say(mood: dict, meta: Metadata, ctx: RoomContext, line: Line) -> AnyType:
        return Line(text=f"{line.text} {ctx.entity_id} {meta.get('from')} {mood['is']}")

    method = methods_with("Say", say).find("Say")
    action = await answer(
        method, HELLO, context(metadata=Metadata([("from", "me")])), {"is": "good"}
    )

    assert Line.FromString(action.reply.payload.value).text == "hello e me good"
    assert action.reply.payload.type_url == "type.googleapis.com/room.Line"


async def test_a_handler_may_ask_for_a_base_of_the_context_and_for_nothing_else() -> None:
    def say(ctx: CommandContext) -> AnyType:
        return Line(text=type(ctx).__name__)

    action = await answer(methods_with("Say", say).find("Say"), HELLO, context(), {})

    assert Line.FromString(action.reply.payload.value).text == "RoomContext"


@pytest.mark.parametrize("options", [{}, {"blocking": True}], ids=["plain", "blocking"])
async def test_a_plain_handler_answers(options: dict[str, bool]) -> None:
    method = methods_with("Say", lambda: Line(text="plain"), **options).find("Say")

    assert Line.FromString((await answer(method, HELLO, context(), {})).reply.payload.value).text


async def test_an_async_handler_answers() -> None:
    async def say(line: Line) -> AnyType:
        return line

    action = await answer(methods_with("Say", say).find("Say"), HELLO, context(), {})

    assert action.reply.payload == HELLO


async def test_nothing_is_the_reply_of_a_method_that_returns_empty_and_of_no_other() -> None:
    nothing = partial(lambda: None)

    action = await answer(methods_with("Hear", nothing).find("Hear"), HELLO, context(), {})
    assert action.reply.payload == encode(Empty())
    with pytest.raises(AnyError, match=r"lambda.*: expected a reply or a forward, found None"):
        await answer(methods_with("Say", nothing).find("Say"), HELLO, context(), {})


async def test_a_reply_of_another_type_is_refused() -> None:
    method = methods_with("Say", lambda: Int64Value(value=1)).find("Say")

    with pytest.raises(
        AnyError, match=r"expected a reply of type room\.Line, found google\.protobuf\.Int64Value"
    ):
        await answer(method, HELLO, context(), {})


async def test_a_payload_of_another_type_is_refused_before_the_handler_runs() -> None:
    method = methods_with("Say", lambda: pytest.fail("called")).find("Say")

    with pytest.raises(AnyError, match=r"not a valid 'room\.Line'"):
        await answer(method, Any(value=b"\xff"), context(), {})


@pytest.mark.parametrize("value", ["text", Int64Value(value=3), Json("x", {"a": 1})])
async def test_a_method_that_takes_an_any_is_given_what_is_in_it(value: object) -> None:
    seen: list[object] = []

    def wrap(inner: Json) -> str:
        seen.append(inner)
        return "done"

    method = methods_with("Wrap", wrap).find("Wrap")
    # A client sends the `Any` as the message it is; a topic gives only what is in it.
    await answer(method, pack_message(encode(value)), context(), {})
    await answer(method, encode(value), context(), {})

    assert seen == [value, value]


@pytest.mark.parametrize("returned", ["done", encode("done")], ids=["content", "any"])
async def test_a_method_that_returns_an_any_answers_with_the_bytes_of_an_any(
    returned: object,
) -> None:
    method = methods_with("Wrap", lambda: returned).find("Wrap")

    action = await answer(method, HELLO, context(), {})

    assert action.reply.payload.type_url == "type.googleapis.com/google.protobuf.Any"
    assert Any.FromString(action.reply.payload.value) == encode("done")


async def test_a_failure_answers_whatever_the_handler_does_with_the_exception() -> None:
    def say(ctx: RoomContext) -> AnyType:
        try:
            ctx.fail("no", code=Status.NOT_FOUND)
        except Exception:
            return Line(text="swallowed")

    action = await answer(methods_with("Say", say).find("Say"), HELLO, context(), {})

    assert action.failure.description == "no"
    assert action.failure.command_id == 7


async def test_a_failure_of_another_context_is_an_error_and_no_answer() -> None:
    other = context()

    def hear() -> None:
        other.fail("not mine")

    with pytest.raises(CommandFailed):
        await answer(methods_with("Hear", hear).find("Hear"), HELLO, context(), {})


def hiding(function: AnyType) -> AnyType:
    @wraps(function)
    def decorated(*values: object) -> AnyType:
        return function(*values)

    return decorated


@pytest.mark.parametrize("options", [{}, {"blocking": True}], ids=["plain", "blocking"])
async def test_a_decorator_may_hide_that_a_handler_is_async(options: dict[str, bool]) -> None:
    method = methods_with("Say", hiding(slow), **options).find("Say")

    assert (await answer(method, HELLO, context(), {})).reply.payload == HELLO


async def test_a_handler_that_lets_its_own_cancellation_pass_has_raised() -> None:
    async def hear() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    with pytest.raises(RuntimeError, match=r"hear .*: raised CancelledError by itself"):
        await answer(methods_with("Hear", hear).find("Hear"), HELLO, context(), {})


async def test_a_command_that_is_cancelled_is_cancelled() -> None:
    begun = asyncio.Event()

    async def hear() -> None:
        begun.set()
        await asyncio.Event().wait()

    method, given = methods_with("Hear", hear).find("Hear"), context()
    task = asyncio.create_task(answer(method, HELLO, given, {}))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError, match="after its handler returned"):
        given.fail("too late")


async def test_the_context_is_finished_however_the_handler_ends() -> None:
    def broken() -> AnyType:
        raise ZeroDivisionError

    returned, raised = context(), context()
    await answer(methods_with("Hear", lambda: None).find("Hear"), HELLO, returned, {})
    with pytest.raises(ZeroDivisionError):
        await answer(methods_with("Hear", broken).find("Hear"), HELLO, raised, {})

    for each in (returned, raised):
        with pytest.raises(RuntimeError, match="after its handler returned"):
            each.fail("too late")


async def test_a_forward_answers_and_needs_no_reply() -> None:
    def hear(ctx: RoomContext) -> None:
        ctx.forward("other.Room", "Say", Line(text="you do it"))

    action = await answer(methods_with("Hear", hear).find("Hear"), HELLO, context(), {})

    assert action.WhichOneof("action") == "forward"
    assert action.forward.service_name == "other.Room"


def no_annotation(line):
    return line


async def slow(line: Line) -> AnyType:
    return line


@pytest.mark.parametrize(
    ("name", "function", "options", "expected"),
    [
        ("Shout", lambda: None, {}, r"no method 'Shout'; it has Hear, Say, Wrap"),
        ("Hear", no_annotation, {}, r"'line' has no type annotation"),
        ("Hear", slow, {"blocking": True}, r"an async function must not be blocking"),
        ("Say", lambda: None, {}, r"command 'Say' is handled already by .*<lambda>"),
    ],
)
def test_a_handler_that_cannot_work_is_refused(
    name: str, function: AnyType, options: dict[str, bool], expected: str
) -> None:
    methods = methods_with("Say", lambda: None)

    with pytest.raises(RegistrationError, match=expected) as caught:
        methods.add(name, function, **options)
    assert "test_command_methods.py:" in str(caught.value)


def test_every_method_needs_a_handler() -> None:
    methods = methods_with("Say", lambda: None)

    with pytest.raises(RegistrationError, match=r"room\.Room: no command handler for Hear, Wrap"):
        methods.check_all_handled()
    methods.add("Hear", lambda: None)
    methods.add("Wrap", lambda: None)
    methods.check_all_handled()


@pytest.mark.parametrize(
    "key",
    [entity_key_pb2.entity_key, legacy_entity_key_pb2.legacy_entity_key],
    ids=["present", "legacy"],
)
def test_every_command_of_an_entity_needs_a_key(key: AnyType) -> None:
    file = FileDescriptorProto(name="k.proto", package="k", syntax="proto3")
    for name, has_key in (("Keyed", True), ("Keyless", False)):
        field = file.message_type.add(name=name).field.add(name="id", number=1, type=9, label=1)
        field.options.Extensions[key] = has_key
    service = file.service.add(name="S")
    service.method.add(name="Do", input_type=".k.Keyed", output_type=".k.Keyed")
    pool = DescriptorPool()
    pool.Add(file)
    keyed = pool.FindFileByName("k.proto").services_by_name["S"]
    CommandMethods(keyed, RoomContext).check_all_keyed()

    service.method.add(name="Undo", input_type=".k.Keyless", output_type=".k.Keyed")
    pool = DescriptorPool()
    pool.Add(file)
    half = pool.FindFileByName("k.proto").services_by_name["S"]
    with pytest.raises(
        RegistrationError, match=r"k\.S: no entity key in the message of Undo; .* of k\.Keyless"
    ):
        CommandMethods(half, RoomContext).check_all_keyed()


def test_a_command_that_the_service_does_not_have_is_not_found() -> None:
    with pytest.raises(AnyError, match=r"service room\.Room has no command 'Shout'"):
        methods_with("Say", lambda: None).find("Shout")


def test_streams_are_found_in_either_direction() -> None:
    for direction in ("client_streaming", "server_streaming"):
        file = FileDescriptorProto(name="s.proto", package="s", syntax="proto3")
        file.message_type.add(name="M")
        method = file.service.add(name="S").method.add(
            name="Flow", input_type=".s.M", output_type=".s.M"
        )
        setattr(method, direction, True)
        pool = DescriptorPool()
        pool.Add(file)
        service = pool.FindFileByName("s.proto").services_by_name["S"]

        with pytest.raises(RegistrationError, match=r"s\.S\.Flow: an entity of this kind cannot"):
            CommandMethods(service, RoomContext).check_none_streams()
    CommandMethods(ROOM, RoomContext).check_none_streams()


def test_an_entity_is_declared_on_a_service_and_nothing_else() -> None:
    class RoomEntity(EntityDefinition):
        entity_type = "room.Kind"

        def validate(self) -> None:
            """Everything is fine."""

    assert RoomEntity(ROOM).persistence_id == "room.Room"
    with pytest.raises(RegistrationError, match=r"expected a service descriptor, .* found str"):
        RoomEntity("room.Room")
