"""The cases with a hostile user function: a proxy that trusts it is found out."""

from __future__ import annotations

import pytest

from cloudstate_tck.case import Verdict
from cloudstate_tck.cases.hostile import CASES
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_scripts import SCRIPTS
from cloudstate_tck.model.eventsourced_pb2 import Persisted
from cloudstate_tck.scripted.proxy import ScriptedProxy

CASE_OF = {name: case.id for name, case in zip(SCRIPTS, CASES, strict=False)}


def test_there_are_at_least_forty_scripts_with_names_of_their_own():
    assert len(SCRIPTS) >= 40
    assert not any(":" in name for name in SCRIPTS)
    assert len({script.title for script in SCRIPTS.values()}) == len(SCRIPTS)


def test_every_script_says_what_a_client_may_see_and_what_is_stored():
    for script in SCRIPTS.values():
        assert script.client
        assert script.stored is Stored.NOTHING or script.events


class StoresEventsOfFailures(ScriptedProxy):
    def store(self, journal, reply):
        reply.client_action.ClearField("failure")
        journal.events += [Persisted.FromString(event.value).value for event in reply.events]


class StoresSnapshotsWithoutEvents(ScriptedProxy):
    def store(self, journal, reply):
        super().store(journal, reply)
        if reply.HasField("snapshot"):
            state = Persisted.FromString(reply.snapshot.value).value
            journal.snapshot = (len(journal.events), state)


@pytest.mark.parametrize(
    ("make_proxy", "script", "verdict"),
    [
        (ScriptedProxy, "failure-with-events", Verdict.PASSED),
        (StoresEventsOfFailures, "failure-with-events", Verdict.FAILED),
        (ScriptedProxy, "restart-with-events", Verdict.PASSED),
        (StoresEventsOfFailures, "restart-with-events", Verdict.FAILED),
        (ScriptedProxy, "snapshot-without-events", Verdict.PASSED),
        (StoresSnapshotsWithoutEvents, "snapshot-without-events", Verdict.FAILED),
        # The scripted proxy trusts its user function: it waits for ever, does not look at command
        # ids, takes whatever comes next for the answer, and reports nothing.
        (ScriptedProxy, "never-answers", Verdict.FAILED),
        (ScriptedProxy, "next-command-id", Verdict.FAILED),
        (ScriptedProxy, "answers-twice", Verdict.FAILED),
        (ScriptedProxy, "floods-when-idle", Verdict.FAILED),
        (ScriptedProxy, "closes", Verdict.FAILED),
        (ScriptedProxy, "breaks-when-idle", Verdict.FAILED),
        (ScriptedProxy, "forward-nowhere", Verdict.FAILED),
    ],
)
async def test_a_proxy_is_judged_by_what_it_makes_of_a_script(
    examine_with_hostile_function, make_proxy, script, verdict
):
    patience = {} if verdict is Verdict.PASSED else {"patience_s": 0.5}
    only = (CASE_OF[script],)

    results = await examine_with_hostile_function(make_proxy, only=only, **patience)

    [result] = results.values()
    assert result.verdict is verdict, f"{result.reason}: {result.expected} / {result.found}"


class ReconnectsWithoutPause(ScriptedProxy):
    """Tries a broken entity again and again, unasked."""

    is_trying = False

    async def restart(self, service, entity_id):
        await super().restart(service, entity_id)
        # Each attempt comes back here: if each began others, they would soon take all the time.
        if not self.is_trying:
            self.is_trying = True
            self._in_background(self._again_and_again(service, entity_id))

    async def _again_and_again(self, service, entity_id):
        while True:
            await self.restart_once(service, entity_id)

    async def restart_once(self, service, entity_id):
        await self.passivate(service, entity_id)
        await self.activate(service, entity_id)


async def test_a_proxy_that_reconnects_without_pause_is_found_out(examine_with_hostile_function):
    only = (CASE_OF["breaks-on-replay"],)

    results = await examine_with_hostile_function(ReconnectsWithoutPause, only=only)

    [result] = results.values()
    assert result.verdict is Verdict.FAILED
    assert "while nobody asks for it" in result.reason
    assert int(result.found) > 10


class StopsForEveryone(ScriptedProxy):
    """One queue for all entities: whoever waits for one entity holds up the others."""

    async def handle(self, service, name, request):
        async with self._turns["", ""]:
            return await super().handle(service, name, request)


async def test_a_proxy_whose_entities_wait_for_each_other_is_found_out(
    examine_with_hostile_function,
):
    only = (CASE_OF["never-answers"],)

    results = await examine_with_hostile_function(StopsForEveryone, only=only, patience_s=0.5)

    [result] = results.values()
    assert result.verdict is Verdict.FAILED
    assert result.reason == "the response of cloudstate.tck.model.EventSourcedTckModel/Process"
