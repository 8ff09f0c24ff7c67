"""A real server that is away, goes away, comes back, or has a node that is too slow."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
import structlog
from nats.aio.client import Client

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import SettingsError, TransportUnavailable
from cloudstate_core.testing.transport_contract import Heard
from cloudstate_nats import NatsBackend, NatsSettings
from cloudstate_nats.backend import servers_of
from cloudstate_nats.testing import NatsServer, start_nats_server
from cloudstate_nats.transport import NatsTransport

QUICK = NatsSettings(reconnect_wait_s=0.01)


def connect(address: str, node: str, settings: NatsSettings = QUICK):
    return NatsBackend().open(settings, address, node, SystemClock())


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def test_a_server_that_is_not_there_is_an_error_that_says_what_to_do() -> None:
    address = f"nats://joe:secret@127.0.0.1:{free_port()}"
    settings = NatsSettings(connect_timeout_s=0.2, reconnect_wait_s=0.01)

    with pytest.raises(TransportUnavailable) as failed:
        async with connect(address, "a", settings):
            pass

    assert "nats://127.0.0.1" in str(failed.value)
    assert "nats-server" in str(failed.value)
    assert "--transport" in str(failed.value)
    assert "secret" not in str(failed.value)


async def test_a_server_that_starts_a_little_later_is_waited_for(server: NatsServer) -> None:
    server.stop()
    starting = asyncio.create_task(asyncio.to_thread(server.start))

    async with connect(server.address, "a") as a:
        assert a.node == "a"
    await starting


async def test_a_server_that_refuses_the_credentials_is_an_error() -> None:
    settings = NatsSettings(connect_timeout_s=0.5, reconnect_wait_s=0.01)
    with start_nats_server("--user", "joe", "--pass", "right") as guarded:
        right = guarded.address.replace("//", "//joe:right@")
        async with connect(right, "a", settings):
            pass
        with pytest.raises(TransportUnavailable, match=r"(?i)authorization"):
            async with connect(guarded.address, "a", settings):
                pass


@pytest.mark.parametrize(
    "address",
    ["nats://", "nats://:4222", "nats://a:b", "nats://a:99999", "nats://a/b", "nats://a,,b"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="nats://HOST:PORT"):
        servers_of(address)


def test_several_servers_of_one_cluster_can_be_named() -> None:
    assert servers_of("nats://a:1,b,nats://c:3") == ["nats://a:1", "nats://b", "nats://c:3"]


@pytest.mark.parametrize("key", ["credentials_file", "ca_file", "cert_file"])
async def test_a_file_that_is_not_there_is_named(server: NatsServer, key: str) -> None:
    settings = NatsSettings(**{key: "nowhere.pem"})

    with pytest.raises(SettingsError, match=rf"{key}.*nowhere\.pem"):
        async with connect(server.address, "a", settings):
            pass


async def test_while_the_server_is_away_messages_are_lost_and_nothing_is_raised(
    server: NatsServer,
) -> None:
    heard, told = Heard(), asyncio.Event()
    async with (
        connect(server.address, "a") as a,
        connect(server.address, "b") as b,
        b.listen("t", heard),
    ):
        with a.on_gap(told.set), structlog.testing.capture_logs() as logged:
            server.stop()
            for _ in range(1000):
                await a.send("b", "t", b"x" * 10_000)
                await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(20):
                await told.wait()
                while ("a", b"last") not in heard.messages:
                    await a.send("b", "t", b"last")
                    await asyncio.sleep(0.01)

    events = [entry["event"] for entry in logged]
    assert events.count("nats_disconnected") == events.count("nats_reconnected") == 2
    assert "xxx" not in repr(logged)


async def test_a_topic_that_is_listened_to_while_the_server_is_away_is_heard_afterwards(
    server: NatsServer,
) -> None:
    heard, told = Heard(), asyncio.Event()
    async with connect(server.address, "a") as a, connect(server.address, "b") as b:
        with b.on_gap(told.set):
            server.stop()
            async with asyncio.timeout(20):
                while b._client.is_connected:
                    await asyncio.sleep(0.01)
            async with b.listen("t", heard):
                await asyncio.to_thread(server.start)
                async with asyncio.timeout(20):
                    await told.wait()
                    while not heard.messages:
                        await a.broadcast("t", b"back")
                        await asyncio.sleep(0.01)

    assert set(heard.messages) == {("a", b"back")}


async def test_a_node_that_is_too_slow_is_told_of_the_gap_and_goes_on(server: NatsServer) -> None:
    heard, told = Heard(), asyncio.Event()
    slow = NatsSettings(max_pending_messages=5)
    async with (
        connect(server.address, "a") as a,
        connect(server.address, "b", slow) as b,
        b.listen("t", heard),
    ):
        with b.on_gap(told.set):
            for number in range(2000):
                await a.send("b", "t", b"%d" % number)
            async with asyncio.timeout(20):
                await told.wait()
        assert len(heard.messages) < 2000
        async with asyncio.timeout(20):
            while ("a", b"later") not in heard.messages:
                await a.send("b", "t", b"later")
                await asyncio.sleep(0.01)


async def test_a_node_that_is_fast_enough_is_told_of_no_gap(server: NatsServer) -> None:
    heard, told = Heard(), asyncio.Event()
    async with (
        connect(server.address, "a") as a,
        connect(server.address, "b") as b,
        b.listen("t", heard),
    ):
        with b.on_gap(told.set):
            for number in range(2000):
                await a.send("b", "t", b"%d" % number)
            await heard.until(2000)

        assert not told.is_set()


async def test_garbage_on_a_subject_is_reported_and_harms_nothing(server: NatsServer) -> None:
    heard = Heard()
    stranger = Client()
    await stranger.connect(server.address)
    async with (
        connect(server.address, "a") as a,
        connect(server.address, "b") as b,
        b.listen("t", heard),
    ):
        with structlog.testing.capture_logs() as logged:
            for garbage in (b"", b"hello", b"\x02\x01a" + b"\xff" * 24, b"\x01\x00"):
                await stranger.publish("cloudstate.to.b.t", garbage)
                await stranger.publish("cloudstate.all.t", garbage)
            await stranger.flush()
            await a.send("b", "t", b"fine")
            assert await heard.until(1) == [("a", b"fine")]
    await stranger.close()

    # Once, and not once for each.
    assert [entry["event"] for entry in logged] == ["nats_message_not_understood"]


async def test_clusters_with_different_prefixes_do_not_hear_each_other(server: NatsServer) -> None:
    heard_one, heard_other = Heard(), Heard()
    one, other = NatsSettings(subject_prefix="one"), NatsSettings(subject_prefix="other.shop")
    async with (
        connect(server.address, "a", one) as a,
        connect(server.address, "b", one) as b,
        connect(server.address, "b", other) as stranger,
        b.listen("t", heard_one),
        stranger.listen("t", heard_other),
    ):
        await a.send("b", "t", b"1")
        await a.broadcast("t", b"2")
        assert await heard_one.until(2) == [("a", b"1"), ("a", b"2")]

    assert heard_other.messages == []


@pytest.mark.parametrize("prefix", ["", ".", "a..b", "a b", "a.*", ">"])
def test_a_prefix_that_cannot_begin_a_subject_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="subject_prefix"):
        NatsSettings(subject_prefix=prefix)


async def test_a_connection_that_the_server_ends_with_an_error_is_made_anew(
    server: NatsServer,
) -> None:
    heard, told = Heard(), asyncio.Event()
    async with (
        connect(server.address, "a") as a,
        connect(server.address, "b") as b,
        b.listen("t", heard),
    ):
        with b.on_gap(told.set), structlog.testing.capture_logs() as logged:
            given_up = b._client
            given_up._transport.write(b"NONSENSE\r\n")
            async with asyncio.timeout(20):
                await told.wait()
        assert given_up.is_closed  # a control: the client does not connect again by itself
        await a.send("b", "t", b"1")
        await a.broadcast("t", b"2")
        assert await heard.until(2) == [("a", b"1"), ("a", b"2")]
        async with b.listen("later", heard):
            await a.broadcast("later", b"3")
            await heard.until(3)

    assert [entry["event"] for entry in logged] == [
        "nats_disconnected",
        "nats_connection_closed",
        "nats_reconnected",
    ]


async def test_closing_while_the_server_hangs_ends_in_time(server: NatsServer) -> None:
    async def send_on(node) -> None:
        while True:
            await node.send("b", "t", b"x" * 1_000_000)
            await asyncio.sleep(0)

    async with asyncio.timeout(10), connect(server.address, "a") as a:
        server.pause()
        sending = asyncio.create_task(send_on(a))
        while a._client.pending_data_size < QUICK.max_buffered_bytes:
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    server.resume()


async def test_a_server_that_says_nothing_is_an_error() -> None:
    async def say_nothing(_reader, writer) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = mute.sockets[0].getsockname()[1]
    settings = NatsSettings(connect_timeout_s=0.2)

    with pytest.raises(TransportUnavailable, match="no answer"):
        async with connect(f"nats://127.0.0.1:{port}", "a", settings):
            pass
    over.set()
    mute.close()


@pytest.mark.parametrize(
    "address", ["nats://joe:se,cret@a:b", "nats://joe:secret@a/b", "nats://joe:se@cret@a:b"]
)
def test_what_is_secret_in_an_address_that_is_refused_is_not_shown(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        servers_of(address)

    assert not {"joe", "se", "cret"} & set(re.findall(r"\w+", str(refused.value)))


@pytest.mark.parametrize(
    "limits", [{"max_pending_bytes": 65_536}, {"max_incomplete_bytes": 20_000_000}]
)
def test_limits_that_let_no_longest_message_pass_are_refused(limits: dict[str, int]) -> None:
    (key,) = limits
    with pytest.raises(ValueError, match=key):
        NatsSettings(**limits)


async def test_what_is_sent_as_soon_as_somebody_listens_again_arrives(server: NatsServer) -> None:
    async with connect(server.address, "a") as a, connect(server.address, "b") as b:
        for number in range(200):
            heard = Heard()
            async with b.listen("t", heard):
                await a.broadcast("t", b"%d" % number)
                assert await heard.until(1) == [("a", b"%d" % number)]


async def test_a_client_that_takes_its_cancellation_for_a_failure_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stubborn(self: NatsTransport) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionRefusedError("nobody there") from None

    monkeypatch.setattr(NatsTransport, "begin", stubborn)
    settings = NatsSettings(connect_timeout_s=0.05, reconnect_wait_s=0.01)

    with pytest.raises(TransportUnavailable, match="nobody there"):
        async with connect(f"nats://127.0.0.1:{free_port()}", "a", settings):
            pass


async def lose_the_server_and_die(client: Client, server: NatsServer) -> None:
    """Restart the server, and let the client die of an error of its own as soon as it looks."""
    client._server_pool = None  # type: ignore[assignment]  # what it shuffles first
    await asyncio.to_thread(server.restart)
    async with asyncio.timeout(20):
        while client._reconnection_task is None or not client._reconnection_task.done():
            await asyncio.sleep(0.01)
    assert isinstance(client._reconnection_task.exception(), TypeError)


@pytest.mark.parametrize("renew_after_s", [0.5, 3600.0])
async def test_a_client_that_has_died_unnoticed_is_replaced(renew_after_s: float) -> None:
    heard, told = Heard(), asyncio.Event()
    settings = NatsSettings(reconnect_wait_s=0.01, renew_after_s=renew_after_s)
    with start_nats_server() as server, structlog.testing.capture_logs() as logged:
        async with (
            connect(server.address, "a") as a,
            connect(server.address, "b", settings) as b,
            b.listen("t", heard),
        ):
            with a.on_gap(told.set):
                await lose_the_server_and_die(b._client, server)
                async with asyncio.timeout(20):
                    await told.wait()
            if renew_after_s > 1:  # a control: by itself it stays dead, while the other is back
                assert not b._client.is_connected
                return
            async with asyncio.timeout(20):
                while ("a", b"back") not in heard.messages:
                    await a.send("b", "t", b"back")
                    await asyncio.sleep(0.01)

    events = [each["event"] for each in logged if each.get("node") == "b"]
    assert events[-3:] == ["nats_disconnected", "nats_client_replaced", "nats_reconnected"]


async def test_a_server_that_is_away_for_long_is_found_by_a_new_client() -> None:
    told = asyncio.Event()
    settings = NatsSettings(reconnect_wait_s=0.01, renew_after_s=0.1)
    with start_nats_server() as server, structlog.testing.capture_logs() as logged:
        async with connect(server.address, "a", settings) as a:
            with a.on_gap(told.set):
                server.stop()
                async with asyncio.timeout(20):
                    while "nats_client_replaced" not in [each["event"] for each in logged]:
                        await asyncio.sleep(0.01)
                await asyncio.to_thread(server.start)
                async with asyncio.timeout(20):
                    await told.wait()
            assert a._client.is_connected

    assert [each["event"] for each in logged].count("nats_reconnected") == 1


async def test_a_client_that_is_replaced_while_the_node_stops_does_not_hold_it_up() -> None:
    settings = NatsSettings(reconnect_wait_s=0.01, renew_after_s=0.1)
    with start_nats_server() as server, structlog.testing.capture_logs() as logged:
        async with asyncio.timeout(10), connect(server.address, "a", settings):
            server.stop()
            while "nats_client_replaced" not in [each["event"] for each in logged]:
                await asyncio.sleep(0.01)
