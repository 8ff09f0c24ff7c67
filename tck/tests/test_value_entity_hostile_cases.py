"""The cases with hostile value entities: a proxy that trusts them is found out."""

from __future__ import annotations

import grpc
import pytest

from cloudstate_tck.case import Verdict
from cloudstate_tck.cases.value_entity_hostile import CASES
from cloudstate_tck.examination import Conditions
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_values import SCRIPTS
from cloudstate_tck.meeting import examining_hostile_proxy, hostile_spec
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.proxy_server import serving_proxy
from cloudstate_tck.scripted.value_proxy import ValueFront, ValueProxy

CASE_OF = dict(zip([*SCRIPTS, "deleted"], CASES, strict=True))


async def result_of(make_proxy, make_front, script: str, *, patience_s):
    def start_proxy(function: str):
        return serving_proxy(function, make_proxy, make_front)

    conditions = Conditions(
        patience_s=patience_s, startup_timeout_s=10.0, relay_timeout_s=0.5, kinds=frozenset({"kv"})
    )
    async with examining_hostile_proxy(
        start_proxy, conditions, listen="127.0.0.1:0"
    ) as examination:
        return await run_case(CASE_OF[script], examination)


def test_scripts_have_names_and_titles_of_their_own():
    assert len(SCRIPTS) == 30
    assert not any(":" in name for name in SCRIPTS)
    assert len({script.title for script in SCRIPTS.values()}) == len(SCRIPTS)
    assert {script.stored for script in SCRIPTS.values()} == set(Stored)


@pytest.mark.parametrize("kinds", [{"kv"}, {"eventsourced"}, {"kv", "eventsourced", "crdt"}])
def test_the_hostile_function_announces_the_kinds_that_are_examined(kinds):
    spec = hostile_spec(kinds)

    assert len(spec.entities) == 3 * len(kinds)
    assert len({entity.service_name for entity in spec.entities}) == len(spec.entities)


class Careful(ValueProxy):
    """Looks at a reply before it believes it, and starts the entity anew if it is wrong."""

    keeps_failures = False

    async def _turn(self, service, name, request):
        activation = self._active.get((service, request.id))
        if activation is None:
            activation = await self.activate(service, request.id)
        await activation.send([self.command(request.id, activation, name, request)])
        reply = (await activation.receive()).reply
        if self.is_wrong(reply, activation):
            self._active.pop((service, request.id)).cut()
            raise RuntimeError("the reply is wrong")
        if self.keeps_failures or not reply.client_action.HasField("failure"):
            self.store(self._journals[service, request.id], reply)
        return reply.client_action, reply.side_effects

    def is_wrong(self, reply, activation):
        return reply.command_id != activation.command_id


class CarefulFront(ValueFront):
    async def serve(self, path, requests, context):
        try:
            await super().serve(path, requests, context)
        except RuntimeError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))


class StoresUpdatesOfFailures(Careful):
    keeps_failures = True


class ForgetsValues(Careful):
    def store(self, journal, reply):
        return


class KeepsWhatWasDeleted(Careful):
    def store(self, journal, reply):
        if not reply.state_action.HasField("delete"):
            super().store(journal, reply)


class StoresAnEmptyValueForADelete(Careful):
    def store(self, journal, reply):
        super().store(journal, reply)
        if reply.state_action.HasField("delete"):
            journal.value = ""


@pytest.mark.parametrize(
    ("make_proxy", "script", "verdict"),
    [
        (Careful, "failure-update", Verdict.PASSED),
        (Careful, "failure-delete", Verdict.PASSED),
        (Careful, "failure-restart", Verdict.PASSED),
        (Careful, "deleted", Verdict.PASSED),
        (StoresUpdatesOfFailures, "failure-update", Verdict.FAILED),
        (StoresUpdatesOfFailures, "failure-delete", Verdict.FAILED),
        (ForgetsValues, "deleted", Verdict.FAILED),
        (ForgetsValues, "failure-restart", Verdict.FAILED),
        (KeepsWhatWasDeleted, "deleted", Verdict.FAILED),
        (StoresAnEmptyValueForADelete, "deleted", Verdict.FAILED),
        (Careful, "empty-action", Verdict.FAILED),
        (Careful, "no-value", Verdict.FAILED),
        (Careful, "next-id", Verdict.FAILED),  # it reports nothing
    ],
)
async def test_a_proxy_is_judged_by_what_it_makes_of_a_script(make_proxy, script, verdict):
    result = await result_of(make_proxy, CarefulFront, script, patience_s=2.0)

    assert result.verdict is verdict, f"{result.reason}: {result.expected} / {result.found}"


@pytest.mark.parametrize(
    "script", ["silent", "twice", "next-id", "closes", "empty-action", "floods-idle", "no-type"]
)
async def test_a_proxy_that_believes_everything_is_found_out(script):
    result = await result_of(ValueProxy, ValueFront, script, patience_s=0.5)

    assert result.verdict is Verdict.FAILED
