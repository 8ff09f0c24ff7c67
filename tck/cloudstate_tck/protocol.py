"""The methods that a user function serves and a proxy calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate.crdt_pb2 import CrdtStreamIn, CrdtStreamOut
from cloudstate.entity_pb2 import EntitySpec, ProxyInfo, UserFunctionError
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn, EventSourcedStreamOut
from cloudstate.value_entity_pb2 import ValueEntityStreamIn, ValueEntityStreamOut
from cloudstate_core.links import Rpc

__all__ = [
    "ACTION",
    "ACTION_STREAMED",
    "ACTION_STREAMED_IN",
    "ACTION_STREAMED_OUT",
    "ACTION_UNARY",
    "CRDT",
    "DISCOVER",
    "ENTITY_TYPES",
    "EVENT_SOURCED",
    "METHODS",
    "PROTOCOL_VERSION",
    "REPORT_ERROR",
    "VALUE_ENTITY",
]

#: The version of the protocol that these cases examine: major, minor.
PROTOCOL_VERSION = (0, 2)

DISCOVER = Rpc("/cloudstate.EntityDiscovery/discover", ProxyInfo, EntitySpec)
REPORT_ERROR = Rpc("/cloudstate.EntityDiscovery/reportError", UserFunctionError, Empty)
EVENT_SOURCED = Rpc(
    "/cloudstate.eventsourced.EventSourced/handle", EventSourcedStreamIn, EventSourcedStreamOut
)
VALUE_ENTITY = Rpc(
    "/cloudstate.valueentity.ValueEntity/handle", ValueEntityStreamIn, ValueEntityStreamOut
)
CRDT = Rpc("/cloudstate.crdt.Crdt/handle", CrdtStreamIn, CrdtStreamOut)


def _action(name: str, *, client: bool, server: bool) -> Rpc[ActionCommand, ActionResponse]:
    path = f"/cloudstate.action.ActionProtocol/{name}"
    return Rpc(path, ActionCommand, ActionResponse, client, server)


ACTION_UNARY = _action("handleUnary", client=False, server=False)
ACTION_STREAMED_IN = _action("handleStreamedIn", client=True, server=False)
ACTION_STREAMED_OUT = _action("handleStreamedOut", client=False, server=True)
ACTION_STREAMED = _action("handleStreamed", client=True, server=True)
ACTION = (ACTION_UNARY, ACTION_STREAMED_IN, ACTION_STREAMED_OUT, ACTION_STREAMED)


def _listed(*methods: Rpc[Any, Any]) -> tuple[Rpc[Any, Any], ...]:
    return methods


#: Every method by its path.
METHODS: Mapping[str, Rpc[Any, Any]] = {
    rpc.path: rpc
    for rpc in _listed(DISCOVER, REPORT_ERROR, EVENT_SOURCED, VALUE_ENTITY, CRDT, *ACTION)
}

#: The kinds of entities that protocol 0.2 knows, and the protocol service of each.
ENTITY_TYPES: Mapping[str, str] = {
    "action": ACTION[0].service,
    "crdt": CRDT.service,
    "eventsourced": EVENT_SOURCED.service,
    "kv": VALUE_ENTITY.service,
}
