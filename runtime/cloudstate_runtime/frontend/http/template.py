"""Path templates of `google.api.http` rules, with no I/O.

    template  = "/" segments [ ":" verb ]
    segments  = segment { "/" segment }
    segment   = "*" | "**" | literal | variable
    variable  = "{" field [ "=" segments ] "}"
    field     = identifier { "." identifier }

A literal may be empty and holds anything but `*`, `{`, `}`, `/`, `:` and a line break. `**` stands
for the rest of the path, so nothing but the verb comes after it. A variable holds no variable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Segment", "Template", "TemplateError", "Variable", "parse_template"]

_LITERAL = re.compile(r"[^*{}/:\r\n]*")
# ASCII only, and no leading underscore: this is what protobuf's own style allows for a field.
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

#: What each kind of wildcard matches in a path that is still percent-encoded.
_ONE = "[^/]*"
_REST = ".*"


class TemplateError(ValueError):
    """A template does not follow the grammar.

    Attributes:
        column: Where, counted from 1.
    """

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(f"column {column}: {message}")


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a template between slashes, outside or inside a variable.

    Attributes:
        text: `*`, `**`, or a literal.
        literal: Whether `text` is a literal.
    """

    text: str
    literal: bool

    def regex(self) -> str:
        if self.literal:
            return re.escape(self.text)
        return _REST if self.text == "**" else _ONE


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of a template whose text goes into a field of the request.

    Attributes:
        path: The field, from the request message inwards.
        segments: What it matches.
        column: Where it starts in the template, counted from 1.
    """

    path: tuple[str, ...]
    segments: tuple[Segment, ...]
    column: int

    def regex(self) -> str:
        return f"({'/'.join(segment.regex() for segment in self.segments)})"

    def spans_segments(self) -> bool:
        """Return whether a match may hold several segments of the path."""
        return len(self.segments) > 1 or self.segments[0].text == "**"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template.

    Attributes:
        text: As it was written.
        segments: What stands between the slashes.
        verb: What follows the colon at the end; None without one.
    """

    text: str
    segments: tuple[Segment | Variable, ...]
    verb: str | None

    def variables(self) -> tuple[Variable, ...]:
        return tuple(part for part in self.segments if isinstance(part, Variable))

    def regex(self) -> str:
        """Return an expression for a whole encoded path, with one group for each variable."""
        path = "".join(f"/{part.regex()}" for part in self.segments)
        return path if self.verb is None else f"{path}:{re.escape(self.verb)}"

    def first_literal(self) -> str | None:
        """Return the text that the path's first segment must equal; None if it is not fixed."""
        flat = [segment for part in self.segments for segment in _plain(part)]
        if not flat[0].literal:
            return None
        if len(flat) == 1 and self.verb is not None:
            return f"{flat[0].text}:{self.verb}"
        return flat[0].text


def _plain(part: Segment | Variable) -> tuple[Segment, ...]:
    return part.segments if isinstance(part, Variable) else (part,)


def parse_template(text: str) -> Template:
    """Parse a path template.

    Raises:
        TemplateError: If it does not follow the grammar; the message starts with the column.
    """
    return _Parser(text).template()


class _Parser:
    """A recursive-descent parser; `_at` is the index of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rest_at: int | None = None  # where a `**` was read

    def template(self) -> Template:
        if not self._take("/"):
            raise self._error("expected '/' at the start")
        segments = [self._segment()]
        while self._take("/"):
            segments.append(self._segment())
        verb = self._verb() if self._take(":") else None
        if self._at < len(self._text):
            raise self._error(f"expected '/', ':' or the end, found {self._found()}")
        return Template(self._text, tuple(segments), verb)

    def _segment(self) -> Segment | Variable:
        return self._variable() if self._peek() == "{" else self._plain_segment()

    def _plain_segment(self) -> Segment:
        if self._rest_at is not None:
            raise TemplateError(self._rest_at + 1, "'**' stands for the rest of the path; end here")
        start = self._at
        if self._take("*"):
            if not self._take("*"):
                return Segment("*", literal=False)
            self._rest_at = start
            return Segment("**", literal=False)
        return Segment(self._literal(), literal=True)

    def _variable(self) -> Variable:
        start = self._at
        self._at += 1
        path = [self._identifier()]
        while self._take("."):
            path.append(self._identifier())
        segments = self._variable_segments() if self._take("=") else [self._star()]
        if not self._take("}"):
            if self._peek() == "{":
                raise self._error("a variable inside a variable is not allowed")
            raise self._error(f"expected '}}' to end the variable, found {self._found()}")
        return Variable(tuple(path), tuple(segments), start + 1)

    def _variable_segments(self) -> list[Segment]:
        segments = [self._plain_segment()]
        while self._take("/"):
            segments.append(self._plain_segment())
        return segments

    def _star(self) -> Segment:
        if self._rest_at is not None:
            raise TemplateError(self._rest_at + 1, "'**' stands for the rest of the path; end here")
        return Segment("*", literal=False)

    def _verb(self) -> str:
        if self._at == len(self._text):
            raise self._error("expected a verb after ':'")
        return self._literal()

    def _identifier(self) -> str:
        found = _IDENTIFIER.match(self._text, self._at)
        if found is None:
            raise self._error(f"expected the name of a field, found {self._found()}")
        self._at = found.end()
        return found.group()

    def _literal(self) -> str:
        found = _LITERAL.match(self._text, self._at)
        assert found is not None  # the expression matches nothing at all, too
        self._at = found.end()
        return found.group()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _found(self) -> str:
        return repr(self._peek()) if self._peek() else "the end"

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _error(self, message: str) -> TemplateError:
        return TemplateError(self._at + 1, message)
