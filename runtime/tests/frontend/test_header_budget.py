"""A user function cannot send more headers than clients take."""

from __future__ import annotations

import pytest

from cloudstate.entity_pb2 import Metadata, MetadataEntry
from cloudstate_runtime.frontend.headers import MAX_HEADERS_BYTES, grpc_headers, http_headers


@pytest.mark.parametrize("headers", [grpc_headers, http_headers])
def test_a_header_that_is_too_long_is_dropped_and_the_others_are_sent(headers):
    metadata = Metadata(
        entries=[
            MetadataEntry(key="first", string_value="1"),
            MetadataEntry(key="long", string_value="x" * 2**20),
            MetadataEntry(key="last", string_value="2"),
        ]
    )

    assert list(headers(metadata)) == [("first", "1"), ("long", None), ("last", "2")]


@pytest.mark.parametrize("headers", [grpc_headers, http_headers])
def test_many_headers_are_sent_as_far_as_they_fit(headers):
    entry = MetadataEntry(key="name", string_value="x" * 28)
    metadata = Metadata(entries=[entry] * 1_000)

    sent = [value for _, value in headers(metadata)]

    fitting = MAX_HEADERS_BYTES // 64
    assert sent == ["x" * 28] * fitting + [None] * (1_000 - fitting)
