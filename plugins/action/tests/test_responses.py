"""From what a handler answers to the protocol's response."""

from __future__ import annotations

import pytest
from google.protobuf.empty_pb2 import Empty
from serving_stations import ARCHIVE, STATION, packed, word
from stations import archive, station

from cloudstate.action_pb2 import ActionResponse
from cloudstate.entity_pb2 import Failure, Forward, Reply, SideEffect
from cloudstate_action.context import ActionContext
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.methods import ActionMethod
from cloudstate_action.reply import ActionReply
from cloudstate_action.responses import response_to
from cloudstate_core.anys import AnyError, pack_message
from cloudstate_core.context import CommandFailed
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status

SAY = station().method("Say")
FORGET = archive().method("Forget")

REPLY = Reply(payload=packed("a"))
FORWARD = Forward(service_name="station.Archive", command_name="Keep", payload=packed("f"))


def effect(text: str, *, synchronous: bool = False) -> SideEffect:
    return SideEffect(
        service_name="station.Archive",
        command_name="Keep",
        payload=packed(text),
        synchronous=synchronous,
    )


@pytest.fixture
def ctx() -> ActionContext:
    return ActionContext(service_name="station.Station", command_name="Say")


def test_a_message_is_a_reply_without_metadata(ctx: ActionContext) -> None:
    assert response_to(SAY, word("a"), ctx) == ActionResponse(reply=REPLY)
    assert response_to(SAY, MessageEnvelope(word("a")), ctx) == ActionResponse(reply=REPLY)
    assert response_to(SAY, ActionReply.message(word("a")), ctx) == ActionResponse(reply=REPLY)


def test_metadata_goes_with_the_reply(ctx: ActionContext) -> None:
    metadata = Metadata([("a", "1")])
    expected = ActionResponse(reply=Reply(payload=packed("a"), metadata=metadata.to_wire()))

    assert response_to(SAY, MessageEnvelope(word("a"), metadata), ctx) == expected
    assert response_to(SAY, ActionReply.message(word("a"), metadata=metadata), ctx) == expected


def test_none_is_nothing_unless_an_empty_is_declared(ctx: ActionContext) -> None:
    assert response_to(SAY, None, ctx) == ActionResponse()
    assert response_to(SAY, ActionReply.no_reply(), ctx) == ActionResponse()
    empty = ActionResponse(reply=Reply(payload=pack_message(Empty())))
    assert response_to(FORGET, None, ctx) == empty
    assert response_to(FORGET, ActionReply.no_reply(), ctx) == ActionResponse()


def test_a_failure_may_have_a_code(ctx: ActionContext) -> None:
    plain = response_to(SAY, ActionReply.failure("no"), ctx)
    assert plain == ActionResponse(failure=Failure(description="no"))

    coded = response_to(SAY, ActionReply.failure("no", code=Status.NOT_FOUND), ctx)
    assert code_of(coded.failure) is Status.NOT_FOUND


def test_a_forward_names_its_target_in_several_ways(ctx: ActionContext) -> None:
    method = ARCHIVE.methods_by_name["Keep"]
    for reply in (
        ActionReply.forward(ARCHIVE, "Keep", word("f")),
        ActionReply.forward("station.Archive", "Keep", word("f")),
        ActionReply.forward(method, word("f")),
    ):
        assert response_to(SAY, reply, ctx) == ActionResponse(forward=FORWARD)
    ctx.forward(ARCHIVE, "Keep", word("f"))
    assert response_to(SAY, None, ctx) == ActionResponse(forward=FORWARD)
    assert response_to(SAY, None, ctx) == ActionResponse()


def test_a_target_that_is_wrong_is_an_error_where_it_is_written() -> None:
    with pytest.raises(AnyError, match="has no command 'Lose'"):
        ActionReply.forward(ARCHIVE, "Lose", word("f"))
    with pytest.raises(AnyError, match=r"expected a message of type station\.Word"):
        ActionReply.no_reply().effect(ARCHIVE, "Keep", Empty())


def test_effects_of_the_context_come_before_those_of_the_reply(ctx: ActionContext) -> None:
    ctx.effect(ARCHIVE, "Keep", word("1"))
    ctx.effect(ARCHIVE, "Keep", word("2"), synchronous=True)
    reply = ActionReply.message(word("a")).effect(ARCHIVE, "Keep", word("3"))

    assert response_to(SAY, reply, ctx) == ActionResponse(
        reply=REPLY, side_effects=[effect("1"), effect("2", synchronous=True), effect("3")]
    )
    # They are gone with the element they were asked for with.
    assert response_to(SAY, word("a"), ctx) == ActionResponse(reply=REPLY)


def test_effects_stay_beside_a_failure(ctx: ActionContext) -> None:
    ctx.effect(ARCHIVE, "Keep", word("1"))
    with pytest.raises(CommandFailed):
        ctx.fail("no")

    assert response_to(SAY, None, ctx) == ActionResponse(
        failure=Failure(description="no"), side_effects=[effect("1")]
    )


def test_a_failure_stands_although_the_handler_answers(ctx: ActionContext) -> None:
    with pytest.raises(CommandFailed):
        ctx.fail("no")

    assert response_to(SAY, word("a"), ctx) == ActionResponse(failure=Failure(description="no"))


def test_two_answers_are_an_error(ctx: ActionContext) -> None:
    ctx.forward(ARCHIVE, "Keep", word("f"))

    with pytest.raises(AnyError, match="expected None beside a forward"):
        response_to(SAY, word("a"), ctx)


def test_an_answer_of_another_type_is_an_error(ctx: ActionContext) -> None:
    with pytest.raises(AnyError, match=r"say .*expected a reply of type station.Word, found str"):
        response_to(SAY, "a", ctx)


def test_of_several_replies_the_last_that_says_something_counts() -> None:
    def keep(text: str) -> ActionReply:
        return ActionReply.no_reply().effect(ARCHIVE, "Keep", word(text))

    combined = ActionReply.combined(
        [
            keep("1"),
            ActionReply.message(word("a")).effect(ARCHIVE, "Keep", word("2")),
            ActionReply.failure("no"),
            keep("3"),
        ]
    )

    assert combined == ActionReply.failure("no").with_effects(
        [effect("1"), effect("2"), effect("3")]
    )
    assert ActionReply.combined([]) == ActionReply.no_reply()


def test_a_handler_that_says_what_it_calls_is_held_to_it(ctx: ActionContext) -> None:
    ctx.declared_targets = frozenset({"station.Archive.Keep"})
    keep = ActionReply.no_reply().effect(ARCHIVE, "Keep", word("1"))
    forget = ActionReply.forward(ARCHIVE, "Forget", word("f"))

    assert response_to(SAY, keep, ctx).side_effects
    with pytest.raises(AnyError, match=r"station\.Archive\.Forget is not among them"):
        response_to(SAY, forget, ctx)


def test_a_method_knows_its_shape() -> None:
    assert isinstance(SAY, ActionMethod)
    assert [station().method(m.name).shape.decorator for m in STATION.methods] == [
        *("unary_handler", "stream_in_handler", "stream_out_handler", "stream_handler")
    ]
