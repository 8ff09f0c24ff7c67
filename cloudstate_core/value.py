"""Values: dataclasses that nothing changes after they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a slotted dataclass that compares and hashes by its fields and must not be changed.

    Type checkers refuse a change. The interpreter does not: a dataclass that does takes seven times
    as long to make, and a command makes about ten of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
