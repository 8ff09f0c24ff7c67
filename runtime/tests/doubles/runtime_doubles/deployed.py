"""What discovery makes of announcements, for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.frontend import Deployment
from cloudstate_core.kind import EntityKind
from cloudstate_runtime.function.discovery import Discovery
from runtime_doubles.specs import TOY, entity, orders_file, service, spec


class AnyServiceKind(EntityKind):
    """Finds nothing wrong with any service."""

    def protocol_methods(self, entities, caller):
        return ()

    def open_handler(self, entity, host):
        raise NotImplementedError


def deploy(
    *files: FileDescriptorProto, services: tuple[str, ...], name: str = "here"
) -> Deployment:
    """Deploy services of some files."""
    discovery = Discovery({TOY: AnyServiceKind()}, lambda _: (), max_spec_bytes=4 * 1024 * 1024)
    return discovery.deploy(name, spec(*files, entities=tuple(map(entity, services))))


def deployed_entity(
    own: FileDescriptorProto, methods: Mapping[str, tuple[str, str]], name: str = "Service"
) -> DeployedEntity:
    """The service of these methods in a file of its own messages."""
    own.service.append(service(name, methods))
    (found,) = deploy(own, services=(f"{own.package}.{name}",)).entities
    return found


def orders_entity(package: str = "shop") -> DeployedEntity:
    """The service `Orders`, whose requests have a text as their key."""
    file = orders_file(f"{package}/orders.proto", package)
    (found,) = deploy(file, services=(f"{package}.Orders",)).entities
    return found
