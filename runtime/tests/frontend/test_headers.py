"""Which headers pass, in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.metadata import Metadata
from cloudstate_runtime.frontend.headers import grpc_headers, http_headers, is_passed_on
from cloudstate_runtime.frontend.http.incoming import Headers


@pytest.mark.parametrize(
    "name",
    [
        ":path",
        "grpc-timeout",
        "grpc-status",
        "x-cloudstate-user",
        "connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "http2-settings",
    ],
)
def test_reserved_headers_of_a_client_stay_outside(name: str) -> None:
    assert not is_passed_on(name)
    assert len(Headers([(name.title().encode(), b"x")]).metadata) == 0


@pytest.mark.parametrize("name", ["authorization", "ce-id", "content-type", "x-cloudstate", "tea"])
def test_other_headers_of_a_client_pass(name: str) -> None:
    assert is_passed_on(name)


def test_headers_of_http_keep_their_order_and_case() -> None:
    headers = Headers([(b"X-B", b"1"), (b"x-a", b"\xe9"), (b"X-B", b"2"), (b"TE", b"trailers")])

    assert list(headers.metadata) == [("X-B", "1"), ("x-a", "é"), ("X-B", "2")]


def wire(key: str, value: str | bytes) -> WireMetadata:
    return Metadata([(key, value)]).to_wire()


ILLEGAL = [
    ("", "x"),
    ("a b", "x"),
    ("a\r\nb", "x"),
    ("a:b", "x"),
    ("é", "x"),
    ("x", "a\r\nSet-Cookie: b"),
    ("x", "a\x00"),
    ("x", "\u2028"),
    ("x", b"bytes"),
    ("grpc-status", "0"),
    ("Grpc-Status", "0"),
    (":status", "200"),
    ("X-Cloudstate-User", "me"),
    ("Connection", "close"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Length", "0"),
    ("content-type", "text/html"),
    ("content-encoding", "gzip"),
]


@pytest.mark.parametrize(("key", "value"), ILLEGAL)
def test_a_header_that_would_break_a_response_is_dropped(key: str, value: str | bytes) -> None:
    assert [sent for _, sent in http_headers(wire(key, value))] == [None]
    assert [sent for _, sent in grpc_headers(wire(key, value))] == [None]


def test_a_legal_header_passes_in_the_form_of_its_transport() -> None:
    assert list(http_headers(wire("X-Trace", "é 1"))) == [("X-Trace", "é 1")]
    assert list(grpc_headers(wire("X-Trace", "a 1"))) == [("x-trace", "a 1")]
    assert list(grpc_headers(wire("X-Trace", "é"))) == [("x-trace", None)]
    assert list(grpc_headers(wire("x-trace-bin", "AA"))) == [("x-trace-bin", None)]


@given(st.text(max_size=10), st.text(max_size=10))
def test_whatever_passes_has_no_line_breaks(key: str, value: str) -> None:
    for headers in (http_headers, grpc_headers):
        for name, sent in headers(wire(key, value)):
            assert sent is None or not any(c in "\r\n\x00" for c in name + sent)
