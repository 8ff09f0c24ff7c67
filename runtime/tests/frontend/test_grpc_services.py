"""Reflection and health: what the front end itself answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.frontend.grpc import GrpcSettings
from cloudstate_runtime.frontend.grpc.descriptors import DescriptorIndex

VERSIONS = ["grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"]


def reflection(channel: grpc.aio.Channel, service: str = VERSIONS[0]) -> Any:
    return channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )()


async def ask(conversation: Any, **question: Any) -> ServerReflectionResponse:
    await conversation.write(ServerReflectionRequest(**question))
    answer = await conversation.read()
    assert isinstance(answer, ServerReflectionResponse)
    return answer


@pytest.fixture
async def door(open_door: Any, things: Any, model: Any) -> AsyncIterator[Any]:
    other = model.things_file({"Do": ("Thing", "Thing", None)})
    other.package, other.name = "test.another", "test/another.proto"
    for message in other.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".test.things.", ".test.another.")
    for method in other.service[0].method:
        method.input_type = method.output_type = ".test.another.Thing"
    async with open_door(things, model.deployment_of(other, "another")) as door:
        yield door


@pytest.fixture
async def channel(door: Any) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(door.address) as channel:
        yield channel


@pytest.mark.parametrize("version", VERSIONS)
async def test_one_conversation_answers_every_question(
    channel: grpc.aio.Channel, version: str
) -> None:
    conversation = reflection(channel, version)
    names = [version, "test.another.Things", "test.things.Things"]

    listed = await ask(conversation, host="here", list_services="")
    assert [service.name for service in listed.list_services_response.service] == names
    assert listed.valid_host == "here"
    assert listed.original_request == ServerReflectionRequest(host="here", list_services="")

    nonsense = await ask(conversation, list_services="nonsense.blabla.")
    assert [service.name for service in nonsense.list_services_response.service] == names
    assert nonsense.original_request.list_services == "nonsense.blabla."

    unknown = await ask(conversation, host="x", file_containing_symbol="nonsense.blabla.Void")
    assert unknown.HasField("file_descriptor_response")
    assert list(unknown.file_descriptor_response.file_descriptor_proto) == []
    assert unknown.valid_host == "x"
    assert unknown.original_request.file_containing_symbol == "nonsense.blabla.Void"

    await conversation.done_writing()
    assert await conversation.read() is grpc.aio.EOF
    assert await conversation.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("question", "file"),
    [
        ({"file_containing_symbol": "test.things.Things"}, "test/things.proto"),
        ({"file_containing_symbol": "test.things.Things.Get"}, "test/things.proto"),
        ({"file_containing_symbol": "test.things.Thing"}, "test/things.proto"),
        ({"file_containing_symbol": "test.things.Thing.inner"}, "test/things.proto"),
        ({"file_containing_symbol": "test.things.Labelled.LabelsEntry"}, "test/things.proto"),
        ({"file_containing_symbol": "test.things.RED"}, "test/things.proto"),
        ({"file_containing_symbol": "test.another.Thing"}, "test/another.proto"),
        ({"file_containing_symbol": "google.api.http"}, "google/api/annotations.proto"),
        (
            {"file_containing_symbol": "grpc.reflection.v1alpha.ServerReflection"},
            "grpc_reflection/v1alpha/reflection.proto",
        ),
        ({"file_by_filename": "test/things.proto"}, "test/things.proto"),
        ({"file_by_filename": "google/protobuf/any.proto"}, "google/protobuf/any.proto"),
        ({"file_by_filename": "no/such.proto"}, None),
        ({"file_containing_symbol": ""}, None),
        (
            {
                "file_containing_extension": ExtensionRequest(
                    containing_type="google.protobuf.MethodOptions", extension_number=72295728
                )
            },
            "google/api/annotations.proto",
        ),
        (
            {
                "file_containing_extension": ExtensionRequest(
                    containing_type="google.protobuf.MethodOptions", extension_number=1
                )
            },
            None,
        ),
    ],
)
async def test_a_file_is_answered_alone(
    channel: grpc.aio.Channel, question: dict[str, Any], file: str | None
) -> None:
    answer = await ask(reflection(channel), **question)

    found = answer.file_descriptor_response.file_descriptor_proto
    assert answer.HasField("file_descriptor_response")
    assert [FileDescriptorProto.FromString(data).name for data in found] == (
        [] if file is None else [file]
    )


async def test_the_numbers_of_extensions_are_listed(channel: grpc.aio.Channel) -> None:
    conversation = reflection(channel)

    known = await ask(conversation, all_extension_numbers_of_type="google.protobuf.MethodOptions")
    unknown = await ask(conversation, all_extension_numbers_of_type="no.Such")

    assert known.all_extension_numbers_response.base_type_name == "google.protobuf.MethodOptions"
    assert list(known.all_extension_numbers_response.extension_number) == [72295728]
    assert list(unknown.all_extension_numbers_response.extension_number) == []


async def test_an_empty_question_is_answered_with_an_error(channel: grpc.aio.Channel) -> None:
    answer = await ask(reflection(channel))

    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_bytes_that_are_no_question_end_the_conversation(channel: grpc.aio.Channel) -> None:
    conversation = channel.stream_stream(f"/{VERSIONS[0]}/ServerReflectionInfo")()
    await conversation.write(b"\xff")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await conversation.read()

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_many_questions_at_once_are_answered_in_order(channel: grpc.aio.Channel) -> None:
    conversation = reflection(channel)
    for number in range(2000):
        await conversation.write(ServerReflectionRequest(list_services="x" * 500 + str(number)))

    for number in range(2000):
        answer = await conversation.read()
        assert answer.original_request.list_services.endswith(f"x{number}")


async def test_what_is_listed_is_what_is_served_now(
    door: Any, channel: grpc.aio.Channel, things: Any
) -> None:
    conversation = reflection(channel)
    door.served.serve(things)

    listed = await ask(conversation, list_services="")
    gone = await ask(conversation, file_containing_symbol="test.another.Thing")

    assert [each.name for each in listed.list_services_response.service] == [
        VERSIONS[0],
        "test.things.Things",
    ]
    assert not gone.file_descriptor_response.file_descriptor_proto


async def test_reflection_can_be_left_out(open_door: Any, things: Any) -> None:
    async with (
        open_door(things, grpc=GrpcSettings(reflection=False)) as door,
        grpc.aio.insecure_channel(door.address) as channel,
    ):
        assert await reflection(channel).code() is grpc.StatusCode.UNIMPLEMENTED


def test_of_two_files_of_one_name_the_first_counts() -> None:
    first = FileDescriptorProto(name="a.proto", package="a")
    first.message_type.add(name="One")
    second = FileDescriptorProto(name="a.proto", package="a")
    second.message_type.add(name="Two")

    index = DescriptorIndex([first, second])

    assert index.file_by_name("a.proto") == [first.SerializeToString()]
    assert index.file_with_symbol("a.One") == [first.SerializeToString()]
    assert index.file_with_symbol("a.Two") == []


# --- Health --------------------------------------------------------------------------


async def test_health_follows_the_runtime(door: Any, channel: grpc.aio.Channel) -> None:
    check = HealthStub(channel).Check
    for service in ("", "test.things.Things"):
        door.host.ready = True
        assert (await check(HealthCheckRequest(service=service))).status == (
            HealthCheckResponse.SERVING
        )
        door.host.ready = False
        assert (await check(HealthCheckRequest(service=service))).status == (
            HealthCheckResponse.NOT_SERVING
        )


async def test_the_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await HealthStub(channel).Check(HealthCheckRequest(service="no.Such"))

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_health_of_everything_is_listed(channel: grpc.aio.Channel) -> None:
    listed = await HealthStub(channel).List(health_pb2.HealthListRequest())

    assert {name: each.status for name, each in listed.statuses.items()} == {
        "": HealthCheckResponse.SERVING,
        "test.things.Things": HealthCheckResponse.SERVING,
        "test.another.Things": HealthCheckResponse.SERVING,
    }


async def test_whoever_watches_is_told_of_changes_alone(open_door: Any, things: Any) -> None:
    clock = ManualClock()
    async with (
        open_door(clock=clock) as door,
        grpc.aio.insecure_channel(door.address) as channel,
    ):
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="test.things.Things"))
        assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN

        door.served.serve(things)
        await clock.advance(5)
        assert (await watch.read()).status == HealthCheckResponse.SERVING

        door.host.ready = False
        await clock.advance(5)
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_conversations_end_when_the_server_drains(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        channel = grpc.aio.insecure_channel(door.address)
        watch = HealthStub(channel).Watch(HealthCheckRequest())
        await watch.read()
        conversation = reflection(channel)
        await ask(conversation, list_services="")

        await door.port.drain(30)

        for call in (watch, conversation):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await channel.close()


async def test_a_conversation_ends_when_its_client_hangs_up(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        async with grpc.aio.insecure_channel(door.address) as channel:
            watch = HealthStub(channel).Watch(HealthCheckRequest())
            await watch.read()
            watch.cancel()
            await HealthStub(channel).Check(HealthCheckRequest())
        (_, acceptor), *_ = door.port._front_ends
        while acceptor.tasks:
            await asyncio.sleep(0)
