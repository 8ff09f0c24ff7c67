"""CRDTs whose user function breaks the protocol, and what a proxy must make of them.

The failing entity gets an error, its neighbours on the same user function go on, and of the failed
command nothing is stored, nor half of it. Each case provokes one script of
`cloudstate_tck.hostile_crdt_scripts`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from cloudstate.crdt_pb2 import CrdtStreamIn
from cloudstate_core.status import Status
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.crdt_messages import MODEL, delete, fail, request, updates
from cloudstate_tck.crdt_values import gcounter_state, gcounter_update
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_crdt_scripts import GOES_ON, SCRIPTS, WATCHED
from cloudstate_tck.hostile_crdts import BEFORE, MISBEHAVE, START_AGAIN, Script
from cloudstate_tck.model.crdt_pb2 import RequestAction, Response, State, StreamedRequest
from cloudstate_tck.provocation import (
    beside_a_neighbour,
    expect_one_of,
    expect_report,
    next_reply,
    status_of,
)
from cloudstate_tck.scripted.crdt_types import new_value

__all__ = ["CASES"]


async def run_script(script: Script, examination: Examination) -> None:
    """Provoke one script, with a neighbour at work all the time."""
    entity_id = examination.new_entity_id(f"{script.name}:{script.type_}")
    provoked = provoke(script, examination, entity_id)
    await beside_a_neighbour(provoked, examination, _be_a_neighbour)


async def provoke(script: Script, examination: Examination, entity_id: str) -> None:
    """Let an entity follow its script, and look at what is left.

    Raises:
        Mismatch: If the client sees another status, the wrong state is stored, or the entity does
            not come back.
    """
    reports = len(examination.the_hostile_function().reports)
    if not script.at_start:
        update, state = BEFORE[script.type_]
        await expect_state(examination, entity_id, *updates(update), state=state)
    if script.elements is not None:
        await _expect_stream(script, script.elements, examination, entity_id)
    else:
        await _expect_status(script.client, examination, entity_id, f"the entity {script.title}")
    if script.at_start:
        await _expect_report(script, examination, reports)
        await _expect_status(script.client, examination, entity_id, "the entity is asked again")
        return
    if script.elements is not None:
        # A client that has left does not wait for what comes of it.
        await _expect_report(script, examination, reports)
    # What an entity does unasked may go unseen until there is something to ask it.
    state = await _expect_recovery(script, examination, entity_id)
    await _expect_report(script, examination, reports)
    # Whatever the proxy has in memory: only a new stream shows what is stored.
    await expect_stored(script.type_, examination, entity_id, state)


async def expect_stored(type_: str, examination: Examination, entity_id: str, state: State) -> None:
    """Have the entity's stream broken, and look at what the next one starts with.

    Raises:
        Mismatch: If it is another state.
    """
    what = "the entity breaks its stream"
    await _expect_status(frozenset({Status.INTERNAL}), examination, entity_id, what, START_AGAIN)
    await expect_state(examination, entity_id, state=state)
    started = examination.the_hostile_function().streams[entity_id][-1].messages[0]
    value = new_value(type_)
    if isinstance(started, CrdtStreamIn) and started.init.HasField("delta"):
        value.apply(started.init.delta)
    expect_equal("the state with which the entity's new stream starts", state, value.state())


async def _expect_status(
    expected: frozenset[Status],
    examination: Examination,
    entity_id: str,
    doing: str,
    text: str = MISBEHAVE,
) -> None:
    found = await status_of(examination, MODEL, request(entity_id, fail(text)))
    expect_one_of(f"the status of the command in which {doing}", expected, found)


async def _expect_stream(
    script: Script, elements: int, examination: Examination, entity_id: str
) -> None:
    """Take a stream, of which the client gets some elements and then an end, or leaves."""
    proxy = examination.the_proxy()
    async with proxy.stream(MODEL, "ProcessStreamed", StreamedRequest, Response) as stream:
        await stream.send(StreamedRequest(id=entity_id))
        await stream.half_close()
        state = BEFORE[script.type_][1]
        for number in range(1, elements + 1):
            await stream.expect(f"element {number}", Response(state=state))
        if script.at_cancel is None:
            what = f"the end of the stream in which the entity {script.title}"
            expect_one_of(what, script.client, await stream.status(what))


async def expect_state(
    examination: Examination, entity_id: str, *actions: RequestAction, state: State
) -> None:
    """Send a command that must succeed, with this state in the reply.

    Raises:
        Mismatch: If it fails, or the state is another.
    """
    expected = Response(state=state)
    await examination.the_proxy().expect(MODEL, "Process", request(entity_id, *actions), expected)


async def _expect_recovery(script: Script, examination: Examination, entity_id: str) -> State:
    """Expect the very next command to succeed, with a state that may be; return which."""
    what = "the entity's next command"
    found = await next_reply(what, examination, MODEL, request(entity_id), Response)
    changed = {
        Stored.NOTHING: (False,),
        Stored.EVENTS: (True,),
        Stored.ALL_OR_NOTHING: (False, True),
    }[script.stored]
    states = [script.state(changed=each) for each in changed]
    if found.state not in states:
        what = f"the state in {what}"
        raise Mismatch(what, expected=states[-1], found=found.state)
    return found.state


async def _expect_report(script: Script, examination: Examination, before: int) -> None:
    conditions = examination.conditions
    if not script.reported:
        return
    # What is missing shows when the proxy has waited for it.
    within_s = conditions.patience_s + conditions.relay_timeout_s
    what = f"what is reported when an entity {script.title}"
    await expect_report(what, examination, before, within_s)


async def _be_a_neighbour(examination: Examination, finish: asyncio.Event) -> None:
    """Count up an entity of its own; the state must follow.

    Raises:
        Mismatch: If a single command fails or the state is another.
    """
    entity_id = examination.new_entity_id("GCounter")
    number = 0
    while not finish.is_set():
        number += 1
        counted = updates(gcounter_update(1))
        await expect_state(examination, entity_id, *counted, state=gcounter_state(number))


async def deleted_stays_away(examination: Examination) -> None:
    """Delete an entity; it must refuse commands, and its neighbour not."""
    entity_id = examination.new_entity_id("closes:GCounter")
    update, state = BEFORE["GCounter"]
    await expect_state(examination, entity_id, *updates(update), state=state)
    await expect_stored("GCounter", examination, entity_id, state)
    await expect_state(examination, entity_id, delete(), state=state)
    found = await status_of(examination, MODEL, request(entity_id))
    expect_one_of("the status of a command for what is deleted", DELETED, found)


async def deleted_is_not_heard(examination: Examination) -> None:
    """Delete an entity that goes on to talk: it must be deleted, and nothing else."""
    entity_id = examination.new_entity_id(f"{GOES_ON.name}:GCounter")
    update, state = BEFORE["GCounter"]
    await expect_state(examination, entity_id, *updates(update), state=state)
    await _expect_status(GOES_ON.client, examination, entity_id, f"the entity {GOES_ON.title}")
    found = await status_of(examination, MODEL, request(entity_id))
    expect_one_of("the status of a command for what is deleted", DELETED, found)
    # Whatever it has said, its neighbours are well.
    neighbour = examination.new_entity_id("GCounter")
    await expect_state(examination, neighbour, *updates(update), state=state)


async def watchers_are_told(examination: Examination) -> None:
    """Watch an entity whose user function ends its stream: the client's stream must fail."""
    entity_id = examination.new_entity_id(f"{WATCHED.name}:GCounter")
    update, state = BEFORE["GCounter"]
    await expect_state(examination, entity_id, *updates(update), state=state)
    proxy = examination.the_proxy()
    async with proxy.stream(MODEL, "ProcessStreamed", StreamedRequest, Response) as watcher:
        await watcher.send(StreamedRequest(id=entity_id))
        await watcher.half_close()
        await watcher.expect("the first element", Response(state=state))
        await _expect_status(WATCHED.client, examination, entity_id, f"the entity {WATCHED.title}")
        what = "the end of the stream of an entity that is over"
        expect_one_of(what, WATCHED.client, await watcher.status(what))
    await expect_state(examination, entity_id, state=state)


DELETED = frozenset({Status.NOT_FOUND, Status.UNKNOWN})

case = partial(Case, kind="crdt", phase=Phase.HOSTILE, needs=frozenset({MODEL}))

CASES = (
    *(
        case(f"CH{number}", f"an entity {script.title}", run=partial(run_script, script))
        for number, script in enumerate(SCRIPTS.values(), start=1)
    ),
    case("CHX1", "an entity that was deleted does not come back", run=deleted_stays_away),
    case("CHX2", "an entity that was deleted is not heard", run=deleted_is_not_heard),
    case("CHX3", "clients are told when their entity breaks", run=watchers_are_told),
)
