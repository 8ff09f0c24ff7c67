"""Commands that are sent again, versions, and messages that wait, in the kit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from boards import PINBOARD, Boards
from desk import ARCHIVE, Desk, Notes
from notebook.notebook_pb2 import LineAdded, Lines, Page, Text
from notebook.notebook_pb2_grpc import ArchiveStub
from pinboard.pinboard_pb2 import Board, Texts
from pinboard.pinboard_pb2 import Text as Pinned
from station.station_pb2 import Word
from stations import archive, station

from cloudstate_action.context import ActionContext
from cloudstate_core.errors import (
    KeyReused,
    MalformedRequest,
    NoVersions,
    StoreUnavailable,
    VersionMismatch,
)
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.targets import commands_of
from cloudstate_core.testing import AsyncEntityKit, EntityKit, PassedOn
from cloudstate_core.testing.clock import ManualClock

ARCHIVED = commands_of(ArchiveStub)


def lines(*texts: str, id_: str = "a", synchronous: bool = False) -> Lines:
    return Lines(id=id_, to="b", lines=texts, synchronous=synchronous)


# --- Keys ----------------------------------------------------------------------------


def test_a_command_that_is_sent_again_is_answered_again_and_not_carried_out() -> None:
    kit = EntityKit(Desk().entities[0])
    first = kit.handle("Write", lines("x"), key="k")
    kit.handle("Write", lines("y"))

    again = kit.handle("Write", lines("x"), key="k")

    assert (again.reply, again.version) == (first.reply, first.version) == (Text(text="x"), 1)
    assert again.events == ()
    assert again.state == Notes(["x", "y"])


def test_an_answer_is_remembered_after_a_crash() -> None:
    kit = EntityKit(Boards().entities[0])
    kit.handle("Extend", Texts(id="a", texts=["x"]), key="k")
    kit.crash()

    assert kit.handle("Extend", Texts(id="a", texts=["x"]), key="k").reply == Pinned(text="x")
    assert kit.handle("Extend", Texts(id="a", texts=["x"]), key="l").reply == Pinned(text="x x")


def test_a_key_belongs_to_one_command_of_one_entity() -> None:
    kit = EntityKit(Desk().entities[0])
    kit.handle("Write", lines("x"), key="k")

    with pytest.raises(KeyReused):
        kit.handle("Write", lines("y"), key="k")
    with pytest.raises(KeyReused):
        kit.handle("Read", Page(id="a"), key="k")
    assert kit.handle("Write", lines("y", id_="other"), key="k").reply == Text(text="y")
    assert kit.state("a") == Notes(["x"])


def test_a_failure_is_not_kept_under_its_key() -> None:
    kit = EntityKit(Desk().entities[0])

    for _ in range(2):
        failure = kit.handle("WriteAndFail", lines("x"), key="k").failure
        assert failure is not None
        assert failure.description == "out of ink"
    assert kit.handle("Write", lines("x"), key="k").reply == Text(text="x")


def test_what_is_passed_on_again_has_its_effect_once() -> None:
    kit = EntityKit(*Desk().entities)
    for command in ("WriteAndPass", "WriteAndTell"):
        for synchronous in (False, True):
            message = lines(f"{command} {synchronous}", synchronous=synchronous)
            for _ in range(2):
                kit.handle(command, message, key=f"{command} {synchronous}".replace(" ", "-"))

    assert kit.handle(ARCHIVED.Look, Page(id="b")).reply == Text(
        text="WriteAndPass False WriteAndPass True WriteAndTell False WriteAndTell True"
    )


@pytest.mark.parametrize("synchronous", [False, True])
def test_what_an_action_passes_on_again_has_its_effect_once(synchronous: bool) -> None:
    def say(asked: Word, ctx: ActionContext) -> Word:
        pinned = Texts(id="a", texts=[asked.text])
        ctx.effect(PINBOARD, "Extend", pinned, synchronous=synchronous)
        return asked

    kit = EntityKit(station(Say=say), Boards().entities[0])
    for key in ("k", "k", "l", None):
        kit.handle("Say", Word(text="x"), key=key)

    assert kit.handle(f"{PINBOARD}/Read", Board(id="a")).reply == Pinned(text="x x x")


@pytest.mark.parametrize("key", ["", "k" * 10_240, "ключ", "a b"])
def test_what_is_no_key_is_refused_as_by_a_front_door(key: str) -> None:
    with pytest.raises(MalformedRequest, match="expected an idempotency key"):
        EntityKit(Desk().entities[0]).handle("Write", lines("x"), key=key)


# --- Versions ------------------------------------------------------------------------


def test_a_command_is_carried_out_at_the_version_it_expects_and_at_no_other() -> None:
    kit = EntityKit(Desk().entities[0])
    first = kit.handle("Write", lines("x"), if_match=0)
    kit.handle("Write", lines("y"), if_match=first.version)

    with pytest.raises(VersionMismatch) as caught:
        kit.handle("Write", lines("z"), if_match=first.version)

    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert kit.handle("Write", lines("z"), if_match='"2"').version == 3
    with pytest.raises(MalformedRequest):
        kit.handle("Write", lines("z"), if_match="latest")


def test_the_key_is_looked_at_before_the_version() -> None:
    kit = EntityKit(Boards().entities[0])

    for _ in range(2):
        handled = kit.handle("Pin", Texts(id="a", texts=["x"]), key="k", if_match=0)
        assert handled.version == 1


def test_a_service_without_entities_has_no_version() -> None:
    with pytest.raises(NoVersions):
        EntityKit(archive()).handle("Keep", Word(text="x"), if_match=1)


# --- The outbox ----------------------------------------------------------------------


def test_messages_wait_until_the_test_delivers_them() -> None:
    kit = EntityKit(*Desk().entities, delivers=False)

    handled = kit.handle("WriteAndTell", lines("x"))

    (message,) = kit.outbox()
    assert message is handled.effects[0]
    assert (message.name, message.answer) == (f"{ARCHIVE}.Keep", None)
    assert kit.handle(ARCHIVED.Look, Page(id="b")).reply == Text()
    assert kit.deliver() == [message]
    assert message.answer == Text(text="x")
    assert kit.outbox() == []
    assert kit.handle(ARCHIVED.Look, Page(id="b")).reply == Text(text="x")


def test_a_message_survives_a_crash_and_comes_in_its_order() -> None:
    kit = EntityKit(*Desk().entities, delivers=False)
    for text in ("x", "y", "z"):
        kit.handle("WriteAndTell", lines(text))

    kit.crash()

    assert [message.message.lines for message in kit.outbox()] == [["x"], ["y"], ["z"]]
    assert [message.answer.text for message in kit.deliver()] == ["x", "x y", "x y z"]


def test_a_command_that_is_sent_again_sends_its_message_once() -> None:
    kit = EntityKit(*Desk().entities, delivers=False)

    for _ in range(2):
        kit.handle("WriteAndTell", lines("x"), key="k")

    assert len(kit.outbox()) == 1


def test_a_failed_command_sends_nothing() -> None:
    kit = EntityKit(Desk().entities[0], delivers=False)

    kit.handle("WriteAndFail", lines("x"))

    assert kit.outbox() == []


def test_a_synchronous_effect_is_no_message() -> None:
    kit = EntityKit(*Desk().entities, delivers=False)

    (effect,) = kit.handle("WriteAndTell", lines("x", synchronous=True)).effects

    assert effect.answer == Text(text="x")
    assert kit.outbox() == []


def test_what_goes_out_of_the_kit_stays_in_the_outbox() -> None:
    kit = EntityKit(Desk().entities[0])

    kit.handle("WriteAndTell", lines("x"))

    assert kit.outbox() == [PassedOn(ARCHIVE, "Keep", Lines(id="b", lines=["x"]))]
    assert kit.deliver() == []
    assert len(kit.outbox()) == 1


def test_a_message_whose_receiver_breaks_waits_on_before_those_after_it() -> None:
    desk = Desk()
    del desk.entities[1]._commands._methods["Keep"]
    broken = [True]

    @desk.entities[1].command_handler("Keep")
    def keep(state: Notes, lines: Lines) -> Text:
        if broken:
            raise KeyError("secret")
        return Text(text="kept")

    kit = EntityKit(*desk.entities)
    with pytest.raises(Exception, match="Unexpected entity failure"):
        kit.handle("WriteAndTell", lines("x"))
    assert kit.events("a") == [LineAdded(line="x")]

    broken.clear()
    kit.handle("WriteAndTell", lines("y"))

    assert [message.message.lines for message in kit.outbox()] == [["x"], ["y"]]
    assert [message.answer for message in kit.deliver()] == 2 * [Text(text="kept")]
    kit.handle("WriteAndTell", lines("z"))
    assert kit.outbox() == []


class ForgetfulStore(MemoryStore):
    """A store that does not take what is acknowledged, once."""

    is_forgetful = True

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        if self.is_forgetful:
            self.is_forgetful = False
            raise StoreUnavailable("gone")
        await super().acknowledge(message_ids)


def test_a_message_that_comes_twice_has_its_effect_once() -> None:
    clock = ManualClock()
    kit = EntityKit(*Desk().entities, clock=clock, store=ForgetfulStore(clock))
    with pytest.raises(StoreUnavailable):
        kit.handle("WriteAndTell", lines("x"))

    kit.crash()

    (message,) = kit.deliver()
    assert message.name == f"{ARCHIVE}.Keep"
    assert kit.outbox() == []
    assert kit.handle(ARCHIVED.Look, Page(id="b")).reply == Text(text="x")


def test_effects_of_a_service_that_stores_nothing_do_not_wait() -> None:
    kept: list[str] = []

    def say(asked: Word, ctx: ActionContext) -> Word:
        ctx.effect("station.Archive", "Keep", Word(text="later"))
        return Word(text="now")

    kit = EntityKit(station(Say=say), archive(kept), delivers=False)

    assert kit.handle("Say", Word(text="x")).reply == Word(text="now")
    assert kept == ["later"]
    assert kit.outbox() == []


async def test_in_an_asynchronous_test_the_outbox_is_awaited() -> None:
    kit = AsyncEntityKit(*Desk().entities, delivers=False)
    await kit.handle("WriteAndTell", lines("x"), key="k", if_match=0)

    assert len(await kit.outbox()) == 1
    assert len(await kit.deliver()) == 1
