"""The methods that gRPC clients can call, at the moment of each call."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import NoReturn

import structlog
from google.protobuf.any_pb2 import Any as PackedAny

from cloudstate.entity_pb2 import ClientAction, Reply
from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.waiting import with_waiting
from cloudstate_runtime.frontend.calls import Calls, Refusal
from cloudstate_runtime.frontend.conditions import conditions_of, may_have_versions
from cloudstate_runtime.frontend.grpc.call import Call, Conversation, Method, Unary
from cloudstate_runtime.frontend.grpc.status import ETAG, Aborted, failure_refusal
from cloudstate_runtime.frontend.grpc.wire import condition_headers, metadata_of, waiting_headers
from cloudstate_runtime.frontend.headers import grpc_headers

__all__ = ["MethodTable"]

log = structlog.get_logger()

#: Longer names are cut in the text that a client gets back.
_MAX_SHOWN_CHARACTERS = 200


class MethodTable:
    """Finds the method for a path; what is served may change between two calls.

    Args:
        host: What is served, and where requests go.
        calls: Tells what clients see of failures.
        own: Methods of the front end itself, by path.
    """

    def __init__(self, host: FrontEndHost, calls: Calls, own: Mapping[str, Method]) -> None:
        self._host = host
        self._calls = calls
        self._own = own
        self._revision: int | None = None
        self._methods: dict[str, Method] = {}

    def find(self, path: str) -> Method:
        """Return the method at a path; one that refuses every call if there is none."""
        served = self._host.served
        if served.revision != self._revision:
            self._methods = {
                f"/{entity.service_name}/{method.name}": self._method(entity, method)
                for entity in served.entities.values()
                for method in entity.methods.values()
            }
            self._methods.update(self._own)
            self._revision = served.revision
        return self._methods.get(path) or self._unknown(path)

    def is_command(self, path: str) -> bool:
        """Return whether the method at a path is one of a user function."""
        self.find(path)  # which brings the table up to date
        return path in self._methods and path not in self._own

    def _method(self, entity: DeployedEntity, method: DeployedMethod) -> Method:
        if method.client_streaming or method.server_streaming:
            return Conversation(
                self._streaming(entity, method),
                takes_one=not method.client_streaming,
                may_finish=True,
            )
        return Unary(self._unary(entity, method))

    def _unknown(self, path: str) -> Method:
        service, _, command = path[1:].partition("/")
        served = service in self._host.served.entities
        what = f"method {command!r} of {service!r}" if served else f"service {service!r}"
        if len(what) > _MAX_SHOWN_CHARACTERS:
            what = what[:_MAX_SHOWN_CHARACTERS] + "…"
        return _refusing(f"{what} is not served here")

    def _unary(
        self, entity: DeployedEntity, method: DeployedMethod
    ) -> Callable[[Call, bytes], Awaitable[bytes]]:
        # Everything that is the same for every call is looked up here, once.
        service, command, type_url = entity.service_name, method.name, method.input_type_url
        handle, versions = self._host.handler.handle, may_have_versions(method)

        async def answer(call: Call, payload: bytes) -> bytes:
            metadata, waiting = metadata_of(call.headers), waiting_headers(call.headers)
            outcome = await handle(
                Request(
                    service,
                    command,
                    PackedAny(type_url=type_url, value=payload),
                    with_waiting(metadata, waiting) if waiting else metadata,
                    call.deadline_s,
                    conditions=_conditions(call, versions=versions),
                    waiting=waiting,
                    departure=call,
                )
            )
            action = outcome.action
            if not action.HasField("reply"):
                self._abort(outcome, service, command)
            reply = action.reply
            if reply.HasField("metadata"):
                call.reply_headers += _headers(reply.metadata)
            if outcome.version is not None:
                _put_version(call.reply_headers, outcome.version)
            return reply.payload.value

        return answer

    def _streaming(
        self, entity: DeployedEntity, method: DeployedMethod
    ) -> Callable[[Call], Awaitable[None]]:
        service, command, type_url = entity.service_name, method.name, method.input_type_url

        def request_of(call: Call) -> Request:
            streams = method.client_streaming
            return Request(
                service,
                command,
                PackedAny() if streams else PackedAny(type_url=type_url, value=call.only_message()),
                metadata_of(call.headers),
                None if call.deadline_s == math.inf else call.deadline_s,
                messages=_Messages(call, type_url) if streams else None,
                conditions=_conditions(call, versions=False),
            )

        async def hold(call: Call) -> None:
            async with aclosing(self._host.handler.stream(request_of(call))) as outcomes:
                action = ClientAction()
                # Nothing is asked for before the client has room for what came before.
                async for outcome in outcomes:
                    action = outcome.action
                    if action.HasField("reply"):
                        await self._element(call, action.reply)
                        if not method.server_streaming:
                            return
                    elif action.HasField("failure"):
                        raise Aborted(failure_refusal(action.failure))
            if not method.server_streaming:
                raise Aborted(self._calls.no_reply(action, service, command))

        return hold

    async def _element(self, call: Call, reply: Reply) -> None:
        if not call.sent_headers and reply.HasField("metadata"):
            call.reply_headers += _headers(reply.metadata)
        await call.write(reply.payload.value)

    def _abort(self, outcome: Outcome, service: str, command: str) -> NoReturn:
        action = outcome.action
        if action.HasField("failure"):
            raise Aborted(failure_refusal(action.failure))
        raise Aborted(self._calls.no_reply(action, service, command))


class _Messages(AsyncIterator[PackedAny]):
    """What a client sends, one message after another, when it is asked for."""

    def __init__(self, call: Call, type_url: str) -> None:
        self._call = call
        self._type_url = type_url

    async def __anext__(self) -> PackedAny:
        payload = await self._call.read()
        if payload is None:
            raise StopAsyncIteration
        return PackedAny(type_url=self._type_url, value=payload)


def _conditions(call: Call, *, versions: bool) -> Conditions | None:
    found = condition_headers(call.headers)
    return conditions_of(found, versions=versions) if found else None


def _put_version(headers: list[tuple[bytes, bytes]], version: int) -> None:
    """Say which version the entity has; what its user function calls so would be another."""
    headers[:] = [each for each in headers if each[0] != ETAG]
    headers.append((ETAG, b"%d" % version))


def _headers(metadata: WireMetadata) -> list[tuple[bytes, bytes]]:
    headers = []
    for name, value in grpc_headers(metadata):
        if value is None:
            log.warning("reply_header_dropped", name=name)
        else:
            headers.append((name.encode(), value.encode()))
    return headers


def _refusing(reason: str) -> Method:
    """Return a method that is refused before its message is read, however it is called."""

    async def refuse(call: Call) -> None:
        raise Aborted(Refusal(Status.UNIMPLEMENTED, reason))

    return Conversation(refuse)
