"""Conditions as callers write them, with no I/O.

`Conditions.command_key` comes as the header `idempotency-key`, and `Conditions.expected_version` as
`if-match`.
"""

from __future__ import annotations

import re

from cloudstate_core.errors import MalformedRequest

__all__ = ["MAX_COMMAND_KEY_BYTES", "checked_command_key", "parsed_version"]

#: Longest key. A UUID has 36; more than this is no name for a command but a document.
MAX_COMMAND_KEY_BYTES = 255

_VISIBLE = re.compile(r"[!-~]+")
_VERSION = re.compile(r'"([0-9]+)"|([0-9]+)')

#: Versions are counts that a store keeps in 63 bits, and text is not read beyond them.
_MAX_VERSION = 2**63 - 1
_MAX_VERSION_CHARACTERS = 21

#: Longer text is cut in what a caller gets back.
_MAX_SHOWN_CHARACTERS = 80


def checked_command_key(text: str) -> str:
    """Return the caller's name for a command.

    Raises:
        MalformedRequest: It is empty, too long, or more than visible ASCII.
    """
    if len(text) > MAX_COMMAND_KEY_BYTES:
        raise MalformedRequest(
            f"expected an idempotency key of at most {MAX_COMMAND_KEY_BYTES} characters, "
            f"found {len(text)}"
        )
    if _VISIBLE.fullmatch(text) is None:
        raise MalformedRequest(
            f"expected an idempotency key of visible ASCII characters, found {text!r}"
        )
    return text


def parsed_version(text: str) -> int:
    """Return the version that a caller expects, with or without quotes around it.

    Raises:
        MalformedRequest: It is not one version as an `etag` names it.
    """
    found = _VERSION.fullmatch(text) if len(text) <= _MAX_VERSION_CHARACTERS else None
    version = int(found[1] or found[2]) if found is not None else _MAX_VERSION + 1
    if version > _MAX_VERSION:
        raise MalformedRequest(
            "expected if-match to be one version as an etag names it, such as '7', "
            f"found {text[:_MAX_SHOWN_CHARACTERS]!r}"
        )
    return version
