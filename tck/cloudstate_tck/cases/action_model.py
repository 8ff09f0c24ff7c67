"""Actions: what a user function does, with the suite in a proxy's place.

Cases whose id begins with AX are our own; the original suite does not have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_core.links import Rpc
from cloudstate_tck.action_messages import (
    MODEL,
    TWO,
    effect,
    element,
    fail,
    failed,
    first,
    forward,
    forwarded,
    group,
    replied,
    reply,
    request,
    side_effect,
    silent,
    whole_command,
)
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.cases.discovery import expect_services_are_defined
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.action_pb2 import ProcessGroup, ProcessStep
from cloudstate_tck.protocol import (
    ACTION_STREAMED,
    ACTION_STREAMED_IN,
    ACTION_STREAMED_OUT,
    ACTION_UNARY,
)

__all__ = ["CASES"]

Stream = ProtocolStream[ActionCommand, ActionResponse]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One group that the model is asked for, and the response to it."""

    asked: ProcessGroup
    gives: ActionResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """One way to answer.

    Attributes:
        what: In words.
        step: Asks for it; None if nothing is to be answered.
        gives: Makes the response.
    """

    what: str
    step: Callable[[str], ProcessStep] | None
    gives: Callable[..., ActionResponse]

    def exchange(self, name: str, *effects: str) -> Exchange:
        """Return the exchange with that answer; an effect with a ! before it is synchronous."""
        steps = [] if self.step is None else [self.step(name)]
        steps += [effect(each.lstrip("!"), synchronous=each[0] == "!") for each in effects]
        return Exchange(group(*steps), self.gives(name, _side_effects(*effects)))

    def four(self) -> tuple[Exchange, ...]:
        """Return it without effects, with one, with a synchronous one, and with several."""
        return (
            self.exchange("one"),
            self.exchange("two", "other"),
            self.exchange("three", "!another"),
            self.exchange("four", "a", "b", "c"),
        )


def _side_effects(*effects: str) -> list[object]:
    return [side_effect(each.lstrip("!"), synchronous=each[0] == "!") for each in effects]


REPLY = Answer("reply", reply, replied)
NOTHING = Answer("no reply", None, silent)
FORWARD = Answer("forward", forward, forwarded)
FAILURE = Answer("failure", fail, failed)
ANSWERS = (REPLY, NOTHING, FORWARD, FAILURE)

WITH = ("", " with a side effect", " with a synchronous side effect", " with several side effects")


# --- The shapes ---------------------------------------------------------------------------


async def unary(exchange: Exchange, examination: Examination) -> None:
    async with _calling(examination, ACTION_UNARY) as call:
        await call.send(whole_command("ProcessUnary", request(exchange.asked)))
        await call.half_close()
        await call.expect("the response", exchange.gives)
        await call.expect_end("the end of the call")


async def streamed_in(
    asked: Sequence[ProcessGroup], gives: ActionResponse, examination: Examination
) -> None:
    async with _calling(examination, ACTION_STREAMED_IN) as call:
        await call.send(first("ProcessStreamedIn"))
        await call.send(*(element(request(each)) for each in asked))
        await call.half_close()
        await call.expect("the response", gives)
        await call.expect_end("the end of the call")


async def streamed_out(answer: Answer, examination: Examination) -> None:
    exchanges = answer.four()
    async with _calling(examination, ACTION_STREAMED_OUT) as call:
        asked = request(*(each.asked for each in exchanges))
        await call.send(whole_command("ProcessStreamedOut", asked))
        await call.half_close()
        await _expect_all(call, exchanges)
        await call.expect_end("the end of the responses")


async def streamed(answer: Answer, examination: Examination) -> None:
    async with _calling(examination, ACTION_STREAMED) as call:
        await call.send(first("ProcessStreamed"))
        for exchange in answer.four():
            await call.send(element(request(exchange.asked)))
            await _expect_all(call, [exchange])
        two = (answer.exchange("five"), answer.exchange("six", "other"))
        await call.send(element(request(*(each.asked for each in two))))
        await _expect_all(call, two)
        await call.complete()


def _calling(
    examination: Examination, rpc: Rpc[ActionCommand, ActionResponse]
) -> AbstractAsyncContextManager[Stream]:
    return examination.the_function().stream(rpc)


async def _expect_all(call: Stream, exchanges: Sequence[Exchange]) -> None:
    for number, exchange in enumerate(exchanges, start=1):
        await call.expect(f"response {number}", exchange.gives)


# --- What is announced, and what a proxy does wrong ---------------------------------------


async def discovered(examination: Examination) -> None:
    """Look at the announcement of both services."""
    expect_services_are_defined(examination.spec)
    for entity in examination.spec.entities:
        if entity.service_name in (MODEL, TWO):
            what = f"the entity type of {entity.service_name}"
            expect_equal(what, ACTION_UNARY.service, entity.entity_type)


async def unknown_service(examination: Examination) -> None:
    """Name a service that nobody serves, in every shape."""
    for rpc in (ACTION_UNARY, ACTION_STREAMED_IN, ACTION_STREAMED_OUT, ACTION_STREAMED):
        command = first("Call") if rpc.client_streaming else whole_command("Call", request())
        command.service_name = "cloudstate.tck.model.action.NoSuchAction"
        await _expect_failure(examination, rpc, command)


async def empty_stream(examination: Examination) -> None:
    """Begin streams and say nothing, not even what is called."""
    for rpc in (ACTION_STREAMED_IN, ACTION_STREAMED):
        await _expect_failure(examination, rpc)


async def _expect_failure(
    examination: Examination, rpc: Rpc[ActionCommand, ActionResponse], *commands: ActionCommand
) -> None:
    async with _calling(examination, rpc) as call:
        await call.send(*commands)
        await call.half_close()
        found = await call.receive(f"the response of {rpc.path}", "a failure")
        if not found.failure.description:
            raise Mismatch(f"the response of {rpc.path}", expected="a failure", found=found)
        await call.expect_end(f"the end of {rpc.path}")


# --- All of them --------------------------------------------------------------------------

case = partial(Case, kind="action", phase=Phase.MODEL)
NEEDS = frozenset({MODEL})


def unary_cases() -> Iterator[Case]:
    number = 2
    for answer in ANSWERS:
        for exchange, with_what in zip(answer.four(), WITH, strict=True):
            title = f"unary: {answer.what}{with_what}"
            yield case(f"A{number}", title, needs=NEEDS, run=partial(unary, exchange))
            number += 1


def streamed_in_cases() -> Iterator[Case]:
    number = 18
    several = [group(effect("b", synchronous=True)), group(effect("c"), effect("d"))]
    effects = _side_effects("a", "!b", "c", "d")
    for answer in ANSWERS:
        alone, with_effects = answer.exchange("one"), answer.exchange("two", "a")
        runs = [
            ("", partial(streamed_in, [alone.asked], alone.gives)),
            (
                " with side effects",
                partial(streamed_in, [with_effects.asked, *several], answer.gives("two", effects)),
            ),
        ]
        if answer is NOTHING:
            runs.insert(0, (" to no request", partial(streamed_in, [], silent())))
        for with_what, run in runs:
            title = f"streamed in: {answer.what}{with_what}"
            yield case(f"A{number}", title, needs=NEEDS, run=run)
            number += 1


def streaming_cases() -> Iterator[Case]:
    for offset, answer in enumerate(ANSWERS):
        out = partial(streamed_out, answer)
        both = partial(streamed, answer)
        yield case(f"A{27 + offset}", f"streamed out: {answer.what}", needs=NEEDS, run=out)
        yield case(f"A{31 + offset}", f"streamed: {answer.what}", needs=NEEDS, run=both)


CASES = (
    case("A1", "the model actions are announced", needs=frozenset({MODEL, TWO}), run=discovered),
    *unary_cases(),
    *streamed_in_cases(),
    *streaming_cases(),
    case("AX1", "an unknown service is a failure", needs=NEEDS, run=unknown_service),
    case("AX2", "a stream without a first message is a failure", needs=NEEDS, run=empty_stream),
)
