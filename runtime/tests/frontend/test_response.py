"""From the bytes of a reply to the body of a response."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody

from cloudstate_core.frontend import Limits
from cloudstate_runtime.frontend.http.endpoints import endpoints_of
from cloudstate_runtime.frontend.http.json_format_codec import JsonFormatCodec
from cloudstate_runtime.frontend.http.response import ReplyWriter, UnreadableReply


@pytest.fixture(scope="module")
def writer(model: SimpleNamespace) -> Any:
    def writer(reply: str, **rule: str) -> ReplyWriter:
        file = model.things_file({"Do": ("Thing", reply, {"get": "/a", **rule})})
        served = model.FakeServed()
        served.serve(model.deployment_of(file))
        found = endpoints_of(served, JsonFormatCodec(64), Limits()).find("GET", "/a")
        assert found is not None
        return found[0].writer

    return writer


def test_a_message_is_json(writer: Any, thing: Any) -> None:
    content_type, body = writer("Thing").write(thing(id="7").SerializeToString())

    assert content_type == "application/json"
    assert json.loads(body)["id"] == "7"


def test_a_message_without_fields_is_an_empty_object(writer: Any) -> None:
    assert writer("google.protobuf.Empty").write(b"") == ("application/json", b"{}")


def test_a_binding_may_name_the_field_to_answer(writer: Any, thing: Any) -> None:
    data = thing(texts=["a"], inner={"number": 2**60}).SerializeToString()

    assert writer("Thing", response_body="texts").write(data)[1] == b'["a"]'
    assert writer("Thing", response_body="inner").write(data)[1] == (
        b'{"number":"1152921504606846976","text":""}'
    )


def test_an_http_body_is_answered_as_it_is(writer: Any) -> None:
    reply = HttpBody(content_type="image/png", data=b"\x89PNG")

    assert writer("google.api.HttpBody").write(reply.SerializeToString()) == (
        "image/png",
        b"\x89PNG",
    )
    assert writer("google.api.HttpBody").write(b"") == ("", b"")


def test_a_reply_of_another_type_cannot_be_answered(writer: Any, thing: Any) -> None:
    unknown = thing()
    unknown.anything.type_url = "type.googleapis.com/no.Such"

    for reply in (b"\xff", unknown.SerializeToString()):
        with pytest.raises(UnreadableReply, match=r"test\.things\.Thing"):
            writer("Thing").write(reply)
