"""An application that serves its own entities, in a program of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cloudstate_core.errors import PluginError, RegistrationError

if TYPE_CHECKING:
    from typing import Self

    from cloudstate_core.entity import EntityDefinition
    from cloudstate_core.settings import HostSettings

__all__ = ["CloudState"]

_EVENT_SOURCED = "cloudstate.eventsourced.EventSourced"
_VALUE_ENTITY = "cloudstate.valueentity.ValueEntity"
_ACTION = "cloudstate.action.ActionProtocol"


class CloudState:
    """A user function: entities, and where they are served to a Cloudstate proxy.

    What is not set here comes from the environment (`HOST`, `PORT`), from `cloudstate.toml` in the
    current folder, or is a default; see `cloudstate_core.settings.HostSettings`.

    Example:
        CloudState().register_event_sourced_entity(cart).start()
    """

    def __init__(self) -> None:
        """Start with no entity.

        Raises:
            ConfigurationError: The installed distributions are in each other's way.
        """
        from cloudstate_core.installation import check_installation

        check_installation()
        self._entities: list[EntityDefinition] = []
        self._flags: dict[str, object] = {}

    def host(self, address: str) -> Self:
        """Listen on `address`, whatever the environment says."""
        self._flags["host"] = address
        return self

    def port(self, port: int) -> Self:
        """Listen on `port`, whatever the environment says; 0 takes a free one."""
        self._flags["port"] = port
        return self

    def max_workers(self, number: int) -> Self:
        """Let at most `number` handlers that are declared as blocking run at a time.

        Entities need no thread each: all other handlers share the event loop, however many
        entities are active.
        """
        self._flags["max_workers"] = number
        return self

    def register_event_sourced_entity(self, entity: EntityDefinition) -> Self:
        """Serve an `EventSourcedEntity`.

        Raises:
            RegistrationError: It is something else.
        """
        return self._register(entity, _EVENT_SOURCED, "an EventSourcedEntity")

    def register_value_entity(self, entity: EntityDefinition) -> Self:
        """Serve a `ValueEntity`.

        Raises:
            RegistrationError: It is something else.
        """
        return self._register(entity, _VALUE_ENTITY, "a ValueEntity")

    def register_action_entity(self, action: EntityDefinition) -> Self:
        """Serve an `Action`.

        Raises:
            PluginError: The kind is not installed.
            RegistrationError: It is something else.
        """
        from importlib.util import find_spec

        if find_spec("cloudstate_action") is None:
            raise PluginError("the action kind is not installed: pip install cloudstate-action")
        return self._register(action, _ACTION, "an Action")

    def register_entity(self, entity: EntityDefinition) -> Self:
        """Serve an entity of any installed kind.

        Raises:
            RegistrationError: It is no entity.
        """
        from cloudstate_core.entity import EntityDefinition

        if not isinstance(entity, EntityDefinition):
            raise RegistrationError(f"expected an entity, found {type(entity).__name__}")
        self._entities.append(entity)
        return self

    def _register(self, entity: EntityDefinition, entity_type: str, what: str) -> Self:
        if getattr(entity, "entity_type", None) != entity_type:
            raise RegistrationError(f"expected {what}, found {type(entity).__name__}")
        return self.register_entity(entity)

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what runs, and return.

        Blocks while it serves, and runs an event loop of its own. A second signal stops at once.
        In another thread than the main one, signals are not for this method to take.

        Raises:
            ConfigurationError: Settings, plugins or the address cannot be used. Nothing was opened.
            RegistrationError: An entity is declared wrongly. Nothing was opened.
        """
        import os

        from cloudstate_core.cli.setup import Setup
        from cloudstate_core.host.app import run
        from cloudstate_core.host.user_function import UserFunction

        setup = Setup.read(None, os.environ)
        settings = cast("HostSettings", setup.settings({"host": self._flags})["host"])
        function = UserFunction(
            self._entities,
            setup.plugins,
            service_name=settings.service_name,
            service_version=settings.service_version,
        )
        run(function, settings, lambda _server: None)
