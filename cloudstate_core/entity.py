"""Entities: what an application declares, and what the runtime found.

`EntityDefinition` is the declaration, made in the user function's process. It travels as the
protocol's `Entity` and `FileDescriptorSet`; `DeployedEntity` is what the runtime made of that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from cloudstate_core.errors import RegistrationError
from cloudstate_core.targets import Target

__all__ = ["DeployedEntity", "DeployedMethod", "EntityDefinition"]


class EntityDefinition(ABC):
    """One service with its handlers, as an application declares it.

    A kind's own class (such as the one an application decorates its functions with) derives from
    this one.

    Attributes:
        entity_type: Full name of the protocol service that carries this kind of entity.
        service: The application's service.
        file_descriptors: Further files to announce, for messages that no method mentions.
        persistence_id: Namespace of the entities' state, unique in a deployment.
        passivation_timeout_s: Idle time after which an entity leaves memory, in seconds; None
            leaves it to the runtime's setting.
    """

    entity_type: ClassVar[str]

    def __init__(
        self,
        service: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
        *,
        persistence_id: str = "",
        passivation_timeout_s: float | None = None,
    ) -> None:
        """Keep what every kind needs to know; `persistence_id` defaults to the service's name.

        Raises:
            RegistrationError: If `service` is no service descriptor.
        """
        if not isinstance(service, ServiceDescriptor):
            raise RegistrationError(
                "expected a service descriptor, such as shop_pb2.DESCRIPTOR.services_by_name"
                f"['Shop'], found {type(service).__name__}"
            )
        self.service = service
        self.file_descriptors = tuple(file_descriptors)
        self.persistence_id = persistence_id or str(service.full_name)
        self.passivation_timeout_s = passivation_timeout_s

    def declared_calls(self) -> Iterable[tuple[str, Target]]:
        """Return each command that a handler says it calls, after where the handler is.

        They are checked when the user function is put together. The default says nothing.
        """
        return ()

    @abstractmethod
    def validate(self) -> None:
        """Check the whole declaration, once, before anything is served.

        Raises:
            RegistrationError: Naming the function and the file of the first mistake.
        """


@dataclass(frozen=True, slots=True)
class DeployedMethod:
    """One method of a deployed entity's service.

    Attributes:
        name: Bare name of the method.
        descriptor: Its descriptor, from the user function's own descriptor pool.
        input_class: The request message's class, from that pool.
        output_class: The reply message's class, from that pool.
        input_type_url: What an `Any` with a request message says.
        output_type_url: What an `Any` with a reply message says.
        key_fields: Fields of the request that make up the entity id, in the order the message
            declares them; empty if the method has no entity key.
        client_streaming: Whether the caller sends a stream.
        server_streaming: Whether the caller receives a stream.
        http: The method's `google.api.http` rule, if it has one.
    """

    name: str
    descriptor: MethodDescriptor
    input_class: type[Message]
    output_class: type[Message]
    input_type_url: str
    output_type_url: str
    key_fields: tuple[str, ...] = ()
    client_streaming: bool = False
    server_streaming: bool = False
    http: HttpRule | None = None


@dataclass(frozen=True, slots=True)
class DeployedEntity:
    """One service that a user function announced and that passed every check.

    Attributes:
        entity_type: Full name of the protocol service that carries its kind.
        service_name: Full name of the application's service.
        persistence_id: Namespace of its state.
        passivation_timeout_s: Its own idle time, in seconds; None for the runtime's setting.
        methods: Its methods by bare name, in the order of the service.
        file: Name of the file that defines the service.
    """

    entity_type: str
    service_name: str
    persistence_id: str
    passivation_timeout_s: float | None
    methods: Mapping[str, DeployedMethod]
    file: str
