"""The CRDT of one entity, as the user function has it."""

from __future__ import annotations

from collections.abc import Callable

from cloudstate.crdt_pb2 import CrdtDelta, CrdtStateAction
from cloudstate_crdt.data.crdt import Crdt, crdt_from, fresh
from cloudstate_crdt.write_consistency import WriteConsistency

__all__ = ["LocalCopy"]


class LocalCopy:
    """One entity's CRDT, which lives as long as the entity's stream.

    Attributes:
        crdt: The CRDT; None as long as nobody has made one.
    """

    def __init__(self) -> None:
        """Start without a CRDT."""
        self.crdt: Crdt | None = None
        self._may_change = False
        self._is_new = False
        self._is_deleted = False

    # What handlers do with it, by their context.

    def create(self, made: Crdt | Callable[[], Crdt]) -> Crdt:
        """Make the CRDT.

        Args:
            made: A new value, its type, or what makes one.

        Raises:
            RuntimeError: There is one. Nothing was changed.
            TypeError: `made` is none of these.
        """
        self.admit_change()
        if self.crdt is not None:
            raise RuntimeError(
                f"expected no CRDT before create, found a {type(self.crdt).__name__}"
            )
        crdt = fresh(made)
        crdt.belong(self)
        self.crdt, self._is_new = crdt, True
        return crdt

    def delete(self) -> None:
        """Delete the CRDT, with the end of the command.

        Raises:
            RuntimeError: There is none.
        """
        self.admit_change()
        if self.crdt is None:
            raise RuntimeError("expected a CRDT to delete, found none: nobody has created it")
        self._is_deleted = True

    def admit_change(self, place: object = None, /) -> None:
        """Return if a change may be made now.

        Raises:
            RuntimeError: It would not be sent.
        """
        del place
        if not self._may_change:
            raise RuntimeError(
                "a CRDT may be changed by a command handler until it returns, and by an on_cancel "
                "listener; not by an on_change listener, and at no other time"
            )

    # What the session does with it.

    def begin(self) -> None:
        """Let it be changed, by a command or a cancellation."""
        self._may_change, self._is_new, self._is_deleted = True, False, False

    def end(self) -> None:
        """Let nobody change it any more."""
        self._may_change = False

    def take(self, consistency: WriteConsistency, change: CrdtStateAction) -> bool:
        """Write what was made of it since `begin` down, as the runtime is told.

        Args:
            consistency: How far the change must spread.
            change: Where to write; it stays unset if nothing was changed.

        Returns:
            Whether anything was changed.
        """
        if self.crdt is None:
            return False
        delta = self.crdt.take_delta()
        if self._is_deleted:
            # It comes in the place of what was changed before.
            change.delete.SetInParent()
        elif delta is not None:
            change.update.CopyFrom(delta)
        else:
            return False
        change.write_consistency = int(consistency)  # type: ignore[assignment]
        return True

    def abandon(self) -> bool:
        """Let what was made of it since `begin` not have been; return whether that is possible.

        A CRDT made since then goes. What was changed of one that was there stays changed, and must
        not be used further.
        """
        self._is_deleted = False
        if self._is_new and self.crdt is not None:
            self.crdt.leave()
            self.crdt, self._is_new = None, False
        return self.crdt is None or self.crdt.pending() is None

    def receive(self, delta: CrdtDelta) -> None:
        """Take in what came from elsewhere: a change, or all of it if there is none here.

        Raises:
            WrongDelta: It is for another type, or none. The CRDT must not be used further.
        """
        if self.crdt is None:
            self.crdt = crdt_from(delta)
            self.crdt.belong(self)
        else:
            self.crdt.apply(delta)

    def forget(self) -> None:
        """Have none any more."""
        if self.crdt is not None:
            self.crdt.leave()
        self.crdt = None
