"""What the handlers of a CRDT entity are given, and its listeners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any as AnyType
from typing import TypeVar

from cloudstate_core.caller import Caller
from cloudstate_core.context import CommandContext
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value
from cloudstate_crdt.data.crdt import Crdt
from cloudstate_crdt.local_copy import LocalCopy
from cloudstate_crdt.write_consistency import WriteConsistency

__all__ = [
    "CrdtCancelContext",
    "CrdtChangeContext",
    "CrdtCommandContext",
    "CrdtContext",
    "OnCancel",
    "OnChange",
    "Subscription",
]

C = TypeVar("C", bound=Crdt)


class CrdtContext(CommandContext):
    """What handlers and listeners have in common."""

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        copy: LocalCopy,
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep the command's data, and the CRDT."""
        super().__init__(
            entity_id=entity_id,
            service_name=service_name,
            command_name=command_name,
            command_id=command_id,
            metadata=metadata,
            caller=caller,
        )
        self._copy = copy

    @property
    def state(self) -> AnyType:  # of whatever type the entity declares
        """The CRDT; None as long as nobody has made one."""
        return self._copy.crdt


class _ChangingContext(CrdtContext):
    """What those have in common that may change the CRDT."""

    _write_consistency = WriteConsistency.LOCAL

    @property
    def write_consistency(self) -> WriteConsistency:
        """How far a change must have spread before the caller is answered; LOCAL at first."""
        return self._write_consistency

    @write_consistency.setter
    def write_consistency(self, consistency: WriteConsistency) -> None:
        self.check_usable()
        self._write_consistency = WriteConsistency(consistency)


class CrdtCommandContext(_ChangingContext):
    """One command for a CRDT entity.

    `fail` is for before the first change: a command that fails after it has changed the CRDT ends
    the entity's time in memory, with all its streams.

    Attributes:
        streamed: Whether the client takes a stream.
    """

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        copy: LocalCopy,
        default: Callable[[], Crdt] | None = None,
        streamed: bool = False,
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep the command's data, the CRDT, and what makes one where there is none."""
        super().__init__(
            entity_id=entity_id,
            service_name=service_name,
            command_name=command_name,
            command_id=command_id,
            copy=copy,
            metadata=metadata,
            caller=caller,
        )
        self.streamed = streamed
        self._default = default
        self._on_change: OnChange | None = None
        self._on_cancel: OnCancel | None = None

    @property
    def state(self) -> AnyType:  # of whatever type the entity declares
        """The CRDT; made by the entity's default if there is none, and None without a default.

        What is made only to be looked at is not told to any other node, except for a register,
        which has a value from the beginning.
        """
        if self._copy.crdt is None and self._default is not None:
            self.check_usable()
            self._copy.create(self._default)
        return self._copy.crdt

    def create(self, made: C | Callable[[], C]) -> C:
        """Make the CRDT of an entity that has none.

        Args:
            made: A type, such as `GCounter`, or a new value, such as `LWWRegister("")`.

        Raises:
            RuntimeError: There is one, of this type or another. Nothing was changed.
            TypeError: `made` is no type of CRDT.
        """
        self.check_usable()
        return self._copy.create(made)  # type: ignore[return-value]  # what is put in comes out

    def delete(self) -> None:
        """Delete the CRDT on all nodes, for ever, after the handler has returned.

        Nothing else that the command has changed matters then. The entity id is not used again.

        Raises:
            RuntimeError: There is none, and the entity has no default.
        """
        self.check_usable()
        _ = self.state
        self._copy.delete()

    def on_change(self, listener: OnChange) -> None:
        """Keep the client's stream open, and have a function called after every change.

        Args:
            listener: Gets a `CrdtChangeContext`; returns the next element, or None for none. It may
                be `async`. It is not called for what this command itself changes.

        Raises:
            RuntimeError: The client takes no stream, or there is such a listener.
        """
        self._check_listener("on_change", listener, self._on_change)
        self._on_change = listener

    def on_cancel(self, listener: OnCancel) -> None:
        """Keep the client's stream open, and have a function called when the client leaves.

        Args:
            listener: Gets a `CrdtCancelContext`, and may change the CRDT. It may be `async`. It is
                not called for a stream that the user function has ended itself.

        Raises:
            RuntimeError: The client takes no stream, or there is such a listener.
        """
        self._check_listener("on_cancel", listener, self._on_cancel)
        self._on_cancel = listener

    @property
    def subscription(self) -> Subscription | None:
        """What is to be done with the client's stream; None if it ends with the answer."""
        if self._on_change is None and self._on_cancel is None:
            return None
        return Subscription(
            self.command_id, self.command_name, self.metadata, self._on_change, self._on_cancel
        )

    def _check_listener(self, name: str, listener: object, present: object) -> None:
        self.check_usable()
        if not callable(listener):
            raise TypeError(f"{name}: expected a function, found {listener!r}")
        if not self.streamed:
            raise RuntimeError(
                f"{name}: command {self.command_name!r} is answered once; a stream is for a method "
                "that returns one"
            )
        if present is not None:
            raise RuntimeError(f"{name} was called twice for one command")


class CrdtChangeContext(CrdtContext):
    """The CRDT has changed, and the client of a stream may be told.

    The CRDT must not be changed by the listener. `fail` ends the client's stream, `forward` lets
    another command make the next element.

    Attributes:
        is_last: Whether `end` was called.
    """

    is_last = False

    def end(self) -> None:
        """End the client's stream, after the element that the listener returns, if it does."""
        self.check_usable()
        self.is_last = True


class CrdtCancelContext(_ChangingContext):
    """The client of a stream has left. The CRDT may be changed, and effects be asked for.

    Nobody is there to be answered: `fail` and `forward` are errors.
    """


#: What is called after a change, and when a client leaves.
OnChange = Callable[[CrdtChangeContext], object | Awaitable[object]]
OnCancel = Callable[[CrdtCancelContext], object | Awaitable[object]]


@value
class Subscription:
    """A client's stream that is kept open.

    Attributes:
        command_id: The command that began it.
        command_name: Its name.
        metadata: Its headers.
        on_change: What is called after a change; None if nothing.
        on_cancel: What is called when the client leaves; None if nothing.
    """

    command_id: int
    command_name: str
    metadata: Metadata
    on_change: OnChange | None
    on_cancel: OnCancel | None
