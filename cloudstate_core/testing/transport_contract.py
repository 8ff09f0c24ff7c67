"""What every transport must do, as tests.

Subclass `TransportContract` in the tests of a backend and say how nodes connect::

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def connect(self, server: Server) -> Connect:
            return lambda node: MyBackend().open(MySettings(), server.address, node, SystemClock())

        @pytest.fixture
        def interrupt(self, server: Server) -> Interrupt:
            return server.restart

Each test has nodes of its own names; nobody else is connected. Between them nothing goes wrong but
what the test does, so that what is sent arrives.

The tests need pytest and pytest-asyncio with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from cloudstate_core.transport import Transport

__all__ = ["Connect", "Interrupt", "TransportContract"]

#: Connects a node of a name, while the context is open.
Connect = Callable[[str], AbstractAsyncContextManager[Transport]]

#: Interrupts the connections of all nodes; when it returns, they are being made anew.
Interrupt = Callable[[], Awaitable[None]]

#: How long anything may take to arrive, in seconds.
_PATIENCE_S = 20.0

_TOPIC = "talk"


class Heard:
    """What a node was sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._more = asyncio.Event()

    def __call__(self, sender: str, message: bytes) -> None:
        self.messages.append((sender, message))
        self._more.set()

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        """Wait for so many messages; return them in the order of their bytes."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.messages) < count:
                self._more.clear()
                await self._more.wait()
        return sorted(self.messages)


class TransportContract(ABC):
    """The tests. All of them must pass for nodes to be connected by a transport."""

    @abstractmethod
    @pytest.fixture
    def connect(self) -> Connect:
        """Return what connects a node of a name."""

    @abstractmethod
    @pytest.fixture
    def interrupt(self) -> Interrupt:
        """Return what interrupts all connections."""

    # --- Sending ---------------------------------------------------------------------

    async def test_a_message_comes_as_it_was_sent_and_from_whom(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            await a.send("b", _TOPIC, b"hello")

            assert await heard.until(1) == [("a", b"hello")]

    async def test_a_node_says_its_name(self, connect: Connect) -> None:
        async with connect("node-1.east_2") as one:
            assert one.node == "node-1.east_2"

    async def test_a_message_to_one_node_reaches_no_other(self, connect: Connect) -> None:
        async with (
            connect("a") as a,
            connect("b") as b,
            connect("c") as c,
            hearing(b) as heard_b,
            hearing(c) as heard_c,
        ):
            await a.send("b", _TOPIC, b"for b")
            await a.send("c", _TOPIC, b"for c")

            assert await heard_b.until(1) == [("a", b"for b")]
            assert await heard_c.until(1) == [("a", b"for c")]

    async def test_a_broadcast_reaches_all_others_and_not_its_sender(
        self, connect: Connect
    ) -> None:
        async with (
            connect("a") as a,
            connect("b") as b,
            connect("c") as c,
            hearing(a) as heard_a,
            hearing(b) as heard_b,
            hearing(c) as heard_c,
        ):
            await a.broadcast(_TOPIC, b"all")
            await b.broadcast(_TOPIC, b"end")

            assert await heard_b.until(1) == [("a", b"all")]
            assert await heard_c.until(2) == [("a", b"all"), ("b", b"end")]
            assert await heard_a.until(1) == [("b", b"end")]

    async def test_a_node_does_not_hear_what_it_sends_to_itself(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b, hearing(a) as heard:
            await a.send("a", _TOPIC, b"to myself")
            await b.send("a", _TOPIC, b"end")

            assert await heard.until(1) == [("b", b"end")]

    async def test_a_second_node_of_the_same_name_is_heard_under_that_name(
        self, connect: Connect
    ) -> None:
        async with (
            connect("a") as one,
            connect("a") as other,
            hearing(one) as heard_one,
            hearing(other) as heard_other,
        ):
            await one.send("a", _TOPIC, b"who are you?")
            assert await heard_other.until(1) == [("a", b"who are you?")]
            await other.broadcast(_TOPIC, b"node a")
            assert await heard_one.until(1) == [("a", b"node a")]

    async def test_a_message_to_a_node_that_is_not_there_is_lost(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            await a.send("nobody", _TOPIC, b"lost")
            await a.send("b", _TOPIC, b"not lost")

            assert await heard.until(1) == [("a", b"not lost")]

    async def test_a_node_that_was_closed_hears_nothing_and_a_new_one_of_its_name_does(
        self, connect: Connect
    ) -> None:
        async with connect("a") as a, connect("c") as c, hearing(c) as heard_c:
            async with connect("b") as b, hearing(b) as heard:
                await a.send("b", _TOPIC, b"first")
                await heard.until(1)
            await a.send("b", _TOPIC, b"lost")
            await a.send("c", _TOPIC, b"after that")
            await heard_c.until(1)
            async with connect("b") as b, hearing(b) as heard_again:
                await a.send("b", _TOPIC, b"second")

                assert await heard_again.until(1) == [("a", b"second")]
            assert heard.messages == [("a", b"first")]

    # --- Messages --------------------------------------------------------------------

    async def test_every_byte_and_every_length_is_carried(self, connect: Connect) -> None:
        sent = [b"", b"\x00", bytes(range(256)), b"\r\n" * 500, b"x" * 70_000]
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            for message in sent:
                await a.send("b", _TOPIC, message)

            arrived = await heard.until(len(sent))
            assert arrived == sorted(("a", message) for message in sent)
            assert all(type(message) is bytes for _, message in arrived)

    async def test_the_longest_message_is_carried_and_a_longer_one_refused(
        self, connect: Connect
    ) -> None:
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            longest = bytes(range(256)) * (a.max_message_bytes // 256 + 1)
            longest = longest[: a.max_message_bytes]
            await a.send("b", _TOPIC, longest)
            await a.broadcast(_TOPIC, longest)

            for send in (a.send("b", _TOPIC, longest + b"x"), a.broadcast(_TOPIC, longest + b"x")):
                with pytest.raises(ValueError, match=str(a.max_message_bytes)):
                    await send
            arrived = await heard.until(2)
            # As one truth value: a comparison that fails would be explained byte by byte.
            assert all(message == longest for _, message in arrived) is True

    async def test_many_messages_from_several_nodes_all_arrive_as_they_were_sent(
        self, connect: Connect
    ) -> None:
        async def send_from(node: Transport) -> None:
            for number in range(300):
                await node.send("c", _TOPIC, f"{node.node} {number}".encode() + b"." * number)

        async with connect("a") as a, connect("b") as b, connect("c") as c, hearing(c) as heard:
            await asyncio.gather(send_from(a), send_from(b))

            assert await heard.until(600) == sorted(
                (node, f"{node} {number}".encode() + b"." * number)
                for node in "ab"
                for number in range(300)
            )

    async def test_long_messages_of_two_nodes_are_not_mixed(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b, connect("c") as c, hearing(c) as heard:
            size = min(a.max_message_bytes, 3_000_000)
            await asyncio.gather(
                *(node.send("c", _TOPIC, text * size) for node in (a, b) for text in (b"1", b"2"))
            )

            arrived = await heard.until(4)
            assert [(name, message[:1]) for name, message in arrived] == [
                (node, text) for node in "ab" for text in (b"1", b"2")
            ]
            assert all(message == message[:1] * size for _, message in arrived) is True

    async def test_what_is_changed_after_sending_does_not_change_what_was_sent(
        self, connect: Connect
    ) -> None:
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            buffer = bytearray(b"before")
            await a.send("b", _TOPIC, buffer)  # type: ignore[arg-type]  # some will pass one
            buffer[:] = b"after!"

            assert await heard.until(1) == [("a", b"before")]

    # --- Listening -------------------------------------------------------------------

    async def test_topics_are_apart(self, connect: Connect) -> None:
        topics = ["a", "A", "a/b", "a.b", "a-b", "a_b", "b", "-", ".", "x" * 200]
        async with connect("a") as a, connect("b") as b:
            heard = {topic: Heard() for topic in topics}
            async with listening(b, heard):
                for topic in topics:
                    await a.send("b", topic, f"to b: {topic}".encode())
                    await a.broadcast(topic, f"to all: {topic}".encode())

                for topic in topics:
                    expected = [("a", f"{to}: {topic}".encode()) for to in ("to all", "to b")]
                    assert await heard[topic].until(2) == expected

    @pytest.mark.parametrize("topic", ["", "x" * 201, "a b", "a*", ">", "ä", "a\n", "a\x00"])
    async def test_what_is_no_topic_is_refused(self, connect: Connect, topic: str) -> None:
        async with connect("a") as a:
            with pytest.raises(ValueError, match="topic"):
                await a.send("b", topic, b"")
            with pytest.raises(ValueError, match="topic"):
                await a.broadcast(topic, b"")
            with pytest.raises(ValueError, match="topic"):
                async with a.listen(topic, Heard()):
                    pass

    async def test_a_topic_is_listened_to_by_one_at_a_time(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b:
            async with hearing(b) as heard:
                with pytest.raises(ValueError, match=_TOPIC):
                    async with hearing(b):
                        pass
                await a.send("b", _TOPIC, b"still there")
                assert await heard.until(1) == [("a", b"still there")]
            async with hearing(b) as heard_again:
                await a.broadcast(_TOPIC, b"again")
                assert await heard_again.until(1) == [("a", b"again")]

    async def test_nothing_comes_after_listening_has_ended(self, connect: Connect) -> None:
        async with connect("a") as a, connect("b") as b, listening(b, {"end": Heard()}) as ends:
            async with hearing(b) as heard:
                await a.send("b", _TOPIC, b"in time")
                await heard.until(1)
            await a.send("b", _TOPIC, b"late")
            await a.broadcast(_TOPIC, b"late")
            await a.broadcast("end", b"")
            await a.send("b", "end", b"")
            await ends["end"].until(2)

            assert heard.messages == [("a", b"in time")]

    async def test_a_listener_that_raises_harms_nobody(self, connect: Connect) -> None:
        heard = Heard()

        def receive(sender: str, message: bytes) -> None:
            if message == b"bad":
                raise RuntimeError("listener is broken")
            heard(sender, message)

        async with connect("a") as a, connect("b") as b, b.listen(_TOPIC, receive):
            await a.send("b", _TOPIC, b"bad")
            await a.broadcast(_TOPIC, b"bad")
            await a.send("b", _TOPIC, b"good")
            await a.broadcast(_TOPIC, b"good")

            assert await heard.until(2) == [("a", b"good")] * 2

    # --- The end, and interruptions --------------------------------------------------

    async def test_a_transport_can_be_closed_while_it_sends(self, connect: Connect) -> None:
        async def send_on(node: Transport) -> None:
            while True:
                await node.send("b", _TOPIC, b"x" * 10_000)
                await asyncio.sleep(0)

        async with connect("b") as b, hearing(b) as heard:
            async with connect("a") as a:
                sending = asyncio.create_task(send_on(a))
                await heard.until(20)
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            await a.send("b", _TOPIC, b"nowhere")

            assert {message for _, message in heard.messages} == {b"x" * 10_000}

    async def test_after_an_interruption_each_node_is_told_of_a_gap_and_hears_again(
        self, connect: Connect, interrupt: Interrupt
    ) -> None:
        async with connect("a") as a, connect("b") as b, hearing(b) as heard:
            told = {node.node: asyncio.Event() for node in (a, b)}
            with a.on_gap(told["a"].set), b.on_gap(_raises), b.on_gap(told["b"].set):
                await a.send("b", _TOPIC, b"before")
                await heard.until(1)
                assert not any(event.is_set() for event in told.values())

                await interrupt()

                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.gather(*(event.wait() for event in told.values()))
                await a.send("b", _TOPIC, b"to b")
                await a.broadcast(_TOPIC, b"to all")
                assert {("a", b"to b"), ("a", b"to all")} <= set(await heard.until(3))

    async def test_who_does_not_want_to_know_of_gaps_any_more_is_not_told(
        self, connect: Connect, interrupt: Interrupt
    ) -> None:
        async with connect("a") as a:
            early, late = asyncio.Event(), asyncio.Event()
            with a.on_gap(early.set):
                pass
            with a.on_gap(late.set):
                await interrupt()
                async with asyncio.timeout(_PATIENCE_S):
                    await late.wait()

            assert not early.is_set()


def _raises() -> None:
    raise RuntimeError("whoever is told of the gap is broken")


@asynccontextmanager
async def hearing(node: Transport) -> AsyncIterator[Heard]:
    """Note what a node is sent."""
    heard = Heard()
    async with node.listen(_TOPIC, heard):
        yield heard


@asynccontextmanager
async def listening(node: Transport, heard: dict[str, Heard]) -> AsyncIterator[dict[str, Heard]]:
    """Listen to several topics."""
    if not heard:
        yield {}
        return
    (topic, first), *rest = heard.items()
    async with node.listen(topic, first), listening(node, dict(rest)):
        yield heard
