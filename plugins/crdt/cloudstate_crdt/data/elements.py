"""Elements and keys: values of the application, told apart by the bytes they are packed as.

The runtime compares them so, and so do all languages (Cloudstate protocol, "stability").
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any as AnyType
from typing import NamedTuple

from google.protobuf.any_pb2 import Any
from typing_extensions import TypeVar

from cloudstate_core.anys import AnyError, decode, encode
from cloudstate_crdt.data.crdt import Crdt

__all__ = ["E", "Element", "ElementSet"]

# With a default, since who names no type gets `Any`, and no error in strict mode.
E = TypeVar("E", default=AnyType)


class Element(NamedTuple):
    """A packed value that can be looked up."""

    type_url: str
    data: bytes

    @classmethod
    def of(cls, value: object) -> Element:
        """Pack a value of the application.

        Raises:
            AnyError: It cannot be packed.
        """
        return cls.from_wire(encode(value))

    @classmethod
    def from_wire(cls, packed: Any) -> Element:
        """Return what the protocol carries."""
        return cls(packed.type_url, packed.value)

    def to_wire(self) -> Any:
        """Return it as the protocol carries it."""
        return Any(type_url=self.type_url, value=self.data)

    def value(self) -> AnyType:
        """Return the value of the application.

        Raises:
            AnyError: Its type is not known here, or the bytes are not of that type.
        """
        return decode(self.to_wire())


class ElementSet(Crdt, AbstractSet[E]):
    """What both sets have in common.

    Comparisons with other sets and the operators `&`, `|`, `-` and `^` are those of `set`; the
    operators return a plain `set`, which is no part of the entity.
    """

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        # In the order in which they came.
        self._elements: dict[Element, None] = {}

    @abstractmethod
    def add(self, value: E) -> None:
        """Put an element in; nothing happens if it is there."""

    def update(self, *values: Iterable[E]) -> None:
        """Put all of these in.

        Raises:
            AnyError: One of them cannot be packed. Those before it are in.
        """
        for each in values:
            for value in each:
                self.add(value)

    def __contains__(self, value: object) -> bool:
        try:
            return Element.of(value) in self._elements
        except AnyError:
            return False

    def __iter__(self) -> Iterator[E]:
        return (element.value() for element in self._elements)

    def __len__(self) -> int:
        return len(self._elements)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[_shown(element) for element in self._elements]!r})"

    @classmethod
    def _from_iterable(cls, values: Iterable[AnyType]) -> set[AnyType]:
        return set(values)


def _shown(element: Element) -> object:
    try:
        return element.value()
    except AnyError:
        return element
