"""Headers that say under what conditions a command is carried out, with no I/O.

They are the same over gRPC and HTTP: `idempotency-key` names the command, so that it is carried out
once however often it is sent, and `if-match` names the version that the entity must have, as an
answer gave it in `etag`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudstate_core.conditions import checked_command_key, parsed_version
from cloudstate_core.entity import DeployedMethod
from cloudstate_core.errors import MalformedRequest, NoVersions
from cloudstate_core.handler import Conditions
from cloudstate_runtime.frontend.headers import IDEMPOTENCY_KEY, IF_MATCH

__all__ = ["conditions_of", "may_have_versions"]


def may_have_versions(method: DeployedMethod) -> bool:
    """Return whether a method may be one of an entity, whose version can be compared.

    A command of an entity names the entity, and is answered once.
    """
    return bool(method.key_fields) and not (method.client_streaming or method.server_streaming)


def conditions_of(headers: Sequence[tuple[str, str]], *, versions: bool) -> Conditions:
    """Return the conditions of a request.

    Args:
        headers: Name in lower case and value of those of its headers that are conditions; at least
            one.
        versions: Whether the method is one of entities that may have versions.

    Raises:
        MalformedRequest: A header occurs twice, or its value cannot be one.
        NoVersions: A version is expected where there is none.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        if name in values:
            raise MalformedRequest(f"expected header {name!r} once, found it twice")
        values[name] = value.strip(" \t")
    key, version = values.get(IDEMPOTENCY_KEY), values.get(IF_MATCH)
    conditions = Conditions(
        command_key="" if key is None else checked_command_key(key),
        expected_version=None if version is None else parsed_version(version),
    )
    if conditions.expected_version is not None and not versions:
        raise NoVersions(
            "expected no if-match: this method is not one of an entity, so there is no version "
            "to compare"
        )
    return conditions
