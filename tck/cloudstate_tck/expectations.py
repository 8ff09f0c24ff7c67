"""What was expected and what was found, compared exactly and shown readably."""

from __future__ import annotations

from google.protobuf import text_format
from google.protobuf.message import Message

__all__ = ["Mismatch", "expect_equal", "rendered"]

#: A failure is read by a person; a message of megabytes is not.
MAX_RENDERED_CHARACTERS = 4_000


class Mismatch(AssertionError):
    """What is examined does not do what the protocol demands.

    Attributes:
        what: What was looked at, such as "the reply to command 2".
        expected: What should have been there, for a person to read.
        found: What was there.
    """

    def __init__(self, what: str, *, expected: object, found: object) -> None:
        self.what = what
        self.expected = rendered(expected)
        self.found = rendered(found)
        super().__init__(f"{what}: expected {self.expected}, found {self.found}")


def expect_equal(what: str, expected: object, found: object) -> None:
    """Compare two values; two messages are equal only if every field is, and each is as present.

    Raises:
        Mismatch: If they differ.
    """
    if type(expected) is not type(found) or expected != found:
        raise Mismatch(what, expected=_shown(expected), found=_shown(found))


def _shown(value: object) -> object:
    return value if isinstance(value, Message) else repr(value)


def rendered(value: object) -> str:
    """Return a message as text, with what its `Any`s hold; anything else as `str`."""
    if isinstance(value, Message):
        fields = text_format.MessageToString(value, as_utf8=True).rstrip("\n")
        text = f"{value.DESCRIPTOR.name} {{{_block(fields)}}}"
    else:
        text = str(value)
    if len(text) > MAX_RENDERED_CHARACTERS:
        left_out = len(text) - MAX_RENDERED_CHARACTERS
        text = f"{text[:MAX_RENDERED_CHARACTERS]} … and {left_out} characters more"
    return text


def _block(fields: str) -> str:
    if not fields:
        return ""
    return "\n" + "\n".join(f"  {line}" for line in fields.splitlines()) + "\n"
