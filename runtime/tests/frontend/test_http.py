"""HTTP with JSON over real sockets."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody
from structlog.testing import capture_logs

from cloudstate_core.frontend import Deployment
from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.frontend.calls import Calls
from cloudstate_runtime.frontend.http.application import HttpApplication
from cloudstate_runtime.frontend.http.json_format_codec import JsonFormatCodec

KIND = "application/json"


@pytest.fixture
async def door(open_door: Any, things: Any) -> AsyncIterator[Any]:
    async with open_door(things) as door:
        yield door


@pytest.fixture
async def client(door: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.url) as client:
        yield client


def received(door: Any, thing: Any) -> Any:
    return thing.FromString(door.handler.requests[-1].payload.value)


@pytest.mark.parametrize(
    ("method", "path", "body", "command", "fields"),
    [
        ("GET", "/things/7?text=x", None, "Get", {"id": "7", "text": "x"}),
        ("PUT", "/things/7", {"text": "x"}, "Put", {"id": "7", "text": "x"}),
        ("DELETE", "/things/a%20b", None, "Delete", {"id": "a b"}),
        ("PATCH", "/things/7/inner", {"number": "5"}, "Patch", {
            "id": "7", "inner": {"number": 5},
        }),
        ("POST", "/things", {"id": "7"}, "Post", {"id": "7"}),
        ("POST", "/test.things.Things/Plain", {"id": "7"}, "Plain", {"id": "7"}),
        ("POST", "/things/7:archive", None, "Archive", {"id": "7"}),
        ("GET", "/things/7:archive", None, "Get", {"id": "7:archive"}),
        ("GET", "/things/7/texts", None, "Texts", {"id": "7"}),
    ],
)  # fmt: skip
async def test_every_verb_reaches_its_method(
    door: Any,
    client: httpx.AsyncClient,
    thing: Any,
    method: str,
    path: str,
    body: object,
    command: str,
    fields: dict[str, Any],
) -> None:
    response = await client.request(method, path, json=body)

    assert response.status_code == 200
    assert response.headers["content-type"] == KIND
    assert door.handler.requests[-1].command == command
    assert door.handler.requests[-1].payload.type_url.endswith("/test.things.Thing")
    assert received(door, thing) == thing(**fields)


async def test_a_reply_is_compact_json(client: httpx.AsyncClient) -> None:
    response = await client.get("/things/é?a_int64=5&texts=a&texts=b")

    value = response.json()
    assert (value["id"], value["aInt64"], value["texts"]) == ("é", "5", ["a", "b"])
    assert b", " not in response.content
    assert b": " not in response.content


async def test_an_empty_reply_is_an_empty_object(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/things/")).content == b"{}"


async def test_a_field_may_be_answered_alone(
    door: Any, client: httpx.AsyncClient, thing: Any, model: Any
) -> None:
    async def answer(request: Request) -> Outcome:
        outcome: Outcome = model.replied(thing(texts=["a", "b"]).SerializeToString())
        return outcome

    door.handler.answers["Texts"] = answer

    assert (await client.get("/things/7/texts")).content == b'["a","b"]'


async def test_an_http_body_is_answered_as_it_is(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    async def answer(request: Request) -> Outcome:
        body = HttpBody(content_type="image/png", data=b"\x89PNG")
        outcome: Outcome = model.replied(body.SerializeToString())
        return outcome

    door.handler.answers["File"] = answer
    response = await client.get("/files/a/b.png")

    assert response.content == b"\x89PNG"
    assert response.headers["content-type"] == "image/png"


async def test_headers_become_metadata_as_they_were_sent(door: Any) -> None:
    await door.exchange(
        b"GET /things/7 HTTP/1.1\r\nHost: x\r\nX-Some: 1\r\nx-Some: \xe9\r\nTE: trailers\r\n"
        b"Grpc-Timeout: 1S\r\nX-Cloudstate-User: me\r\nConnection: close\r\n\r\n"
    )

    (request,) = door.handler.requests
    assert list(request.metadata) == [("Host", "x"), ("X-Some", "1"), ("x-Some", "é")]


async def test_metadata_of_a_reply_becomes_headers(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    async def answer(request: Request) -> Outcome:
        outcome: Outcome = model.replied(
            b"", ("X-A", "1"), ("x-a", "é"), ("content-length", "5"), ("bad", "a\r\nb: c")
        )
        return outcome

    door.handler.answers["Get"] = answer
    with capture_logs() as logs:
        response = await client.get("/things/7")

    assert response.headers.get_list("x-a") == ["1", "é"]
    assert "bad" not in response.headers
    assert response.status_code == 200
    assert [entry["name"] for entry in logs] == ["content-length", "bad"]


async def test_both_protocols_share_the_port(door: Any, client: httpx.AsyncClient) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        assert await channel.unary_unary("/test.things.Things/Get")(b"") == b""
    assert (await client.get("/things/7")).status_code == 200

    assert len(door.handler.requests) == 2


async def test_a_connection_is_used_again(door: Any, client: httpx.AsyncClient) -> None:
    for _ in range(5):
        await client.get("/things/7")

    assert door.port.connections == 1


async def test_a_reply_is_json_with_its_length_and_nothing_else(door: Any) -> None:
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    reader, writer = await door.connect()
    for _ in range(2):
        writer.write(b"DELETE /things/7 HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(len(reply)) == reply


async def test_any_other_asgi_server_may_stand_before_it(things: Deployment, model: Any) -> None:
    served = model.FakeServed()
    served.serve(things)
    host = model.FakeHost(model.FakeHandler(), served)
    application = HttpApplication(host, Calls(host), JsonFormatCodec(64))
    sent: list[Any] = []

    async def nothing() -> Any:
        raise AssertionError("expected a request without a body not to be read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"method": "DELETE", "raw_path": b"/things/7", "query_string": b"", "headers": []}
    await application(scope, nothing, send)

    assert sent[0]["status"] == 200
    assert (b"content-length", b"2") in sent[0]["headers"]
    assert sent[1]["body"] == b"{}"


async def test_pipelined_requests_are_answered_in_order(door: Any) -> None:
    requests = b"".join(b"GET /things/%d HTTP/1.1\r\n\r\n" % n for n in range(20))
    answer = await door.exchange(requests + b"GET /nope HTTP/1.1\r\nConnection: close\r\n\r\n")

    ids = [json.loads(part.split(b"\r\n\r\n")[1])["id"] for part in parts(answer)[:20]]
    assert ids == [str(n) for n in range(20)]
    assert b"HTTP/1.1 404 " in answer


def parts(answer: bytes) -> list[bytes]:
    return [b"HTTP/1.1 " + part for part in answer.split(b"HTTP/1.1 ")[1:]]


async def test_http_1_0_is_served_and_closed(door: Any) -> None:
    answer = await door.exchange(b"GET /things/7 HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer


async def test_a_client_that_has_said_all_still_gets_its_answer(door: Any) -> None:
    assert (await door.exchange(b"GET /things/7 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_body_may_come_in_chunks(door: Any, client: httpx.AsyncClient, thing: Any) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in b'{"id": "7"}':
            yield bytes((byte,))

    response = await client.post("/things", content=chunks())

    assert response.status_code == 200
    assert received(door, thing).id == "7"


async def test_a_body_may_be_packed(door: Any, client: httpx.AsyncClient, thing: Any) -> None:
    body = gzip.compress(b'{"id": "7"}')

    response = await client.post("/things", content=body, headers={"content-encoding": "gzip"})

    assert response.status_code == 200
    assert received(door, thing).id == "7"


async def test_a_client_is_told_to_go_on_if_it_asks(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(
        b"POST /things HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")

    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("offer", [b"Upgrade: h2c", b"upgrade: websocket", b"UPGRADE: x"])
async def test_an_offer_to_change_the_protocol_is_declined(
    door: Any, thing: Any, offer: bytes
) -> None:
    body = b'{"text": "\\r\\nUpgrade: x"}'
    answer = await door.exchange(
        b"POST /things HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n" + offer + b"\r\n"
        b"HTTP2-Settings: AAMAAABkAAQ\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received(door, thing).text == "\r\nUpgrade: x"
    assert [name for name, _ in door.handler.requests[0].metadata] == ["Content-Length"]


# --- Methods and paths ---------------------------------------------------------------


async def test_head_is_get_without_a_body(door: Any, client: httpx.AsyncClient) -> None:
    full, head = await client.get("/things/7"), await client.head("/things/7")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == full.headers["content-length"]


async def test_an_unknown_path_is_not_found(door: Any, client: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/things/7/", "/test.things.Things/Get", "//things/7"):
        response = await client.get(path)
        assert response.status_code == 404
        assert response.json() == {
            "code": 12,
            "message": "nothing is served at this path",
            "details": [],
        }


async def test_another_method_is_not_allowed_and_those_that_are_get_named(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/things/7")

    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    assert (
        response.json()["message"] == "expected one of DELETE, GET, HEAD, OPTIONS, PUT, found POST"
    )


async def test_options_names_the_methods(client: httpx.AsyncClient) -> None:
    response = await client.options("/things/7")

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    assert "content-length" not in response.headers


async def test_the_probe_of_knative_is_answered(door: Any, client: httpx.AsyncClient) -> None:
    good = await client.get("/", headers={"K-Network-Probe": "queue"})
    bad = await client.get("/", headers={"k-network-probe": "x"})
    routed = await client.get("/things/7", headers={"K-Network-Probe": "queue"})

    assert (good.status_code, good.text) == (200, "queue")
    assert (bad.status_code, bad.text) == (400, "unexpected probe header value: x")
    assert routed.json()["id"] == "7"


async def test_what_is_served_may_change_between_two_requests(
    door: Any, client: httpx.AsyncClient, things: Any
) -> None:
    door.served.serve()
    assert (await client.get("/things/7")).status_code == 404

    door.served.serve(things)
    assert (await client.get("/things/7")).status_code == 200
