"""A kind whose entities talk in texts: each command is sent over the entity's stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

from google.protobuf.wrappers_pb2 import StringValue

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import CloudstateError, DeadlineExceeded
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import ProtocolMethod
from cloudstate_core.spec_checks import keyless_methods, streamed_methods
from runtime_doubles.functions import TALK
from runtime_doubles.specs import TOY


class ToyEngine:
    """Asks the user function, and answers with what it says."""

    def __init__(self, host: RuntimeHost, entity_id: str) -> None:
        self._host = host
        self._entity_id = entity_id
        self._stream = host.link.open_stream(TALK)

    async def open(self) -> None: ...

    async def handle(self, request: Request) -> Outcome:
        question = StringValue(value=self._entity_id)
        try:
            answer = await self._stream.ask(question, self._host.relay_timeout_s)
        except TimeoutError:
            raise DeadlineExceeded("the user function did not answer in time") from None
        action = ClientAction()
        action.reply.payload.value = answer.value.encode()
        return Outcome(action)

    def fault(self) -> CloudstateError | None:
        return self._stream.unasked()

    async def aclose(self) -> None:
        await self._stream.aclose()


class ToyKind(EntityKind):
    """Checks services as most kinds do.

    Attributes:
        opened: The services that were opened, in order.
    """

    name: ClassVar[str] = "toy"
    entity_type: ClassVar[str] = TOY

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.open_error: Exception | None = None

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> Sequence[ProtocolMethod]:
        return ()

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        error, self.open_error = self.open_error, None
        if error is not None:
            raise error
        self.opened.append(entity.service_name)
        return host.region(entity, partial(ToyEngine, host))

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from streamed_methods(entity)
        yield from keyless_methods(entity)
