"""User functions with CRDTs of which one of the eight types breaks one rule."""

from __future__ import annotations

from cloudstate_tck.scripted import crdt_types
from cloudstate_tck.scripted.crdt_session import CrdtModelSession


class WithType(CrdtModelSession):
    """Has a type of its own in the place of one of the eight."""

    value_type: type[crdt_types.Value]

    def start(self, message):
        super().start(message)
        if self.entity_id.startswith(self.value_type.__name__):
            self.value = self.value_type()
            if message.init.HasField("delta"):
                self.value.apply(message.init.delta)
        return ()


def with_type(value_type):
    (base,) = value_type.__bases__
    name = value_type.__name__
    value_type.__name__ = base.__name__
    return type(name, (WithType,), {"value_type": value_type, "__module__": __name__})


@with_type
class SendsElementsThatWereThere(crdt_types.GSet):
    def update(self, update):
        super().update(update)
        self.added.add(update.gset.add)


@with_type
class SendsElementsThatWereThereToo(crdt_types.ORSet):
    def add(self, element):
        super().add(element)
        self.added.add(element)


@with_type
class SendsRemovalsOfNothing(crdt_types.ORSet):
    def remove(self, element):
        if element not in self.elements:
            self.removed.add(element)
        super().remove(element)


@with_type
class RemovesAndAddsInVain(crdt_types.ORSet):
    def add(self, element):
        if element in self.removed:
            self.added.add(element)
        super().add(element)


@with_type
class ClearsNothingThatIsEmpty(crdt_types.ORSet):
    def clear(self):
        was_empty = not self.elements - self.added
        super().clear()
        self.cleared = not was_empty


@with_type
class ClearsOneByOne(crdt_types.ORSet):
    def clear(self):
        for element in list(self.elements):
            self.remove(element)


@with_type
class RemembersAdditionsBeforeAClear(crdt_types.ORSet):
    def clear(self):
        added = self.added
        super().clear()
        self.added = added


@with_type
class ClearsAfterItAdds(crdt_types.ORSet):
    def apply(self, delta):
        super().apply(delta)
        if delta.orset.cleared:
            self.elements.clear()


@with_type
class KeepsTheFirstValueToItself(crdt_types.LWWRegister):
    def __init__(self):
        super().__init__()
        self.has_changed = False


@with_type
class SendsTheFirstValueLater(crdt_types.LWWRegister):
    def apply(self, delta):
        has_changed = self.has_changed
        super().apply(delta)
        self.has_changed = has_changed


@with_type
class ForgetsClocks(crdt_types.LWWRegister):
    def update(self, update):
        update.lwwregister.ClearField("clock")
        super().update(update)


@with_type
class ForgetsClockValues(crdt_types.LWWRegister):
    def update(self, update):
        update.lwwregister.clock.customClockValue = 0
        super().update(update)


@with_type
class SendsNothingForTheSameValue(crdt_types.LWWRegister):
    def update(self, update):
        is_same = (
            self.delta.lwwregister.value
            == crdt_types.values.register_delta(update.lwwregister.value).lwwregister.value
        )
        super().update(update)
        self.has_changed &= not is_same


@with_type
class TurnsOff(crdt_types.Flag):
    def apply(self, delta):
        self.value = delta.flag.value


@with_type
class TurnsOnTwice(crdt_types.Flag):
    def update(self, update):
        self.value = self.has_changed = True


@with_type
class SendsEveryVote(crdt_types.Vote):
    def update(self, update):
        super().update(update)
        self.told = not self.self_vote


@with_type
class CountsForOthers(crdt_types.Vote):
    def take(self):
        delta = super().take()
        return None if delta is None else self.whole()


@with_type
class DoesNotCountItself(crdt_types.Vote):
    def update(self, update):
        self.self_vote = update.vote.self_vote


@with_type
class BeginsWithoutAVoter(crdt_types.Vote):
    def __init__(self):
        super().__init__()
        self.total = 0


@with_type
class MergesWhatIsAdded(crdt_types.ORMap):
    def apply(self, delta):
        for entry in delta.ormap.added:
            known = self.entries.get(crdt_types.decode(entry.key))
            if known is not None:
                entry.delta.gcounter.increment += known.whole().gcounter.increment + 1
        super().apply(delta)


@with_type
class AddsWhatIsUpdated(crdt_types.ORMap):
    def take(self):
        delta = super().take()
        if delta is not None:
            delta.ormap.added.extend(delta.ormap.updated)
            del delta.ormap.updated[:]
        return delta


@with_type
class SendsNothingForNewZeros(crdt_types.ORMap):
    def take(self):
        delta = super().take()
        if delta is None:
            return None
        kept = [
            entry
            for entry in delta.ormap.added
            if not entry.delta.HasField("pncounter") or entry.delta.pncounter.change
        ]
        del delta.ormap.added[:]
        delta.ormap.added.extend(kept)
        return delta if delta.ormap.ByteSize() else None


@with_type
class SendsRemovalsOfWhatWasAdded(crdt_types.ORMap):
    def update(self, update):
        if update.ormap.HasField("clear"):
            self.removed |= self.added
            removed = set(self.entries)
            super().update(update)
            self.removed = removed
        else:
            super().update(update)


@with_type
class KeepsWhatIsRemovedElsewhere(crdt_types.ORMap):
    def apply(self, delta):
        del delta.ormap.removed[:]
        super().apply(delta)
