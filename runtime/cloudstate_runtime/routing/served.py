"""What is served at the moment, and by which handlers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import Stopping
from cloudstate_core.frontend import Deployment
from cloudstate_core.handler import CommandHandler, Outcome, Request

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
        self._listeners: list[Callable[[], None]] = []
        self._claims: dict[str, Sequence[DeployedEntity]] = {}
        self._handlers_of: dict[str, Mapping[str, CommandHandler]] = {}

    def listen(self, listener: Callable[[], None]) -> None:
        """Call back after every change, at once and without waiting."""
        self._listeners.append(listener)

    def entities_of_others(self, name: str) -> list[DeployedEntity]:
        """Return what all user functions but one serve, or are about to serve."""
        return [e for other, claim in self._claims.items() if other != name for e in claim]

    def claim(self, name: str, entities: Sequence[DeployedEntity]) -> None:
        """Note that a user function is about to serve these and nothing else."""
        self._claims[name] = entities

    def deploy(self, deployment: Deployment, handlers: Mapping[str, CommandHandler]) -> None:
        """Serve a user function, in place of what it served before."""
        others = tuple(d for d in self.deployments if d.name != deployment.name)
        self._claims[deployment.name] = deployment.entities
        self._handlers_of[deployment.name] = handlers
        self._replace((*others, deployment))

    def suspend(self, name: str) -> None:
        """Refuse requests to a user function for the moment."""
        self._handlers_of[name] = dict.fromkeys(self._handlers_of[name], _Suspended())
        self._collect_handlers()

    def withdraw(self, name: str) -> None:
        """Stop serving a user function; nothing happens if it is not served."""
        self._claims.pop(name, None)
        if self._handlers_of.pop(name, None) is not None:
            self._replace(tuple(d for d in self.deployments if d.name != name))

    def _replace(self, deployments: Sequence[Deployment]) -> None:
        self.deployments = deployments
        self.entities = {e.service_name: e for d in deployments for e in d.entities}
        self._collect_handlers()
        self.revision += 1

    def _collect_handlers(self) -> None:
        self.handlers = {
            service: handler
            for handlers in self._handlers_of.values()
            for service, handler in handlers.items()
        }
        for listener in self._listeners:
            listener()


class _Suspended:
    """The handler of services that are being closed."""

    async def handle(self, request: Request) -> Outcome:
        raise _being_replaced(request)

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        raise _being_replaced(request)
        yield  # type: ignore[unreachable]  # it makes this a generator


def _being_replaced(request: Request) -> Stopping:
    return Stopping(f"service {request.service!r} is being closed or replaced; try again")
