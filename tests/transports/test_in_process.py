"""The transport inside one process: as every other, and with every fault on demand."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from cloudstate_core.clock import SystemClock
from cloudstate_core.testing import ManualClock
from cloudstate_core.testing.transport_contract import (
    Connect,
    Heard,
    Interrupt,
    TransportContract,
)
from cloudstate_core.transport import Transport
from cloudstate_core.transports import Faults, InProcessBackend, InProcessSettings, Network


class TestInProcessTransport(TransportContract):
    @pytest.fixture
    def network(self) -> Network:
        return Network(SystemClock(), Random(1))

    @pytest.fixture
    def connect(self, network: Network) -> Connect:
        backend = InProcessBackend(network)
        return lambda node: backend.open(InProcessSettings(), "in-process://", node, SystemClock())

    @pytest.fixture
    def interrupt(self, network: Network) -> Interrupt:
        async def interrupt() -> None:
            for node in ("a", "b"):
                network.disconnect(node)
            for node in ("a", "b"):
                network.reconnect(node)

        return interrupt


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def network(clock: ManualClock) -> Network:
    return Network(clock, Random(7))


async def numbers(sender: Transport, *, count: int = 200) -> None:
    for number in range(count):
        await sender.send("b", "t", b"%d" % number)


async def arrived(network: Network, clock: ManualClock, faults: Faults) -> list[int]:
    """Return what of 200 messages comes to b, in the order in which it comes."""
    heard = Heard()
    network.set_faults(faults)
    async with network.connect("a") as a, network.connect("b") as b, b.listen("t", heard):
        await numbers(a)
        await clock.advance(100)
    return [int(message) for _, message in heard.messages]


async def test_without_faults_everything_comes_once_and_in_order(
    network: Network, clock: ManualClock
) -> None:
    assert await arrived(network, clock, Faults()) == list(range(200))


async def test_loss_takes_about_the_share_that_was_asked_for(
    network: Network, clock: ManualClock
) -> None:
    came = await arrived(network, clock, Faults(loss=0.3))

    assert 110 < len(came) < 170
    assert came == sorted(set(came))


async def test_duplication_brings_some_messages_twice(network: Network, clock: ManualClock) -> None:
    came = await arrived(network, clock, Faults(duplication=0.3))

    assert set(came) == set(range(200))
    assert 230 < len(came) < 290


async def test_delays_let_messages_overtake_each_other_unless_order_is_kept(
    network: Network, clock: ManualClock
) -> None:
    delayed = await arrived(network, clock, Faults(max_delay_s=5))
    ordered = await arrived(network, clock, Faults(max_delay_s=5, keeps_order=True))

    assert delayed != list(range(200))
    assert sorted(delayed) == ordered == list(range(200))


async def test_some_messages_are_late(network: Network, clock: ManualClock) -> None:
    heard = Heard()
    network.set_faults(Faults(late=0.1, late_by_s=10))
    async with network.connect("a") as a, network.connect("b") as b, b.listen("t", heard):
        await numbers(a)
        await clock.advance(1)
        in_time = len(heard.messages)
        await clock.advance(10)

    assert 160 < in_time < 195
    assert len(heard.messages) == 200


async def test_one_seed_has_one_fate(clock: ManualClock) -> None:
    faults = Faults(loss=0.2, duplication=0.2, max_delay_s=3, late=0.1, late_by_s=9)

    async def fate(seed: int) -> list[int]:
        return await arrived(Network(clock, Random(seed)), clock, faults)

    assert await fate(5) == await fate(5) != await fate(6)


async def test_a_cut_works_in_one_direction_and_takes_what_is_under_way(
    network: Network, clock: ManualClock
) -> None:
    heard_a, heard_b = Heard(), Heard()
    network.set_faults(Faults(min_delay_s=1, max_delay_s=1))
    async with (
        network.connect("a") as a,
        network.connect("b") as b,
        a.listen("t", heard_a),
        b.listen("t", heard_b),
    ):
        await a.send("b", "t", b"under way")
        network.cut("a", "b")
        await a.send("b", "t", b"cut off")
        await b.send("a", "t", b"the other way")
        await clock.advance(2)
        assert (heard_a.messages, heard_b.messages) == ([("b", b"the other way")], [])

        network.heal()
        await a.send("b", "t", b"healed")
        await clock.advance(2)
        assert heard_b.messages == [("a", b"healed")]


async def test_a_partition_parts_groups_and_not_those_within_them(
    network: Network, clock: ManualClock
) -> None:
    heard = {name: Heard() for name in "abc"}
    async with (
        network.connect("a") as a,
        network.connect("b") as b,
        network.connect("c") as c,
        a.listen("t", heard["a"]),
        b.listen("t", heard["b"]),
        c.listen("t", heard["c"]),
    ):
        network.partition({"a", "b"}, {"c"})
        await a.broadcast("t", b"from a")
        await c.broadcast("t", b"from c")
        await clock.advance(1)

    assert {name: each.messages for name, each in heard.items()} == {
        "a": [],
        "b": [("a", b"from a")],
        "c": [],
    }


async def test_one_link_can_have_faults_of_its_own(network: Network, clock: ManualClock) -> None:
    heard_b, heard_c = Heard(), Heard()
    network.set_faults(Faults(loss=1.0), sender="a", to="b")
    async with (
        network.connect("a") as a,
        network.connect("b") as b,
        network.connect("c") as c,
        b.listen("t", heard_b),
        c.listen("t", heard_c),
    ):
        await a.broadcast("t", b"x")
        await clock.advance(1)

    assert (heard_b.messages, heard_c.messages) == ([], [("a", b"x")])
    with pytest.raises(ValueError, match="both ends"):
        network.set_faults(Faults(), sender="a")


async def test_a_node_that_too_much_is_on_its_way_to_loses_the_rest_and_is_told(
    clock: ManualClock,
) -> None:
    network = Network(clock, Random(1), max_under_way=10)
    network.set_faults(Faults(min_delay_s=1, max_delay_s=1))
    heard, gaps = Heard(), asyncio.Event()
    async with network.connect("a") as a, network.connect("b") as b, b.listen("t", heard):
        with b.on_gap(gaps.set):
            await numbers(a, count=10)
            assert not gaps.is_set()
            await numbers(a, count=5)
            await clock.advance(2)

    assert gaps.is_set()
    assert len(heard.messages) == 10


async def test_a_node_that_cannot_be_named_so_is_refused(network: Network) -> None:
    for name in ("", "a b", "-a", "a" * 101, "a/b", "ä"):
        with pytest.raises(ValueError, match="name"):
            async with network.connect(name):
                pass


async def test_nothing_is_left_waiting_when_a_node_has_gone(
    network: Network, clock: ManualClock
) -> None:
    network.set_faults(Faults(min_delay_s=60, max_delay_s=60))
    async with network.connect("a") as a, network.connect("b"):
        await numbers(a, count=5)
        await clock.advance(1)
        assert clock.waiting == 5

    assert clock.waiting == 0
