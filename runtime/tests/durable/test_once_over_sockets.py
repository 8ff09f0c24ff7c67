"""Keys and versions from a client's socket to the store and back, over gRPC and HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any as AnyType

import grpc
import httpx
import pytest
from runtime_doubles.engines import ORDERS
from runtime_doubles.functions import Function, serving
from runtime_doubles.running import SETTINGS, deployed, running
from runtime_doubles.sum_kind import SumKind, sum_in

from cloudstate_core.clock import SystemClock
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import Commit, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing import FaultyStore
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.frontend.port import open_port
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store

PATH = "/shop.Orders/Place"
Order = ORDERS.methods["Place"].input_class

#: What a client sees: the status by name, the bytes or text of the answer, the version.
Answer = tuple[str, AnyType, str | None]
Call = Callable[..., Awaitable[Answer]]
OpenNode = Callable[..., AbstractAsyncContextManager["Open"]]

HTTP_NAMES = {
    200: "OK",
    400: "INVALID_ARGUMENT",
    409: "ALREADY_EXISTS",
    412: "ABORTED",
    500: "UNKNOWN",
    503: "UNAVAILABLE",
}


class FailingCommits(FaultyStore):
    """A store in which a commit can fail, whatever else it is asked meanwhile."""

    def __init__(self, inner: StateStore) -> None:
        super().__init__(inner, fail_at=None)
        self._fails_next = False

    def fail_next(self, *, after_effect: bool) -> None:
        """Let the next commit fail."""
        self._fails_next, self._after_effect = True, after_effect

    async def commit(self, commit: Commit) -> None:
        if self._fails_next:
            self._fails_next, self._fail_at = False, self.calls + 1
        await super().commit(commit)


@dataclass
class Open:
    """A node with a front door.

    Attributes:
        store: Its store, which fails at the commit that the test chooses.
        call: Sends a command: entity, amount, and headers.
    """

    store: FailingCommits
    call: Call


@pytest.fixture(params=["memory", "file"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> AnyType:
    """Open the same store each time."""
    kept = MemoryStore(SystemClock())

    @asynccontextmanager
    async def memory() -> AsyncIterator[StateStore]:
        yield kept

    def file() -> AnyType:
        return open_store(SqliteSettings(), tmp_path, SystemClock())

    return memory if request.param == "memory" else file


@pytest.fixture(params=["grpc", "http"])
def connect(request: pytest.FixtureRequest) -> AnyType:
    return over_grpc if request.param == "grpc" else over_http


@pytest.fixture
async def function() -> AsyncIterator[Function]:
    async with serving() as function:
        yield function


@asynccontextmanager
async def over_grpc(address: str) -> AsyncIterator[Call]:
    async with grpc.aio.insecure_channel(address) as channel:
        place = channel.unary_unary(PATH)

        async def call(entity_id: str, amount: int, **headers: str) -> Answer:
            metadata = tuple((name.replace("_", "-"), value) for name, value in headers.items())
            message = Order(id=entity_id, amount=amount).SerializeToString()
            calling = place(message, metadata=metadata)
            try:
                answer = await calling
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details(), None
            found = dict(tuple(await calling.initial_metadata()))
            return "OK", answer, found.get("etag")

        yield call


@asynccontextmanager
async def over_http(address: str) -> AsyncIterator[Call]:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:

        async def call(entity_id: str, amount: int, **headers: str) -> Answer:
            response = await client.post(
                PATH,
                json={"id": entity_id, "amount": amount},
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )
            name = HTTP_NAMES[response.status_code]
            if name != "OK":
                return name, response.text, None
            etag = response.headers["etag"]
            assert etag == f'"{etag[1:-1]}"'
            return name, response.content, etag[1:-1]

        yield call


@pytest.fixture
def open_node(open_it: AnyType, connect: AnyType, function: Function) -> OpenNode:
    @asynccontextmanager
    async def open_node(**settings: AnyType) -> AsyncIterator[Open]:
        async with open_it() as inner:
            store = FailingCommits(inner)
            async with (
                running(
                    function,
                    store=store,
                    plugins=Plugins(kinds={"toy": SumKind()}),
                    settings=replace(SETTINGS, **settings),
                ) as runtime,
                open_port([GrpcFrontEnd(), HttpFrontEnd()], runtime, "127.0.0.1", 0) as port,
                connect("{}:{}".format(*port.address)) as call,
            ):
                await deployed(runtime)
                yield Open(store, call)

    return open_node


async def test_a_command_that_is_sent_again_gets_the_same_bytes(open_node: OpenNode) -> None:
    async with open_node() as node:
        first = await node.call("joe", 5, idempotency_key="k")
        await node.call("joe", 3)
        again = await node.call("joe", 5, idempotency_key="k")

        assert first == again
        assert (first[0], first[2]) == ("OK", "1")
        assert await sum_in(node.store, "joe") == (8, 2)


async def test_it_is_remembered_after_passivation(open_node: OpenNode) -> None:
    async with open_node(max_active_entities=1) as node:
        first = await node.call("joe", 5, idempotency_key="k")
        await node.call("ann", 1)

        assert await node.call("joe", 5, idempotency_key="k") == first
        assert await sum_in(node.store, "joe") == (5, 1)


async def test_it_is_remembered_after_a_restart(open_node: OpenNode) -> None:
    async with open_node() as node:
        first = await node.call("joe", 5, idempotency_key="k")
    async with open_node() as node:
        assert await node.call("joe", 5, idempotency_key="k") == first
        assert await sum_in(node.store, "joe") == (5, 1)


async def test_many_at_the_same_time_have_one_effect(open_node: OpenNode) -> None:
    async with open_node() as node:
        answers = await asyncio.gather(
            *(node.call("joe", 5, idempotency_key="k") for _ in range(20))
        )

        assert set(answers) == {answers[0]}
        assert answers[0][0] == "OK"
        assert await sum_in(node.store, "joe") == (5, 1)


async def test_a_key_belongs_to_one_entity(open_node: OpenNode) -> None:
    async with open_node() as node:
        for entity_id in ("joe", "ann"):
            assert (await node.call(entity_id, 5, idempotency_key="k"))[0] == "OK"

        assert await sum_in(node.store, "joe") == await sum_in(node.store, "ann") == (5, 1)


async def test_the_same_key_with_another_body_is_refused(open_node: OpenNode) -> None:
    async with open_node() as node:
        await node.call("joe", 5, idempotency_key="k")

        status, reason, _ = await node.call("joe", 6, idempotency_key="k")

        assert status == "ALREADY_EXISTS"
        assert "another command" in reason
        assert await sum_in(node.store, "joe") == (5, 1)


async def test_a_key_of_ten_kilobytes_is_refused_and_nothing_is_begun(open_node: OpenNode) -> None:
    async with open_node() as node:
        status, reason, _ = await node.call("joe", 5, idempotency_key="k" * 10_000)

        assert (status, "at most 255" in reason) == ("INVALID_ARGUMENT", True)
        assert await sum_in(node.store, "joe") == (0, 0)


async def test_a_failure_is_not_remembered(open_node: OpenNode) -> None:
    async with open_node() as node:
        for _ in range(2):
            status, reason, version = await node.call("joe", -1, idempotency_key="k")
            assert (status, reason, version) == ("UNKNOWN", "nothing is taken away", None)

        assert (await node.call("joe", 5, idempotency_key="k"))[0] == "OK"
        assert await sum_in(node.store, "joe") == (5, 1)


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_command_whose_outcome_is_unknown_is_sent_again(
    open_node: OpenNode, after_effect: bool
) -> None:
    async with open_node() as node:
        await node.call("joe", 1)
        node.store.fail_next(after_effect=after_effect)
        assert (await node.call("joe", 5, idempotency_key="k"))[0] == "UNAVAILABLE"

        assert (await node.call("joe", 5, idempotency_key="k"))[0::2] == ("OK", "2")
        assert await sum_in(node.store, "joe") == (6, 2)


async def test_what_is_remembered_is_bounded_as_the_settings_say(open_node: OpenNode) -> None:
    async with open_node(max_kept_replies=2) as node:
        for key in ("a", "b", "c"):
            await node.call("joe", 1, idempotency_key=key)
        assert await sum_in(node.store, "joe") == (3, 3)

        await node.call("joe", 1, idempotency_key="c")
        await node.call("joe", 1, idempotency_key="a")
        assert await sum_in(node.store, "joe") == (4, 4)


async def test_a_change_is_made_only_to_the_version_that_is_expected(open_node: OpenNode) -> None:
    async with open_node() as node:
        _, _, version = await node.call("joe", 5)
        assert version == "1"

        status, _, version = await node.call("joe", 1, if_match=f'"{version}"')
        assert (status, version) == ("OK", "2")
        status, reason, version = await node.call("joe", 1, if_match="1")

        assert (status, version) == ("ABORTED", None)
        assert "expected version 1, found 2" in reason
        assert await sum_in(node.store, "joe") == (6, 2)


async def test_an_entity_that_has_no_state_has_version_0(open_node: OpenNode) -> None:
    async with open_node() as node:
        assert (await node.call("joe", 5, if_match="0"))[0] == "OK"
        assert (await node.call("joe", 5, if_match="0"))[0] == "ABORTED"


async def test_a_conditional_command_with_a_key_can_be_sent_again(open_node: OpenNode) -> None:
    async with open_node() as node:
        first = await node.call("joe", 5, if_match="0", idempotency_key="k")

        assert await node.call("joe", 5, if_match="0", idempotency_key="k") == first
        assert await sum_in(node.store, "joe") == (5, 1)
