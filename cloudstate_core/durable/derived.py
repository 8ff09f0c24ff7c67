"""Names for what a command passes on, made from the name of the command itself.

A command that is carried out a second time under the same name gives the same names to what it
passes on, in the same order; so what is behind it is done once as well, also behind a handler that
keeps no state.
"""

from __future__ import annotations

from hashlib import blake2b

from cloudstate_core.handler import Conditions, Request

__all__ = ["FORWARD", "derived_conditions"]

#: The number of a forward; side effects are numbered from 1, in their order.
FORWARD = 0

_KEY_BYTES = 16


def derived_conditions(request: Request, number: int) -> Conditions | None:
    """Return the conditions for what a request passes on; None if it has no name of its own.

    Args:
        request: The request that passes something on.
        number: What it is: `FORWARD`, or which side effect.
    """
    conditions = request.conditions
    if conditions is None:
        return None
    if conditions.message_id:
        return Conditions(
            message_id=f"{conditions.message_id}.{number}", message_hops=conditions.message_hops
        )
    if conditions.command_key:
        return Conditions(command_key=f"{_unique_key(request)}.{number}")
    return None


def _unique_key(request: Request) -> str:
    """Return a name that no other command has.

    A caller's name for a command is unique for one entity only, and what is passed on goes to
    another one.
    """
    assert request.conditions is not None
    digest = blake2b(digest_size=_KEY_BYTES)
    parts = (request.service, request.command, request.conditions.command_key)
    for part in (*(part.encode() for part in parts), request.payload.value):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
