"""The cases for proxies: a correct one passes, and each mistake is found by its cases."""

from __future__ import annotations

import json
from functools import partial

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.anys import pack_message
from cloudstate_tck.case import Verdict
from cloudstate_tck.event_sourced_messages import MODEL, command, event
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.protocol import ENTITY_TYPES
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.registry import PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.function import ScriptedFunction, model_spec
from cloudstate_tck.scripted.proxy import ScriptedProxy
from cloudstate_tck.scripted.proxy_server import Front, serving_proxy
from cloudstate_tck.scripted.session import ModelSession

ENTITY_CASES = {"EP1", "EP2", "EP3", "EP4", "EP5", "EPX1", "EPX2"}
ALL = {"D1", "R1"} | ENTITY_CASES


class PutsTheStateBack(ModelSession):
    restarts = False


@pytest.mark.parametrize("make_session", [ModelSession, PutsTheStateBack])
async def test_a_correct_proxy_passes_every_case(examine_proxy, failed, make_session):
    results = await examine_proxy(make_session=make_session)

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


class SendsInitTwice(ScriptedProxy):
    def start(self, service, entity_id, journal):
        messages = super().start(service, entity_id, journal)
        return [messages[0], *messages]


class SendsMetadata(ScriptedProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.metadata.SetInParent()
        return message


class SaysStreamed(ScriptedProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.streamed = True
        return message


class NamesTheWholeMethod(ScriptedProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.name = f"service/{name}"
        return message


class NamesTypesOtherwise(ScriptedProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        packed = pack_message(request)
        message.command.payload.CopyFrom(
            Any(type_url="example.com/" + packed.type_url.partition("/")[2], value=packed.value)
        )
        return message


class CountsCommandsFromZero(ScriptedProxy):
    def command(self, entity_id, activation, name, request):
        activation.command_id += 1
        return command(entity_id, activation.command_id - 1, request, name)


class CountsOnAfterARestart(ScriptedProxy):
    async def restart(self, service, entity_id):
        before = self._active[service, entity_id].command_id
        await super().restart(service, entity_id)
        self._active[service, entity_id].command_id = before


class ReplaysFromSequenceZero(ScriptedProxy):
    def start(self, service, entity_id, journal):
        messages = super().start(service, entity_id, journal)
        for message in messages[1:]:
            message.event.sequence -= 1
        return messages


class ReplaysWhatTheSnapshotCovers(ScriptedProxy):
    def start(self, service, entity_id, journal):
        first = super().start(service, entity_id, journal)[0]
        events = enumerate(journal.events, start=1)
        return [first, *(event(sequence, value) for sequence, value in events)]


class ForgetsSnapshots(ScriptedProxy):
    def store(self, journal, reply):
        reply.ClearField("snapshot")
        super().store(journal, reply)


class ForgetsEvents(ScriptedProxy):
    def store(self, journal, reply):
        return


class SnapshotSequenceOneTooLow(ScriptedProxy):
    def store(self, journal, reply):
        super().store(journal, reply)
        if reply.HasField("snapshot"):
            sequence, state = journal.snapshot
            journal.snapshot = (sequence - 1, state)


class IgnoresRestarts(ScriptedProxy):
    async def restart(self, service, entity_id):
        return


class RestartsOnlyWhenAsked(ScriptedProxy):
    async def restart(self, service, entity_id):
        await self.passivate(service, entity_id)


class LeavesTheOldStreamOpen(ScriptedProxy):
    async def restart(self, service, entity_id):
        self.left_open = self._active.pop((service, entity_id))
        await self.activate(service, entity_id)

    async def aclose(self):
        await super().aclose()
        if hasattr(self, "left_open"):
            await self.left_open.complete()


class NeverPassivates(ScriptedProxy):
    async def idle(self, service, entity_id):
        return


class CancelsStreams(ScriptedProxy):
    async def passivate(self, service, entity_id):
        activation = self._active.pop((service, entity_id), None)
        if activation is not None:
            activation._call.cancel()


class PassivatesAfterEveryCommand(ScriptedProxy):
    async def handle(self, service, name, request):
        try:
            return await super().handle(service, name, request)
        finally:
            await self.passivate(service, request.id)


class DropsEffects(ScriptedProxy):
    async def carry_out(self, effect):
        return


class CarriesEffectsOutTwice(ScriptedProxy):
    async def carry_out(self, effect):
        await super().carry_out(effect)
        await super().carry_out(effect)


class ChangesDescriptions(ScriptedProxy):
    def description(self, failure):
        return f"failed: {failure.description}"


class OpensASpareStream(ScriptedProxy):
    async def activate(self, service, entity_id):
        activation = await super().activate(service, entity_id)
        spare = await super().activate(service, f"{entity_id}-spare")
        self._active.pop((service, f"{entity_id}-spare"))
        await spare.complete()
        return activation


class SaysAnotherVersion(ScriptedProxy):
    def info(self):
        info = super().info()
        info.protocol_minor_version = 3
        return info


class DoesNotSupportCrdts(ScriptedProxy):
    def info(self):
        info = super().info()
        info.supported_entity_types.remove(ENTITY_TYPES["crdt"])
        return info


class SupportsWhatNobodyKnows(ScriptedProxy):
    def info(self):
        info = super().info()
        info.supported_entity_types.append("example.Unknown")
        return info


WITH_RESTART = {"EP3", "EP4", "EPX1"}

#: What each mistake must fail, no more and no less.
BROKEN_PROXIES = {
    SendsInitTwice: ENTITY_CASES,
    SendsMetadata: ENTITY_CASES,
    SaysStreamed: ENTITY_CASES,
    NamesTheWholeMethod: ENTITY_CASES,
    NamesTypesOtherwise: ENTITY_CASES,
    CountsCommandsFromZero: ENTITY_CASES,
    CountsOnAfterARestart: WITH_RESTART,
    ReplaysFromSequenceZero: WITH_RESTART,
    ReplaysWhatTheSnapshotCovers: {"EPX1"},
    ForgetsSnapshots: {"EPX1"},
    ForgetsEvents: WITH_RESTART,
    SnapshotSequenceOneTooLow: {"EPX1"},
    IgnoresRestarts: WITH_RESTART,
    RestartsOnlyWhenAsked: WITH_RESTART,
    LeavesTheOldStreamOpen: WITH_RESTART,
    NeverPassivates: {"EP5"},
    CancelsStreams: WITH_RESTART | {"EP5"},
    PassivatesAfterEveryCommand: {"EP1", "EP2", "EP3", "EP4", "EPX1", "EPX2"},
    DropsEffects: {"EP2"},
    CarriesEffectsOutTwice: {"EP2"},
    ChangesDescriptions: WITH_RESTART,
    OpensASpareStream: ENTITY_CASES,
    SaysAnotherVersion: {"D1"},
    DoesNotSupportCrdts: {"D1"},
    SupportsWhatNobodyKnows: {"D1"},
}


@pytest.mark.parametrize("make_proxy", BROKEN_PROXIES, ids=lambda broken: broken.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(
    examine_proxy, assert_fails_exactly, make_proxy
):
    examine = partial(examine_proxy, make_proxy)

    await assert_fails_exactly(examine, BROKEN_PROXIES[make_proxy])


class ListsServicesUnsorted(Front):
    def listed(self):
        reflection, *services = super().listed()
        return [reflection, *reversed(services)]


class ListsItselfLast(Front):
    def listed(self):
        reflection, *services = super().listed()
        return [*services, reflection]


class AnswersUnknownSymbolsWithAnError(Front):
    def reflect(self, question):
        answer = super().reflect(question)
        if question.HasField("file_containing_symbol"):
            answer.error_response.error_code = 5
        return answer


class DoesNotEchoTheQuestion(Front):
    def reflect(self, question):
        answer = super().reflect(question)
        answer.ClearField("original_request")
        return answer


class DoesNotEchoTheHost(Front):
    def reflect(self, question):
        answer = super().reflect(question)
        answer.ClearField("valid_host")
        return answer


class LeavesDefaultsOut(Front):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        if status == 200:
            fields = json.loads(payload)
            payload = json.dumps({k: v for k, v in fields.items() if v}).encode()
        return status, content_type, payload


class SaysNotJson(Front):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return status, content_type.replace("json", "octet-stream"), payload


class SaysBadRequestForFailures(Front):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return {500: 400}.get(status, status), content_type, payload


class HidesHttpDescriptions(Front):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return status, content_type, payload if status == 200 else b"internal error"


class HasNoGeneratedRoutes(Front):
    async def post(self, path, body):
        if not path.startswith("/tck/"):
            return 404, "text/plain", b""
        return await super().post(path, body)


BROKEN_FRONTS = {
    ListsServicesUnsorted: {"R1"},
    ListsItselfLast: {"R1"},
    AnswersUnknownSymbolsWithAnError: {"R1"},
    DoesNotEchoTheQuestion: {"R1"},
    DoesNotEchoTheHost: {"R1"},
    LeavesDefaultsOut: {"EP4"},
    SaysNotJson: {"EP4"},
    SaysBadRequestForFailures: {"EP4"},
    HidesHttpDescriptions: {"EP4"},
    HasNoGeneratedRoutes: {"EP4"},
}


@pytest.mark.parametrize("make_front", BROKEN_FRONTS, ids=lambda broken: broken.__name__)
async def test_a_broken_front_end_fails_exactly_its_cases(
    examine_proxy, assert_fails_exactly, make_front
):
    examine = partial(examine_proxy, make_front=make_front)

    await assert_fails_exactly(examine, BROKEN_FRONTS[make_front])


async def test_a_failed_case_shows_what_went_over_the_wire(examine_proxy):
    results = await examine_proxy(SendsInitTwice, only=("EP1",))

    transcript = "\n".join(results["EP1"].transcript)
    assert transcript.count("init {") == 2
    assert MODEL in transcript


async def test_cases_without_their_services_are_pending(examine_proxy, failed):
    results = await examine_proxy(spec=model_spec(MODEL))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == {"EP2", "EP4", "EP5"}


@pytest.mark.parametrize(
    ("make_proxy", "expected"),
    [(ScriptedProxy, set()), (ForgetsEvents, {"EP3", "EP4", "EPX1"}), (SendsMetadata, set())],
)
async def test_without_a_recorder_the_client_side_is_examined(failed, make_proxy, expected):
    async with (
        ScriptedFunction(lambda _: ModelSession()) as function,
        serving_proxy(function.address, make_proxy, Front) as address,
        ProxyClient(address.grpc, address.http, patience_s=10.0) as client,
    ):
        examination = Examination(Conditions(patience_s=10.0), function.spec, proxy=client)
        cases = select(all_cases(), phases=PROXY_PHASES)
        results = {case.id: await run_case(case, examination) for case in cases}

    assert failed(results).keys() == expected, failed(results)
