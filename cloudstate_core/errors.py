"""Everything Cloudstate raises, grouped by who has to act.

* CloudstateError
    * ConfigurationError           the operator: fix the settings, the plugins or the environment
        * PluginError              a plugin is missing, broken, or named twice
        * SettingsError            a setting is unknown or has a value that cannot be used
        * StoreUnusable            the place where state should live cannot be used
    * RegistrationError            the application author: an entity is declared wrongly
    * UserFunctionError            the application author: the user function broke the protocol
        * InvalidSpec              what it announced at discovery cannot be served
        * UserFunctionUnavailable  it cannot be reached, or it went away in the middle of a call
    * RequestError                 the caller: fix the request
        * MalformedRequest         the message cannot be read, or misses its entity key
        * UnknownService           no such service, or no such method
        * LimitExceeded            too large, or too many at once
        * DeadlineExceeded         the time the caller allowed is over
        * CallerLeft               the caller did not wait for the answer
        * ConditionFailed          what the caller made the command depend on does not hold
            * VersionMismatch      the entity has another version than the caller expects
            * NoVersions           entities of that service have no versions to compare
            * KeyReused            the key was that of another command before
    * RoutingError                 the application author: a forward or effect goes nowhere
        * CallCycle                an entity waits for an answer that waits for the entity
    * AskFailed                    the asking handler: what it asked was not answered with a reply
    * StoreError                   nobody yet: retry, or look at the backend
        * SequenceConflict         another writer appended first; nothing was written
        * RevisionConflict         another writer changed the value first; nothing was written
        * AlreadyReceived          the message had its effect before; nothing was written
        * StaleEpoch               this process no longer owns the entity; nothing was written
        * StoreUnavailable         the outcome is unknown: read before trying again
        * CorruptState             what was read is not what was written
    * TransportUnavailable         nobody yet: the other nodes cannot be reached
    * Stopping                     the caller: this process is draining, try another or later

A failure that a user function *answers* is an answer, not an error; it appears here only where
another handler asked for it.
"""

from __future__ import annotations

from typing import ClassVar

from cloudstate_core.status import Status

__all__ = [
    "AlreadyReceived",
    "AskFailed",
    "CallCycle",
    "CallerLeft",
    "CloudstateError",
    "ConditionFailed",
    "ConfigurationError",
    "CorruptState",
    "DeadlineExceeded",
    "InvalidSpec",
    "KeyReused",
    "LimitExceeded",
    "MalformedRequest",
    "NoVersions",
    "PluginError",
    "RegistrationError",
    "RequestError",
    "RevisionConflict",
    "RoutingError",
    "SequenceConflict",
    "SettingsError",
    "StaleEpoch",
    "Stopping",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "TransportUnavailable",
    "UnknownService",
    "UserFunctionError",
    "UserFunctionUnavailable",
    "VersionMismatch",
]


class CloudstateError(Exception):
    """Base of all errors raised by Cloudstate and its plugins.

    The text of the error is what a client sees when nothing closer handles it, so it never holds
    a payload, a stack trace or a secret. Details for the log alone go into `detail`.

    Attributes:
        status: What a client sees.
        http_status: What a client of the JSON front end sees; None for what `status` becomes there.
        retryable: Whether the same call may succeed later, unchanged.
        detail: What the operator or the application author needs and the client must not see.
    """

    status: ClassVar[Status] = Status.INTERNAL
    http_status: ClassVar[int | None] = None
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class ConfigurationError(CloudstateError):
    """The process cannot start as it is configured. Nothing was opened or changed."""

    status = Status.FAILED_PRECONDITION


class PluginError(ConfigurationError):
    """A plugin is missing, does not import, repeats a name or implements an unknown hook."""


class SettingsError(ConfigurationError):
    """A setting is unknown, or its value cannot be used."""


class StoreUnusable(ConfigurationError):
    """The place where state should live is not writable, in use, or of another version."""


class RegistrationError(CloudstateError):
    """An entity is declared in a way that could not work at the first command."""

    status = Status.FAILED_PRECONDITION


class UserFunctionError(CloudstateError):
    """The user function broke the protocol. Nothing of the command was stored."""


class InvalidSpec(UserFunctionError):
    """What the user function announced at discovery cannot be served.

    Attributes:
        faults: One sentence for each thing that is wrong; never empty.
    """

    status = Status.FAILED_PRECONDITION

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class UserFunctionUnavailable(UserFunctionError):
    """The user function cannot be reached or went away. Nothing of the command was stored."""

    status = Status.UNAVAILABLE
    retryable = True


class RequestError(CloudstateError):
    """The request cannot be carried out as it was sent. Nothing was changed."""

    status = Status.INVALID_ARGUMENT


class MalformedRequest(RequestError):
    """The message cannot be read, or its entity key is missing."""


class UnknownService(RequestError):
    """No service or no method of that name is served here."""

    status = Status.UNIMPLEMENTED


class LimitExceeded(RequestError):
    """The request is larger than allowed, or too many wait already.

    Attributes:
        retry_after_s: When trying again makes sense, in seconds; None if it never does.
    """

    status = Status.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class DeadlineExceeded(RequestError):
    """The time that the caller or the relay timeout allowed is over.

    A command that had been started may still have been stored.
    """

    status = Status.DEADLINE_EXCEEDED
    retryable = True


class CallerLeft(RequestError):
    """The caller did not wait for the answer, and what keeps no state was cancelled.

    What the user function had done by then is done.
    """

    status = Status.CANCELLED


class ConditionFailed(RequestError):
    """What the caller made the command depend on does not hold. Nothing was begun."""


class VersionMismatch(ConditionFailed):
    """The entity has another version than the caller expects. Nothing was begun."""

    status = Status.ABORTED
    http_status = 412

    def __init__(self, entity_id: str, *, expected: int, actual: int) -> None:
        self.entity_id, self.expected, self.actual = entity_id, expected, actual
        super().__init__(f"entity {entity_id!r}: expected version {expected}, found {actual}")


class NoVersions(ConditionFailed):
    """Nothing that the command is for has a version. Nothing was begun."""

    status = Status.FAILED_PRECONDITION


class KeyReused(ConditionFailed):
    """The entity was given the same key with another command before. Nothing was begun."""

    status = Status.ALREADY_EXISTS

    def __init__(self, entity_id: str, command_key: str) -> None:
        self.entity_id, self.command_key = entity_id, command_key
        super().__init__(
            f"entity {entity_id!r}: idempotency key {command_key!r} was sent with another command "
            "before; send a new key with each command"
        )


class RoutingError(CloudstateError):
    """A forward or a side effect of a user function leads nowhere, or in a circle."""


class AskFailed(CloudstateError):
    """A command that a handler asked of another service was not answered with a reply.

    Left to pass by the handler, it fails the handler's own command with the same text and code.

    Attributes:
        code: Why: the status that the failure names, or that of whatever went wrong on the way.
            With DEADLINE_EXCEEDED and UNAVAILABLE the command may have been carried out.
    """

    status = Status.UNKNOWN

    def __init__(self, message: str, *, code: Status) -> None:
        self.code = code
        super().__init__(message)


class CallCycle(RoutingError):
    """An entity was asked, in the end by itself, while it waits for that answer."""

    status = Status.FAILED_PRECONDITION


class StoreError(CloudstateError):
    """The store did not do what was asked."""


class SequenceConflict(StoreError):
    """Another writer appended to the same entity first. Nothing was written."""

    status = Status.ABORTED
    retryable = True

    def __init__(self, entity_id: str, *, expected: int, actual: int) -> None:
        self.entity_id, self.expected, self.actual = entity_id, expected, actual
        super().__init__(f"entity {entity_id!r}: expected sequence {expected}, found {actual}")


class RevisionConflict(StoreError):
    """Another writer changed the value first. Nothing was written.

    Args:
        entity_id: Whose value.
        expected: The revision that the writer expected.
        actual: The revision that there is.
        is_missing: The writer wanted to add to a value, and there is none.
    """

    status = Status.ABORTED
    retryable = True

    def __init__(
        self, entity_id: str, *, expected: int, actual: int, is_missing: bool = False
    ) -> None:
        self.entity_id, self.expected, self.actual = entity_id, expected, actual
        found = f"no value, at revision {actual}" if is_missing else f"{actual}"
        wanted = f"a value of revision {expected}" if is_missing else f"revision {expected}"
        super().__init__(f"entity {entity_id!r}: expected {wanted}, found {found}")


class AlreadyReceived(StoreError):
    """The message had its effect on this entity before. Nothing was written."""

    status = Status.ALREADY_EXISTS

    def __init__(self, entity_id: str, message_id: str) -> None:
        self.entity_id, self.message_id = entity_id, message_id
        super().__init__(f"entity {entity_id!r}: message {message_id!r} was received before")


class StaleEpoch(StoreError):
    """Another process owns the entity now. Nothing was written."""

    status = Status.UNAVAILABLE
    retryable = True

    def __init__(self, entity_id: str, *, held: int, current: int) -> None:
        self.entity_id, self.held, self.current = entity_id, held, current
        super().__init__(
            f"entity {entity_id!r}: expected epoch {held} to own it, found epoch {current}"
        )


class StoreUnavailable(StoreError):
    """The backend cannot be reached or failed. The outcome is unknown: read before retrying."""

    status = Status.UNAVAILABLE
    retryable = True


class CorruptState(StoreError):
    """What was read is not what was written. Nothing was handed out."""

    status = Status.DATA_LOSS


class TransportUnavailable(CloudstateError):
    """The way to the other nodes cannot be opened."""

    status = Status.UNAVAILABLE
    retryable = True


class Stopping(CloudstateError):
    """This process is draining and takes no new work."""

    status = Status.UNAVAILABLE
    retryable = True
