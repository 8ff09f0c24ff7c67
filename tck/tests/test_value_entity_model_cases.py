"""The cases for value entities: a correct user function passes, a mistake fails its cases."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pytest

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Reply, SideEffect
from cloudstate.value_entity_pb2 import ValueEntityStreamOut
from cloudstate_core.anys import pack_message
from cloudstate_core.status import Status
from cloudstate_tck.case import Verdict
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import examining_function
from cloudstate_tck.model.valueentity_pb2 import Persisted, Response
from cloudstate_tck.registry import FUNCTION_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.session import End, Hang, Send
from cloudstate_tck.scripted.value_session import ValueModelSession, value_spec
from cloudstate_tck.value_entity_messages import MODEL, TWO

ALL = {"D1", *(f"V{number}" for number in range(1, 20)), *(f"VX{n}" for n in range(1, 14))}


async def examine(
    make_session=ValueModelSession, *, only=(), without=(), spec=None, patience_s=10.0
):
    cases = select(all_cases(), phases=FUNCTION_PHASES, kinds=("kv",), only=tuple(only))
    spec = value_spec() if spec is None else spec
    async with (
        ScriptedFunction(lambda _first: make_session(), spec=spec) as function,
        examining_function(function.address, Conditions(patience_s=patience_s)) as examination,
    ):
        return {
            case.id: await run_case(case, examination) for case in cases if case.id not in without
        }


async def test_a_correct_user_function_passes_every_case(failed):
    results = await examine()

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


class Changed(ValueModelSession):
    """Changes what goes out."""

    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        self.change(out.reply)
        return out


class StateIgnoredAtStart(ValueModelSession):
    def start(self, message):
        message.init.ClearField("state")
        return super().start(message)


class NeedsAState(ValueModelSession):
    def start(self, message):
        if not message.init.HasField("state"):
            return self.fail_stream(0)
        return super().start(message)


class RepliesWithTheStateBefore(ValueModelSession):
    def carry_out(self, command_id, request):
        before = self.state()
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("reply"):
            payload = pack_message(Response(message=before))
            out.reply.client_action.CopyFrom(ClientAction(reply=Reply(payload=payload)))
        return out


class SendsTheFirstUpdate(ValueModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        values = [each.update.value for each in request.actions if each.HasField("update")]
        if out.reply.state_action.HasField("update"):
            packed = pack_message(Persisted(value=values[0]))
            out.reply.state_action.update.value.CopyFrom(packed)
        return out


class AlwaysUpdates(Changed):
    def change(self, reply):
        if self.value is not None and not reply.client_action.HasField("failure"):
            packed = pack_message(Persisted(value=self.value))
            reply.state_action.update.value.CopyFrom(packed)


class NeverDeletes(Changed):
    def change(self, reply):
        if reply.state_action.HasField("delete"):
            reply.ClearField("state_action")


class DeletesByAnEmptyValue(Changed):
    def change(self, reply):
        if reply.state_action.HasField("delete"):
            reply.state_action.update.value.CopyFrom(pack_message(Persisted()))


class DeletesByAnUpdateWithoutAValue(Changed):
    def change(self, reply):
        if reply.state_action.HasField("delete"):
            reply.state_action.update.SetInParent()


class SendsAnEmptyStateAction(Changed):
    def change(self, reply):
        reply.state_action.SetInParent()


class KeepsTheValueThatWasDeleted(ValueModelSession):
    def carry_out(self, command_id, request):
        before = self.value
        out = super().carry_out(command_id, request)
        if self.value is None:
            self.value = before
        return out


class ValuesOfTheWrongType(Changed):
    def change(self, reply):
        if reply.state_action.HasField("update"):
            url = "type.example.com/" + Persisted.DESCRIPTOR.full_name
            reply.state_action.update.value.type_url = url


class KeepsTheValueOfAFailure(ValueModelSession):
    def fail(self, command_id, before, text):
        now = self.value
        out = super().fail(command_id, before, text)
        self.value = now
        return out


class ForgetsTheValueAfterAFailure(ValueModelSession):
    def fail(self, command_id, before, text):
        return super().fail(command_id, None, text)


class UpdateWithTheFailure(ValueModelSession):
    def fail(self, command_id, before, text):
        now = self.value
        out = super().fail(command_id, before, text)
        if now != before and now is not None:
            out.reply.state_action.update.value.CopyFrom(pack_message(Persisted(value=now)))
        return out


class EffectsWithTheFailure(ValueModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("failure"):
            out.reply.side_effects.extend(
                SideEffect(service_name=TWO)
                for action in request.actions
                if action.HasField("effect")
            )
        return out


class AsksForARestart(Changed):
    def change(self, reply):
        if reply.client_action.HasField("failure"):
            reply.client_action.failure.restart = True


class FailsNoCommand(Changed):
    def change(self, reply):
        if reply.client_action.HasField("failure"):
            reply.client_action.failure.ClearField("command_id")


class EffectsAlwaysAsynchronous(Changed):
    def change(self, reply):
        for effect in reply.side_effects:
            effect.synchronous = False


class EffectsReversed(Changed):
    def change(self, reply):
        effects = list(reversed(reply.side_effects))
        del reply.side_effects[:]
        reply.side_effects.extend(effects)


class EffectsLostWithAForward(Changed):
    def change(self, reply):
        if reply.client_action.HasField("forward"):
            del reply.side_effects[:]


class UpdateLostWithAForward(Changed):
    def change(self, reply):
        if reply.client_action.HasField("forward"):
            reply.ClearField("state_action")


class MetadataWithTheReply(Changed):
    def change(self, reply):
        if reply.client_action.HasField("reply"):
            reply.client_action.reply.metadata.SetInParent()


class WrongCommandId(ValueModelSession):
    def answer(self, command):
        return super().answer(Command(id=command.id + 1, payload=command.payload))


class TopLevelFailure(ValueModelSession):
    """Ends the stream where only the command has failed."""

    def answer(self, command):
        [sent] = super().answer(command)
        failure = sent.message.reply.client_action.failure
        if not failure.command_id:
            return (sent,)
        top = Failure(command_id=command.id, description=failure.description)
        return Send(ValueEntityStreamOut(failure=top)), End()


class AnswersTwice(ValueModelSession):
    def answer(self, command):
        [sent] = super().answer(command)
        return sent, sent


class NeverAnswers(ValueModelSession):
    def answer(self, command):
        return ()


class EndsAfterACommand(ValueModelSession):
    def answer(self, command):
        return (*super().answer(command), End())


class NeverEnds(ValueModelSession):
    def completed(self):
        return (Hang(),)


class EndsWithAnError(ValueModelSession):
    def completed(self):
        return (End(Status.INTERNAL, "closed"),)


class SaysGoodbye(ValueModelSession):
    def completed(self):
        return (Send(ValueEntityStreamOut()), End())


class BreaksTheStreamOnAFault(ValueModelSession):
    def fail_stream(self, command_id):
        return (End(Status.INTERNAL, "fault"),)


class FailsWithoutEnding(ValueModelSession):
    def fail_stream(self, command_id):
        return super().fail_stream(command_id)[:1]


class FailsEveryFaultForNoCommand(ValueModelSession):
    def fail_stream(self, command_id):
        return super().fail_stream(0)


class AnswersCommandsForOthers(ValueModelSession):
    def receive(self, message):
        if message.HasField("command"):
            message.command.entity_id = self.entity_id
        return super().receive(message)


class OneStateForAll(ValueModelSession):
    shared: ClassVar[list[str]] = []

    def start(self, message):
        super().start(message)
        self.shared[:] = [] if self.value is None else [self.value]
        return ()

    def carry_out(self, command_id, request):
        self.value = self.shared[-1] if self.shared else None
        out = super().carry_out(command_id, request)
        self.shared[:] = [] if self.value is None else [self.value]
        return out


STREAMED = {f"V{number}" for number in range(3, 20)} | {"VX1", "VX2", "VX3", "VX4", "VX13"}
ONE_COMMAND = {"V3", "V10", "V12", "V13", "V15", "V16", "V17", "V19", "VX4"}
WITH_UPDATE = {"V4", "V5", "V6", "V8", "V9", "V11", "V12", "V14", "V15", "V18", "VX1", "VX3"}
WITH_DELETE = {"V5", "V7", "VX13"}
WITH_FAILURE = {"V17", "V18", "V19", "VX1", "VX2"}
NO_REPLY = {"V15", "V16", "V17", "V19"}
FAULTS = {f"VX{number}" for number in range(5, 13)}
OF_A_COMMAND = {"VX9", "VX10", "VX11", "VX12"}

#: What each mistake must fail, no more and no less.
BROKEN = {
    StateIgnoredAtStart: {"VX13"},
    NeedsAState: {"VX4"},
    RepliesWithTheStateBefore: (WITH_UPDATE | WITH_DELETE) - {"V15", "V7"},
    SendsTheFirstUpdate: {"V6", "V8", "V12"},
    AlwaysUpdates: {"V4", "V6", "V8", "V9", "V11", "V14", "V18", "VX1", "VX3", "VX13"},
    NeverDeletes: WITH_DELETE,
    DeletesByAnEmptyValue: WITH_DELETE,
    DeletesByAnUpdateWithoutAValue: WITH_DELETE,
    SendsAnEmptyStateAction: STREAMED - {"V12", "V15"},
    KeepsTheValueThatWasDeleted: {"V5", "VX13"},
    ValuesOfTheWrongType: WITH_UPDATE,
    KeepsTheValueOfAFailure: {"VX1", "VX2"},
    ForgetsTheValueAfterAFailure: {"V18", "VX1"},
    UpdateWithTheFailure: {"VX1", "VX2"},
    EffectsWithTheFailure: {"V19"},
    AsksForARestart: WITH_FAILURE,
    FailsNoCommand: WITH_FAILURE,
    EffectsAlwaysAsynchronous: {"V13"},
    EffectsReversed: {"V10", "V12"},
    EffectsLostWithAForward: {"V16"},
    UpdateLostWithAForward: {"V15"},
    MetadataWithTheReply: STREAMED - NO_REPLY,
    WrongCommandId: STREAMED,
    TopLevelFailure: WITH_FAILURE,
    AnswersTwice: STREAMED,
    NeverAnswers: STREAMED,
    EndsAfterACommand: STREAMED - ONE_COMMAND,
    NeverEnds: STREAMED,
    EndsWithAnError: STREAMED,
    SaysGoodbye: STREAMED,
    BreaksTheStreamOnAFault: FAULTS,
    FailsWithoutEnding: FAULTS,
    FailsEveryFaultForNoCommand: OF_A_COMMAND,
    AnswersCommandsForOthers: {"VX9"},
    OneStateForAll: {"VX3"},
}


@pytest.mark.parametrize("make_session", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(
    assert_fails_exactly, make_session
):
    await assert_fails_exactly(partial(examine, make_session), BROKEN[make_session])


async def test_a_case_without_its_services_is_pending(failed):
    results = await examine(spec=value_spec(TWO))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == ALL - {"D1"}
    assert results["V3"].reason == f"the user function does not announce {MODEL}"


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (lambda spec: setattr(spec.entities[0], "persistence_id", "other"), "V1"),
        (lambda spec: setattr(spec.entities[1], "entity_type", "cloudstate.crdt.Crdt"), "V1"),
        (lambda spec: setattr(spec.entities[1], "persistence_id", "other"), "V1"),
        (lambda spec: setattr(spec.entities[2], "persistence_id", "other"), "V2"),
        (lambda spec: spec.entities[2].ClearField("passivation_strategy"), "V2"),
    ],
)
async def test_a_wrong_announcement_fails_its_case(failed, change, case):
    spec = value_spec()
    change(spec)

    results = await examine(spec=spec, only=("V1", "V2"))

    assert failed(results).keys() == {case}
