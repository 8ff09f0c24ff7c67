"""The smallest proxy for the model value entities that does everything right.

It keeps values in memory and trusts the user function; it is what negative controls are derived
from: subclasses break one rule each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from google.protobuf.message import Message

from cloudstate.value_entity_pb2 import ValueEntityReply, ValueEntityStreamIn
from cloudstate_core.links import Rpc
from cloudstate_tck.model.valueentity_pb2 import Persisted, Request, Response
from cloudstate_tck.protocol import VALUE_ENTITY
from cloudstate_tck.scripted.proxy import Activation, ScriptedProxy
from cloudstate_tck.scripted.proxy_server import Front
from cloudstate_tck.value_entity_messages import MODEL, command, init

__all__ = ["StoredValue", "ValueFront", "ValueProxy"]


@dataclass(slots=True)
class StoredValue:
    """What is stored of one entity; None if nothing is."""

    value: str | None = None


class ValueProxy(ScriptedProxy):
    """Entities with their values; one command at a time for each."""

    rpc: ClassVar[Rpc[Any, Any]] = VALUE_ENTITY
    request_class: ClassVar[type[Any]] = Request
    response_class: ClassVar[type[Any]] = Response

    def new_journal(self) -> StoredValue:
        return StoredValue()

    def start(
        self, service: str, entity_id: str, journal: StoredValue
    ) -> list[ValueEntityStreamIn]:
        return [init(service, entity_id, journal.value)]

    def command(
        self, entity_id: str, activation: Activation, name: str, request: Request
    ) -> Message:
        activation.command_id += 1
        return command(entity_id, activation.command_id, request, name)

    def store(self, journal: StoredValue, reply: ValueEntityReply) -> None:
        """Keep or drop the value as a reply says."""
        match reply.state_action.WhichOneof("action"):
            case "update":
                packed = reply.state_action.update.value
                journal.value = Persisted.FromString(packed.value).value
            case "delete":
                journal.value = None


class ValueFront(Front):
    """How clients of value entities are answered."""

    model: ClassVar[str] = MODEL
    model_prefix: ClassVar[str] = "/tck/model/entity/"
