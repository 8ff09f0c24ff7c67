"""A chat kind behind a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from chat_kind.entity import TALK, Chat, ChatEntity
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings


@dataclass(frozen=True)
class Served:
    """A host, and a proxy's channel to it."""

    server: HostServer
    channel: aio.Channel

    def talk(self) -> Any:
        """Open a stream to a new chat."""
        return self.channel.stream_stream(
            TALK.path, StringValue.SerializeToString, StringValue.FromString
        )()


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(plugins: Plugins) -> Serve:
    """Returns what serves a chat on a free port; settings are keywords."""
    Chat.closed["count"] = Chat.written["count"] = 0
    Chat.waiting.clear()

    @asynccontextmanager
    async def serve(**settings: object) -> AsyncIterator[Served]:
        function = UserFunction([ChatEntity()], plugins)
        chosen = replace(HostSettings(port=0), **settings)  # type: ignore[arg-type]
        async with open_server(function, chosen) as server:
            options = [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
            ]
            async with aio.insecure_channel(server.address, options=options) as channel:
                yield Served(server, channel)

    return serve
