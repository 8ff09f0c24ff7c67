"""What reflection knows about the deployed services, with no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

__all__ = ["DescriptorIndex"]


class DescriptorIndex:
    """Finds serialized files by their name, by what they define and by what they extend.

    If several user functions announced a file of one name, the first one counts.

    Args:
        files: All files.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._by_name: dict[str, bytes] = {}
        self._by_symbol: dict[str, str] = {}
        self._extensions: dict[str, dict[int, str]] = defaultdict(dict)
        for file in files:
            if file.name not in self._by_name:
                self._add(file)

    def file_by_name(self, name: str) -> Sequence[bytes]:
        """Return the file, alone; nothing if it is unknown."""
        found = self._by_name.get(name)
        return [] if found is None else [found]

    def file_with_symbol(self, symbol: str) -> Sequence[bytes]:
        """Return the file that defines a message, enum, service, method, field or extension."""
        return self.file_by_name(self._by_symbol.get(symbol, ""))

    def file_with_extension(self, message: str, number: int) -> Sequence[bytes]:
        """Return the file that extends a message with a field of that number."""
        return self.file_by_name(self._extensions.get(message, {}).get(number, ""))

    def extension_numbers(self, message: str) -> Sequence[int]:
        """Return the numbers of all fields that extend a message, in ascending order."""
        return sorted(self._extensions.get(message, {}))

    def _add(self, file: FileDescriptorProto) -> None:
        self._by_name[file.name] = file.SerializeToString()
        prefix = f"{file.package}." if file.package else ""
        for symbol in _symbols(file, prefix):
            self._by_symbol.setdefault(symbol, file.name)
        for extension in _extensions(file):
            extended = extension.extendee.removeprefix(".")
            self._extensions[extended].setdefault(extension.number, file.name)


def _symbols(file: FileDescriptorProto, prefix: str) -> Iterator[str]:
    for message in file.message_type:
        yield from _message_symbols(message, prefix)
    for enum in file.enum_type:
        yield prefix + enum.name
        yield from (prefix + value.name for value in enum.value)
    for extension in file.extension:
        yield prefix + extension.name
    for service in file.service:
        yield prefix + service.name
        yield from (f"{prefix}{service.name}.{method.name}" for method in service.method)


def _message_symbols(message: DescriptorProto, prefix: str) -> Iterator[str]:
    name = prefix + message.name
    yield name
    inner = f"{name}."
    yield from (inner + field.name for field in message.field)
    yield from (inner + extension.name for extension in message.extension)
    yield from (inner + oneof.name for oneof in message.oneof_decl)
    for enum in message.enum_type:
        yield inner + enum.name
        yield from (inner + value.name for value in enum.value)
    for nested in message.nested_type:
        yield from _message_symbols(nested, inner)


def _extensions(file: FileDescriptorProto) -> Iterator[FieldDescriptorProto]:
    yield from file.extension
    stack = list(file.message_type)
    while stack:
        message = stack.pop()
        yield from message.extension
        stack.extend(message.nested_type)
