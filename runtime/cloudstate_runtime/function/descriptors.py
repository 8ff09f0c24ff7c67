"""A user function's descriptors: from bytes to a descriptor pool of its own.

Nothing a user function sends reaches the process-wide pool, so two user functions may define the
same name differently, and none can redefine what others use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from cloudstate_core.errors import InvalidSpec
from cloudstate_runtime.function.known_files import KNOWN_FILES, RESERVED_PACKAGES, differences

__all__ = ["MAX_FILES", "MAX_MESSAGES", "MAX_NESTING", "build_pool", "messages_of", "parse_files"]

#: Far more than any service has; a bound on what a broken or hostile one can cost.
MAX_FILES = 1_000
MAX_MESSAGES = 20_000
MAX_NESTING = 32


def parse_files(data: bytes, *, max_bytes: int) -> dict[str, FileDescriptorProto]:
    """Read a serialized `FileDescriptorSet`.

    Args:
        data: The bytes, as announced.
        max_bytes: How many there may be.

    Returns:
        The files by name; known ones are the runtime's own copies.

    Raises:
        InvalidSpec: Naming everything that is wrong with them.
    """
    if len(data) > max_bytes:
        raise InvalidSpec(f"descriptors: expected at most {max_bytes} bytes, found {len(data)}")
    try:
        announced = FileDescriptorSet.FromString(data)
    except DecodeError as error:
        raise InvalidSpec(
            f"descriptors: expected a serialized FileDescriptorSet, found other bytes: {error}"
        ) from error
    if len(announced.file) > MAX_FILES:
        raise InvalidSpec(
            f"descriptors: expected at most {MAX_FILES} files, found {len(announced.file)}"
        )
    files = {file.name: KNOWN_FILES.get(file.name, file) for file in announced.file}
    faults = [*_faults(announced.file), *_import_faults(files)]
    if faults:
        raise InvalidSpec(*faults)
    return files


def build_pool(files: dict[str, FileDescriptorProto]) -> DescriptorPool:
    """Return a new pool with `files`, and the runtime's own options beside them.

    Raises:
        InvalidSpec: If they do not fit together.
    """
    pool = DescriptorPool()
    added: set[str] = set()
    everything = {**KNOWN_FILES, **files}
    for name in everything:
        for file in _in_order(name, everything, added):
            try:
                pool.Add(file)
            except (TypeError, ValueError) as error:
                raise InvalidSpec(f"file {file.name!r} is invalid: {error}") from error
    return pool


def messages_of(files: Iterable[FileDescriptorProto]) -> dict[str, DescriptorProto]:
    """Return every message of some files by its full name."""
    return {name: message for file in files for message, name, _ in _walk(file)}


def _walk(file: FileDescriptorProto) -> Iterator[tuple[DescriptorProto, str, int]]:
    """Yield every message of a file with its full name and its depth; without recursion."""
    prefix = f"{file.package}." if file.package else ""
    waiting = [(message, prefix + message.name, 1) for message in file.message_type]
    while waiting:
        message, name, depth = waiting.pop()
        yield message, name, depth
        if depth <= MAX_NESTING:
            waiting += [(n, f"{name}.{n.name}", depth + 1) for n in message.nested_type]


def _faults(announced: Iterable[FileDescriptorProto]) -> Iterator[str]:
    seen: set[str] = set()
    messages = 0
    for file in announced:
        if not file.name:
            yield "descriptors: a file has no name"
        if file.name in seen:
            yield f"file {file.name!r} is announced twice"
        seen.add(file.name)
        if file.name in KNOWN_FILES:
            yield from differences(file)
        elif file.package in RESERVED_PACKAGES:
            yield (
                f"file {file.name!r} defines things in package {file.package!r}, which is "
                "Cloudstate's or protobuf's own; use another package"
            )
        for _, name, depth in _walk(file):
            messages += 1
            if depth > MAX_NESTING:
                yield f"message {name} is nested deeper than {MAX_NESTING} levels"
    if messages > MAX_MESSAGES:
        yield f"descriptors: expected at most {MAX_MESSAGES} messages, found {messages}"


def _import_faults(files: dict[str, FileDescriptorProto]) -> Iterator[str]:
    """Name missing imports with the way to them, and the first cycle of imports."""
    done: set[str] = set()
    for start in files:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, True)]
        while waiting:
            name, entering = waiting.pop()
            if not entering:
                path.pop()
                done.add(name)
                continue
            if name in path:
                yield f"files import each other in a circle: {' -> '.join([*path, name])}"
                return
            if name in done:
                continue
            if name not in files:
                if name not in KNOWN_FILES:
                    yield (
                        f"file {name!r} is imported but missing: {' -> '.join([*path, name])}; "
                        "announce every file that is imported"
                    )
                done.add(name)
                continue
            path.append(name)
            waiting.append((name, False))
            waiting += [(dependency, True) for dependency in files[name].dependency]


def _in_order(
    name: str, files: dict[str, FileDescriptorProto], added: set[str]
) -> Iterator[FileDescriptorProto]:
    """Yield the files that `name` needs and that are not in `added` yet, imports first."""
    waiting = [(name, False)]
    while waiting:
        current, imports_done = waiting.pop()
        if current in added:
            continue
        if imports_done:
            added.add(current)
            yield files[current]
            continue
        waiting.append((current, True))
        waiting += [(d, False) for d in files[current].dependency if d not in added]
