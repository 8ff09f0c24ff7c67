"""A user function without its transport: what it announces, and which methods it serves.

Behind a socket it is served by `cloudstate_core.host.server`; a runtime in the same process calls
it directly.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import structlog

from cloudstate.entity_pb2 import (
    Entity,
    EntityPassivationStrategy,
    EntitySpec,
    ProxyInfo,
    ServiceInfo,
    TimeoutPassivationStrategy,
)
from cloudstate_core.caller import Caller, LateCaller
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import PluginError, RegistrationError
from cloudstate_core.host.descriptors import file_descriptor_set
from cloudstate_core.kind import EntityKind
from cloudstate_core.links import ProtocolMethod
from cloudstate_core.plugins import Plugins

__all__ = ["DISCOVERY_SERVICE", "LIBRARY_NAME", "PROTOCOL_VERSION", "UserFunction"]

#: The protocol that is spoken: major and minor.
PROTOCOL_VERSION = (0, 2)

#: What this library calls itself towards a proxy.
LIBRARY_NAME = "cloudstate-python"

DISCOVERY_SERVICE = "cloudstate.EntityDiscovery"

_DISTRIBUTION = "cloudstate-core"

_log = structlog.get_logger("cloudstate.host")


class UserFunction:
    """The entities of one application, checked and ready to be discovered.

    Attributes:
        entities: The declarations, in the order of registration.
        methods: The protocol methods to serve, by path such as `/package.Service/method`.
        service_name: What the user function calls itself.
        service_version: Its version.
        caller: How handlers reach other services; whoever serves this function connects it.
    """

    def __init__(
        self,
        entities: Sequence[EntityDefinition],
        plugins: Plugins,
        *,
        service_name: str = "",
        service_version: str = "",
        is_complete: bool = True,
    ) -> None:
        """Check every entity and find what serves it.

        Args:
            entities: At least one.
            plugins: Where the kinds come from.
            service_name: Defaults to the name of the first service.
            service_version: For people; may stay empty.
            is_complete: Whether handlers may call these entities only. A test may serve one of
                several.

        Raises:
            RegistrationError: An entity is declared wrongly, or two are in each other's way.
            PluginError: No plugin serves the type of an entity.
        """
        self.entities = _checked(entities)
        _check_calls(self.entities, is_complete=is_complete)
        self.caller = LateCaller()
        self.methods = _methods(self.entities, plugins, self.caller)
        self.service_name = service_name or str(self.entities[0].service.full_name)
        self.service_version = service_version
        self._spec = self._build_spec()

    def spec(self, proxy: ProxyInfo) -> EntitySpec:
        """Answer a discovery: tell what is served, and log what this proxy cannot do with it."""
        _log.info(
            "discovered",
            proxy_name=proxy.proxy_name,
            proxy_version=proxy.proxy_version,
            protocol=f"{proxy.protocol_major_version}.{proxy.protocol_minor_version}",
        )
        found = (proxy.protocol_major_version, proxy.protocol_minor_version)
        if found != PROTOCOL_VERSION:
            _log.warning("protocol_version_differs", expected=PROTOCOL_VERSION, found=found)
        # The proxy explains a refusal better than a library can foresee it, so this only warns
        # (Cloudstate protocol, discovery).
        for entity in self.entities:
            if entity.entity_type not in proxy.supported_entity_types:
                _log.warning(
                    "entity_type_unsupported_by_proxy",
                    service=entity.service.full_name,
                    entity_type=entity.entity_type,
                    supported=list(proxy.supported_entity_types),
                )
        answer = EntitySpec()
        answer.CopyFrom(self._spec)
        return answer

    def report_error(self, message: str) -> None:
        """Log what a proxy holds against this user function."""
        _log.error("proxy_reports_error", message=message)

    def _build_spec(self) -> EntitySpec:
        files = file_descriptor_set(
            [entity.service for entity in self.entities],
            [file for entity in self.entities for file in entity.file_descriptors],
        )
        return EntitySpec(
            proto=files.SerializeToString(deterministic=True),
            entities=[_announced(entity) for entity in self.entities],
            service_info=ServiceInfo(
                service_name=self.service_name,
                service_version=self.service_version,
                service_runtime=f"{platform.python_implementation()} {platform.python_version()}",
                support_library_name=LIBRARY_NAME,
                support_library_version=_library_version(),
                protocol_major_version=PROTOCOL_VERSION[0],
                protocol_minor_version=PROTOCOL_VERSION[1],
            ),
        )


def _library_version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return ""  # run from a folder of sources


def _announced(entity: EntityDefinition) -> Entity:
    announced = Entity(
        entity_type=entity.entity_type,
        service_name=entity.service.full_name,
        persistence_id=entity.persistence_id,
    )
    if entity.passivation_timeout_s is not None:
        # Rounded up: 0 would mean something else to a proxy than "very soon".
        timeout_ms = math.ceil(entity.passivation_timeout_s * 1000)
        announced.passivation_strategy.CopyFrom(
            EntityPassivationStrategy(timeout=TimeoutPassivationStrategy(timeout=timeout_ms))
        )
    return announced


def _checked(entities: Sequence[EntityDefinition]) -> tuple[EntityDefinition, ...]:
    if not entities:
        raise RegistrationError("expected at least one entity, found none")
    services: set[str] = set()
    # Two services of one persistence id would read each other's state as their own.
    owners: dict[str, str] = {}
    for entity in entities:
        _check(entity)
        name = str(entity.service.full_name)
        if name in services:
            raise RegistrationError(f"service {name!r} is registered twice")
        services.add(name)
        other = owners.setdefault(entity.persistence_id, name)
        if other != name:
            raise RegistrationError(
                f"services {other!r} and {name!r} have the same persistence_id "
                f"{entity.persistence_id!r}: give one of them another"
            )
    return tuple(entities)


def _check_calls(entities: Sequence[EntityDefinition], *, is_complete: bool) -> None:
    """Check that what handlers say they call is served by this user function."""
    services = {str(entity.service.full_name): entity.service for entity in entities}
    for entity in entities:
        for where, target in entity.declared_calls():
            service = services.get(target.service)
            if service is None and not is_complete:
                continue
            if service is None:
                raise RegistrationError(
                    f"{where}: calls {target}, but service {target.service!r} is not registered; "
                    f"registered are {', '.join(sorted(services))}"
                )
            if target.command not in service.methods_by_name:
                raise RegistrationError(
                    f"{where}: calls {target}, but service {target.service!r} has no such command; "
                    f"it has {', '.join(sorted(service.methods_by_name))}"
                )


def _check(entity: EntityDefinition) -> None:
    if not isinstance(entity, EntityDefinition):
        raise RegistrationError(
            f"expected an entity, found {type(entity).__name__}: register the object that the "
            "handlers are declared on"
        )
    timeout_s = entity.passivation_timeout_s
    if timeout_s is not None and not (math.isfinite(timeout_s) and timeout_s > 0):
        raise RegistrationError(
            f"service {entity.service.full_name!r}: expected a passivation_timeout_s above 0, "
            f"found {timeout_s!r}"
        )
    entity.validate()


def _methods(
    entities: tuple[EntityDefinition, ...], plugins: Plugins, caller: Caller
) -> Mapping[str, ProtocolMethod]:
    of_kind: dict[EntityKind, list[EntityDefinition]] = {}
    for entity in entities:
        kind = plugins.kind_of(entity.entity_type)
        if kind is None:
            raise _kind_missing(entity, plugins)
        of_kind.setdefault(kind, []).append(entity)
    methods: dict[str, ProtocolMethod] = {}
    for kind, own in of_kind.items():
        for method in kind.protocol_methods(tuple(own), caller):
            path = method.rpc.path
            if path in methods or method.rpc.service == DISCOVERY_SERVICE:
                raise PluginError(f"kind {kind.name!r} serves {path!r}, which is served already")
            methods[path] = method
    return methods


def _kind_missing(entity: EntityDefinition, plugins: Plugins) -> PluginError:
    # The distribution that declares the entity's class is the one whose plugin should be here.
    package = type(entity).__module__.partition(".")[0]
    origins = packages_distributions().get(package, [])
    what = (
        f"service {entity.service.full_name!r} needs entity type {entity.entity_type!r}, which no "
        "plugin serves"
    )
    # Not every installer records which packages a distribution has; names usually agree.
    likely = [*origins, package.replace("_", "-")]
    for info in plugins.installed:
        if not info.enabled and info.distribution in likely:
            return PluginError(
                f"{what}: plugin {info.name!r} is disabled by the setting `disabled` of section "
                "[plugins]"
            )
    if origins:
        return PluginError(f"{what}: pip install --force-reinstall {origins[0]}")
    return PluginError(f"{what}: install the distribution of package {package!r} as a plugin")
