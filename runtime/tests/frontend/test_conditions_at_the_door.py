"""Conditions of commands, over gRPC and HTTP on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import httpx
import pytest

from cloudstate_core.errors import KeyReused, NoVersions, VersionMismatch
from cloudstate_core.frontend import Deployment
from cloudstate_core.handler import Conditions, Outcome, Request

GET = "/test.things.Things/Get"
PUT = "/test.things.Things/Put"

Code = grpc.StatusCode


def with_keys(deployment: Deployment) -> Deployment:
    """Make every method but `Plain` one of an entity."""
    (service,) = deployment.entities
    methods = {
        name: method if name == "Plain" else replace(method, key_fields=("id",))
        for name, method in service.methods.items()
    }
    return replace(deployment, entities=(replace(service, methods=methods),))


@pytest.fixture
async def door(open_door: Any, things: Deployment) -> AsyncIterator[Any]:
    async with open_door(with_keys(things)) as door:
        yield door


@pytest.fixture
async def client(door: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.url) as client:
        yield client


@pytest.fixture
async def channel(door: Any) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(door.address, options=options) as channel:
        yield channel


def answer_with_version(door: Any, model: Any, version: int | None, *metadata: Any) -> None:
    async def answer(request: Request) -> Outcome:
        return replace(model.replied(request.payload.value, *metadata), version=version)

    door.handler.answers["Get"] = door.handler.answers["Put"] = answer


async def test_a_request_without_conditions_has_none(
    door: Any, client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    await client.get("/things/7")
    await channel.unary_unary(GET)(b"")

    assert [request.conditions for request in door.handler.requests] == [None, None]


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
async def test_http_headers_become_conditions_and_not_metadata(
    door: Any, client: httpx.AsyncClient, name: str
) -> None:
    headers = {name: "k-1", "If-Match": '"7"', "x-other": "o"}

    assert (await client.put("/things/7", json={}, headers=headers)).status_code == 200

    (request,) = door.handler.requests
    assert request.conditions == Conditions("k-1", 7)
    assert request.metadata.get_all(name) == request.metadata.get_all("if-match") == ()
    assert request.metadata.get("x-other") == "o"


async def test_grpc_headers_become_conditions_and_not_metadata(
    door: Any, channel: grpc.aio.Channel
) -> None:
    metadata = (("idempotency-key", "k-1"), ("if-match", "7"), ("x-other", "o"))

    await channel.unary_unary(PUT)(b"", metadata=metadata)

    (request,) = door.handler.requests
    assert request.conditions == Conditions("k-1", 7)
    assert "idempotency-key" not in request.metadata
    assert "if-match" not in request.metadata
    assert request.metadata.get("x-other") == "o"


MALFORMED = [
    ([("idempotency-key", "x" * 10_000)], "at most 255"),
    ([("idempotency-key", "")], "visible ASCII"),
    ([("idempotency-key", "a b")], "visible ASCII"),
    ([("idempotency-key", "a"), ("idempotency-key", "a")], "twice"),
    ([("if-match", "*")], "if-match"),
    ([("if-match", 'W/"1"')], "if-match"),
    ([("if-match", "")], "if-match"),
]


@pytest.mark.parametrize(("headers", "reason"), MALFORMED)
async def test_malformed_conditions_are_named_and_nothing_is_begun(
    door: Any,
    client: httpx.AsyncClient,
    channel: grpc.aio.Channel,
    headers: list[tuple[str, str]],
    reason: str,
) -> None:
    response = await client.put("/things/7", json={}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, 3)
    assert reason in response.json()["message"]
    assert len(response.content) < 1000

    with pytest.raises(grpc.aio.AioRpcError, match=reason) as caught:
        await channel.unary_unary(PUT)(b"", metadata=headers)
    assert caught.value.code() is Code.INVALID_ARGUMENT

    assert door.handler.requests == []


async def test_a_version_is_refused_by_a_method_that_has_no_entity(
    door: Any, client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    path = "/test.things.Things/Plain"

    response = await client.post(path, json={}, headers={"if-match": "7"})
    assert (response.status_code, response.json()["code"]) == (400, 9)

    with pytest.raises(grpc.aio.AioRpcError, match="no if-match") as caught:
        await channel.unary_unary(path)(b"", metadata=(("if-match", "7"),))
    assert caught.value.code() is Code.FAILED_PRECONDITION
    assert door.handler.requests == []

    await client.post(path, json={}, headers={"idempotency-key": "k"})
    assert door.handler.requests[-1].conditions == Conditions("k")


@pytest.mark.parametrize(
    ("error", "http_status", "code"),
    [
        (VersionMismatch("e", expected=7, actual=8), 412, Code.ABORTED),
        (KeyReused("e", "k"), 409, Code.ALREADY_EXISTS),
        (NoVersions("entities of this service have no versions"), 400, Code.FAILED_PRECONDITION),
    ],
)
async def test_conditions_that_do_not_hold_have_a_status_of_their_own(
    door: Any,
    client: httpx.AsyncClient,
    channel: grpc.aio.Channel,
    error: Exception,
    http_status: int,
    code: grpc.StatusCode,
) -> None:
    door.handler.raises("Put", error)

    response = await client.put("/things/7", json={})
    assert (response.status_code, response.json()["message"]) == (http_status, str(error))
    assert response.json()["code"] == code.value[0]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PUT)(b"")
    assert (caught.value.code(), caught.value.details()) == (code, str(error))


@pytest.mark.parametrize("version", [0, 7, 2**63 - 1])
async def test_the_version_is_answered_as_an_etag(
    door: Any, client: httpx.AsyncClient, channel: grpc.aio.Channel, model: Any, version: int
) -> None:
    answer_with_version(door, model, version)

    for _ in range(2):
        response = await client.get("/things/7")
        assert (response.status_code, response.json()["id"]) == (200, "7")
        assert response.headers.get_list("etag") == [f'"{version}"']
        assert (await client.head("/things/7")).headers["etag"] == f'"{version}"'

        call = channel.unary_unary(GET)(b"")
        assert ("etag", str(version)) in tuple(await call.initial_metadata())
        assert await call == b""


async def test_without_a_version_there_is_no_etag_but_the_user_functions(
    door: Any, client: httpx.AsyncClient, channel: grpc.aio.Channel, model: Any
) -> None:
    answer_with_version(door, model, None)
    assert "etag" not in (await client.get("/things/7")).headers
    call = channel.unary_unary(GET)(b"")
    assert "etag" not in dict(tuple(await call.initial_metadata()))

    answer_with_version(door, model, None, ("etag", "its own"))
    assert (await client.get("/things/7")).headers["etag"] == "its own"
    call = channel.unary_unary(GET)(b"")
    assert dict(tuple(await call.initial_metadata()))["etag"] == "its own"


async def test_the_version_takes_the_place_of_an_etag_of_the_user_function(
    door: Any, client: httpx.AsyncClient, channel: grpc.aio.Channel, model: Any
) -> None:
    answer_with_version(door, model, 7, ("ETag", "its own"), ("x-other", "o"))

    headers = (await client.get("/things/7")).headers
    assert (headers.get_list("etag"), headers["x-other"]) == (['"7"'], "o")

    call = channel.unary_unary(GET)(b"")
    metadata = tuple(await call.initial_metadata())
    assert [value for name, value in metadata if name == "etag"] == ["7"]
    assert ("x-other", "o") in metadata


async def test_a_document_in_another_order_is_the_same_message(
    door: Any, client: httpx.AsyncClient
) -> None:
    names = [f"label {n}" for n in range(50)]
    for order in (names, names[::-1], sorted(names)):
        await client.post("/labelled", json={"labels": dict.fromkeys(order, "x"), "id": "7"})
        labels = "".join(f'"{name}":"x",' for name in order).rstrip(",")
        await client.post("/labelled", content=f'{{"id":"7","labels":{{{labels}}}}}')

    assert len({request.payload.value for request in door.handler.requests}) == 1
    assert len(door.handler.requests) == 6
