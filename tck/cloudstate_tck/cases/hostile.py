"""User functions that break the protocol, and what a proxy must make of them.

The failing entity gets an error, its neighbours on the same user function go on, and of the failed
command nothing is stored. Each case provokes one script of `cloudstate_tck.hostile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate_core.status import Status
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.event_sourced_messages import (
    CONFIGURED,
    MODEL,
    emit,
    event,
    fail,
    init,
    request,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.hostile import MISBEHAVE, Script, Stored
from cloudstate_tck.hostile_scripts import SCRIPTS
from cloudstate_tck.model.eventsourced_pb2 import RequestAction, Response
from cloudstate_tck.provocation import (
    beside_a_neighbour,
    expect_one_of,
    expect_report,
    next_reply,
    status_of,
)

__all__ = ["CASES"]

#: The state of a hostile entity before it misbehaves.
BEFORE = "A"

#: A proxy that tries a broken entity again, unasked, must not do so more often than this.
MAX_UNASKED_STREAMS = 10
UNASKED_WITHIN_S = 1.0

NEIGHBOURS = 5

#: A neighbour takes a new id after so many commands, so that its state stays small.
NEIGHBOUR_COMMANDS = 50


async def run_script(script: Script, examination: Examination) -> None:
    """Provoke one script, with a neighbour at work all the time."""
    entity_id = examination.new_entity_id(f"{script.name}:entity")
    provoked = provoke(script, examination, entity_id)
    await beside_a_neighbour(provoked, examination, _be_a_neighbour)


async def provoke(script: Script, examination: Examination, entity_id: str) -> None:
    """Let an entity follow its script, and look at what is left.

    Raises:
        Mismatch: If the client sees another status, the wrong events are stored, or the entity
            does not come back.
    """
    reports = len(examination.the_hostile_function().reports)
    if not script.at_start:
        await expect_state(examination, entity_id, emit(BEFORE), state=BEFORE)
    await _expect_status(script, examination, entity_id)
    recovers = not (script.at_start or script.at_event)
    state = BEFORE
    if recovers:
        # What an entity does unasked may go unseen until there is something to ask it; if it is on
        # its way until then, it meets the next command, and that one fails.
        if script.says_more:
            await status_of(examination, MODEL, request(entity_id))
        state = await _expect_recovery(examination, entity_id, _states(script))
    if script.reported:
        within_s = examination.conditions.patience_s
        await expect_report(f"what is reported about {entity_id}", examination, reports, within_s)
    if not recovers:
        await _expect_no_recovery(script, examination, entity_id)
        return
    # Whatever the proxy has in memory: only a new stream shows what is stored.
    await _expect_restart(examination, entity_id)
    await expect_state(examination, entity_id, state=state)
    stored = [BEFORE] if state == BEFORE else [BEFORE, *script.events]
    _expect_stored(examination, entity_id, stored)


def _states(script: Script) -> tuple[str, ...]:
    with_events = BEFORE + "".join(script.events)
    match script.stored:
        case Stored.NOTHING:
            return (BEFORE,)
        case Stored.EVENTS:
            return (with_events,)
        case Stored.ALL_OR_NOTHING:
            return BEFORE, with_events


async def _expect_status(script: Script, examination: Examination, entity_id: str) -> None:
    found = await status_of(examination, MODEL, request(entity_id, emit(MISBEHAVE)))
    what = f"the status of the command in which the entity {script.title}"
    expect_one_of(what, script.client, found)


async def expect_state(
    examination: Examination, entity_id: str, *actions: RequestAction, state: str
) -> None:
    """Send a command that must succeed, with this state in the reply.

    Raises:
        Mismatch: If it fails, or the state is another.
    """
    expected = Response(message=state)
    await examination.the_proxy().expect(MODEL, "Process", request(entity_id, *actions), expected)


async def _expect_recovery(
    examination: Examination, entity_id: str, states: tuple[str, ...]
) -> str:
    """Expect the very next command to succeed, with one of these states; return which."""
    what = "the entity's next command"
    found = await next_reply(what, examination, MODEL, request(entity_id), Response)
    if found.message not in states:
        expected = " or ".join(repr(state) for state in states)
        raise Mismatch(f"the state in {what}", expected=expected, found=repr(found.message))
    return found.message


async def _expect_restart(examination: Examination, entity_id: str) -> None:
    description = "start again"
    await examination.the_proxy().expect_failure(
        MODEL,
        "Process",
        request(entity_id, emit("dropped"), fail(description)),
        Response,
        description,
    )


def _expect_stored(examination: Examination, entity_id: str, values: list[str]) -> None:
    """Compare what the newest stream of the entity started with."""
    last = examination.the_hostile_function().streams[entity_id][-1]
    started = [message for message in last.messages if not message.HasField("command")]
    expected: list[EventSourcedStreamIn] = [
        init(MODEL, entity_id),
        *(event(sequence, value) for sequence, value in enumerate(values, start=1)),
    ]
    what = "the messages at the start of the entity's new stream"
    expect_equal(f"the number of {what}", len(expected), len(started))
    for wanted, found in zip(expected, started, strict=True):
        expect_equal(what, wanted, found)


async def _expect_no_recovery(script: Script, examination: Examination, entity_id: str) -> None:
    """Expect the entity to fail again, and to be left alone while nobody asks for it."""
    streams = examination.the_hostile_function().streams
    before = len(streams[entity_id])
    await asyncio.sleep(UNASKED_WITHIN_S)
    unasked = len(streams[entity_id]) - before
    if unasked > MAX_UNASKED_STREAMS:
        raise Mismatch(
            f"the streams of a broken entity, while nobody asks for it for {UNASKED_WITHIN_S:g} s",
            expected=f"{MAX_UNASKED_STREAMS} or fewer",
            found=unasked,
        )
    found = await status_of(examination, MODEL, request(entity_id))
    if found is Status.OK:
        raise Mismatch("the entity's next command", expected="a failure", found="a reply")


async def _be_a_neighbour(examination: Examination, finish: asyncio.Event) -> None:
    """Append to entities of its own, one after the other; the state must follow.

    Raises:
        Mismatch: If a single command fails or the state is another.
    """
    while True:
        entity_id = examination.new_entity_id("neighbour")
        for count in range(1, NEIGHBOUR_COMMANDS + 1):
            await expect_state(examination, entity_id, emit("n"), state="n" * count)
            if finish.is_set():
                return


async def all_at_once(examination: Examination) -> None:
    """Provoke every script at the same time, with several neighbours at work."""
    finish = asyncio.Event()
    neighbours = [
        asyncio.create_task(_be_a_neighbour(examination, finish)) for _ in range(NEIGHBOURS)
    ]
    hostile = [
        asyncio.create_task(
            provoke(script, examination, examination.new_entity_id(f"{script.name}:crowd"))
        )
        for script in SCRIPTS.values()
    ]
    try:
        await _all_of(hostile)
    finally:
        finish.set()
        await _all_of(neighbours)


async def _all_of(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for all, then raise what the first one has raised."""
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


async def passivation_without_an_end(examination: Examination) -> None:
    """Passivate an entity that never ends its side; its next command must not wait for it."""
    entity_id = examination.new_entity_id("never-ends:passivated")
    proxy = examination.the_proxy()
    for _ in range(2):
        await proxy.expect(CONFIGURED, "Call", request(entity_id), Response())
        await asyncio.sleep(PASSIVATED_AFTER_S)
    streams = examination.the_hostile_function().streams[entity_id]
    expect_equal("the number of streams after passivation", 2, len(streams))


#: `CONFIGURED` has a timeout of 100 ms.
PASSIVATED_AFTER_S = 0.5

case = partial(Case, kind="eventsourced", phase=Phase.HOSTILE, needs=frozenset({MODEL, CONFIGURED}))

CASES = (
    *(
        case(f"H{number}", f"an entity {script.title}", run=partial(run_script, script))
        for number, script in enumerate(SCRIPTS.values(), start=1)
    ),
    case("HP1", "a passivated entity does not end its side", run=passivation_without_an_end),
    case("HX1", "every one of them at the same time", run=all_at_once),
)
