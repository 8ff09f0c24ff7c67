"""From the parts of an HTTP request to the bytes of a message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.errors import CloudstateError, LimitExceeded, MalformedRequest
from cloudstate_core.frontend import Limits
from cloudstate_runtime.frontend.http.endpoints import Endpoint, endpoints_of
from cloudstate_runtime.frontend.http.json_format_codec import JsonFormatCodec
from cloudstate_runtime.frontend.http.request import check_json_type
from cloudstate_runtime.frontend.http.routes import RouteTable

RULES: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "Get": ("Thing", "Thing", {"get": "/get/{id}"}),
    "Deep": ("Thing", "Thing", {"get": "/deep/{inner.inner.text}/{a_int32}"}),
    "Whole": ("Thing", "Thing", {"post": "/whole/{id}", "body": "*"}),
    "Part": ("Thing", "Thing", {"post": "/part/{id}", "body": "inner"}),
    "Rest": ("Thing", "Thing", {"get": "/rest/{id=**}"}),
    "Bytes": ("Thing", "Thing", {"get": "/bytes/{data}"}),
}


@pytest.fixture(scope="module")
def routes(model: SimpleNamespace) -> RouteTable[Endpoint]:
    deployment = model.deployment_of(model.things_file(RULES))
    served = model.FakeServed()
    served.serve(deployment)
    return endpoints_of(served, JsonFormatCodec(64), Limits(max_query_parameters=5))


@pytest.fixture(scope="module")
def read(routes: RouteTable[Endpoint], thing: Any) -> Any:
    def read(request: str, body: str | bytes = b"") -> Any:
        method, target = request.split(" ", 1)
        path, _, query = target.partition("?")
        found = routes.find(method, path)
        assert found is not None
        endpoint, variables = found
        body = body.encode() if isinstance(body, str) else body
        data = endpoint.reader.read(variables, query.encode("latin-1"), body)
        return thing.FromString(data)

    return read


CASES = [
    ("GET /get/7", "", {"id": "7"}),
    ("GET /get/", "", {}),
    ("GET /get/a%20b+c", "", {"id": "a b c"}),
    ("GET /get/7?text=a+b%26", "", {"id": "7", "text": "a b&"}),
    ("GET /get/7?text", "", {"id": "7"}),
    ("GET /get/7?&&text=x&", "", {"id": "7", "text": "x"}),
    ("GET /get/7?text=a=b", "", {"id": "7", "text": "a=b"}),
    ("GET /get/7?id=8", "", {"id": "7"}),
    ("GET /get/7?texts=a&text=t&texts=b", "", {"id": "7", "text": "t", "texts": ["a", "b"]}),
    ("GET /get/7?inner.text=x", "", {"id": "7", "inner": {"text": "x"}}),
    ("GET /get/7?inner.inner.number=1", "", {"id": "7", "inner": {"inner": {"number": 1}}}),
    ("GET /get/7?aInt32=1", "", {"id": "7", "a_int32": 1}),
    ("GET /get/7?color=RED", "", {"id": "7", "color": 1}),
    ("GET /get/7", "not looked at", {"id": "7"}),
    ("GET /deep/x/-1", "", {"inner": {"inner": {"text": "x"}}, "a_int32": -1}),
    ("POST /whole/7", '{"text": "x"}', {"id": "7", "text": "x"}),
    ("POST /whole/7", '{"id": "8"}', {"id": "7"}),
    ("POST /whole/7?text=ignored&nonsense", "{}", {"id": "7"}),
    ("POST /part/7", '{"text": "x"}', {"id": "7", "inner": {"text": "x"}}),
    ("POST /part/7", "{}", {"id": "7", "inner": {}}),
    ("POST /part/7?text=q&inner.number=2", '{"number": 1}', {
        "id": "7", "text": "q", "inner": {"number": 2},
    }),
    ("GET /rest/a/b%2Fc/d%20e", "", {"id": "a/b%2Fc/d e"}),
    ("GET /rest/", "", {}),
    ("GET /bytes/_-8", "", {"data": b"\xff\xef"}),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "body", "fields"), CASES)
def test_fields_come_from_body_query_and_path(
    read: Any, thing: Any, request_: str, body: str, fields: dict[str, Any]
) -> None:
    assert read(request_, body) == thing(**fields)


BAD = [
    ("GET /get/%zz", "", MalformedRequest, "broken escape '%zz'"),
    ("GET /get/%FF", "", MalformedRequest, "an escape is not UTF-8"),
    ("GET /get/7?text=%FF", "", MalformedRequest, "an escape is not UTF-8"),
    ("GET /get/7?%zz=1", "", MalformedRequest, "broken escape '%zz'"),
    ("GET /get/7?nope=1", "", MalformedRequest, "unknown query parameter 'nope': no field 'nope'"),
    ("GET /get/7?=1", "", MalformedRequest, "unknown query parameter ''"),
    ("GET /get/7?inner.=1", "", MalformedRequest, "unknown query parameter 'inner.'"),
    ("GET /get/7?text.a=1", "", MalformedRequest, "unknown query parameter 'text.a': field"),
    ("GET /get/7?inner=1", "", MalformedRequest, "field 'inner' is a message"),
    ("GET /get/7?text=1&text=2", "", MalformedRequest, "expected one value for 'text', found 2"),
    ("GET /get/7?a_int32=1&aInt32=2", "", MalformedRequest, "expected one value for 'a_int32'"),
    ("GET /get/7?a_int32=x", "", MalformedRequest, "expected a 32-bit integer for 'a_int32'"),
    ("GET /get/7?texts=1&texts=2&texts=3&texts=4&texts=5&texts=6", "", LimitExceeded,
     "expected at most 5 query parameters, found 6"),
    ("GET /get/7?" + "inner." * 64 + "text=1", "", LimitExceeded, "nested more than 64 levels"),
    ("GET /deep/x/y", "", MalformedRequest, "expected a 32-bit integer for 'a_int32', found 'y'"),
    ("POST /whole/7", "", MalformedRequest, "the body is not JSON"),
    ("POST /whole/7", '{"nope": 1}', MalformedRequest, "not a test.things.Thing: "),
    ("POST /whole/7", "[" * 65, LimitExceeded, "nested more than 64 levels deep"),
    ("POST /whole/7", "[" * 100_000, LimitExceeded, "more than"),
    ("POST /part/7", '{"id": "8"}', MalformedRequest, "not a test.things.Inner: "),
    ("POST /part/7", "[]", MalformedRequest, "expected a JSON object for test.things.Inner"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "body", "error", "reason"), BAD)
def test_what_cannot_be_read_is_refused_with_the_reason(
    read: Any, request_: str, body: str, error: type[CloudstateError], reason: str
) -> None:
    with pytest.raises(error) as caught:
        read(request_, body)

    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


def test_as_many_query_parameters_as_the_limit_are_read(read: Any) -> None:
    assert len(read("GET /get/7?" + "&".join(["texts=x"] * 5)).texts) == 5


def test_the_deepest_query_parameter_that_is_allowed_is_read(read: Any) -> None:
    assert read("GET /get/7?" + "inner." * 63 + "text=1").HasField("inner")


@given(
    query=st.text(alphabet="ainertx_.=&%+0F ;é", max_size=40),
    body=st.binary(max_size=40),
    variable=st.text(alphabet="ab%2Fz+é", max_size=10),
)
def test_any_parts_make_a_message_or_are_refused(
    read: Any, query: str, body: bytes, variable: str
) -> None:
    for target in (
        f"GET /get/{variable}?{query}",
        f"POST /whole/{variable}",
        "POST /part/x?" + query,
    ):
        try:
            read(target, body)
        except (MalformedRequest, LimitExceeded) as error:
            assert str(error)  # noqa: PT017  # either is fine, as long as it gives a reason


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; version=1",
        "application/problem+json",
        "application/vnd.api+json; charset=us-ascii",
    ],
)
def test_json_may_say_that_it_is_json(content_type: str | None) -> None:
    check_json_type(content_type)


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("text/json", "expected content-type 'application/json', found 'text/json'"),
        ("application/x-www-form-urlencoded", "expected content-type"),
        ("application/jsonx", "expected content-type"),
        ("text/plain+json", "expected content-type"),
        ("", "expected content-type 'application/json', found ''"),
        ("application/json; charset=latin-1", "expected charset 'utf-8', found 'latin-1'"),
        ("x" * 1000, "expected content-type"),
    ],
)
def test_what_says_it_is_something_else_is_refused(content_type: str, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason) as caught:
        check_json_type(content_type)

    assert len(str(caught.value)) < 200
