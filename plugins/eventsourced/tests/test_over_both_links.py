"""The same behaviour whether the user function is in this process or behind a socket."""

from __future__ import annotations

import asyncio

import pytest
from desk import ARCHIVE, HELD, HELD_THERE, NOTEBOOK, UNREADABLE, Desk
from notebook.notebook_pb2 import Lines, Page, Text
from served import Serve

from cloudstate_core.anys import decode, encode
from cloudstate_core.errors import (
    LimitExceeded,
    RoutingError,
    UserFunctionError,
)
from cloudstate_core.metadata import EMPTY_METADATA, Metadata

pytestmark = pytest.mark.usefixtures("logged")


# --- Memory and store ----------------------------------------------------------------


async def test_a_command_is_answered_and_its_events_are_stored(serving: Serve) -> None:
    async with serving() as served:
        assert await served.write("e", "a", "b") == "a b"
        assert await served.stored("e") == ["a", "b"]
        assert await served.write("e", "c") == "a b c"
        assert await served.read("e") == "a b c"
        assert await served.stored("e") == ["a", "b", "c"]
        assert served.desk.begun == [
            ("e", "Write", 1, 0),
            ("e", "Write", 2, 2),
            ("e", "Read", 3, 3),
        ]
        assert served.seen.activated == ["e"]


CLIENTS = Metadata([("tenant", "a"), ("trace-bin", b"\x00\xff"), ("tenant", "b")])


@pytest.mark.parametrize(
    ("services", "notebook", "archive"),
    [
        ((), EMPTY_METADATA, EMPTY_METADATA),
        ((NOTEBOOK,), CLIENTS, EMPTY_METADATA),
        ((ARCHIVE,), EMPTY_METADATA, CLIENTS),
        (("*",), CLIENTS, CLIENTS),
    ],
    ids=["none", "one", "the other", "all"],
)
async def test_handlers_see_the_clients_headers_where_the_settings_say_so(
    serving: Serve, services: tuple[str, ...], notebook: Metadata, archive: Metadata
) -> None:
    async with serving(command_metadata_services=services) as served:
        lines = Lines(id="e", lines=["a"])
        await served.ask("Write", lines, NOTEBOOK, metadata=CLIENTS)
        await served.ask("Keep", lines, ARCHIVE, metadata=CLIENTS)
        await served.ask("Write", lines, NOTEBOOK)

        assert served.desk.headers == [
            (NOTEBOOK, notebook),
            (ARCHIVE, archive),
            (NOTEBOOK, EMPTY_METADATA),
        ]


async def test_the_state_survives_passivation(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a", "b")
        await served.passivate()
        served.desk.applied.clear()

        assert await served.read("e") == "a b"
        # Replay says of each event which one it is, and commands are numbered anew.
        assert served.desk.applied == [("e", 1, "a"), ("e", 2, "b")]
        assert served.desk.begun[-1] == ("e", "Read", 1, 2)
        assert served.seen.passivated == ["e"]
        assert await served.write("e", "c") == "a b c"
        assert await served.stored("e") == ["a", "b", "c"]


async def test_snapshots_are_taken_and_restored(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a", "b", "c", "d")
        assert await served.snapshot("e") is None
        await served.write("e", "e", "f", "g")
        assert await served.snapshot("e") == (7, list("abcdefg"))
        await served.write("e", "h")
        assert await served.snapshot("e") == (7, list("abcdefg"))
        await served.passivate()
        served.desk.applied.clear()

        assert await served.read("e") == "a b c d e f g h"
        assert served.desk.taken == [("e", 7)]
        assert served.desk.restored == [("e", 7, list("abcdefg"))]
        assert served.desk.applied == [("e", 8, "h")]
        assert served.desk.begun[-1] == ("e", "Read", 1, 8)
        assert await served.stored("e") == list("abcdefgh")


async def test_more_events_than_fit_on_a_page_are_replayed(serving: Serve) -> None:
    lines = [str(number) for number in range(1_234)]
    async with serving(desk=Desk(snapshot_every=-1)) as served:
        assert await served.write("e", *lines) == " ".join(lines)
        await served.passivate()
        served.desk.applied.clear()

        assert await served.read("e") == " ".join(lines)
        assert served.desk.applied == [("e", n, line) for n, line in enumerate(lines, start=1)]
        assert await served.stored("e") == lines


@pytest.mark.parametrize("number", [500, 1_000])
async def test_exactly_full_pages_are_replayed_once(serving: Serve, number: int) -> None:
    async with serving(desk=Desk(snapshot_every=-1)) as served:
        await served.write("e", *["x"] * number)
        await served.passivate()
        served.desk.applied.clear()

        await served.read("e")
        assert [sequence for _, sequence, _ in served.desk.applied] == list(range(1, number + 1))


async def test_any_text_is_an_entity_id(serving: Serve) -> None:
    ids = ["a|b", "a", "ä", "\x00", "💡", "../x", "a-b", "x" * 500]
    async with serving() as served:
        for entity_id in ids:
            assert await served.write(entity_id, "a") == "a"
        await served.passivate()
        for entity_id in ids:
            assert await served.write(entity_id, "b") == "a b"
            assert await served.stored(entity_id) == ["a", "b"]


async def test_an_any_is_answered_as_an_any(serving: Serve) -> None:
    async with serving() as served:
        outcome = await served.ask("Wrap", Page(id="e"), ARCHIVE)

        wrapped = decode(outcome.action.reply.payload)
        assert wrapped == encode(Text())


# --- Many at once --------------------------------------------------------------------


async def test_commands_for_one_entity_run_one_after_the_other(serving: Serve) -> None:
    async with serving() as served:
        texts = await asyncio.gather(*(served.write("e", str(n)) for n in range(50)))

        stored = await served.stored("e")
        assert stored == [str(number) for number in range(50)]
        assert texts == [" ".join(stored[: number + 1]) for number in range(50)]
        assert served.desk.most_at_once == 1
        assert [sequence for *_, sequence in served.desk.begun] == list(range(50))


async def test_a_hundred_entities_run_side_by_side(serving: Serve) -> None:
    ids = [f"e{number}" for number in range(100)]
    async with serving() as served:
        holding = [asyncio.create_task(served.write(each, "a", HELD)) for each in ids]
        for _ in ids:  # all of them have begun before the first one ends
            await served.desk.at_the_gate.acquire()
        served.desk.gate.set()

        assert await asyncio.gather(*holding) == [f"a {HELD}"] * 100
        for each in ids:
            assert await served.stored(each) == ["a", HELD]
        assert sorted(served.seen.activated) == sorted(ids)
        assert served.desk.most_at_once == 1


async def test_too_many_waiting_commands_are_refused(serving: Serve) -> None:
    async with serving(max_waiting_commands=2) as served:
        running = asyncio.create_task(served.write("e", HELD))
        await served.desk.at_the_gate.acquire()
        waiting = [asyncio.create_task(served.write("e", line)) for line in ("a", "b")]
        await asyncio.sleep(0)

        with pytest.raises(LimitExceeded):
            await served.write("e", "c")
        assert await served.write("other", "c") == "c"
        served.desk.gate.set()
        assert await running == HELD
        assert [await each for each in waiting] == [f"{HELD} a", f"{HELD} a b"]
        assert await served.stored("e") == [HELD, "a", "b"]


# --- Other entities ------------------------------------------------------------------


async def test_a_forward_is_answered_by_another_entity_after_its_own_events_are_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.ask("Keep", Lines(id="shelf", lines=["old"]), ARCHIVE)
        text = await served.write("e", "a", "b", command="WriteAndPass", to="shelf")

        assert text == "old a b"
        assert await served.stored("e") == ["a", "b"]
        assert await served.stored("shelf", ARCHIVE) == ["old", "a", "b"]


async def test_what_is_stored_stays_stored_though_the_forward_leads_nowhere(
    serving: Serve,
) -> None:
    async with serving() as served:
        with pytest.raises(RoutingError):
            await served.write("e", "a", command="WriteAndPass", to="")

        assert await served.stored("e") == ["a"]
        assert await served.read("e") == "a"


async def test_a_synchronous_effect_is_done_before_the_answer(serving: Serve) -> None:
    async with serving() as served:
        message = Lines(id="e", lines=["a"], to="shelf", synchronous=True)
        outcome = await served.ask("WriteAndTell", message)

        assert outcome.action.reply.payload.type_url.endswith("google.protobuf.Empty")
        assert await served.stored("e") == ["a"]
        assert await served.stored("shelf", ARCHIVE) == ["a"]


async def test_an_asynchronous_effect_keeps_nobody_waiting(serving: Serve) -> None:
    async with serving() as served:
        message = Lines(id="e", lines=["a", HELD_THERE], to="shelf")
        await served.ask("WriteAndTell", message)
        await served.desk.at_the_gate.acquire()

        assert await served.stored("e") == ["a", HELD_THERE]
        assert await served.stored("shelf", ARCHIVE) == []
        served.desk.gate.set()
        assert await served.look("shelf") == f"a {HELD_THERE}"
        assert await served.stored("shelf", ARCHIVE) == ["a", HELD_THERE]


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_command_that_fails_has_no_effects(serving: Serve, synchronous: bool) -> None:
    async with serving() as served:
        message = Lines(id="e", lines=[UNREADABLE], to="shelf", synchronous=synchronous)
        with pytest.raises(UserFunctionError):
            await served.ask("WriteAndTell", message)

        assert await served.look("shelf") == ""
        assert await served.stored("e") == []


async def test_a_circle_of_forwards_is_broken(serving: Serve) -> None:
    async with serving() as served:
        with pytest.raises(RoutingError):
            await served.ask("Bounce", Page(id="e"), ARCHIVE)

        assert len(served.desk.begun) == 17
        assert await served.stored("e", ARCHIVE) == []
