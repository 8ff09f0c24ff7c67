"""From one service to another in a test: forwards, side effects, and what handlers ask."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Forward, SideEffect
from cloudstate_core.caller import Ask
from cloudstate_core.conditions import checked_command_key
from cloudstate_core.durable.derived import FORWARD, derived_conditions
from cloudstate_core.durable.messages import Message, request_of
from cloudstate_core.errors import AlreadyReceived, AskFailed, CloudstateError
from cloudstate_core.failure_code import code_of
from cloudstate_core.handler import CommandHandler, Conditions, Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.testing.kit.answers import CannedAnswers
from cloudstate_core.testing.kit.handled import Failed, KitError, PassedOn, answer_in, unpacked
from cloudstate_core.testing.kit.outbox import Destinations, Outbox, told
from cloudstate_core.waiting import with_waiting

__all__ = ["Course", "Services"]


@dataclass(slots=True)
class Course:
    """What happened while one command was carried out.

    Attributes:
        asked: What its handler asked.
        committed: All side effects it asked for, if it was stored with its messages; else None.
        sent: Its messages, in the order of their side effects.
        passed_on: How many side effects were carried out for it.
        mistake: What is wrong with the test, found where only a handler could be told.
    """

    asked: list[PassedOn] = field(default_factory=list)
    committed: Sequence[SideEffect] | None = None
    sent: list[PassedOn] = field(default_factory=list)
    passed_on: int = 0
    mistake: KitError | None = None


@dataclass(slots=True)
class _Waiting:
    """An asynchronous side effect of a service that stores nothing, for when the rest is done."""

    passed: PassedOn
    request: Request


class Services:
    """The services of a kit, and the way between them."""

    def __init__(
        self, answers: CannedAnswers, destinations: Destinations, outbox: Outbox, *, delivers: bool
    ) -> None:
        """Start without services.

        Args:
            answers: What to answer in place of services.
            destinations: Where commands lead.
            outbox: Where messages wait.
            delivers: Whether messages are delivered without being asked for.
        """
        self.handlers: dict[str, CommandHandler] = {}
        self._answers = answers
        self._destinations = destinations
        self._outbox = outbox
        self._delivers = delivers
        self._course: ContextVar[Course] = ContextVar("course")
        self._courses: dict[int, Course] = {}
        self._later: deque[_Waiting | Message] = deque()
        # Whether a message could not be delivered: those behind it must not overtake it.
        self._is_stuck = False

    def committed(self, request: Request, effects: Sequence[SideEffect]) -> None:
        """Note that a command was stored, with the messages that are in the outbox."""
        sent = self._outbox.take_out()
        self._later += sent
        # An engine may store in a task of its own.
        course = self._courses.get(id(request))
        if course is not None:
            course.committed = effects
            course.sent = [self._outbox.told(message) for message in sent]

    async def carry_out(self, request: Request, course: Course) -> Outcome:
        """Let the service of a request carry it out, and nothing that it asks for.

        Raises:
            KitError: The test made a mistake; the command was carried out as far as it got.
            CloudstateError: Whatever went wrong with the command.
        """
        token = self._course.set(course)
        self._courses[id(request)] = course
        try:
            outcome = await self.handlers[request.service].handle(request)
        except CloudstateError as error:
            raise _explained(error, course) from error.__cause__
        finally:
            del self._courses[id(request)]
            self._course.reset(token)
        if course.mistake is not None:
            raise course.mistake
        return outcome

    async def stream(self, request: Request, course: Course) -> AsyncGenerator[Outcome, None]:
        """Let the service of a streamed request carry it out; see `carry_out`."""
        async with aclosing(self.handlers[request.service].stream(request)) as outcomes:
            while True:
                token = self._course.set(course)
                try:
                    outcome = await anext(outcomes, None)
                except CloudstateError as error:
                    raise _explained(error, course) from error.__cause__
                finally:
                    self._course.reset(token)
                if course.mistake is not None:
                    raise course.mistake
                if outcome is None:
                    return
                yield outcome

    async def pass_on(self, request: Request, outcome: Outcome, course: Course) -> list[PassedOn]:
        """Carry out what a command asks for beside its answer, in order; tell all of it.

        Messages and what is asynchronous are carried out later.
        """
        effects = outcome.side_effects if course.committed is None else course.committed
        sent, found = deque(course.sent), list[PassedOn]()
        for effect in effects:
            is_sent = course.committed is not None and (
                not effect.synchronous or _is_brought(request)
            )
            found.append(
                sent.popleft() if is_sent else await self._carry_out_effect(request, effect, course)
            )
        return found

    async def _carry_out_effect(
        self, request: Request, effect: SideEffect, course: Course
    ) -> PassedOn:
        course.passed_on += 1
        conditions = derived_conditions(request, course.passed_on)
        target = self._destinations.passed_on(request, effect, conditions)
        passed = told(effect)
        if passed.service in self.handlers:
            if effect.synchronous or _is_brought(request):
                passed.answer = await self._answer_to(target)
            else:
                self._later.append(_Waiting(passed, target))
        return passed

    async def follow(self, request: Request, forward: Forward) -> tuple[PassedOn, ClientAction]:
        """Return to whom a command was forwarded, and what that answered."""
        conditions = derived_conditions(request, FORWARD)
        target = self._destinations.passed_on(request, forward, conditions)
        passed = told(forward)
        if passed.service not in self.handlers:
            return passed, ClientAction()
        action = (await self._deliver(target)).action
        passed.answer = answer_in(action)
        return passed, action

    async def finish(self) -> None:
        """Carry out what was left for later, and what that leaves in turn."""
        await self._work_off(brings=self._delivers and not self._is_stuck)

    async def deliver(self) -> list[PassedOn]:
        """Bring the messages that wait in the store, and those that they cause; tell all of them.

        Raises:
            CloudstateError: One of them could not be delivered. It waits on, and those after it.
        """
        self._is_stuck = False
        self._later += [
            each for each in await self._outbox.waiting() if each.lane.service in self.handlers
        ]
        return await self._work_off(brings=True)

    async def waiting(self) -> list[PassedOn]:
        """Tell of the messages that wait in the store."""
        return [self._outbox.told(message) for message in await self._outbox.waiting()]

    def give_up(self) -> None:
        """Forget what is still to be done; messages wait in the store."""
        self._later.clear()

    async def _work_off(self, *, brings: bool) -> list[PassedOn]:
        brought = []
        while self._later:
            match self._later.popleft():
                case _Waiting(passed, request):
                    passed.answer = await self._answer_to(request)
                case Message() as message if brings and message.lane.service in self.handlers:
                    brought.append(await self._bring(message))
        return brought

    async def _bring(self, message: Message) -> PassedOn:
        passed = self._outbox.told(message)
        self._is_stuck = True
        with suppress(AlreadyReceived):
            passed.answer = await self._answer_to(request_of(message))
        await self._outbox.done(message)
        self._is_stuck = False
        return passed

    async def _answer_to(self, request: Request) -> AnyType:
        return answer_in((await self._deliver(request)).action)

    async def ask(self, ask: Ask) -> Any:
        """Answer what a handler asks; see `Caller.ask`."""
        course = self._course.get()
        asked = PassedOn(ask.service, ask.command, unpacked(ask.payload), ask.metadata)
        course.asked.append(asked)
        try:
            if self._answers.has(asked):
                return await self._answers.find(asked)
            if ask.service in self.handlers:
                return await self._answer(ask, asked)
        except KitError as mistake:
            course.mistake = mistake
            raise
        course.mistake = KitError(
            f"nothing answers {asked.name}: give the kit answers={{({ask.service!r}, "
            f"{ask.command!r}): ...}}, or the entity of that service"
        )
        raise course.mistake

    async def _answer(self, ask: Ask, asked: PassedOn) -> Any:
        metadata = with_waiting(ask.metadata, ask.waiting)
        request = Request(
            ask.service,
            ask.command,
            ask.payload,
            metadata=metadata,
            hops=(ask.hop,),
            conditions=Conditions(command_key=checked_command_key(ask.command_key))
            if ask.command_key
            else None,
            waiting=ask.waiting,
        )
        try:
            action = (await self._deliver(request)).action
        except CloudstateError as error:
            asked.answer = Failed(str(error), error.status)
            raise AskFailed(f"{asked.name}: {error}", code=error.status) from error
        asked.answer = answer_in(action)
        if action.HasField("failure"):
            code = code_of(action.failure) or Status.UNKNOWN
            raise AskFailed(action.failure.description, code=code)
        if not action.HasField("reply"):
            raise AskFailed(f"{asked.name}: the user function gave no reply", code=Status.INTERNAL)
        return action.reply.payload

    async def _deliver(self, request: Request) -> Outcome:
        """Carry out a command that was passed on, with what that asks for in turn."""
        course = Course()
        outcome = await self.carry_out(request, course)
        await self.pass_on(request, outcome, course)
        if outcome.action.HasField("forward"):
            _, action = await self.follow(request, outcome.action.forward)
            return Outcome(action)
        return outcome


def _explained(error: CloudstateError, course: Course) -> Exception:
    """Return the test's own mistake if there was one, else the error with its reason."""
    if course.mistake is not None:
        return course.mistake
    if error.detail:
        error.add_note(error.detail)
    return error


def _is_brought(request: Request) -> bool:
    """Return whether a message brings a request, so that nobody waits for its answer."""
    return request.conditions is not None and bool(request.conditions.message_id)
