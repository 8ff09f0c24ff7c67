"""Handlers that ask other entities, in one process and through a proxy's front door."""

from __future__ import annotations

import asyncio

import pytest
from desk import ARCHIVE, NOTEBOOK, Desk, Notes
from notebook.notebook_pb2 import _ARCHIVE, _NOTEBOOK, LineAdded, Lines, Page, Text
from notebook.notebook_pb2_grpc import ArchiveStub
from served import Serve, serve

from cloudstate_core.errors import AskFailed, RegistrationError
from cloudstate_core.failure_code import code_of
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.status import Status
from cloudstate_core.targets import commands_of
from cloudstate_eventsourced.context import EventSourcedCommandContext
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.plugin import EventSourcedKind

pytestmark = pytest.mark.usefixtures("logged")

ARCHIVED = commands_of(ArchiveStub)


class AskingDesk(Desk):
    """A desk whose notebook asks the archive, and whose archive asks back.

    Attributes:
        failed: What was asked in vain.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[AskFailed] = []
        self.entities = (self._asking_notebook(), self._asking_archive())

    def _asking_notebook(self) -> EventSourcedEntity:
        entity = EventSourcedEntity(_NOTEBOOK, init_state=Notes)
        self._keep_lines(entity)

        @entity.command_handler("Write")
        async def write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            there = await ctx.ask(ARCHIVED.Keep, Lines(id=lines.to, lines=lines.lines))
            ctx.emit(LineAdded(line=there.text))
            return state.text()

        @entity.command_handler("WriteAndTell")
        async def try_to_write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> None:
            try:
                await ctx.ask(_ARCHIVE, "Keep", lines, timeout_s=1.0)
            except AskFailed as error:
                self.failed.append(error)

        @entity.command_handler("WriteAndPass")
        async def ask_by_name(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            answer = await ctx.ask(ARCHIVE, "Look", Page(id=lines.to))
            assert isinstance(answer, Text)
            return answer

        @entity.command_handler("Read")
        def read(state: Notes) -> Text:
            return state.text()

        @entity.command_handler("WriteAndFail")
        async def never(lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            return await ctx.ask(ARCHIVED.Look, Page(id=lines.id), idempotency_key="k" * 300)

        @entity.command_handler("WriteAndBreak")
        async def never_again(lines: Lines) -> Text:
            raise AssertionError

        return entity

    def _asking_archive(self) -> EventSourcedEntity:
        entity = EventSourcedEntity(_ARCHIVE, init_state=Notes)
        self._keep_lines(entity)

        @entity.command_handler("Keep")
        async def keep(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            match list(lines.lines):
                case ["refuse"]:
                    ctx.fail("the archive is full", code=Status.RESOURCE_EXHAUSTED)
                case ["ask back"]:
                    return await ctx.ask(NOTEBOOK, "Read", Page(id=lines.to or lines.id))
                case ["wait"]:
                    self.at_the_gate.release()
                    await self.gate.wait()
                case _:
                    ctx.emit(LineAdded(line="kept"))
            return state.text()

        @entity.command_handler("Look")
        def look(state: Notes) -> Text:
            return state.text()

        @entity.command_handler("Bounce")
        def bounce(page: Page, ctx: EventSourcedCommandContext) -> None:
            ctx.forward(_ARCHIVE, "Look", page)

        @entity.command_handler("Wrap")
        def wrap(page: Page) -> Text:
            return Text()

        return entity


async def test_a_reply_is_there_while_the_command_goes_on(asking: Serve) -> None:
    async with asking(desk=AskingDesk()) as served:
        assert await served.write("n", "a", to="x") == "kept"
        assert await served.stored("n") == ["kept"]
        assert await served.stored("x", ARCHIVE) == ["kept"]


async def test_a_service_can_be_asked_by_its_name(asking: Serve) -> None:
    async with asking(desk=AskingDesk()) as served:
        await served.write("n", "a", to="x")

        assert await served.write("n", command="WriteAndPass", to="x") == "kept"


async def test_a_failure_that_is_left_to_pass_is_the_commands_own(asking: Serve) -> None:
    async with asking(desk=AskingDesk()) as served:
        outcome = await served.ask("Write", Lines(id="n", lines=["refuse"], to="x"))

        assert outcome.action.failure.description == "the archive is full"
        assert code_of(outcome.action.failure) is Status.RESOURCE_EXHAUSTED
        assert await served.stored("n") == []
        assert await served.read("n") == ""


async def test_an_entity_that_would_wait_for_itself_is_told_so(asking: Serve) -> None:
    async with asking(desk=AskingDesk()) as served:
        outcome = await served.ask("Write", Lines(id="n", lines=["ask back"], to="n"))

        assert "asked by the entity that waits for the answer" in outcome.action.failure.description
        assert code_of(outcome.action.failure) is Status.FAILED_PRECONDITION
        assert await served.read("n") == ""


async def test_a_timeout_ends_the_waiting() -> None:
    desk = AskingDesk()
    async with serve("local", desk=desk) as served:
        asking = asyncio.create_task(
            served.ask("WriteAndTell", Lines(id="n", lines=["wait"], to="x"))
        )
        await desk.at_the_gate.acquire()
        await served.clock.advance(1.5)

        assert (await asking).action.HasField("reply")
        assert [error.code for error in desk.failed] == [Status.DEADLINE_EXCEEDED]


def test_what_a_handler_says_it_calls_is_checked_at_start() -> None:
    entity = EventSourcedEntity(_NOTEBOOK, init_state=Notes)

    @entity.command_handler("Read", calls=[ARCHIVED.Look])
    def read(state: Notes) -> Text:
        return Text()

    entity.validate = lambda: None  # type: ignore[method-assign]  # the others do not matter here
    with pytest.raises(RegistrationError, match=r"read.*test_asking\.py.*Archive' is not register"):
        UserFunction([entity], Plugins(kinds={"eventsourced": EventSourcedKind()}))


def test_a_command_that_its_service_does_not_have_is_found_at_registration() -> None:
    entity = EventSourcedEntity(_NOTEBOOK, init_state=Notes)

    with pytest.raises(RegistrationError, match=r"read.*calls: .* has no command 'Lok'"):

        @entity.command_handler("Read", calls=[(_ARCHIVE, "Lok")])
        def read(state: Notes) -> Text:
            return Text()
