from __future__ import annotations

import pytest
from crdt_sessions import (
    EFFECT,
    FAILED,
    REPLY,
    SERVICE,
    Entity,
    add,
    command,
    elsewhere,
    failure_of,
    init,
    left,
    pushed,
    reply,
    sent,
    settled,
    subscription,
)
from deltas import gcounter, gset, register
from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import (
    CrdtDelete,
    CrdtDelta,
    CrdtReply,
    CrdtStateAction,
    CrdtStreamIn,
    CrdtStreamOut,
)
from cloudstate.entity_pb2 import (
    ClientAction,
    Failure,
)
from cloudstate_crdt.data import GCounter, LWWRegister
from cloudstate_crdt.session import (
    CallHandler,
    CallOnCancel,
    CallOnChange,
    CrdtSession,
    Noticed,
    NoticedWrongly,
    Raised,
    Released,
    Returned,
    Send,
    State,
)
from cloudstate_crdt.write_consistency import WriteConsistency

# --- The CRDT ------------------------------------------------------------------------


def test_a_crdt_that_is_made_and_not_changed_is_not_sent() -> None:
    entity = Entity()

    assert entity.ask() == (reply(),)
    assert entity.ask(2, add(3)) == (reply(2, gcounter(3)),)
    assert entity.ask(3) == (reply(3),)


def test_the_crdt_is_that_of_init_and_of_what_comes_from_elsewhere() -> None:
    entity = Entity(gcounter(42))
    assert entity.session.receive(elsewhere(gcounter(3))) == ()

    assert entity.ask(1, add(5)) == (reply(1, gcounter(5)),)
    assert entity.value() == 50


def test_what_comes_from_elsewhere_makes_a_crdt_where_there_is_none() -> None:
    entity = Entity()
    entity.session.receive(elsewhere(gset("a")))

    assert entity.session.copy.crdt == {"a"}
    assert entity.ask() == (reply(),)


def test_the_first_value_of_a_register_is_sent_unless_another_comes_before() -> None:
    entity = Entity()
    entity.session.receive(sent())
    entity.session.copy.create(LWWRegister("")).set("one")
    assert entity.session.receive(Returned(REPLY)) == (reply(1, register("one")),)

    superseded = CrdtSession({SERVICE})
    superseded.receive(init(register("one")))
    superseded.receive(sent())
    assert superseded.receive(Returned(REPLY)) == (reply(),)


def test_a_change_goes_as_far_as_it_is_asked_to() -> None:
    returned = Returned(REPLY, consistency=WriteConsistency.MAJORITY)
    entity = Entity()

    (unchanged,) = entity.ask(1, returned=returned)
    (send,) = entity.ask(2, add(1), returned)

    assert unchanged == reply(1)
    assert isinstance(send, Send)
    assert send.message.reply.state_action == CrdtStateAction(
        update=gcounter(1),
        write_consistency=1,  # type: ignore[arg-type]
    )


def test_effects_go_with_the_answer() -> None:
    answer = Entity().ask(returned=Returned(REPLY, [EFFECT]))

    assert answer == (reply(side_effects=[EFFECT]),)


def test_a_crdt_is_changed_in_no_other_way_than_by_a_handler() -> None:
    entity = Entity(gcounter(1))
    counter = entity.session.copy.crdt
    assert isinstance(counter, GCounter)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="may be changed by a command handler until it"):
            counter.increment()
        with pytest.raises(RuntimeError, match="may be changed by a command handler until it"):
            entity.session.copy.delete()
        entity.ask(1, add(1))
    assert counter.value == 3


# --- Deletion ------------------------------------------------------------------------


def test_a_deletion_comes_in_the_place_of_the_change_and_is_the_last_word() -> None:
    entity = Entity(gcounter(1))
    entity.watch(7)

    def delete(counter: GCounter) -> None:
        counter.increment()
        entity.session.copy.delete()
        counter.increment()

    assert entity.ask(1, delete) == (reply(1, CrdtDelete()),)
    assert entity.session.state == State.DELETED
    for late in (sent(2), elsewhere(gcounter(1)), left(7), init()):
        assert entity.session.receive(late) == ()


def test_a_deletion_elsewhere_is_answered_with_nothing() -> None:
    entity = Entity(gcounter(1))
    entity.watch(7)

    assert entity.session.receive(CrdtStreamIn(delete=CrdtDelete())) == ()
    assert entity.session.copy.crdt is None
    for late in (sent(2), elsewhere(gcounter(1)), left(7)):
        assert entity.session.receive(late) == ()


def test_there_is_nothing_to_delete_where_nothing_was_made() -> None:
    entity = Entity()
    entity.session.receive(sent())

    with pytest.raises(RuntimeError, match="expected a CRDT to delete, found none"):
        entity.session.copy.delete()


def test_a_crdt_is_made_once() -> None:
    entity = Entity(gcounter(1))
    entity.session.receive(sent())

    with pytest.raises(RuntimeError, match="expected no CRDT before create, found a GCounter"):
        entity.session.copy.create(GCounter)


# --- Failures ------------------------------------------------------------------------


def test_a_failure_stands_alone_and_the_entity_goes_on() -> None:
    entity = Entity(gcounter(1))
    answer = entity.ask(returned=Returned(FAILED, [EFFECT], subscription()))

    expected = ClientAction(failure=Failure(command_id=1, description="no"))
    assert answer == (Send(CrdtStreamOut(reply=CrdtReply(command_id=1, client_action=expected))),)
    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)


def test_what_a_failing_command_has_made_is_not_there() -> None:
    entity = Entity()
    entity.ask(1, add(5), Returned(FAILED))

    assert entity.session.copy.crdt is None
    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)


def test_a_failure_after_a_deletion_deletes_nothing() -> None:
    entity = Entity(gcounter(1))
    entity.ask(1, lambda _: entity.session.copy.delete(), Returned(FAILED))

    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)


def test_a_failure_after_a_change_ends_the_stream() -> None:
    failure = failure_of(Entity(gcounter(1)).ask(5, add(1), Returned(FAILED)))

    assert failure.command_id == 5
    assert failure.description == (
        "Unexpected failure: the command failed after it had changed the CRDT: no"
    )


def test_a_handler_that_raises_ends_the_stream() -> None:
    entity = Entity()
    entity.session.receive(sent(3))

    failure = failure_of(entity.session.receive(Raised("ValueError: x")))

    assert (failure.command_id, failure.description) == (3, "Unexpected failure: ValueError: x")
    assert entity.session.state == State.ENDED
    assert entity.session.receive(sent(4)) == ()


# --- Streams -------------------------------------------------------------------------


def test_whoever_watches_is_called_after_the_answer_and_not_for_their_own_change() -> None:
    entity = Entity()
    first, second = subscription(1), subscription(2)

    begun = entity.ask(1, add(1), Returned(REPLY, subscription=first))
    joined = entity.ask(2, add(2), Returned(None, subscription=second))

    assert begun == (reply(1, gcounter(1), streamed=True),)
    assert joined == (
        reply(2, gcounter(2), client_action=None, streamed=True),
        CallOnChange(first),
    )
    assert entity.ask(3, add(3)) == (
        reply(3, gcounter(3)),
        CallOnChange(first),
        CallOnChange(second),
    )
    assert entity.ask(4) == (reply(4),)
    assert entity.session.receive(elsewhere(gcounter(4))) == (
        CallOnChange(first),
        CallOnChange(second),
    )


def test_what_a_listener_says_is_sent_to_its_client() -> None:
    entity = Entity()
    entity.watch(1)

    assert entity.session.receive(Noticed(1, REPLY)) == (pushed(1),)
    assert entity.session.receive(Noticed(1, REPLY, [EFFECT])) == (
        pushed(1, side_effects=[EFFECT]),
    )
    assert entity.session.receive(Noticed(1, None, [EFFECT])) == (
        pushed(1, None, side_effects=[EFFECT]),
    )
    assert entity.session.receive(Noticed(1, None)) == ()


@pytest.mark.parametrize("said", [REPLY, None])
def test_a_listener_may_end_the_stream(said: ClientAction | None) -> None:
    entity = Entity()
    entity.watch(1)

    assert entity.session.receive(Noticed(1, said, ends=True)) == (
        pushed(1, said, end_stream=True),
    )
    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)
    assert entity.session.receive(Noticed(1, REPLY)) == ()
    assert entity.session.receive(left(1)) == (settled(1),)


def test_a_listener_that_fails_is_heard_for_the_last_time() -> None:
    entity = Entity()
    entity.watch(1)

    answer = entity.session.receive(Noticed(1, FAILED, [EFFECT], ends=True))

    assert answer == (pushed(1, ClientAction(failure=Failure(command_id=1, description="no"))),)
    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)
    assert entity.session.receive(left(1)) == (settled(1),)


def test_a_listener_that_raises_ends_its_own_stream_alone() -> None:
    entity = Entity()
    entity.watch(1)
    other = entity.watch(2)

    answer = entity.session.receive(NoticedWrongly(1, "ValueError: x"))

    failure = Failure(command_id=1, description="Unexpected failure: ValueError: x")
    assert answer == (pushed(1, ClientAction(failure=failure)),)
    assert entity.ask(3, add(1)) == (reply(3, gcounter(1)), CallOnChange(other))


def test_the_leaving_of_a_client_may_change_the_crdt() -> None:
    entity = Entity()
    leaver, watcher = entity.watch(1), entity.watch(2)

    assert entity.session.receive(left(1)) == (CallOnCancel(leaver),)
    assert isinstance(entity.session.copy.crdt, GCounter)
    entity.session.copy.crdt.increment(5)
    released = Released([EFFECT], WriteConsistency.ALL)
    response, *told = entity.session.receive(released)

    assert isinstance(response, Send)
    found = response.message.stream_cancelled_response
    assert (found.command_id, list(found.side_effects)) == (1, [EFFECT])
    assert found.state_action == CrdtStateAction(
        update=gcounter(5),
        write_consistency=2,  # type: ignore[arg-type]
    )
    assert told == [CallOnChange(watcher)]
    with pytest.raises(RuntimeError):
        entity.session.copy.crdt.increment(5)


def test_the_leaving_of_a_client_is_answered_in_any_case() -> None:
    entity = Entity()
    entity.watch(1, on_cancel=None)
    entity.watch(2)

    assert entity.session.receive(left(1)) == (settled(1),)
    assert entity.session.receive(left(99)) == (settled(99),)
    entity.session.receive(left(2))
    assert entity.session.receive(Released()) == (settled(2),)
    assert entity.ask(3, add(1)) == (reply(3, gcounter(1)),)


def test_who_listens_for_a_leaving_alone_is_not_told_of_changes() -> None:
    entity = Entity()
    entity.watch(1, on_change=None)

    assert entity.ask(2, add(1)) == (reply(2, gcounter(1)),)


def test_a_listener_for_a_leaving_that_raises_ends_the_stream() -> None:
    entity = Entity()
    entity.watch(4)
    entity.session.receive(left(4))

    failure = failure_of(entity.session.receive(Raised("ValueError: x")))

    assert (failure.command_id, failure.description) == (4, "Unexpected failure: ValueError: x")


# --- What the runtime does wrong -----------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "command_id", "reason"),
    [
        ([sent(3)], 0, "expected init as the first message"),
        ([elsewhere(gcounter(1))], 0, "expected init as the first message"),
        ([init(service_name="no.Such")], 0, "unknown service 'no.Such'"),
        ([init(), init()], 0, "expected init only once"),
        ([init(), CrdtStreamIn()], 0, "expected a message, found an empty one"),
        ([init(), sent(3, entity_id="f")], 3, "expected entity 'e', found 'f'"),
        ([init(), left(3, "f")], 3, "expected entity 'e', found 'f'"),
        ([init(), sent(3, payload=None)], 3, "expected a payload, found none"),
        ([init(), sent(3), sent(4)], 4, "expected no command while handling a command"),
        ([init(), sent(3), left(4)], 0, "expected no stream_cancelled while handling a command"),
        ([init(CrdtDelta())], 0, "expected a delta of some type, found one of none"),
        (
            [init(gcounter(1)), elsewhere(gset("a"))],
            0,
            "expected a delta of type 'gcounter', found 'gset'",
        ),
        (
            [init(gcounter(1)), elsewhere(CrdtDelta())],
            0,
            "expected a delta of type 'gcounter', found None",
        ),
    ],
)
def test_what_breaks_the_protocol_ends_the_stream_with_a_reason(
    messages: list[CrdtStreamIn], command_id: int, reason: str
) -> None:
    session = CrdtSession({SERVICE})
    *before, last = messages
    for message in before:
        session.receive(message)

    failure = failure_of(session.receive(last))

    assert failure == Failure(command_id=command_id, description=f"Protocol error: {reason}")
    assert session.receive(sent()) == ()


def test_an_input_that_nobody_asked_for_ends_the_stream() -> None:
    entity = Entity()

    failure = failure_of(entity.session.receive(Returned(REPLY)))

    assert failure.description == "Protocol error: Returned while ready"


def test_a_payload_may_be_of_any_type() -> None:
    session = CrdtSession({SERVICE})
    session.receive(init())

    assert session.receive(sent(payload=Any())) == (CallHandler(command(payload=Any())),)
