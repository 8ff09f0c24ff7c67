"""What is kept of an answer, so that the same command gets the same answer again. No I/O.

Kept is the whole outcome: the bytes of its action, the side effects that are still to be done, the
version, and the note of its kind. Whoever sends the command again sees the same bytes, and what the
first answer may have left undone is done then.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct, error

from google.protobuf.message import DecodeError

from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate_core.errors import CorruptState, KeyReused
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.store import RememberedReply, RememberReply
from cloudstate_core.value import value

__all__ = ["Memory", "digest_of", "recalled"]

#: The first byte of what is kept: how the rest is to be read.
_FORMAT = 1

#: The same, with a note after the action.
_FORMAT_WITH_NOTE = 2

#: Format, version of the entity and length of the action; the action follows, then the note after
#: its length if there is one, and then each side effect after its length.
_HEAD = Struct(">BqI")
_LENGTH = Struct(">I")
_NO_VERSION = -1

_DIGEST_BYTES = 16


@value
class Memory:
    """For how long answers are kept, and how many.

    Attributes:
        keep_s: For how long each, in seconds.
        keep_count: How many of each entity.
    """

    keep_s: float
    keep_count: int

    def write_of(self, request: Request, outcome: Outcome) -> RememberReply | None:
        """Return what keeps an outcome; None if it is not to be kept.

        Kept are answers to commands to which their callers gave a name, except failures: they have
        changed nothing, and the next attempt may do better.
        """
        conditions = request.conditions
        if conditions is None or not conditions.command_key or outcome.action.HasField("failure"):
            return None
        return RememberReply(
            conditions.command_key,
            digest_of(request),
            _kept(outcome),
            keep_s=self.keep_s,
            keep_count=self.keep_count,
        )


def digest_of(request: Request) -> bytes:
    """Return what tells a command from others of the same name: method and message."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in (request.service.encode(), request.command.encode(), request.payload.value):
        digest.update(_LENGTH.pack(len(part)))
        digest.update(part)
    return digest.digest()


def recalled(kept: RememberedReply, request: Request, entity_id: str, command_key: str) -> Outcome:
    """Return the outcome that was kept for a command.

    Raises:
        KeyReused: It was kept for another command of the same name.
        CorruptState: What was kept cannot be read.
    """
    if kept.digest != digest_of(request):
        raise KeyReused(entity_id, command_key)
    try:
        return _outcome(kept.reply)
    except (error, DecodeError, ValueError) as cause:
        raise CorruptState(
            f"entity {entity_id!r}: the answer to {command_key!r} cannot be read"
        ) from cause


def _kept(outcome: Outcome) -> bytes:
    action = outcome.action.SerializeToString()
    version = _NO_VERSION if outcome.version is None else outcome.version
    notes = (outcome.note,) if outcome.note else ()
    format_ = _FORMAT_WITH_NOTE if notes else _FORMAT
    parts = [_HEAD.pack(format_, version, len(action)), action]
    for data in (*notes, *(effect.SerializeToString() for effect in outcome.side_effects)):
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def _outcome(data: bytes) -> Outcome:
    format_, version, length = _HEAD.unpack_from(data)
    if format_ not in (_FORMAT, _FORMAT_WITH_NOTE):
        raise ValueError(f"expected format {_FORMAT} or {_FORMAT_WITH_NOTE}, found {format_}")
    action = ClientAction.FromString(_part(data, _HEAD.size, length))
    parts = _parts(data, _HEAD.size + length)
    note = b"" if format_ == _FORMAT else next(parts, b"")
    if format_ != _FORMAT and not note:
        raise ValueError("expected a note, found none")
    side_effects = tuple(SideEffect.FromString(part) for part in parts)
    version = None if version == _NO_VERSION else version
    return Outcome(action, side_effects, version=version, note=note)


def _parts(data: bytes, start: int) -> Iterator[bytes]:
    while start < len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        yield _part(data, start, length)
        start += length


def _part(data: bytes, start: int, length: int) -> bytes:
    part = data[start : start + length]
    if len(part) != length:
        raise ValueError(f"expected {length} bytes, found {len(part)}")
    return part
