"""How deep and how large a document is, before it is parsed."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.errors import LimitExceeded
from cloudstate_runtime.frontend.http.json_shape import check_shape


def is_refused(document: bytes, *, max_depth: int = 64, max_nodes: int = 100_000) -> bool:
    try:
        check_shape(document, max_depth=max_depth, max_nodes=max_nodes)
    except LimitExceeded:
        return True
    return False


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


@pytest.mark.parametrize(
    ("document", "refused"),
    [
        (b"", False),
        (b"1", False),
        (nested(64), False),
        (nested(65), True),
        (nested(100_000), True),
        (nested(64, b'{"a":', b"}"), False),
        (nested(65, b'{"a":', b"}"), True),
        (b"[" + b",".join([b"[]"] * 80) + b"]", False),
        (b'"' + b"[" * 70 + b'"', False),
        (b'{"' + b"[" * 70 + b'":1}', False),
        (b'"\\"' + b"[" * 70 + b'"', False),
        (b'"\\\\"' + b"[" * 70, True),
        (b'"' + b"[" * 70, False),
    ],
)
def test_depth_counts_brackets_outside_of_strings(document: bytes, refused: bool) -> None:
    assert is_refused(document) is refused


@pytest.mark.parametrize(
    ("document", "refused"),
    [
        (b"[" + b",".join([b"1"] * 9) + b"]", False),
        (b"[" + b",".join([b"1"] * 10) + b"]", True),
        (b"[" + b",".join([b"1"] * 1_000_000) + b"]", True),
        (b'"' + b"," * 1000 + b'"', False),
        (b'{"' + b"," * 1000 + b'":"' + b"," * 1000 + b'"}', False),
    ],
)
def test_values_are_counted_outside_of_strings(document: bytes, refused: bool) -> None:
    assert is_refused(document, max_nodes=10) is refused


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab",[{\\}]:é', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = isinstance(value, dict | list)
    return own + max(map(depth_of, inside), default=0)


@given(values, st.integers(0, 6))
def test_the_depth_is_that_of_the_parsed_document(value: object, max_depth: int) -> None:
    document = json.dumps(value, ensure_ascii=False).encode()

    assert is_refused(document, max_depth=max_depth) is (depth_of(value) > max_depth)


@given(st.binary(max_size=200))
def test_any_bytes_are_fit_or_not(document: bytes) -> None:
    is_refused(document, max_depth=2, max_nodes=5)


@pytest.mark.parametrize(
    "document",
    [
        b'"' + b'\\"' * 500_000,
        b'"' + b'\\"' * 500_000 + b"\\",
        b'"' * 1_000_000,
        b'"\\' * 500_000,
        b"[" * 1_000_000,
        b"{}," * 300_000,
    ],
    ids=["escapes", "escapes and one", "quotes", "backslashes", "brackets", "objects"],
)
def test_no_document_takes_more_than_its_length(document: bytes) -> None:
    began_s = time.process_time()

    is_refused(document, max_nodes=10, max_depth=1)
    is_refused(document, max_nodes=10_000_000, max_depth=1)

    assert time.process_time() - began_s < 2
