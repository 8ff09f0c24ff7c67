"""Messages cut into pieces and put together, whatever happens to the pieces."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstate_nats.frames import Assembly, MalformedFrame, frames_of

BOUND = 1_000_000


def assembly(max_message_bytes: int = BOUND, max_incomplete_bytes: int = BOUND) -> Assembly:
    return Assembly(max_message_bytes, max_incomplete_bytes)


def cut(message: bytes, *, sender: str = "a", number: int = 1, size: int = 100) -> list[bytes]:
    return list(frames_of(sender, message, size, process=7, number=number))


@given(st.binary(max_size=3000), st.integers(60, 400), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_a_message_comes_out_once_in_whatever_order_its_pieces_come(message, size, random) -> None:
    frames = cut(message, size=size)
    assert all(len(frame) <= size for frame in frames)
    random.shuffle(frames)
    made = assembly()

    taken = [made.take(frame) for frame in frames]

    assert [each for each in taken if each is not None] == [("a", message)]
    assert taken[-1] is not None


def test_pieces_of_many_messages_may_be_mixed_and_come_twice() -> None:
    messages = {number: bytes([number]) * 1000 for number in range(20)}
    frames = [each for number, text in messages.items() for each in cut(text, number=number)]
    frames += [each for number in messages for each in cut(b"b" * 500, sender="b", number=number)]
    frames += Random(1).sample(frames, 50)
    Random(2).shuffle(frames)
    made = assembly()

    taken = [made.take(frame) for frame in frames]

    # A piece that comes again after its message begins another that is never complete.
    whole = [each for each in taken if each is not None]
    assert sorted(text for sender, text in whole if sender == "a") == list(messages.values())
    assert sum(sender == "b" for sender, _ in whole) == 20


def test_a_message_that_misses_a_piece_never_comes_and_makes_room_for_others() -> None:
    made = assembly(max_incomplete_bytes=5_000)
    for number in range(100):
        for frame in cut(b"x" * 1000, number=number)[1:]:
            assert made.take(frame) is None

    assert made.given_up > 90
    for frame in cut(b"y" * 1000, number=1000)[:-1]:
        assert made.take(frame) is None
    assert made.take(cut(b"y" * 1000, number=1000)[-1]) == ("a", b"y" * 1000)


def test_many_tiny_pieces_do_not_fill_the_memory() -> None:
    made = assembly(max_incomplete_bytes=20_000)
    for number in range(1000):
        assert made.take(cut(b"x" * 1000, number=number, size=30)[0]) is None

    assert made.given_up > 900


def test_a_message_that_is_too_long_is_refused() -> None:
    made = assembly(max_message_bytes=500)

    *before, one_too_many = cut(b"x" * 1000)[:7]
    for frame in before:
        made.take(frame)
    with pytest.raises(MalformedFrame, match="too long"):
        made.take(one_too_many)


def test_pieces_that_disagree_on_their_number_are_refused() -> None:
    made = assembly()
    made.take(cut(b"x" * 1000)[0])

    with pytest.raises(MalformedFrame, match="disagree"):
        made.take(cut(b"x" * 2000)[0])


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_garbage_is_refused_and_nothing_else(garbage) -> None:
    made = assembly()
    with suppress(MalformedFrame):
        made.take(garbage)


@given(st.integers(0, 60), st.binary(min_size=1, max_size=4))
@settings(max_examples=300)
def test_a_damaged_frame_is_refused_or_is_another_frame(at, damage) -> None:
    frame = bytearray(cut(b"x" * 1000)[0])
    frame[at : at + len(damage)] = damage
    made = assembly()
    with suppress(MalformedFrame):
        made.take(bytes(frame))


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x01", b"\x01\x00x", b"\x03\x01ax", b"\x01\x05ab", b"\x01\x01\xff", b"\x02\x01ashort"],
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        assembly().take(frame)
