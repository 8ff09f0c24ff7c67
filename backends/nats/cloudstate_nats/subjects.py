"""Which subjects messages go under.

A topic or a name is one token of a subject. What has a meaning in subjects, such as the dot, and
whatever else is no letter, digit, `_` or `-`, is written as `=` and two hexadecimal digits for each
byte of it.
"""

from __future__ import annotations

import re

__all__ = ["Subjects", "token"]

_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def token(text: str) -> str:
    """Return a text as one token; different texts have different tokens."""
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode()


class Subjects:
    """The subjects of one cluster.

    Args:
        prefix: What all of them begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def to_all(self, topic: str) -> str:
        """Return what messages to all nodes go under."""
        return f"{self._prefix}.all.{token(topic)}"

    def to_node(self, node: str, topic: str) -> str:
        """Return what messages to one node go under."""
        return f"{self._prefix}.to.{token(node)}.{token(topic)}"

    def inbox(self, node: str) -> str:
        """Return what matches all messages to one node."""
        return f"{self._prefix}.to.{token(node)}.*"
