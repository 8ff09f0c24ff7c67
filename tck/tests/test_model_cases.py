"""The cases for user functions: a correct one passes, and each mistake is found by its cases."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pytest

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Reply, SideEffect
from cloudstate.event_sourced_pb2 import EventSourcedStreamOut
from cloudstate_core.anys import pack_message
from cloudstate_core.status import Status
from cloudstate_tck.case import Verdict
from cloudstate_tck.event_sourced_messages import MODEL, TWO, fails
from cloudstate_tck.model.eventsourced_pb2 import Persisted, Response
from cloudstate_tck.scripted.function import model_spec
from cloudstate_tck.scripted.session import End, Hang, ModelSession, Send

ALL = {"D1", *(f"E{number}" for number in range(1, 22)), *(f"EX{n}" for n in range(1, 14))}


class PutsTheStateBack(ModelSession):
    restarts = False


@pytest.mark.parametrize("make_session", [ModelSession, PutsTheStateBack])
async def test_a_correct_user_function_passes_every_case(examine_function, failed, make_session):
    results = await examine_function(make_session)

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


class SnapshotTooEarly(ModelSession):
    def is_snapshot_due(self, sequence_before):
        return self.sequence >= 4 > sequence_before or super().is_snapshot_due(sequence_before)


class SnapshotOnlyAtTheMultiple(ModelSession):
    def is_snapshot_due(self, sequence_before):
        return self.sequence > sequence_before and self.sequence % 5 == 0


class SnapshotMissing(ModelSession):
    def is_snapshot_due(self, sequence_before):
        return False


class SnapshotIgnoredAtStart(ModelSession):
    def start(self, message):
        message.init.ClearField("snapshot")
        return super().start(message)


class SnapshotSequenceIgnored(ModelSession):
    """Counts the events since the snapshot instead of all events."""

    def start(self, message):
        super().start(message)
        self.sequence = 0
        return ()


class EventSequenceIgnored(ModelSession):
    def receive(self, message):
        before = self.sequence
        instructions = super().receive(message)
        if message.HasField("event"):
            self.sequence = before
        return instructions


class EventsAppliedAfterTheReply(ModelSession):
    def carry_out(self, command_id, request):
        seen = self.state
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("reply"):
            payload = pack_message(Response(message=seen))
            out.reply.client_action.CopyFrom(ClientAction(reply=Reply(payload=payload)))
        return out


class EventsReversed(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        events = list(reversed(out.reply.events))
        del out.reply.events[:]
        out.reply.events.extend(events)
        return out


class EventsOfTheWrongType(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        for event in out.reply.events:
            event.type_url = "type.example.com/" + Persisted.DESCRIPTOR.full_name
        return out


class EventsWithTheFailure(ModelSession):
    def fail(self, command_id, before, text, events):
        out = super().fail(command_id, before, text, events)
        out.reply.events.extend(pack_message(Persisted(value=value)) for value in events)
        return out


class NoRestartThoughTheStateIsSpoilt(ModelSession):
    def fail(self, command_id, before, text, events):
        return fails(text)(command_id)


class AlwaysRestarts(ModelSession):
    def fail(self, command_id, before, text, events):
        return fails(text, restart=True)(command_id)


class EffectsWithTheFailure(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("failure"):
            out.reply.side_effects.extend(
                SideEffect(service_name=TWO)
                for action in request.actions
                if action.HasField("effect")
            )
        return out


class EffectsAlwaysAsynchronous(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        for effect in out.reply.side_effects:
            effect.synchronous = False
        return out


class EffectsReversed(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        effects = list(reversed(out.reply.side_effects))
        del out.reply.side_effects[:]
        out.reply.side_effects.extend(effects)
        return out


class EffectsLostWithAForward(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("forward"):
            del out.reply.side_effects[:]
        return out


class EventsLostWithAForward(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("forward"):
            del out.reply.events[:]
        return out


class MetadataWithTheReply(ModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.client_action.HasField("reply"):
            out.reply.client_action.reply.metadata.SetInParent()
        return out


class WrongCommandId(ModelSession):
    def answer(self, command):
        return super().answer(Command(id=command.id + 1, payload=command.payload))


class TopLevelFailure(ModelSession):
    """Ends the stream where only the command has failed."""

    def answer(self, command):
        [sent] = super().answer(command)
        failure = sent.message.reply.client_action.failure
        if not failure.command_id:
            return (sent,)
        top = Failure(command_id=command.id, description=failure.description)
        return Send(EventSourcedStreamOut(failure=top)), End()


class AnswersTwice(ModelSession):
    def answer(self, command):
        return (*super().answer(command), *super().answer(command))


class NeverAnswers(ModelSession):
    def answer(self, command):
        return ()


class EndsAfterACommand(ModelSession):
    def answer(self, command):
        return (*super().answer(command), End())


class NeverEnds(ModelSession):
    def completed(self):
        return (Hang(),)


class EndsWithAnError(ModelSession):
    def completed(self):
        return (End(Status.INTERNAL, "closed"),)


class SaysGoodbye(ModelSession):
    def completed(self):
        return (Send(EventSourcedStreamOut()), End())


class BreaksTheStreamOnAFault(ModelSession):
    def fail_stream(self, command_id):
        return (End(Status.INTERNAL, "fault"),)


class FailsWithoutEnding(ModelSession):
    def fail_stream(self, command_id):
        return super().fail_stream(command_id)[:1]


class FailsEveryFaultForNoCommand(ModelSession):
    def fail_stream(self, command_id):
        return super().fail_stream(0)


class AnswersCommandsForOthers(ModelSession):
    def receive(self, message):
        if message.HasField("command"):
            message.command.entity_id = self.entity_id
        return super().receive(message)


class OneStateForAll(ModelSession):
    shared: ClassVar[list[str]] = []

    def start(self, message):
        super().start(message)
        self.shared[:] = [self.state]
        return ()

    def apply(self, value):
        self.shared.append(value)
        self.state = "".join(self.shared)


FAULTS = {f"EX{number}" for number in range(4, 14)}
OF_A_COMMAND = {"EX10", "EX11", "EX12", "EX13"}
STREAMED = {f"E{number}" for number in range(3, 22)} | {"EX1", "EX2", "EX3"}
ONE_COMMAND = {"E3", "E7", "E8", "E11", "E14", "E15", "E16", "E17", "E18", "E21"}
WITH_FAILURE = {"E18", "E19", "E20", "E21"}
WITH_SEVERAL_EVENTS = {"E5", "E6", "E9", "E10", "E12", "E13", "E17", "E20", "EX1", "EX2"}
WITH_EVENTS = WITH_SEVERAL_EVENTS | {"E4", "E11", "E19", "EX3"}
NO_REPLY = {"E11", "E15", "E18", "E21"}

#: What each mistake must fail, no more and no less.
BROKEN = {
    SnapshotTooEarly: {"E6", "E20", "EX1"},
    SnapshotOnlyAtTheMultiple: {"EX1"},
    SnapshotMissing: {"E6", "E9", "E12", "E17", "E20", "EX1", "EX2"},
    SnapshotIgnoredAtStart: {"E7", "E8", "E9", "EX2"},
    SnapshotSequenceIgnored: {"EX2"},
    EventSequenceIgnored: {"E20", "EX2"},
    EventsAppliedAfterTheReply: WITH_EVENTS - {"E11"},
    EventsReversed: WITH_SEVERAL_EVENTS,
    EventsOfTheWrongType: WITH_EVENTS,
    EventsWithTheFailure: {"E20"},
    NoRestartThoughTheStateIsSpoilt: {"E20"},
    AlwaysRestarts: {"E18", "E19", "E21"},
    EffectsWithTheFailure: {"E21"},
    EffectsAlwaysAsynchronous: {"E14"},
    EffectsReversed: {"E16", "E17"},
    EffectsLostWithAForward: {"E15"},
    EventsLostWithAForward: {"E11", "E12"},
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
    AnswersCommandsForOthers: {"EX10"},
    OneStateForAll: {"EX3"},
}


@pytest.mark.parametrize("make_session", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(
    examine_function, assert_fails_exactly, make_session
):
    examine = partial(examine_function, make_session)

    await assert_fails_exactly(examine, BROKEN[make_session])


async def test_a_case_without_its_services_is_pending(examine_function, failed):
    results = await examine_function(spec=model_spec(TWO))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == ALL - {"D1"}
    assert results["E3"].reason == f"the user function does not announce {MODEL}"


async def test_an_announced_service_without_descriptors_fails_discovery(examine_function):
    spec = model_spec()
    spec.entities[0].service_name = "nowhere.Nothing"

    results = await examine_function(spec=spec, only=("D1",))

    assert results["D1"].verdict is Verdict.FAILED
    assert results["D1"].expected == "nowhere.Nothing"


async def test_descriptors_that_cannot_be_read_fail_discovery(examine_function):
    spec = model_spec()
    spec.proto = b"\xff\xff"

    results = await examine_function(spec=spec, only=("D1",))

    assert results["D1"].verdict is Verdict.FAILED
    assert results["D1"].expected == "a FileDescriptorSet"


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (lambda spec: setattr(spec.entities[0], "persistence_id", "other"), "E1"),
        (lambda spec: setattr(spec.entities[1], "entity_type", "cloudstate.crdt.Crdt"), "E1"),
        (lambda spec: setattr(spec.entities[2], "persistence_id", "other"), "E2"),
        (lambda spec: spec.entities[2].ClearField("passivation_strategy"), "E2"),
    ],
)
async def test_a_wrong_announcement_fails_its_case(examine_function, failed, change, case):
    spec = model_spec()
    change(spec)

    results = await examine_function(spec=spec, only=("E1", "E2"))

    assert failed(results).keys() == {case}
