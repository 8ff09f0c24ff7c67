"""The cases with hostile CRDTs: a proxy that trusts them is found out."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest

from cloudstate.entity_pb2 import UserFunctionError
from cloudstate_tck.case import Verdict
from cloudstate_tck.cases.crdt_hostile import CASES
from cloudstate_tck.examination import Conditions
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_crdt_scripts import SCRIPTS
from cloudstate_tck.hostile_crdts import BEFORE
from cloudstate_tck.meeting import examining_hostile_proxy
from cloudstate_tck.protocol import REPORT_ERROR
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.crdt_proxy import CrdtFront, CrdtProxy
from cloudstate_tck.scripted.proxy_server import serving_proxy

CASE_OF = dict(zip([*SCRIPTS, "deleted", "goes-on", "watched"], CASES, strict=True))


async def result_of(make_proxy, make_front, script: str, *, patience_s):
    def start_proxy(function: str):
        return serving_proxy(function, make_proxy, make_front)

    conditions = Conditions(
        patience_s=patience_s,
        startup_timeout_s=10.0,
        relay_timeout_s=0.1,
        kinds=frozenset({"crdt"}),
    )
    async with examining_hostile_proxy(
        start_proxy, conditions, listen="127.0.0.1:0"
    ) as examination:
        return await run_case(CASE_OF[script], examination)


def test_scripts_have_names_and_titles_of_their_own():
    assert len(SCRIPTS) == 49
    assert not any(":" in name for name in SCRIPTS)
    assert len({script.title for script in SCRIPTS.values()}) == len(SCRIPTS)
    assert {script.stored for script in SCRIPTS.values()} == set(Stored)
    assert {script.type_ for script in SCRIPTS.values()} == set(BEFORE)


class WrongReply(Exception):
    """What a proxy that looks at replies thinks of one."""


class Careful(CrdtProxy):
    """Looks at a reply before it believes it, and starts the entity anew if it is wrong."""

    async def replied(self, key, activation, command_id):
        waiting = [
            asyncio.create_task(activation.reply(command_id)),
            asyncio.create_task(activation.stray.wait()),
        ]
        await asyncio.wait([*waiting, activation.reading], return_when=asyncio.FIRST_COMPLETED)
        # A reply that came with the end of the stream came first.
        await asyncio.sleep(0)
        has_reply = waiting[0].done() and waiting[0].exception() is None
        for task in waiting:
            task.cancel()
        if not has_reply or self.is_wrong(key, waiting[0].result()):
            await self.drop(key, activation)
            raise WrongReply
        return waiting[0].result()

    def is_wrong(self, key, reply):
        """Return whether a reply is of a kind that nobody may send."""
        if not reply.state_action.HasField("update"):
            return False
        update, value = reply.state_action.update, self._values.get(key)
        name = update.WhichOneof("delta")
        known = name if value is None else value.whole().WhichOneof("delta")
        entries = (*update.ormap.added, *update.ormap.updated)
        return (
            name is None
            or name != known
            or reply.client_action.HasField("failure")
            or update.gcounter.increment > 2**62
            or any(entry.delta.WhichOneof("delta") is None for entry in entries)
        )

    async def deleted(self, key):
        await self._active.pop(key).cut()

    async def drop(self, key, activation):
        self._active.pop(key, None)
        await activation.cut()
        await self.report(f"{key}: a wrong reply")

    async def report(self, text):
        call = self._channel.unary_unary(
            REPORT_ERROR.path,
            request_serializer=UserFunctionError.SerializeToString,
            response_deserializer=REPORT_ERROR.response_class.FromString,
        )
        with suppress(grpc.aio.AioRpcError):
            await call(UserFunctionError(message=text))


class CarefulFront(CrdtFront):
    async def serve(self, path, requests, context):
        try:
            await super().serve(path, requests, context)
        except WrongReply:
            await context.abort(grpc.StatusCode.INTERNAL, "a wrong reply")


class ReportsNothing(Careful):
    async def report(self, text):
        return


class BelievesFailuresWithChanges(Careful):
    def is_wrong(self, key, reply):
        return not reply.client_action.HasField("failure") and super().is_wrong(key, reply)


class KeepsHalf(Careful):
    """Stores what can be read of a change that is wrong."""

    def is_wrong(self, key, reply):
        is_wrong = super().is_wrong(key, reply)
        for entry in reply.state_action.update.ormap.updated:
            if is_wrong:
                self._values[key].entries["GCounter-1"].apply(entry.delta)
        return is_wrong


class ForgetsChanges(Careful):
    async def drop(self, key, activation):
        await super().drop(key, activation)
        self._values.pop(key, None)


class KeepsWrongStreams(Careful):
    async def drop(self, key, activation):
        activation.stray.clear()
        await self.report("a wrong reply")


class TakesCommandsForTheDeleted(Careful):
    def is_over(self, key):
        return False


@pytest.mark.parametrize(
    ("make_proxy", "script", "verdict"),
    [
        (Careful, "next-id", Verdict.PASSED),
        (Careful, "closes", Verdict.PASSED),
        (Careful, "no-type", Verdict.PASSED),
        (Careful, "other-type", Verdict.PASSED),
        (Careful, "negative", Verdict.PASSED),
        (Careful, "half", Verdict.PASSED),
        (Careful, "failure-update", Verdict.PASSED),
        (Careful, "deleted", Verdict.PASSED),
        (Careful, "goes-on", Verdict.PASSED),
        (ReportsNothing, "next-id", Verdict.FAILED),
        (ReportsNothing, "closes", Verdict.FAILED),
        (BelievesFailuresWithChanges, "failure-update", Verdict.FAILED),
        (KeepsHalf, "half", Verdict.FAILED),
        (ForgetsChanges, "no-type", Verdict.FAILED),
        (KeepsWrongStreams, "other-type", Verdict.FAILED),
        (TakesCommandsForTheDeleted, "deleted", Verdict.FAILED),
        (TakesCommandsForTheDeleted, "goes-on", Verdict.FAILED),
        (Careful, "watched", Verdict.FAILED),
        (Careful, "streams", Verdict.FAILED),
        (Careful, "unknown-reply", Verdict.FAILED),
        (Careful, "stream-silent", Verdict.FAILED),
    ],
)
async def test_a_proxy_is_judged_by_what_it_makes_of_a_script(make_proxy, script, verdict):
    patience_s = 5.0 if verdict is Verdict.PASSED else 0.5
    result = await result_of(make_proxy, CarefulFront, script, patience_s=patience_s)

    assert result.verdict is verdict, f"{result.reason}: {result.expected} / {result.found}"


@pytest.mark.parametrize(
    "script",
    ["silent", "twice", "next-id", "closes", "no-type", "floods-idle", "stream-closes"],
)
async def test_a_proxy_that_believes_everything_is_found_out(script):
    result = await result_of(CrdtProxy, CrdtFront, script, patience_s=0.3)

    assert result.verdict is Verdict.FAILED
