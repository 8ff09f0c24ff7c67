"""Declaring an event-sourced entity: decorators that fill a handler table.

Everything about a handler is worked out when it is registered; what cannot be worked out is an
error then, naming the function and the file, and not at the first command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any as AnyType
from typing import ClassVar, TypeVar

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from cloudstate_core.anys import AnyError, encode
from cloudstate_core.command_methods import CommandMethod, CommandMethods
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.initial_state import InitialState
from cloudstate_core.injection import Handler, Slot, bind, describe
from cloudstate_core.targets import Target
from cloudstate_eventsourced.context import (
    EventContext,
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.slots import Slots
from cloudstate_eventsourced.value_types import HandlersByType, ValueHandler

__all__ = ["DEFAULT_SNAPSHOT_EVERY_EVENTS", "EventSourcedEntity"]

#: Often enough that an activation replays little, seldom enough that snapshots cost little.
DEFAULT_SNAPSHOT_EVERY_EVENTS = 100

F = TypeVar("F", bound=Callable[..., AnyType])


class EventSourcedEntity(EntityDefinition):
    """An entity whose state is what its events made of it.

    Example:
        >>> entity = EventSourcedEntity(CART_SERVICE, init_state=Cart)
        >>> @entity.command_handler("AddItem")
        ... def add_item(state: Cart, item: AddLineItem, ctx: EventSourcedCommandContext):
        ...     ctx.emit(ItemAdded(item=...))
        ...     return Empty()
        >>> @entity.event_handler(ItemAdded)
        ... def item_added(state: Cart, event: ItemAdded): ...

    A handler names what it wants by annotation: the state (the type that `init` returns), the
    command or event (its message type), the context, `Metadata`. Command handlers may be `async`;
    event and snapshot handlers only change memory and are plain functions. One that returns
    something other than None replaces the state with it.
    """

    entity_type: ClassVar[str] = "cloudstate.eventsourced.EventSourced"

    def __init__(
        self,
        service_descriptor: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
        init_state: Callable[..., object] | None = None,
        persistence_id: str = "",
        snapshot_every: int = 0,
        *,
        passivation_timeout_s: float | None = None,
    ) -> None:
        """Declare an entity; its handlers follow by decorators.

        Args:
            service_descriptor: The service, as the generated module has it.
            file_descriptors: Further files to announce. What the service refers to is always
                announced.
            init_state: Makes the state of an entity without events; takes the entity id, or
                nothing. Annotate what it returns, so that handlers can be checked against it.
            persistence_id: Namespace of the events; defaults to the service's full name. Changing
                it loses sight of what was stored before.
            snapshot_every: After how many events a snapshot is taken, if there is a snapshot
                function; 0 for the default of 100, negative for never.
            passivation_timeout_s: Idle time after which an entity leaves memory, in seconds; None
                leaves it to the runtime.

        Raises:
            RegistrationError: If one of these cannot work.
        """
        _check_types(file_descriptors, persistence_id, snapshot_every)
        if passivation_timeout_s is not None and not passivation_timeout_s > 0:
            raise RegistrationError(
                f"passivation_timeout_s: expected more than 0, found {passivation_timeout_s!r}"
            )
        super().__init__(
            service_descriptor,
            file_descriptors,
            persistence_id=persistence_id,
            passivation_timeout_s=passivation_timeout_s,
        )
        if init_state is None:
            raise RegistrationError("expected init_state, found none")
        self._every = snapshot_every or DEFAULT_SNAPSHOT_EVERY_EVENTS
        self._initial_state = InitialState(init_state)
        self._slots = Slots(self._initial_state.type)
        self._commands = CommandMethods(
            service_descriptor, EventSourcedCommandContext, self._slots.for_command()
        )
        self._events = HandlersByType("event")
        self._snapshot: Handler | None = None
        self._snapshots = HandlersByType("snapshot")

    # Registration.

    def command_handler(
        self, name: str, *, blocking: bool = False, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves the method `name`.

        Args:
            name: Bare name of the method.
            blocking: Run a plain function in a thread, because it waits for something.
            calls: The commands that the function forwards to, asks, or has called as effects:
                methods of `commands_of(Stub)`, method descriptors, or "service/Command". They are
                checked at start, and it can call no others. None leaves it open.

        Raises:
            RegistrationError: If there is no such method, it has a handler, or the function asks
                for something it cannot be given.
        """
        if not isinstance(name, str):
            raise RegistrationError(
                f"{describe(name)}: expected the name of a method: @entity.command_handler('Name')"
            )

        def register(function: F) -> F:
            self._commands.add(name, function, blocking=blocking, calls=calls)
            return function

        return register

    def event_handler(self, event_type: type) -> Callable[[F], F]:
        """Register the function that applies events of a type to the state.

        Args:
            event_type: A message class, a primitive type, or `Json` for every JSON event.

        Raises:
            RegistrationError: If the type cannot be an event, has a handler, or the function asks
                for something it cannot be given.
        """
        if not isinstance(event_type, type):
            raise RegistrationError(
                f"{describe(event_type)}: expected the type of an event: "
                "@entity.event_handler(ItemAdded)"
            )

        def register(function: F) -> F:
            handler = _bind_plain(
                function, self._slots.for_value("event", event_type, EventContext)
            )
            self._events.add(event_type, handler)
            return function

        return register

    def snapshot(self, *misplaced: object) -> Callable[[F], F]:
        """Register the function that returns the state as one message, primitive or `Json`.

        Raises:
            RegistrationError: If there is one, or the function asks for something it cannot be
                given.
        """
        _check_called(misplaced, "@entity.snapshot()")

        def register(function: F) -> F:
            if self._snapshot is not None:
                raise RegistrationError(
                    f"{describe(function)}: snapshots are taken already by {self._snapshot.where}"
                )
            self._snapshot = _bind_plain(function, self._slots.for_state(SnapshotContext))
            return function

        return register

    def snapshot_handler(self, *misplaced: object) -> Callable[[F], F]:
        """Register the function that sets the state from a snapshot.

        The annotation of its snapshot parameter says which snapshots it takes; there may be several
        functions, one for each type that was ever stored.

        Raises:
            RegistrationError: If the type has a handler, or the function asks for something it
                cannot be given.
        """
        _check_called(misplaced, "@entity.snapshot_handler()")

        def register(function: F) -> F:
            snapshot_type = self._slots.snapshot_type(function)
            handler = _bind_plain(
                function, self._slots.for_value("snapshot", snapshot_type, SnapshotContext)
            )
            self._snapshots.add(snapshot_type, handler)
            return function

        return register

    def declared_calls(self) -> Iterator[tuple[str, Target]]:
        return self._commands.declared_calls()

    def validate(self) -> None:
        self._commands.check_none_streams()
        self._commands.check_all_keyed()
        self._commands.check_all_handled()
        if self._snapshot is not None and not self._snapshots:
            raise RegistrationError(
                f"{self._snapshot.where}: {self.service.full_name} takes snapshots but has no "
                "@entity.snapshot_handler() to restore them"
            )

    # What a servicer calls.

    @property
    def snapshot_every_events(self) -> int:
        """After how many events a snapshot is due; 0 for never."""
        return max(self._every, 0) if self._snapshot is not None else 0

    def initial_state(self, entity_id: str) -> object:
        """Return the state of an entity that has no events."""
        return self._initial_state.make(entity_id)

    def command(self, name: str) -> CommandMethod:
        """Return the method of that name.

        Raises:
            AnyError: If there is none.
        """
        return self._commands.find(name)

    def apply(self, state: object, payload: Any, entity_id: str, sequence: int) -> object:
        """Return the state after an event: the same object, or what took its place.

        Raises:
            AnyError: If no event handler takes the type, or the bytes are not of it.
        """
        found = self._events.find(payload.type_url)
        context = EventContext(entity_id, sequence) if found.asks_for_context else None
        return self._changed(state, found, payload, context)

    def restore(self, state: object, payload: Any, context: SnapshotContext) -> object:
        """Return the state that a snapshot holds.

        Raises:
            AnyError: If no snapshot handler takes the type, or the bytes are not of it.
        """
        return self._changed(state, self._snapshots.find(payload.type_url), payload, context)

    def take_snapshot(self, state: object, context: SnapshotContext) -> Any:
        """Return the state as a snapshot; for an entity that takes them.

        Raises:
            AnyError: If the snapshot function returned something that cannot be packed.
        """
        assert self._snapshot is not None
        taken = self._snapshot(state, context)
        if taken is None:
            raise AnyError(f"{self._snapshot.where}: expected a snapshot, found None")
        return encode(taken)

    def _changed(self, state: object, found: ValueHandler, payload: Any, context: object) -> object:
        returned = found.handler.call(found.read(payload), state, context)
        if returned is None:
            return state
        return self._initial_state.replaced(returned, found.handler.where)


def _bind_plain(function: Callable[..., AnyType], slots: Sequence[Slot]) -> Handler:
    handler = bind(function, slots)
    if handler.is_async:
        raise RegistrationError(
            f"{handler.where}: expected a plain function, found an async one; it changes memory "
            "only, and runs at once when an event is emitted"
        )
    return handler


def _check_called(misplaced: tuple[object, ...], decorator: str) -> None:
    for each in misplaced:
        raise RegistrationError(f"{describe(each)}: expected parentheses: {decorator}")


def _check_types(files: object, persistence_id: object, snapshot_every: object) -> None:
    if not isinstance(files, Sequence) or not all(isinstance(f, FileDescriptor) for f in files):
        raise RegistrationError(
            "expected file_descriptors to be a list of file descriptors, such as "
            f"[shop_pb2.DESCRIPTOR], found {files!r}"
        )
    if not isinstance(persistence_id, str):
        raise RegistrationError(f"expected persistence_id to be text, found {persistence_id!r}")
    if not isinstance(snapshot_every, int) or isinstance(snapshot_every, bool):
        raise RegistrationError(
            f"expected snapshot_every to be a number of events, found {snapshot_every!r}"
        )
