"""From a command to the entity that it is for, with what all kinds of entities refuse."""

from __future__ import annotations

from dataclasses import replace

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.entity_key import EntityIdReader, entity_id_reader
from cloudstate_core.errors import CallCycle, UnknownService
from cloudstate_core.handler import Request
from cloudstate_core.metadata import EMPTY_METADATA
from cloudstate_core.waiting import entity_name, with_waiting

__all__ = ["Addressing"]


class Addressing:
    """Reads which entity of one service a command is for.

    Args:
        entity: The service.
        passes_metadata: Whether its entities see the headers of clients.
    """

    def __init__(self, entity: DeployedEntity, *, passes_metadata: bool) -> None:
        self._passes_metadata = passes_metadata
        self._readers: dict[tuple[str, bool], EntityIdReader] = {
            (name, method.server_streaming): entity_id_reader(method)
            for name, method in entity.methods.items()
            if method.key_fields
        }

    def read(self, request: Request, *, streamed: bool = False) -> tuple[str, Request]:
        """Return the id of the entity, and the request as the entity is to get it.

        Args:
            request: The command.
            streamed: Whether it is to be answered with a stream.

        Raises:
            UnknownService: The service has no such command.
            MalformedRequest: There is no id in it, or one that cannot be.
            CallCycle: The entity waits for the answer itself, in the middle of another command.
        """
        read_id = self._readers.get((request.command, streamed))
        if read_id is None:
            how = "streamed method" if streamed else "method"
            raise UnknownService(
                f"service {request.service} has no {how} {request.command!r} with an entity key"
            )
        entity_id = read_id(request.payload.value)
        if request.waiting:
            _check_nobody_waits_for_himself(request, entity_id)
        if request.metadata and not self._passes_metadata:
            return entity_id, _without_headers_of_clients(request)
        return entity_id, request


def _check_nobody_waits_for_himself(request: Request, entity_id: str) -> None:
    name = entity_name(request.service, entity_id)
    if name in request.waiting:
        # It would wait for its turn until the one who has the turn gives up.
        raise CallCycle(
            f"{request.service}.{request.command} was asked by the entity that waits for the "
            "answer",
            detail=" asks ".join((*request.waiting, name)),
        )


def _without_headers_of_clients(request: Request) -> Request:
    """Return the request without headers, but for those that say who waits."""
    if request.waiting:
        return replace(request, metadata=with_waiting(EMPTY_METADATA, request.waiting))
    return request.without_metadata()
