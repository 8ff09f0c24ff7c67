"""The same behaviour whether the user function is in this process or behind a socket."""

from __future__ import annotations

import asyncio

import pytest
from boards import ARCHIVE, HELD, HELD_THERE, PINBOARD
from pinboard.pinboard_pb2 import Board, Note, Texts
from serving_boards import Serve

from cloudstate_core.anys import encode
from cloudstate_core.errors import LimitExceeded
from cloudstate_core.store import Commit, EntityKey, PutValue

pytestmark = pytest.mark.usefixtures("logged")


# --- Memory and store ----------------------------------------------------------------


async def test_a_command_is_answered_and_its_value_is_stored(serving: Serve) -> None:
    async with serving() as served:
        assert await served.read("e") == ""
        assert await served.stored("e") == (0, None)
        assert await served.pin("e", "a") == "a"
        assert await served.stored("e") == (1, "a")
        assert await served.pin("e", "b") == "b"
        assert await served.read("e") == "b"
        assert await served.stored("e") == (2, "b")
        assert served.boards.begun == [
            ("e", "Read", 1, ""),
            ("e", "Pin", 2, ""),
            ("e", "Pin", 3, "a"),
            ("e", "Read", 4, "b"),
        ]
        assert served.seen.activated == ["e"]


async def test_of_several_changes_the_last_one_is_stored_once(serving: Serve) -> None:
    async with serving() as served:
        assert await served.pin("e", "a", "b", "c") == "c"
        assert await served.stored("e") == (1, "c")


async def test_the_value_survives_passivation(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        await served.passivate()

        assert await served.read("e") == "a"
        # Commands are numbered anew.
        assert served.boards.begun[-1] == ("e", "Read", 1, "a")
        assert await served.pin("e", "b", command="Extend") == "a b"
        assert await served.stored("e") == (2, "a b")


async def test_a_deleted_value_stays_away_and_may_come_again(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        await served.ask("Clear", Board(id="e"))
        assert await served.stored("e") == (2, None)
        assert await served.read("e") == ""
        # The entity is still the same one.
        assert served.boards.begun[-1] == ("e", "Read", 3, "")
        await served.passivate()
        assert await served.read("e") == ""
        assert await served.pin("e", "b") == "b"
        assert await served.stored("e") == (3, "b")


async def test_deleting_nothing_stores_nothing(serving: Serve) -> None:
    async with serving() as served:
        outcome = await served.ask("Clear", Board(id="e"))

        assert outcome.version == 0
        assert await served.stored("e") == (0, None)
        await served.pin("e", "a")
        await served.ask("Clear", Board(id="e"))
        assert (await served.ask("Clear", Board(id="e"))).version == 2
        assert await served.stored("e") == (2, None)


async def test_an_outcome_tells_the_revision(serving: Serve) -> None:
    async with serving() as served:
        versions = []
        for command in ("Read", "Pin", "Read", "Pin", "Clear", "Read"):
            is_pin = command == "Pin"
            message = Texts(id="e", texts=["a"]) if is_pin else Board(id="e")
            versions.append((await served.ask(command, message)).version)
        assert versions == [0, 1, 1, 2, 3, 3]
        await served.passivate()
        assert (await served.ask("Read", Board(id="e"))).version == 3


async def test_any_text_is_an_entity_id(serving: Serve) -> None:
    ids = ["a|b", "a", "ä", "\x00", "💡", "../x", "a-b", "x" * 500]
    async with serving() as served:
        for entity_id in ids:
            assert await served.pin(entity_id, entity_id) == entity_id
        await served.passivate()
        for entity_id in ids:
            assert await served.read(entity_id) == entity_id
            assert await served.stored(entity_id) == (1, entity_id)


async def test_an_empty_value_is_not_the_same_as_none(serving: Serve) -> None:
    async with serving() as served:
        await served.store.inner.commit(
            Commit(EntityKey(PINBOARD, "e"), 99, (PutValue(0, encode(Note())),))
        )

        assert await served.pin("e", "a", command="Extend") == " a"
        assert await served.pin("other", "a", command="Extend") == "a"


async def test_two_services_keep_apart(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        await served.ask("Keep", Texts(id="e", texts=["b"]), ARCHIVE)

        assert (await served.read("e"), await served.look("e")) == ("a", "b")
        assert await served.stored("e", ARCHIVE) == (1, "b")


# --- Many at once --------------------------------------------------------------------


async def test_commands_for_one_entity_run_one_after_the_other(serving: Serve) -> None:
    async with serving() as served:
        adding = [served.pin("e", str(n), command="Extend") for n in range(50)]
        texts = await asyncio.gather(*adding)

        numbers = [str(number) for number in range(50)]
        assert texts == [" ".join(numbers[: number + 1]) for number in range(50)]
        assert await served.stored("e") == (50, " ".join(numbers))


async def test_a_hundred_entities_run_side_by_side(serving: Serve) -> None:
    ids = [f"e{number}" for number in range(100)]
    async with serving() as served:
        holding = [asyncio.create_task(served.pin(each, HELD, each)) for each in ids]
        for _ in ids:  # all of them have begun before the first one ends
            await served.boards.at_the_gate.acquire()
        served.boards.gate.set()

        assert await asyncio.gather(*holding) == ids
        for each in ids:
            assert await served.stored(each) == (1, each)
        assert served.boards.most_at_once == 1


async def test_too_many_waiting_commands_are_refused(serving: Serve) -> None:
    async with serving(max_waiting_commands=2) as served:
        running = asyncio.create_task(served.pin("e", HELD))
        await served.boards.at_the_gate.acquire()
        waiting = [asyncio.create_task(served.pin("e", text)) for text in ("a", "b")]
        await asyncio.sleep(0)

        with pytest.raises(LimitExceeded):
            await served.pin("e", "c")
        assert await served.pin("other", "c") == "c"
        served.boards.gate.set()
        assert await running == HELD
        assert [await each for each in waiting] == ["a", "b"]
        assert await served.stored("e") == (3, "b")


# --- Other entities ------------------------------------------------------------------


async def test_a_forward_is_answered_by_another_entity_after_its_own_value_is_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        text = await served.pin("e", "a", "b", command="PinAndPass", to="shelf")

        assert text == "b"
        assert await served.stored("e") == (1, "b")
        assert await served.stored("shelf", ARCHIVE) == (1, "b")


async def test_a_synchronous_effect_is_done_before_the_answer(serving: Serve) -> None:
    async with serving() as served:
        message = Texts(id="e", texts=["a"], to="shelf", synchronous=True)
        outcome = await served.ask("PinAndTell", message)

        assert outcome.action.reply.payload.type_url.endswith("google.protobuf.Empty")
        assert await served.stored("e") == (1, "a")
        assert await served.stored("shelf", ARCHIVE) == (1, "a")


async def test_an_asynchronous_effect_keeps_nobody_waiting(serving: Serve) -> None:
    async with serving() as served:
        await served.ask("PinAndTell", Texts(id="e", texts=["a", HELD_THERE], to="shelf"))
        await served.boards.at_the_gate.acquire()

        assert await served.stored("e") == (1, HELD_THERE)
        assert await served.stored("shelf", ARCHIVE) == (0, None)
        served.boards.gate.set()
        assert await served.look("shelf") == HELD_THERE
