from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

import cloudstate.entity_pb2
from cloudstate.entity_pb2 import (
    ClientAction,
    Failure,
    Forward,
    ProxyInfo,
    Reply,
    SideEffect,
    UserFunctionError,
)
from cloudstate_core.anys import AnyError, encode
from cloudstate_core.context import CommandContext, CommandFailed
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status

DISCOVERY = Default().FindServiceByName(
    cloudstate.entity_pb2.DESCRIPTOR.services_by_name["EntityDiscovery"].full_name
)
TEXT = StringValue(value="text")
HEADERS = Metadata([("a", "1"), ("a", b"2")])


@pytest.fixture
def context() -> CommandContext:
    return CommandContext(entity_id="e", service_name="shop.Cart", command_name="Add", command_id=7)


def test_a_context_says_which_command_it_is_for(context: CommandContext) -> None:
    assert (context.entity_id, context.service_name) == ("e", "shop.Cart")
    assert (context.command_name, context.command_id) == ("Add", 7)
    assert context.metadata is EMPTY_METADATA


# --- Replies -------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [TEXT, Empty(), "text", "", 0, False], ids=repr)
def test_what_a_handler_returns_is_the_reply_even_if_it_is_empty(
    context: CommandContext, reply: object
) -> None:
    assert context.client_action(reply) == ClientAction(reply=Reply(payload=encode(reply)))


def test_nothing_is_no_answer(context: CommandContext) -> None:
    with pytest.raises(AnyError, match="expected a reply or a forward, found None"):
        context.client_action(None)


def test_what_cannot_be_packed_is_no_answer(context: CommandContext) -> None:
    with pytest.raises(AnyError, match="found list"):
        context.client_action([])


# --- Failures ------------------------------------------------------------------------


def failed(context: CommandContext, message: str = "no", **options: Status) -> ClientAction:
    with pytest.raises(CommandFailed) as caught:
        context.fail(message, **options)
    assert str(caught.value) == message
    return context.client_action(None)


def test_a_failure_leaves_the_handler_and_names_its_command(context: CommandContext) -> None:
    assert failed(context) == ClientAction(failure=Failure(command_id=7, description="no"))


def test_a_failure_may_name_a_status(context: CommandContext) -> None:
    assert code_of(failed(context, code=Status.NOT_FOUND).failure) is Status.NOT_FOUND


def test_a_failure_without_a_status_has_none(context: CommandContext) -> None:
    assert code_of(failed(context).failure) is None


@pytest.mark.parametrize("returned", [None, TEXT], ids=["nothing", "reply"])
def test_a_failure_that_was_swallowed_is_the_answer_all_the_same(
    context: CommandContext, returned: object
) -> None:
    failed(context)

    assert context.client_action(returned).WhichOneof("action") == "failure"


def test_a_failure_takes_the_place_of_a_forward(context: CommandContext) -> None:
    context.forward("shop.Stock", "Take", TEXT)

    assert failed(context).WhichOneof("action") == "failure"


def test_a_second_failure_is_a_mistake_and_the_first_one_stands(context: CommandContext) -> None:
    failed(context, "first")

    with pytest.raises(RuntimeError, match="fail was called twice for one command"):
        context.fail("second")
    assert context.client_action(None).failure.description == "first"


@pytest.mark.parametrize("code", [Status.OK, 99], ids=["OK", "99"])
def test_a_status_that_is_none_of_a_failure_is_a_mistake_and_fails_nothing(
    context: CommandContext, code: Status
) -> None:
    with pytest.raises(ValueError, match=r"OK|is not a valid Status"):
        context.fail("no", code=code)
    assert context.failure is None


# --- Forwards ------------------------------------------------------------------------


def test_a_forward_names_a_command_of_another_service(context: CommandContext) -> None:
    context.forward("shop.Stock", "Take", TEXT)

    expected = Forward(service_name="shop.Stock", command_name="Take", payload=encode(TEXT))
    assert context.client_action(None) == ClientAction(forward=expected)
    assert not context.client_action(None).forward.HasField("metadata")


def test_a_service_may_be_named_by_its_descriptor(context: CommandContext) -> None:
    context.forward(DISCOVERY, "discover", ProxyInfo())
    context.effect(DISCOVERY, "reportError", UserFunctionError())

    assert context.client_action(None).forward.service_name == "cloudstate.EntityDiscovery"
    assert context.side_effects[0].service_name == "cloudstate.EntityDiscovery"


@pytest.mark.parametrize("way", [CommandContext.forward, CommandContext.effect])
def test_a_command_that_a_descriptor_does_not_have_is_a_mistake(
    context: CommandContext, way: Callable[..., None]
) -> None:
    with pytest.raises(
        AnyError,
        match=r"EntityDiscovery has no command 'Discover'; it has discover, reportError",
    ):
        way(context, DISCOVERY, "Discover", TEXT)
    assert context.forwarded is None
    assert context.side_effects == []


def test_a_forward_carries_metadata(context: CommandContext) -> None:
    context.forward("shop.Stock", "Take", TEXT, metadata=HEADERS)

    assert Metadata.from_wire(context.client_action(None).forward.metadata) == HEADERS


def test_the_protocols_own_message_is_a_forward_as_it_is(context: CommandContext) -> None:
    forward = Forward(service_name="shop.Stock", command_name="Take")
    context.forward(forward)

    assert context.client_action(None).forward == forward


def test_a_forward_and_a_reply_are_two_answers(context: CommandContext) -> None:
    context.forward("shop.Stock", "Take", TEXT)

    with pytest.raises(AnyError, match="expected None beside a forward, found a reply as well"):
        context.client_action(TEXT)


def test_a_second_forward_is_a_mistake(context: CommandContext) -> None:
    context.forward("shop.Stock", "Take", TEXT)

    with pytest.raises(RuntimeError, match="forward was called twice for one command"):
        context.forward("shop.Stock", "Take", TEXT)


# --- Side effects --------------------------------------------------------------------


def test_side_effects_keep_their_order(context: CommandContext) -> None:
    own = SideEffect(service_name="shop.Mail", command_name="Send", synchronous=True)
    context.effect("shop.Stock", "Take", TEXT)
    context.effect(own)
    context.effect("shop.Stock", "Give", "text", synchronous=True, metadata=HEADERS)

    assert context.side_effects == [
        SideEffect(service_name="shop.Stock", command_name="Take", payload=encode(TEXT)),
        own,
        SideEffect(
            service_name="shop.Stock",
            command_name="Give",
            payload=encode("text"),
            synchronous=True,
            metadata=HEADERS.to_wire(),
        ),
    ]


def test_a_message_that_cannot_be_packed_is_a_mistake_and_asks_for_nothing(
    context: CommandContext,
) -> None:
    for way in (context.effect, context.forward):
        with pytest.raises(AnyError, match="found list"):
            way("shop.Stock", "Take", [])
    assert context.side_effects == []
    assert context.forwarded is None


# --- After the handler has returned --------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda context: context.fail("late"),
        lambda context: context.forward("shop.Stock", "Take", TEXT),
        lambda context: context.effect("shop.Stock", "Take", TEXT),
        lambda context: context.check_usable(),
    ],
    ids=["fail", "forward", "effect", "check"],
)
def test_a_context_is_of_no_use_after_its_handler_has_returned(
    context: CommandContext, use: Callable[[CommandContext], None]
) -> None:
    context.finish()

    with pytest.raises(
        RuntimeError, match="the context of command 'Add' was used after its handler returned"
    ):
        use(context)
    assert (context.failure, context.forwarded, context.side_effects) == (None, None, [])
