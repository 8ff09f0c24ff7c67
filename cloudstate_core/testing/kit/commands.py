"""What a test calls an entity with, checked before anything is carried out."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as Any_
from google.protobuf.message import Message

from cloudstate_core.anys import AnyError, pack_message
from cloudstate_core.conditions import checked_command_key, parsed_version
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.handler import Conditions, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.targets import target_of
from cloudstate_core.testing.kit.handled import KitError

__all__ = ["Headers", "called_request", "conditions", "streamed_request"]

#: Headers as a test may write them.
Headers = Metadata | Mapping[str, str | bytes] | None


def _method_named(
    served: Mapping[str, DeployedEntity], service: str, command: Any
) -> tuple[DeployedEntity, DeployedMethod]:
    """Return the method that a test names.

    Args:
        served: The kit's services.
        service: What a bare name is of.
        command: A method of `service` by its bare name, or of any service as
            `cloudstate_core.targets.target_of` takes it.

    Raises:
        KitError: There is no such command.
    """
    if isinstance(command, str) and "/" not in command:
        name = command
    else:
        try:
            target = target_of(command)
        except AnyError as error:
            raise KitError(f"expected the name of a command, found {command!r}") from error
        service, name = target.service, target.command
    entity = served.get(service)
    if entity is None:
        raise KitError(f"the kit has no service {service!r}; it has {', '.join(sorted(served))}")
    method = entity.methods.get(name)
    if method is None:
        near = difflib.get_close_matches(name, entity.methods, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(entity.methods)}"
        raise KitError(f"service {service} has no command {name!r}; {hint}")
    return entity, method


def called_request(
    served: Mapping[str, DeployedEntity],
    service: str,
    command: Any,
    message: Any,
    given: Headers,
    conditions: Conditions | None = None,
) -> Request:
    """Return what a client sends who sends one message and waits for one answer.

    Raises:
        KitError: There is no such command, it streams, or it takes another message.
    """
    entity, method = _method_named(served, service, command)
    if method.client_streaming or method.server_streaming:
        raise KitError(f"{entity.service_name}.{method.name} streams: call it with kit.stream")
    payload = _packed(entity, method, message)
    return Request(
        entity.service_name,
        method.name,
        payload,
        metadata=_headers(given),
        conditions=conditions,
    )


def conditions(key: str | None, if_match: int | str | None) -> Conditions | None:
    """Return the conditions that a client names.

    Raises:
        MalformedRequest: They cannot be such.
    """
    if key is None and if_match is None:
        return None
    return Conditions(
        command_key="" if key is None else checked_command_key(key),
        expected_version=None if if_match is None else parsed_version(str(if_match)),
    )


def streamed_request(
    served: Mapping[str, DeployedEntity], service: str, command: Any, messages: Any, given: Headers
) -> Request:
    """Return what a client sends who sends or receives a stream.

    Raises:
        KitError: There is no such command, it does not stream, or it takes another message. Of a
            stream, each message is looked at when it is taken.
    """
    entity, method = _method_named(served, service, command)
    if not (method.client_streaming or method.server_streaming):
        raise KitError(
            f"{entity.service_name}.{method.name} does not stream: call it with kit.handle"
        )
    metadata = _headers(given)
    if not method.client_streaming:
        payload = _packed(entity, method, messages)
        return Request(entity.service_name, method.name, payload, metadata=metadata)
    if isinstance(messages, Message) or not isinstance(messages, Iterable | AsyncIterable):
        raise KitError(
            f"{entity.service_name}.{method.name} takes a stream: expected an iterable of "
            f"messages, found {_type_of(messages)}"
        )
    stream = _packed_stream(entity, method, messages)
    return Request(entity.service_name, method.name, Any_(), metadata=metadata, messages=stream)


async def _packed_stream(
    entity: DeployedEntity, method: DeployedMethod, messages: Iterable[Any] | AsyncIterable[Any]
) -> AsyncGenerator[Any_, None]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield _packed(entity, method, message)
    else:
        for message in messages:
            yield _packed(entity, method, message)


def _packed(entity: DeployedEntity, method: DeployedMethod, message: Any) -> Any_:
    expected = str(method.input_class.DESCRIPTOR.full_name)
    found = _type_of(message)
    if found != expected:
        raise KitError(
            f"{entity.service_name}.{method.name}: expected a message of type {expected}, "
            f"found {found}"
        )
    return pack_message(message)


def _headers(given: Headers) -> Metadata:
    if isinstance(given, Metadata):
        return given
    return Metadata(given.items()) if given else EMPTY_METADATA


def _type_of(message: Any) -> str:
    if isinstance(message, Message):
        return str(message.DESCRIPTOR.full_name)
    return f"the class {message.__name__}" if isinstance(message, type) else type(message).__name__
