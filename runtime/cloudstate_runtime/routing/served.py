"""What is served at the moment, and by which handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.frontend import Deployment
from cloudstate_core.handler import CommandHandler

__all__ = ["ServedNow"]


class ServedNow:
    """The deployments of all user functions, replaced as a whole whenever one changes.

    Attributes:
        revision: Grows with every change.
        deployments: One for each user function that is deployed.
        entities: Every service by its full name.
        handlers: The handler of every service, by its full name.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.revision = 0
        self.deployments: Sequence[Deployment] = ()
        self.entities: Mapping[str, DeployedEntity] = {}
        self.handlers: Mapping[str, CommandHandler] = {}
        self._handlers_of: dict[str, Mapping[str, CommandHandler]] = {}

    def entities_of_others(self, name: str) -> list[DeployedEntity]:
        """Return what all user functions but one serve."""
        return [e for d in self.deployments if d.name != name for e in d.entities]

    def deploy(self, deployment: Deployment, handlers: Mapping[str, CommandHandler]) -> None:
        """Serve a user function, in place of what it served before."""
        others = tuple(d for d in self.deployments if d.name != deployment.name)
        self._handlers_of[deployment.name] = handlers
        self._replace((*others, deployment))

    def withdraw(self, name: str) -> None:
        """Stop serving a user function."""
        self._handlers_of.pop(name, None)
        self._replace(tuple(d for d in self.deployments if d.name != name))

    def _replace(self, deployments: tuple[Deployment, ...]) -> None:
        self.deployments = deployments
        self.entities = {e.service_name: e for d in deployments for e in d.entities}
        self.handlers = {
            service: handler
            for handlers in self._handlers_of.values()
            for service, handler in handlers.items()
        }
        self.revision += 1
