"""How a value entity is driven in the runtime: store, user function, clock."""

from __future__ import annotations

from collections.abc import Mapping

from cloudstate.value_entity_pb2 import ValueEntityStreamIn, ValueEntityStreamOut
from cloudstate_core.drive import Driver
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CloudstateError, UserFunctionError
from cloudstate_core.exchange import Exchange
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.links import Rpc
from cloudstate_core.store import DeleteValue, EntityKey, PutValue, Write
from cloudstate_kv.machine import (
    CommandArrived,
    Commit,
    Committed,
    Crash,
    Delete,
    InitSent,
    Input,
    Instruction,
    LoadValue,
    Opening,
    Put,
    ReplyArrived,
    SendCommand,
    SendInit,
    ValueLoaded,
    ValueMachine,
)

__all__ = ["HANDLE", "ValueEngine"]

#: The protocol's method for this kind.
HANDLE: Rpc[ValueEntityStreamIn, ValueEntityStreamOut] = Rpc(
    "/cloudstate.valueentity.ValueEntity/handle", ValueEntityStreamIn, ValueEntityStreamOut
)


class ValueEngine:
    """One activation of one entity."""

    def __init__(
        self,
        entity: DeployedEntity,
        entity_id: str,
        host: RuntimeHost,
        output_type_urls: Mapping[str, str],
    ) -> None:
        """Prepare; `open` starts.

        Args:
            entity: The service.
            entity_id: Which entity.
            host: What the runtime offers.
            output_type_urls: For each command, the type its reply must have.
        """
        self._key = EntityKey(entity.persistence_id, entity_id)
        self._host = host
        self._exchange = Exchange(host.link.open_stream(HANDLE), host.clock, host.relay_timeout_s)
        self._machine = ValueMachine(entity.service_name, entity_id, output_type_urls)
        self._driver: Driver[Input, Instruction] = Driver(self._machine, self._perform)
        self._request: Request | None = None
        self._outcome: Outcome | None = None

    @property
    def version(self) -> int:
        """Return the revision of the value."""
        return self._machine.revision

    async def open(self) -> None:
        """Bring the user function to the state that the store holds."""
        await self._driver.run(Opening())

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command."""
        self._request = request
        await self._driver.run(CommandArrived(request.command, request.payload, request.metadata))
        outcome, self._outcome, self._request = self._outcome, None, None
        assert outcome is not None, "every command ends with an answer or an exception"
        return outcome

    def fault(self) -> CloudstateError | None:
        """Return what came of the stream after the last reply."""
        return self._exchange.unasked()

    async def aclose(self) -> None:
        """End the stream."""
        await self._exchange.aclose()

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case SendCommand(message):
                return ReplyArrived(await self._exchange.ask(message))
            case Commit():
                await self._commit(instruction)
                return Committed()
            case LoadValue():
                stored = await self._host.store.value(self._key)
                return ValueLoaded(stored.revision, stored.value)
            case SendInit(message):
                last_words = await self._exchange.tell(message)
                return InitSent() if last_words is None else ReplyArrived(last_words)
            case Crash(reason, detail):
                raise UserFunctionError(reason, detail=detail)

    async def _commit(self, commit: Commit) -> None:
        assert self._request is not None
        self._outcome = await self._host.commit(
            self._request,
            self._key,
            _writes(commit.change),
            Outcome(commit.action, commit.side_effects, version=commit.revision),
        )


def _writes(change: Put | Delete | None) -> tuple[Write, ...]:
    match change:
        case Put(expected_revision, value):
            return (PutValue(expected_revision, value),)
        case Delete(expected_revision):
            return (DeleteValue(expected_revision),)
        case None:
            return ()
