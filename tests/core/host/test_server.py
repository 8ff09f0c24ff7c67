from __future__ import annotations

import socket

import grpc
import pytest
from chat_kind.entity import ChatEntity
from grpc import aio

from cloudstate.entity_pb2 import ProxyInfo, UserFunctionError
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub
from cloudstate_core.errors import ConfigurationError
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings

PROXY = ProxyInfo(protocol_minor_version=2, supported_entity_types=["test.chat.Chat"])


async def test_a_proxy_discovers_what_is_served(serve) -> None:
    async with serve() as served:
        spec = await EntityDiscoveryStub(served.channel).discover(PROXY)

    assert [entity.service_name for entity in spec.entities] == ["example.chat.Room"]
    assert spec.service_info.protocol_minor_version == 2


async def test_an_error_that_a_proxy_reports_is_logged(serve, logged) -> None:
    async with serve() as served:
        await EntityDiscoveryStub(served.channel).reportError(UserFunctionError(message="why"))

    assert {"event": "proxy_reports_error", "message": "why", "log_level": "error"} in logged


async def test_what_is_not_served_is_unimplemented(serve) -> None:
    async with serve() as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.channel.unary_unary("/test.chat.Chat/other")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_no_proxy_info_is_refused(serve) -> None:
    async with serve() as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.channel.unary_unary("/cloudstate.EntityDiscovery/discover")(b"\xff")

    assert "Traceback" not in (caught.value.details() or "")


async def test_port_zero_takes_a_free_port_and_says_which(serve) -> None:
    async with serve() as one, serve() as other:
        assert one.server.port not in (0, other.server.port)
        assert one.server.address == f"127.0.0.1:{one.server.port}"


async def test_it_serves_on_ipv6(serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    async with serve(host="::1") as served:
        assert served.server.address == f"[::1]:{served.server.port}"
        assert (await EntityDiscoveryStub(served.channel).discover(PROXY)).entities


async def refusal(plugins: Plugins, host: str, port: int) -> str:
    function = UserFunction([ChatEntity()], plugins)
    with pytest.raises(ConfigurationError) as caught:
        async with open_server(function, HostSettings(host=host, port=port)):
            pytest.fail("it listens")
    return str(caught.value)


async def test_a_port_in_use_is_a_clear_error(plugins: Plugins) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        message = await refusal(plugins, "127.0.0.1", port)

    assert message == f"cannot listen on '127.0.0.1', port {port}: port is in use"


async def test_a_second_host_cannot_take_a_part_of_the_first_ones_port(serve, plugins) -> None:
    async with serve() as served:
        assert "port is in use" in await refusal(plugins, "127.0.0.1", served.server.port)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "no interface of this machine has that address"),
        ("no-such-host.invalid", "unknown host"),
        ("a..b", "cannot listen on 'a..b'"),
        ("x" * 300, "cannot listen on"),
    ],
)
async def test_an_address_that_is_not_ours_is_a_clear_error(
    plugins: Plugins, host: str, expected: str
) -> None:
    assert expected in await refusal(plugins, host, 0)


async def test_the_port_is_free_again_in_the_end(serve) -> None:
    async with serve() as served:
        port = served.server.port

    async with serve(port=port) as again:
        assert again.server.port == port


async def test_listening_beyond_loopback_is_a_reason_to_warn(plugins: Plugins, logged) -> None:
    function = UserFunction([ChatEntity()], plugins)

    async with open_server(function, HostSettings(host="127.0.0.2", port=0)):
        assert "listens_beyond_loopback" not in [entry["event"] for entry in logged]
    async with open_server(function, HostSettings(host="0.0.0.0", port=0)):
        assert "listens_beyond_loopback" in [entry["event"] for entry in logged]


async def test_metadata_above_its_limit_is_refused(serve) -> None:
    async with serve() as served:
        discover = EntityDiscoveryStub(served.channel).discover

        await discover(PROXY, metadata=[("x", "v" * 12_000)])
        with pytest.raises(aio.AioRpcError) as caught:
            await discover(PROXY, metadata=[("x", "v" * 40_000)])

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
