"""Which binding a request is for, with no I/O.

Bindings defined later are tried first: additional bindings before the rule they belong to, later
methods and services before earlier ones. Bindings whose template has a verb go before all others,
because `/{id}` would take `/7:archive` for an id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from cloudstate_core.errors import MalformedRequest
from cloudstate_runtime.frontend.http.rules import Binding

__all__ = ["RouteTable", "decode_text", "decode_variable"]

T = TypeVar("T")

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile("(%2[Ff])")


@dataclass(frozen=True, slots=True)
class _Route(Generic[T]):
    http_method: str | None
    first: str | None
    path: re.Pattern[str]
    target: T


class _Index(Generic[T]):
    """Routes in order, found by the first segment of a path."""

    def __init__(self, routes: Sequence[_Route[T]]) -> None:
        self._others = [route for route in routes if route.first is None]
        self._by_first = {
            first: [route for route in routes if route.first in (None, first)]
            for first in {route.first for route in routes if route.first is not None}
        }

    def candidates(self, path: str) -> Sequence[_Route[T]]:
        end = path.find("/", 1)
        first = path[1:] if end < 0 else path[1:end]
        return self._by_first.get(first, self._others)


def _route(binding: Binding, target: T) -> _Route[T]:
    template = binding.template
    path = re.compile(template.regex(), re.DOTALL)
    return _Route(binding.http_method, template.first_literal(), path, target)


class RouteTable(Generic[T]):
    """Finds the target of a request by its method and path.

    Args:
        bindings: Bindings with their targets, in the order of definition.
    """

    def __init__(self, bindings: Iterable[tuple[Binding, T]]) -> None:
        latest_first = reversed(list(bindings))
        # A stable sort: apart from the verb, the order stays.
        in_order = sorted(latest_first, key=lambda pair: pair[0].template.verb is None)
        routes = [_route(binding, target) for binding, target in in_order]
        methods = {route.http_method for route in routes if route.http_method is not None}
        self._all = _Index(routes)
        self._any_method = _Index([route for route in routes if route.http_method is None])
        self._by_method = {
            method: _Index([r for r in routes if r.http_method in (None, method)])
            for method in methods
        }

    def find(self, http_method: str, path: str) -> tuple[T, tuple[str, ...]] | None:
        """Return the target for a request, and the text of each variable; None if there is none.

        Args:
            http_method: In capitals.
            path: As it was sent, percent-encoded.
        """
        index = self._by_method.get(http_method, self._any_method)
        for route in index.candidates(path):
            found = route.path.fullmatch(path)
            if found is not None:
                return route.target, found.groups()
        return None

    def methods(self, path: str) -> frozenset[str]:
        """Return the methods that a path can be called with; empty if it is unknown."""
        return frozenset(
            route.http_method
            for route in self._all.candidates(path)
            if route.http_method is not None and route.path.fullmatch(path)
        )


def decode_variable(text: str, *, spans_segments: bool) -> str:
    """Return what the text of a variable stands for.

    A plus sign is a space, as in a query. In a variable that spans several segments an encoded
    slash stays encoded: decoded, it could not be told from a separator.

    Raises:
        MalformedRequest: If an escape is broken or the bytes are not UTF-8.
    """
    if "%" not in text and "+" not in text:
        return text
    if not spans_segments:
        return decode_text(text)
    pieces = _ENCODED_SLASH.split(text)
    return "".join(piece if place % 2 else decode_text(piece) for place, piece in enumerate(pieces))


def decode_text(text: str) -> str:
    """Return percent-encoded text decoded, once, with plus signs as spaces.

    Raises:
        MalformedRequest: If an escape is broken or the bytes are not UTF-8.
    """
    text = text.replace("+", " ")
    broken = _BAD_ESCAPE.search(text)
    if broken is not None:
        raise MalformedRequest(f"broken escape {text[broken.start() : broken.start() + 3]!r}")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"an escape is not UTF-8: {error.reason}") from error
