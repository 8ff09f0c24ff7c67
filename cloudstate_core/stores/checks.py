"""What a store refuses: the same for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudstate_core.errors import LimitExceeded, RevisionConflict
from cloudstate_core.store import MAX_AMENDMENTS, MAX_ENTITY_ID_BYTES, SLICES, EntityKey

__all__ = ["check_amendable", "check_key", "check_offsets", "check_page", "check_slices"]

_MAX_POSITION = 2**63 - 1


def check_key(key: EntityKey) -> None:
    """Return if an entity of this key can be stored.

    Raises:
        ValueError: The id is empty or too long, or a part of the key is no text that UTF-8 can
            encode.
    """
    key.persistence_id.encode()
    length = len(key.entity_id.encode())
    if not 0 < length <= MAX_ENTITY_ID_BYTES:
        raise ValueError(
            f"expected an entity id of 1 to {MAX_ENTITY_ID_BYTES} bytes, found one of {length}"
        )


def check_page(*, limit: int, after: int = 0) -> None:
    """Return if these bounds name a part of a sequence.

    Raises:
        ValueError: `after` is negative or `limit` is less than 1.
    """
    if limit < 1:
        raise ValueError(f"expected a limit of 1 or more, found {limit}")
    if after < 0:
        raise ValueError(f"expected after to be 0 or more, found {after}")


def check_slices(slices: Iterable[int]) -> None:
    """Return if there are such slices.

    Raises:
        ValueError: There is one that does not exist.
    """
    ends = (*slices[:1], *slices[-1:]) if isinstance(slices, range) else slices
    for number in ends:
        if not 0 <= number < SLICES:
            raise ValueError(f"expected a slice from 0 to {SLICES - 1}, found {number}")


def check_offsets(offsets: Mapping[int, int]) -> None:
    """Return if these can be positions of slices.

    Raises:
        ValueError: A slice does not exist, or a position cannot be one.
    """
    check_slices(offsets)
    for position in offsets.values():
        if not 0 <= position <= _MAX_POSITION:
            raise ValueError(f"expected a position from 0 to {_MAX_POSITION}, found {position}")


def check_amendable(entity_id: str, *, expected: int, actual: int, amendments: int | None) -> None:
    """Return if a value can be amended.

    Args:
        entity_id: Whose value.
        expected: The revision that the writer expects.
        actual: The revision that there is.
        amendments: How many the value has; None if there is no value.

    Raises:
        RevisionConflict: It has another revision, or there is none.
        LimitExceeded: It takes no more amendments.
    """
    if expected != actual or amendments is None:
        raise RevisionConflict(
            entity_id, expected=expected, actual=actual, is_missing=amendments is None
        )
    if amendments >= MAX_AMENDMENTS:
        raise LimitExceeded(
            f"entity {entity_id!r}: expected at most {MAX_AMENDMENTS} amendments of a value, "
            f"found one more; put the value anew"
        )
