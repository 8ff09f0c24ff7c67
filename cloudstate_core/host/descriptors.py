"""Which files a user function announces: those of its services, and all that these import."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from cloudstate_core.errors import RegistrationError

__all__ = ["file_descriptor_set"]


def file_descriptor_set(
    services: Iterable[ServiceDescriptor], files: Iterable[FileDescriptor] = ()
) -> FileDescriptorSet:
    """Return the files of `services`, `files`, and everything that they import, each file once.

    A file stands after the files it imports; apart from that the order follows the arguments, so
    that equal arguments give equal sets.

    Raises:
        RegistrationError: Two different files have one name.
    """
    found: dict[str, FileDescriptor] = {}
    for root in (*(service.file for service in services), *files):
        _add(root, found)
    announced = FileDescriptorSet()
    for file in found.values():
        announced.file.append(FileDescriptorProto.FromString(file.serialized_pb))
    return announced


def _add(root: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    # Without recursion: a chain of imports may be longer than Python's stack.
    waiting = [(root, iter(root.dependencies))]
    while waiting:
        file, imports = waiting[-1]
        if _is_known(file, found):
            waiting.pop()
            continue
        following = next((each for each in imports if not _is_known(each, found)), None)
        if following is not None:
            waiting.append((following, iter(following.dependencies)))
            continue
        found[file.name] = file
        waiting.pop()


def _is_known(file: FileDescriptor, found: dict[str, FileDescriptor]) -> bool:
    known = found.get(file.name)
    if known is None:
        return False
    if known is not file and known.serialized_pb != file.serialized_pb:
        raise RegistrationError(
            f"two different files are named {file.name!r}: compile the protos of all services "
            "together, or rename one file"
        )
    return True
