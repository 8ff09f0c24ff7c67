"""The status code that a failing handler may name.

The protocol's `Failure` has a description and no code. A code travels as an unknown field of that
message: peers that do not know it skip it, and a failure without a code has exactly the bytes it
always had.
"""

from __future__ import annotations

from google.protobuf.unknown_fields import UnknownFieldSet

from cloudstate.entity_pb2 import Failure
from cloudstate_core.status import Status

__all__ = ["FAILURE_CODE_FIELD", "code_of", "with_code"]

#: Far above the numbers the protocol uses, and outside protobuf's reserved range.
FAILURE_CODE_FIELD = 1000

_TAG = b"\xc0\x3e"  # field 1000, varint


def with_code(failure: Failure, code: Status) -> Failure:
    """Return `failure` itself, now with a code.

    Raises:
        ValueError: If it is OK, or no status code at all. Nothing was changed.
    """
    if Status(code) is Status.OK:
        raise ValueError("expected the status of a failure, found OK")
    failure.MergeFromString(_TAG + bytes((code,)))
    return failure


def code_of(failure: Failure) -> Status | None:
    """Return the code of a failure; None if it has none, or none that gRPC knows."""
    found = None
    for field in UnknownFieldSet(failure):  # type: ignore[attr-defined]  # stubs miss __iter__
        if field.field_number == FAILURE_CODE_FIELD and field.wire_type == 0:
            found = field.data  # the last one counts, as with every field
    return Status(found) if found is not None and 0 < found <= max(Status) else None
