"""User functions with CRDTs that break one rule each."""

from __future__ import annotations

from cloudstate.crdt_pb2 import MAJORITY, CrdtStreamOut
from cloudstate.entity_pb2 import Failure
from cloudstate_core.status import Status
from cloudstate_tck.crdt_messages import cancelled, replies
from cloudstate_tck.scripted import crdt_types
from cloudstate_tck.scripted.crdt_session import CrdtModelSession
from cloudstate_tck.scripted.session import End, Hang, Send


class Changed(CrdtModelSession):
    """Changes the replies that go out."""

    def answer(self, command):
        instructions = super().answer(command)
        if self.service == "cloudstate.tck.model.crdt.CrdtTckModel":
            self.change(instructions[0].message.reply)
        return instructions


# --- Any type -----------------------------------------------------------------------------


class StateIgnoredAtStart(CrdtModelSession):
    def start(self, message):
        message.init.ClearField("delta")
        return super().start(message)


class DeltasIgnored(CrdtModelSession):
    def replicate(self, delta):
        return ()


class DeltasSentBack(CrdtModelSession):
    def replicate(self, delta):
        return (*super().replicate(delta), Send(replies(self.value.state(), delta)(0)))


class NeverSendsADelta(Changed):
    def change(self, reply):
        if reply.state_action.HasField("update"):
            reply.ClearField("state_action")


class SendsTheWholeState(Changed):
    def change(self, reply):
        if reply.state_action.HasField("update"):
            reply.state_action.update.CopyFrom(self.value.whole())


class SendsTheStateUnchanged(Changed):
    def change(self, reply):
        if not reply.HasField("state_action") and reply.client_action.HasField("reply"):
            reply.state_action.update.CopyFrom(self.value.whole())


class SendsAnEmptyStateAction(Changed):
    def change(self, reply):
        reply.state_action.SetInParent()


class NeverDeletes(Changed):
    def change(self, reply):
        if reply.state_action.HasField("delete"):
            reply.ClearField("state_action")


class DeletesBeforeItReplies(CrdtModelSession):
    def carry_out(self, command_id, request):
        out = super().carry_out(command_id, request)
        if out.reply.state_action.HasField("delete"):
            empty = crdt_types.new_value(self.entity_id).state()
            return replies(empty, deletes=True)(command_id)
        return out


class AnswersADeletion(CrdtModelSession):
    def receive(self, message):
        if message.HasField("delete"):
            return (Send(replies(self.value.state(), deletes=True)(0)),)
        return super().receive(message)


class FailsOnADeletion(CrdtModelSession):
    def receive(self, message):
        return self.fail_stream(0) if message.HasField("delete") else super().receive(message)


class WrongCommandId(Changed):
    def change(self, reply):
        reply.command_id += 1


class MetadataWithTheReply(Changed):
    def change(self, reply):
        if reply.client_action.HasField("reply"):
            reply.client_action.reply.metadata.SetInParent()


class EndsWithAnError(CrdtModelSession):
    def completed(self):
        return (End(Status.INTERNAL, "closed"),)


class SaysGoodbye(CrdtModelSession):
    def completed(self):
        return (Send(CrdtStreamOut()), End())


# --- Commands -----------------------------------------------------------------------------


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


class ChangeLostWithAForward(Changed):
    def change(self, reply):
        if reply.client_action.HasField("forward"):
            reply.ClearField("state_action")


class AsksForARestart(Changed):
    def change(self, reply):
        if reply.client_action.HasField("failure"):
            reply.client_action.failure.restart = True


class TopLevelFailure(CrdtModelSession):
    """Ends the stream where only the command has failed."""

    def answer(self, command):
        instructions = super().answer(command)
        failure = instructions[0].message.reply.client_action.failure
        if not failure.command_id:
            return instructions
        top = Failure(command_id=command.id, description=failure.description)
        return Send(CrdtStreamOut(failure=top)), End()


class AlwaysLocal(Changed):
    def change(self, reply):
        if reply.HasField("state_action"):
            reply.state_action.write_consistency = 0


class AlwaysMajority(Changed):
    def change(self, reply):
        if reply.state_action.HasField("update"):
            reply.state_action.write_consistency = MAJORITY


# --- Streams ------------------------------------------------------------------------------


class DoesNotSayStreamed(Changed):
    def change(self, reply):
        reply.streamed = False


class AlwaysSaysStreamed(Changed):
    def change(self, reply):
        reply.streamed = True


class PushesBeforeItReplies(CrdtModelSession):
    def answer(self, command):
        answer, *rest = super().answer(command)
        return (*rest, answer)


class PushesItsOwnChange(CrdtModelSession):
    def answer(self, command):
        instructions = super().answer(command)
        if not command.streamed or not instructions[0].message.reply.HasField("state_action"):
            return instructions
        self.watchers[command.id].empty = False
        return (*instructions, *self.push((command.id,)))


class PushesNothing(CrdtModelSession):
    def push(self, watchers):
        return []


class PushesNothingFromElsewhere(CrdtModelSession):
    def replicate(self, delta):
        super().replicate(delta)
        return ()


class PushesToOneAlone(CrdtModelSession):
    def push(self, watchers):
        return super().push(watchers[:1])


class PushesAfterNoChange(CrdtModelSession):
    def answer(self, command):
        watchers = tuple(self.watchers)
        instructions = super().answer(command)
        return instructions if len(instructions) > 1 else [*instructions, *self.push(watchers)]


class EndsStreamsInSilence(CrdtModelSession):
    def push(self, watchers):
        return [
            sent for sent in super().push(watchers) if not sent.message.streamed_message.end_stream
        ]


class NeverEndsStreams(CrdtModelSession):
    def watch(self, command_id, asked):
        asked.ClearField("end_state")
        return super().watch(command_id, asked)


class EffectsWithTheFirstReply(CrdtModelSession):
    def watch(self, command_id, asked):
        out = super().watch(command_id, asked)
        out.reply.side_effects.extend(
            effect
            for sent in self.push((command_id,))
            for effect in sent.message.streamed_message.side_effects
        )
        return out


class PushesWithoutEffects(CrdtModelSession):
    def push(self, watchers):
        messages = super().push(watchers)
        for sent in messages:
            del sent.message.streamed_message.side_effects[:]
        return messages


class RepliesWhereNothingIsWanted(CrdtModelSession):
    def watch(self, command_id, asked):
        asked.empty = False
        return super().watch(command_id, asked)


class DoesNotAnswerCancellations(CrdtModelSession):
    def cancel(self, command_id):
        return super().cancel(command_id)[1:]


class AnswersCancellationsWithAChangeAlone(CrdtModelSession):
    def cancel(self, command_id):
        answer, *rest = super().cancel(command_id)
        has_changed = answer.message.stream_cancelled_response.HasField("state_action")
        return (answer, *rest) if has_changed else rest


class ForgetsWhatALeaverChanges(CrdtModelSession):
    def cancel(self, command_id):
        self.watchers[command_id].ClearField("cancel_update")
        return super().cancel(command_id)


class KeepsLeavers(CrdtModelSession):
    def cancel(self, command_id):
        watcher = self.watchers[command_id]
        instructions = super().cancel(command_id)
        self.watchers[command_id] = watcher
        return instructions


class TellsNobodyOfALeaver(CrdtModelSession):
    def cancel(self, command_id):
        return super().cancel(command_id)[:1]


class FailsLateCancellations(CrdtModelSession):
    def cancel_late(self, command_id):
        return self.fail_stream(command_id)


class ChangesTheStateOnLateCancellations(CrdtModelSession):
    def cancel_late(self, command_id):
        return (Send(cancelled(command_id, self.value.whole())),)


class AnswersCancellationsTwice(CrdtModelSession):
    def cancel(self, command_id):
        return (*super().cancel(command_id), Send(cancelled(command_id)))


# --- A proxy that breaks the protocol -----------------------------------------------------


class BreaksTheStreamOnAFault(CrdtModelSession):
    def fail_stream(self, command_id):
        return (End(Status.INTERNAL, "fault"),)


class FailsWithoutEnding(CrdtModelSession):
    def fail_stream(self, command_id):
        failure, end = super().fail_stream(command_id)
        return failure, Hang() if command_id else end


class FailsEveryFaultForNoCommand(CrdtModelSession):
    def fail_stream(self, command_id):
        return super().fail_stream(0)


class AnswersCommandsForOthers(CrdtModelSession):
    def receive(self, message):
        if message.HasField("command"):
            message.command.entity_id = self.entity_id
        return super().receive(message)


class IgnoresDeltasOfOtherTypes(CrdtModelSession):
    def receive(self, message):
        if message.HasField("delta") and self.service and not self._is_of_type(message.delta):
            return ()
        return super().receive(message)


class OneStateForAll(CrdtModelSession):
    shared: crdt_types.Value

    def start(self, message):
        super().start(message)
        type(self).shared = self.value
        return ()

    def receive(self, message):
        if not message.HasField("init") and self.service:
            self.value = type(self).shared
        return super().receive(message)
