"""A user function's descriptors: from bytes to a descriptor pool of its own.

Nothing a user function sends reaches the process-wide pool, so two user functions may define the
same name differently, and none can redefine what others use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from cloudstate_core.errors import InvalidSpec
from cloudstate_runtime.function.definitions import definition_faults, definitions_of
from cloudstate_runtime.function.known_files import KNOWN_FILES, differences, package_fault
from cloudstate_runtime.function.strict_text import holds_only_text

__all__ = [
    "MAX_FILES",
    "MAX_IMPORTS",
    "MAX_MEMBERS",
    "MAX_MESSAGES",
    "build_pool",
    "messages_of",
    "parse_files",
]

#: Far more than any service has; bounds on what a broken or hostile one can cost. Members are
#: fields, values of enums, methods and the like.
MAX_FILES = 1_000
MAX_IMPORTS = 20_000
MAX_MESSAGES = 20_000
MAX_MEMBERS = 100_000


def parse_files(data: bytes, *, max_bytes: int) -> dict[str, FileDescriptorProto]:
    """Read a serialized `FileDescriptorSet`.

    Args:
        data: The bytes, as announced.
        max_bytes: How many there may be.

    Returns:
        The files by name; known ones are the runtime's own copies, and those that are imported
        and were not announced are among them.

    Raises:
        InvalidSpec: Naming everything that is wrong with them.
    """
    if len(data) > max_bytes:
        raise InvalidSpec(f"descriptors: expected at most {max_bytes} bytes, found {len(data)}")
    try:
        announced = FileDescriptorSet.FromString(data).file
    except DecodeError as error:
        raise InvalidSpec(
            f"descriptors: expected a serialized FileDescriptorSet, found other bytes: {error}"
        ) from error
    if not holds_only_text(data):
        raise InvalidSpec(*_text_faults(announced))
    too_much = list(_size_faults(announced))
    if too_much:
        raise InvalidSpec(*too_much)
    files = {file.name: KNOWN_FILES.get(file.name, file) for file in announced}
    faults = [*_file_faults(announced), *_package_clashes(files), *_import_faults(files)]
    if faults:
        raise InvalidSpec(*faults)
    return _with_known_imports(files)


def build_pool(files: Mapping[str, FileDescriptorProto]) -> DescriptorPool:
    """Return a new pool with `files`, and the runtime's own options beside them.

    Raises:
        InvalidSpec: Naming every file that does not fit the others.
    """
    pool = DescriptorPool()
    everything = {**KNOWN_FILES, **files}
    faults: dict[str, str] = {}
    for file in _imports_first(everything):
        if any(name in faults for name in file.dependency):
            faults[file.name] = ""  # it fails for what it imports, of which there is a fault
            continue
        try:
            pool.Add(file)
        except (TypeError, ValueError) as error:
            reason = str(error).partition("descriptor pool: ")[2].strip() or error
            faults[file.name] = f"file {file.name!r} is invalid: {reason}"
    if faults:
        raise InvalidSpec(*filter(None, faults.values()))
    return pool


def messages_of(files: Iterable[FileDescriptorProto]) -> dict[str, DescriptorProto]:
    """Return every message of some files by its full name."""
    return {each.name: each.message for file in files for each in definitions_of(file)}


def _with_known_imports(files: dict[str, FileDescriptorProto]) -> dict[str, FileDescriptorProto]:
    complete = dict(files)
    waiting = [name for file in files.values() for name in file.dependency]
    while waiting:
        name = waiting.pop()
        if name not in complete:
            complete[name] = KNOWN_FILES[name]
            waiting += KNOWN_FILES[name].dependency
    return complete


def _text_faults(announced: Sequence[FileDescriptorProto]) -> Iterator[str]:
    for number, file in enumerate(announced, start=1):
        if not holds_only_text(FileDescriptorSet(file=[file]).SerializeToString()):
            yield (
                f"file {file.name!r}, number {number} of {len(announced)}: expected UTF-8 in every "
                "name and text, found other bytes"
            )


def _size_faults(announced: Sequence[FileDescriptorProto]) -> Iterator[str]:
    """Name what there is too much of, without looking at more than that."""
    if len(announced) > MAX_FILES:
        yield f"descriptors: expected at most {MAX_FILES} files, found {len(announced)}"
        return
    imports = sum(len(file.dependency) for file in announced)
    if imports > MAX_IMPORTS:
        yield f"descriptors: expected at most {MAX_IMPORTS} imports, found {imports}"
    messages = members = 0
    for file in announced:
        members += sum(len(service.method) + 1 for service in file.service)
        members += len(file.extension) + _enum_members(file.enum_type)
        for each in definitions_of(file):
            messages += 1
            members += _members(each.message)
            if messages > MAX_MESSAGES:
                yield f"descriptors: expected at most {MAX_MESSAGES} messages, found more"
                return
    if members > MAX_MEMBERS:
        yield (
            f"descriptors: expected at most {MAX_MEMBERS} fields, methods, values of enums and the "
            f"like, found {members}"
        )


def _members(message: DescriptorProto) -> int:
    return (
        len(message.field)
        + len(message.oneof_decl)
        + len(message.extension)
        + len(message.extension_range)
        + len(message.reserved_range)
        + len(message.reserved_name)
        + _enum_members(message.enum_type)
    )


def _enum_members(enums: Sequence[EnumDescriptorProto]) -> int:
    if len(enums) > MAX_MEMBERS:
        return len(enums)
    return sum(
        1 + len(enum.value) + len(enum.reserved_range) + len(enum.reserved_name) for enum in enums
    )


def _file_faults(announced: Iterable[FileDescriptorProto]) -> Iterator[str]:
    seen: set[str] = set()
    for file in announced:
        if not _is_plain_path(file.name):
            yield f"file {file.name!r}: expected a relative path without '..' as its name"
        if file.name in seen:
            yield f"file {file.name!r} is announced twice"
        seen.add(file.name)
        if file.name in KNOWN_FILES:
            yield from differences(file)
            continue
        yield from package_fault(file)
        for fault in definition_faults(file):
            yield f"file {file.name!r}: {fault}"


def _is_plain_path(name: str) -> bool:
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & {*name.split("/")}


def _package_clashes(files: Mapping[str, FileDescriptorProto]) -> Iterator[str]:
    """Name what is called like a package, or like a package's beginning."""
    packages = {""}
    for file in (*KNOWN_FILES.values(), *files.values()):
        package = file.package
        while package not in packages:
            packages.add(package)
            package = package.rpartition(".")[0]
    for file in files.values():
        prefix = f"{file.package}." if file.package else ""
        names = [message.name for message in file.message_type]
        names += [enum.name for enum in file.enum_type]
        names += [service.name for service in file.service]
        for name in names:
            if prefix + name in packages:
                yield f"file {file.name!r}: {prefix}{name} is the name of a package"


def _import_faults(files: Mapping[str, FileDescriptorProto]) -> Iterator[str]:
    """Name missing imports with the way to them, and circles of imports."""
    done: set[str] = set()
    path: dict[str, None] = {}  # in order, and quick to look into
    waiting = [(name, True) for name in reversed([*files])]
    while waiting:
        name, entering = waiting.pop()
        if not entering:
            del path[name]
            done.add(name)
        elif name in path:
            names = list(path)
            circle = names[names.index(name) :]
            yield f"files import each other in a circle: {' -> '.join([*circle, name])}"
        elif name not in done and name in files:
            path[name] = None
            waiting.append((name, False))
            waiting += [(each, True) for each in files[name].dependency]
        elif name not in done and name not in KNOWN_FILES:
            done.add(name)
            yield (
                f"file {name!r} is imported but missing: {' -> '.join([*path, name])}; announce "
                "every file that is imported"
            )


def _imports_first(files: Mapping[str, FileDescriptorProto]) -> Iterator[FileDescriptorProto]:
    """Yield all files, each after those it imports."""
    done: set[str] = set()
    waiting = [(name, False) for name in reversed([*files])]
    while waiting:
        name, imports_are_done = waiting.pop()
        if name in done:
            continue
        if imports_are_done:
            done.add(name)
            yield files[name]
            continue
        waiting.append((name, True))
        waiting += [(each, False) for each in files[name].dependency if each not in done]
