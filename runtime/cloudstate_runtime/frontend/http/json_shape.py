"""How deep and how large a JSON document is, found without parsing it, with no I/O.

A parser has to build what it reads before anybody can count it. A few kilobytes of brackets would
then cost a deep recursion, and a few megabytes of them a hundred times their size in memory.
"""

from __future__ import annotations

import re

from cloudstate_core.errors import LimitExceeded

__all__ = ["check_shape"]

# A string, also one that never ends. Possessive, and it always matches once a quotation mark was
# seen, so that no text makes the search start over.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+["\\]?', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")


def check_shape(document: bytes, *, max_depth: int, max_nodes: int) -> None:
    """Refuse a document that is nested too deeply or holds too many values.

    Nothing is said about whether it is JSON.

    Raises:
        LimitExceeded: If it is over a limit.
    """
    # Brackets and commas inside of strings only make these counts too high.
    opened = document.count(b"{") + document.count(b"[")
    if opened <= max_depth and opened + document.count(b",") < max_nodes:
        return
    bare = _STRING.sub(b"", document)
    opened = bare.count(b"{") + bare.count(b"[")
    if opened + bare.count(b",") >= max_nodes:
        raise LimitExceeded(f"the JSON body holds more than {max_nodes} values")
    if opened > max_depth and _depth(bare, max_depth) > max_depth:
        raise LimitExceeded(f"the JSON body is nested more than {max_depth} levels deep")


def _depth(bare: bytes, enough: int) -> int:
    """Return the deepest nesting, or any number above `enough` once it is known to be deeper."""
    depth = deepest = 0
    for bracket in bare.translate(None, _NOT_BRACKETS):
        if bracket in b"{[":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > enough:
                    break
        else:
            depth -= 1
    return deepest
