"""Entity kinds: the contract between the runtime, the host and a state pattern.

A kind is an installable package of seven small files and a proto. `docs/writing_a_kind.md` walks
through one, and `cloudstate_core.testing.kind_contract` tests any. This is all that host and
runtime ask of it::

    # cloudstate_counter/plugin.py
    class CounterKind(EntityKind):
        name = "counter"
        entity_type = "example.counter.Counter"

        def protocol_methods(self, entities, caller):
            return [ConversationMethod(HANDLE, partial(CounterServicer, entities))]

        def open_handler(self, entity, host):
            def start(entity_id):
                return CounterEngine(entity, entity_id, host)

            return host.region(entity, start)

        def faults(self, entity):
            return [*streamed_methods(entity), *keyless_methods(entity)]

    @hookimpl
    def cloudstate_register_kinds():
        return [CounterKind()]

    # pyproject.toml
    [project.entry-points.cloudstate]
    counter = "cloudstate_counter.plugin"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import ClassVar, Protocol

from cloudstate_core.caller import Caller
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.links import FunctionLink, ProtocolMethod
from cloudstate_core.store import EntityKey, StateStore, Write
from cloudstate_core.value import value

__all__ = [
    "Engine",
    "EntityKind",
    "EntityLimits",
    "HomeOfEntities",
    "RuntimeHost",
    "VersionedEngine",
    "version_of",
]


class Engine(Protocol):
    """One live entity's driver: the impure half of a kind, in the runtime.

    An engine is used for one command at a time. Any exception it raises drops it; the next command
    gets a new one, which starts from the store. After a `SequenceConflict` or a `RevisionConflict`
    the same command is given to a new one, once.
    """

    async def open(self) -> None:
        """Bring the entity to the state that the store holds. Called once, before `handle`."""
        ...

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command: send it, get the reply, commit, then return.

        What it raises is what the client sees, if it is a `CloudstateError`; a `UserFunctionError`
        is reported to the user function's author as well.
        """
        ...

    def fault(self) -> CloudstateError | None:
        """Return why no further command may be given to this engine; None if one may.

        Asked before each command and when the entity leaves memory; cheap, no waiting. A
        `UserFunctionError` is reported to the user function's author, unless it is a
        `UserFunctionUnavailable`: that it goes away is its right while nothing is asked of it.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the stream. Never raises for what the user function does.

        Called once, also if `open` has failed, and after a command that was cancelled.
        """
        ...


class VersionedEngine(Engine, Protocol):
    """An engine whose entity has versions: a number that every change makes larger.

    Callers may then make a command depend on the version they know. The engine also puts the
    version after each command into its `Outcome`.

    Attributes:
        version: Of the entity's state, from `open` on.
    """

    @property
    def version(self) -> int:
        """Return the version."""
        ...


def version_of(engine: Engine) -> int | None:
    """Return the version of an open engine's entity; None if its kind has no versions."""
    version: int | None = getattr(engine, "version", None)
    return version


@value
class EntityLimits:
    """What the entities of one service may take, by the runtime's settings.

    Attributes:
        passivation_timeout_s: Idle time after which an entity leaves memory, in seconds.
        max_waiting_commands: How many commands may wait at one entity.
        max_active_entities: How many entities may be in memory.
        passes_metadata: Whether commands carry the headers of their clients.
    """

    passivation_timeout_s: float
    max_waiting_commands: int
    max_active_entities: int
    passes_metadata: bool


class HomeOfEntities(CommandHandler, Protocol):
    """What a kind without `RuntimeHost.region` keeps its entities in, and lets tests look into."""

    async def bring_into_memory(self, entity_id: str) -> None:
        """Return when the user function has an entity's state, as the next command would find it.

        Raises:
            CloudstateError: It cannot be read now, or nobody serves it.
        """
        ...


class RuntimeHost(Protocol):
    """What the runtime gives to a kind.

    Attributes:
        link: The way to the user function.
        store: Where state is kept.
        epoch: The epoch to commit under.
        clock: The time.
        cluster: This node among the others that serve with it; it may be the only one.
        instrument: Where to say what happens.
        relay_timeout_s: How long a user function may take for one reply, in seconds.
    """

    link: FunctionLink
    store: StateStore
    epoch: int
    clock: Clock
    cluster: Cluster
    instrument: Instrument
    relay_timeout_s: float

    def region(
        self, entity: DeployedEntity, start: Callable[[str], Engine]
    ) -> AbstractAsyncContextManager[CommandHandler]:
        """Return the home of all live entities of one service.

        The region reads the entity id from each request, keeps one engine per id with a queue of
        bounded length before it, passivates idle ones, and drains on exit.

        Args:
            entity: The service.
            start: Makes the engine for an entity id; must not wait.
        """
        ...

    def stateless(
        self, entity: DeployedEntity, handler: CommandHandler
    ) -> AbstractAsyncContextManager[CommandHandler]:
        """Return a handler for a service without entities, whose requests run side by side.

        It begins no request whose deadline has passed and ends those whose deadline passes, reports
        each `UserFunctionError`, and on exit lets those that run finish, as long as the grace
        allows.

        Args:
            entity: The service.
            handler: Carries out its requests. Cancelling it, or closing its stream, must end what
                it has begun.
        """
        ...

    async def commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        """Make everything that one command changes durable, in one commit, or nothing.

        To the kind's own writes come those that belong to a command of whatever kind: its
        asynchronous side effects go to the outbox, its answer is remembered under the caller's name
        for it, and the message that brought it is noted. Without any of them nothing is written.

        Args:
            request: The command.
            key: The entity.
            writes: The kind's own; may be empty.
            outcome: What the user function answered.

        Returns:
            The outcome that the engine returns: with those side effects that are still to be done.

        Raises:
            StoreError: As `StateStore.commit` says.
        """
        ...

    def limits(self, entity: DeployedEntity) -> EntityLimits:
        """Return what a kind that does without `region` must keep to by itself."""
        ...

    async def recalled(self, request: Request, key: EntityKey) -> Outcome | None:
        """Return what came of a command before, under the name that its caller gave it.

        `region` asks this before each command. Whoever does without it asks when no command of the
        same name runs at the entity.

        Returns:
            The outcome that `commit` remembered; None if the command is new, or has no name.

        Raises:
            KeyReused: It was another command.
            StoreError: Nobody can tell now.
        """
        ...

    def when_draining(self, begin: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `begin` when nothing new is taken any more, while the context is open.

        That is the time to end what would not end by itself, such as streams of clients.
        """
        ...

    def report(self, message: str) -> None:
        """Tell the user function's author what is wrong, without waiting."""
        ...


class EntityKind(ABC):
    """One state pattern.

    Attributes:
        name: One word, unique in the process, for settings and listings.
        entity_type: Full name of its protocol service, unique in the process.
    """

    name: ClassVar[str]
    entity_type: ClassVar[str]

    @abstractmethod
    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> Sequence[ProtocolMethod]:
        """Return the methods of this kind's protocol service, in the user function's process.

        Called once, and only if the application registered an entity of this kind.

        Args:
            entities: The entities of this kind, at least one.
            caller: How their handlers reach other services; for their contexts.
        """

    @abstractmethod
    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        """Return what handles the commands of one service, in the runtime.

        Args:
            entity: The service, which has passed `faults`.
            host: What the runtime offers.
        """

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        """Name what makes a service unfit for this kind, one sentence each.

        Called at discovery. The default finds nothing wrong; `cloudstate_core.spec_checks` has the
        checks that most kinds need.
        """
        del entity
        return ()
