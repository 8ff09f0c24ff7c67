"""Records what a runtime says to a user function in its own process, where there is no wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.links import (
    CallMethod,
    Conversation,
    ConversationMethod,
    ProtocolMethod,
    Write,
)
from cloudstate_tck.recorder import CANCELLED, Connection, Ended, Recorder

__all__ = ["RecordedFunction"]


class RecordedFunction(UserFunction):
    """A user function that does what another one does, and is overheard."""

    def __init__(self, function: UserFunction, recorder: Recorder) -> None:
        """Stand in front of `function`, which has been checked when it was made."""
        self.entities = function.entities
        self.service_name = function.service_name
        self.service_version = function.service_version
        self.caller = function.caller
        self.methods: Mapping[str, ProtocolMethod] = {
            path: _overheard(method, recorder) for path, method in function.methods.items()
        }
        self._function = function
        self._recorder = recorder

    def spec(self, proxy: ProxyInfo) -> EntitySpec:
        spec = self._function.spec(proxy)
        self._recorder.discovered(proxy, spec)
        return spec

    def report_error(self, message: str) -> None:
        self._recorder.reported(message)
        self._function.report_error(message)


def _overheard(method: ProtocolMethod, recorder: Recorder) -> ProtocolMethod:
    if isinstance(method, ConversationMethod):
        return ConversationMethod(method.rpc, partial(_Overheard, method, recorder))
    return CallMethod(method.rpc, partial(_overheard_call, method, recorder))


async def _overheard_call(
    method: CallMethod, recorder: Recorder, messages: AsyncIterator[Message]
) -> AsyncGenerator[Message, None]:
    """Serve one call of a recorded function."""
    connection = recorder.opened(method.rpc.path)
    ending = Ended(CANCELLED)
    try:
        async with aclosing(method.serve(_OverheardMessages(method, connection, messages))) as said:
            async for message in said:
                connection.outgoing(_copied(message))
                if not method.rpc.server_streaming:
                    ending = Ended()  # nobody asks for more
                yield message
        ending = Ended()
    except Exception as error:
        ending = Ended(f"{type(error).__name__}: {error}")
        raise
    finally:
        connection.outgoing(ending)


class _OverheardMessages(AsyncIterator[Message]):
    """What the runtime sends in one call of a recorded function."""

    def __init__(
        self, method: CallMethod, connection: Connection, messages: AsyncIterator[Message]
    ) -> None:
        self._streams = method.rpc.client_streaming
        self._connection = connection
        self._messages = messages

    async def __anext__(self) -> Message:
        try:
            message = await anext(self._messages)
        except StopAsyncIteration:
            if self._streams:
                self._connection.incoming(Ended())
            raise
        self._connection.incoming(_copied(message))
        if not self._streams:
            self._connection.incoming(Ended())
        return message


class _Overheard:
    """One stream of a recorded function."""

    def __init__(
        self, method: ConversationMethod, recorder: Recorder, write: Write[Message]
    ) -> None:
        self._connection = recorder.opened(method.rpc.path)
        self._write = write
        self._conversation: Conversation = method.open(self._answer)
        self._is_closed = False
        self.ended = False

    async def receive(self, message: Message, /) -> None:
        self._connection.incoming(_copied(message))
        await self._conversation.receive(message)
        self.ended = self._conversation.ended

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._connection.incoming(Ended())
            await self._conversation.aclose()
            self._connection.outgoing(Ended())

    async def _answer(self, message: Message) -> None:
        self._connection.outgoing(_copied(message))
        await self._write(message)


def _copied(message: Message) -> Message:
    # Both ends hold the same object, and either may change it later.
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
