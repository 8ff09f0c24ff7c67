"""From one service to another in a test: forwards, side effects, and what handlers ask."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Forward, SideEffect
from cloudstate_core.caller import Ask
from cloudstate_core.errors import AskFailed, CloudstateError, RoutingError
from cloudstate_core.failure_code import code_of
from cloudstate_core.handler import CommandHandler, Hop, Outcome, Request
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_core.testing.kit.answers import CannedAnswers
from cloudstate_core.testing.kit.handled import Failed, KitError, PassedOn, answer_in, unpacked
from cloudstate_core.waiting import with_waiting

__all__ = ["Course", "Services"]

#: How often a command may be passed on. It is the runtime's default.
_MAX_HOPS = 16


@dataclass(slots=True)
class Course:
    """What happened while one command was carried out.

    Attributes:
        asked: What its handler asked.
        mistake: What is wrong with the test, found where only a handler could be told.
    """

    asked: list[PassedOn] = field(default_factory=list)
    mistake: KitError | None = None


@dataclass(slots=True)
class _Waiting:
    """An asynchronous side effect that is to be carried out when the test's command is done."""

    passed: PassedOn
    request: Request


class Services:
    """The services of a kit, and the way between them."""

    def __init__(self, answers: CannedAnswers) -> None:
        """Start without services.

        Args:
            answers: What to answer in place of services.
        """
        self.handlers: dict[str, CommandHandler] = {}
        self._answers = answers
        self._course: ContextVar[Course] = ContextVar("course")
        self._later: deque[_Waiting] = deque()

    async def carry_out(self, request: Request, course: Course) -> Outcome:
        """Let the service of a request carry it out, and nothing that it asks for.

        Raises:
            KitError: The test made a mistake; the command was carried out as far as it got.
            CloudstateError: Whatever went wrong with the command.
        """
        token = self._course.set(course)
        try:
            outcome = await self.handlers[request.service].handle(request)
        except CloudstateError as error:
            raise _explained(error, course) from error.__cause__
        finally:
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

    async def pass_on(self, request: Request, effects: Sequence[SideEffect]) -> list[PassedOn]:
        """Carry out side effects in order, but the asynchronous ones later; tell all of them."""
        found = []
        for effect in effects:
            passed, target = _passed_on(request, effect, "side effect")
            passed.synchronous = effect.synchronous
            found.append(passed)
            if passed.service not in self.handlers:
                continue
            if effect.synchronous:
                passed.answer = answer_in((await self._deliver(target)).action)
            else:
                target = replace(target, waiting=(), metadata=with_waiting(target.metadata, ()))
                self._later.append(_Waiting(passed, target))
        return found

    async def follow(self, request: Request, forward: Forward) -> tuple[PassedOn, ClientAction]:
        """Return to whom a command was forwarded, and what that answered."""
        passed, target = _passed_on(request, forward, "forward")
        if passed.service not in self.handlers:
            return passed, ClientAction()
        action = (await self._deliver(target)).action
        passed.answer = answer_in(action)
        return passed, action

    async def finish(self) -> None:
        """Carry out the asynchronous side effects, and those that they have in turn."""
        while self._later:
            waiting = self._later.popleft()
            waiting.passed.answer = answer_in((await self._deliver(waiting.request)).action)

    def give_up(self) -> None:
        """Forget what is still to be done."""
        self._later.clear()

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
        if len(request.hops) > _MAX_HOPS:
            raise RoutingError(
                f"a command was passed on more than {_MAX_HOPS} times",
                detail=" -> ".join(f"{hop.service}.{hop.command}" for hop in request.hops),
            )
        outcome = await self.carry_out(request, Course())
        await self.pass_on(request, outcome.side_effects)
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


def _passed_on(
    request: Request, passed: SideEffect | Forward, how: str
) -> tuple[PassedOn, Request]:
    metadata = Metadata.from_wire(passed.metadata)
    told = PassedOn(passed.service_name, passed.command_name, unpacked(passed.payload), metadata)
    target = Request(
        passed.service_name,
        passed.command_name,
        passed.payload,
        metadata=with_waiting(metadata, request.waiting),
        hops=(*request.hops, Hop(request.service, request.command, how)),
        waiting=request.waiting,
    )
    return told, target
