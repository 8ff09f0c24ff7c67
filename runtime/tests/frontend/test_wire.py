"""The bytes of gRPC: messages, timeouts, text, metadata."""

from __future__ import annotations

import gzip
from urllib.parse import unquote

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.errors import LimitExceeded, MalformedRequest
from cloudstate_runtime.frontend.grpc.prepared import PreparedEncoder
from cloudstate_runtime.frontend.grpc.status import OK_TRAILERS, RESPONSE_HEADERS
from cloudstate_runtime.frontend.grpc.wire import (
    MessageReader,
    encoded_text,
    message_frame,
    metadata_of,
    timeout_s,
)


def packed(payload: bytes) -> bytes:
    data = gzip.compress(payload)
    return b"\x01" + len(data).to_bytes(4, "big") + data


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 7))
def test_messages_come_out_whole_however_they_are_cut(payloads: list[bytes], size: int) -> None:
    data = b"".join(map(message_frame, payloads))
    reader = MessageReader("identity", 100)

    found = [
        message
        for start in range(0, len(data), size)
        for message in reader.feed(data[start : start + size])
    ]

    assert found == payloads
    assert not reader.is_within_a_message()


def test_half_a_message_is_waited_for() -> None:
    reader = MessageReader("identity", 100)

    assert reader.feed(message_frame(b"abc")[:-1]) == []
    assert reader.is_within_a_message()


def test_packed_and_plain_messages_mix() -> None:
    reader = MessageReader("gzip", 100)

    assert reader.feed(packed(b"a" * 100) + message_frame(b"b")) == [b"a" * 100, b"b"]


def test_a_message_as_large_as_allowed_passes_and_one_byte_more_does_not() -> None:
    assert MessageReader("identity", 10).feed(message_frame(b"x" * 10)) == [b"x" * 10]

    with pytest.raises(LimitExceeded, match="at most 10 bytes, found 11 bytes"):
        MessageReader("identity", 10).feed(message_frame(b"x" * 11)[:5])


def test_what_grows_beyond_the_limit_when_unpacked_is_not_unpacked() -> None:
    with pytest.raises(LimitExceeded, match="at most 1000 bytes, found more when unpacked"):
        MessageReader("gzip", 1000).feed(packed(bytes(1001)))


@pytest.mark.parametrize(
    ("encoding", "data", "reason"),
    [
        ("identity", packed(b"x"), "a message is packed, but no grpc-encoding says how"),
        ("gzip", b"\x01\x00\x00\x00\x03abc", "a message is not gzip"),
        ("gzip", b"\x01\x00\x00\x00\x00", "a message is not one whole gzip stream"),
        ("gzip", b"\x01\x00\x00\x00\x10" + gzip.compress(b"x" * 9)[:16], "not one whole gzip"),
    ],
)
def test_what_is_not_packed_as_it_says_is_refused(encoding: str, data: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        MessageReader(encoding, 100).feed(data)


@given(st.binary(max_size=40), st.sampled_from(["identity", "gzip"]))
def test_any_bytes_are_messages_or_are_refused(data: bytes, encoding: str) -> None:
    try:
        messages = MessageReader(encoding, 20).feed(data)
    except (MalformedRequest, LimitExceeded):
        return
    assert all(len(message) <= 20 for message in messages)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"0S", 0),
        (b"99999999H", 99999999 * 3600),
    ],
)
def test_a_timeout_is_a_number_and_a_unit(value: bytes, seconds: float) -> None:
    assert timeout_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"-1S", b"1s", b"1.5S", b"100000000S", b"1S "])
def test_anything_else_is_no_timeout(value: bytes) -> None:
    with pytest.raises(MalformedRequest, match="expected a grpc-timeout such as '10S'"):
        timeout_s(value)


@given(st.text(max_size=30))
def test_text_survives_its_encoding(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    encoded = encoded_text(text)

    assert unquote(encoded.decode("ascii")) == text
    assert all(0x20 <= byte <= 0x7E for byte in encoded)


def test_metadata_is_text_and_bytes() -> None:
    headers = [
        (b":path", b"/x"),
        (b"x-a", b"1"),
        (b"grpc-timeout", b"1S"),
        (b"te", b"trailers"),
        (b"y-bin", b"AAE,/w=="),
        (b"x-a", b"2"),
        (b"x-cloudstate-user", b"me"),
    ]

    assert list(metadata_of(headers)) == [
        ("x-a", "1"),
        ("y-bin", b"\x00\x01"),
        ("y-bin", b"\xff"),
        ("x-a", "2"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        (b"X-A", b"1"),
        (b"x a", b"1"),
        (b"", b"1"),
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x-a", b"\x00"),
        (b"x-bin", b"A"),
        (b"x-bin", b"!!!!"),
    ],
)
def test_metadata_that_http_does_not_allow_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(MalformedRequest, match="header"):
        metadata_of([header])


@given(st.lists(st.sampled_from(["response", "ok", "other"]), max_size=10))
def test_prepared_headers_decode_among_others(kinds: list[str]) -> None:
    blocks = {
        "response": RESPONSE_HEADERS,
        "ok": OK_TRAILERS,
        "other": [(b"grpc-status", b"2"), (b"grpc-message", b"no")],
    }
    encoder, decoder = PreparedEncoder(), Decoder()

    for kind in kinds:
        assert list(decoder.decode(encoder.encode(blocks[kind]), raw=True)) == blocks[kind]


def test_a_new_table_size_is_said_before_a_prepared_block() -> None:
    encoder = PreparedEncoder()
    encoder.header_table_size = 0
    plain = Encoder()
    plain.header_table_size = 0

    assert encoder.encode(OK_TRAILERS) == plain.encode(OK_TRAILERS)
