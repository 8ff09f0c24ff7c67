"""Value entities whose user function breaks the protocol, and what a proxy must make of them.

The failing entity gets an error, its neighbours on the same user function go on, and of the failed
command nothing is stored. Each case provokes one script of `cloudstate_tck.hostile_values`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from cloudstate_core.status import Status
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_values import MISBEHAVE, SCRIPTS, START_AGAIN, Script
from cloudstate_tck.model.valueentity_pb2 import RequestAction, Response
from cloudstate_tck.provocation import (
    beside_a_neighbour,
    expect_one_of,
    expect_report,
    next_reply,
    status_of,
)
from cloudstate_tck.value_entity_messages import MODEL, delete, init, request, update

__all__ = ["CASES"]

#: The state of a hostile entity before it misbehaves.
BEFORE = "A"


async def run_script(script: Script, examination: Examination) -> None:
    """Provoke one script, with a neighbour at work all the time."""
    entity_id = examination.new_entity_id(f"{script.name}:entity")
    provoked = provoke(script, examination, entity_id)
    await beside_a_neighbour(provoked, examination, _be_a_neighbour)


async def provoke(script: Script, examination: Examination, entity_id: str) -> None:
    """Let an entity follow its script, and look at what is left.

    Raises:
        Mismatch: If the client sees another status, the wrong value is stored, or the entity does
            not come back.
    """
    reports = len(examination.the_hostile_function().reports)
    if not script.at_start:
        await expect_state(examination, entity_id, update(BEFORE), state=BEFORE)
    await _expect_status(script.client, examination, entity_id, f"the entity {script.title}")
    if script.at_start:
        await _expect_report(script, examination, reports)
        await _expect_status(script.client, examination, entity_id, "the entity is asked again")
        return
    # What an entity does unasked may go unseen until there is something to ask it; if it is on its
    # way until then, it meets the next command, and that one fails.
    if script.says_more:
        await status_of(examination, MODEL, request(entity_id))
    state = await _expect_recovery(script, examination, entity_id)
    await _expect_report(script, examination, reports)
    # Whatever the proxy has in memory: only a new stream shows what is stored.
    await expect_stored(examination, entity_id, state)


async def expect_stored(examination: Examination, entity_id: str, value: str | None) -> None:
    """Have the entity's stream broken, and look at what the next one starts with.

    Raises:
        Mismatch: If it is another value.
    """
    what = "the entity breaks its stream"
    await _expect_status(frozenset({Status.INTERNAL}), examination, entity_id, what, START_AGAIN)
    await expect_state(examination, entity_id, state=value or "")
    started = examination.the_hostile_function().streams[entity_id][-1].messages[0]
    what = "the first message of the entity's new stream"
    expect_equal(what, init(MODEL, entity_id, value), started)


async def _expect_status(
    expected: frozenset[Status],
    examination: Examination,
    entity_id: str,
    doing: str,
    value: str = MISBEHAVE,
) -> None:
    found = await status_of(examination, MODEL, request(entity_id, update(value)))
    expect_one_of(f"the status of the command in which {doing}", expected, found)


async def expect_state(
    examination: Examination, entity_id: str, *actions: RequestAction, state: str
) -> None:
    """Send a command that must succeed, with this state in the reply.

    Raises:
        Mismatch: If it fails, or the state is another.
    """
    expected = Response(message=state)
    await examination.the_proxy().expect(MODEL, "Process", request(entity_id, *actions), expected)


async def _expect_recovery(script: Script, examination: Examination, entity_id: str) -> str:
    """Expect the very next command to succeed, with a state that may be; return which."""
    what = "the entity's next command"
    found = await next_reply(what, examination, MODEL, request(entity_id), Response)
    states = {
        Stored.NOTHING: (BEFORE,),
        Stored.EVENTS: (script.value,),
        Stored.ALL_OR_NOTHING: (BEFORE, script.value),
    }[script.stored]
    if found.message not in states:
        expected = " or ".join(repr(state) for state in states)
        raise Mismatch(f"the state in {what}", expected=expected, found=repr(found.message))
    return found.message


async def _expect_report(script: Script, examination: Examination, before: int) -> None:
    if script.reported:
        what = f"what is reported when an entity {script.title}"
        await expect_report(what, examination, before, examination.conditions.patience_s)


async def _be_a_neighbour(examination: Examination, finish: asyncio.Event) -> None:
    """Change entities of its own, one value after the other; the state must follow.

    Raises:
        Mismatch: If a single command fails or the state is another.
    """
    entity_id = examination.new_entity_id("neighbour")
    number = 0
    while not finish.is_set():
        number += 1
        await expect_state(examination, entity_id, update(str(number)), state=str(number))


async def deleted_value_stays_away(examination: Examination) -> None:
    """Delete a value and have the stream broken: the next one must start without a value."""
    entity_id = examination.new_entity_id("closes:deleted")
    await expect_state(examination, entity_id, update(BEFORE), state=BEFORE)
    await expect_stored(examination, entity_id, BEFORE)
    await expect_state(examination, entity_id, delete(), state="")
    await expect_stored(examination, entity_id, None)


case = partial(Case, kind="kv", phase=Phase.HOSTILE, needs=frozenset({MODEL}))

CASES = (
    *(
        case(f"VH{number}", f"an entity {script.title}", run=partial(run_script, script))
        for number, script in enumerate(SCRIPTS.values(), start=1)
    ),
    case("VHX1", "a deleted value does not come back", run=deleted_value_stays_away),
)
