"""Declaring a rate limited entity: its terms, and a decorator for the handlers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from acme_ratelimit.context import RateLimitContext
from acme_ratelimit.ratelimit_pb2 import Terms
from cloudstate_core.command_methods import CommandMethod, CommandMethods
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError

__all__ = ["MAX_CAPACITY", "RateLimitedEntity"]

F = TypeVar("F", bound=Callable[..., Any])

#: What the protocol's field can hold.
MAX_CAPACITY = 2**32 - 1


class RateLimitedEntity(EntityDefinition):
    """An entity with a bucket of tokens, from which its commands take.

    Example:
        >>> quotas = RateLimitedEntity(QUOTAS, capacity=100, refill_per_s=0.5)
        >>> @quotas.command_handler("Spend")
        ... def spend(request: SpendRequest, ctx: RateLimitContext) -> Quota:
        ...     ctx.take(request.units)
        ...     return Quota(left=ctx.available)

    A handler names what it wants by annotation: the command (its message type), the context,
    `Metadata`. It may be `async`.

    Attributes:
        terms: How much a bucket holds, and how fast it fills.
    """

    entity_type: ClassVar[str] = "acme.ratelimit.RateLimiter"

    def __init__(
        self,
        service: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
        *,
        capacity: int,
        refill_per_s: float,
        persistence_id: str = "",
        passivation_timeout_s: float | None = None,
    ) -> None:
        """Declare an entity; its handlers follow by decorators.

        Args:
            service: The service, as the generated module has it.
            file_descriptors: Further files to announce.
            capacity: Tokens in a full bucket, at least 1.
            refill_per_s: Tokens that flow in each second; 0 for a budget that is never renewed.
            persistence_id: Namespace of the buckets; defaults to the service's full name.
            passivation_timeout_s: Idle time after which an entity leaves memory, in seconds; None
                leaves it to the runtime.

        Raises:
            RegistrationError: If one of these cannot work.
        """
        super().__init__(
            service,
            file_descriptors,
            persistence_id=persistence_id,
            passivation_timeout_s=passivation_timeout_s,
        )
        if not 1 <= capacity <= MAX_CAPACITY:
            raise RegistrationError(
                f"{service.full_name}: expected a capacity from 1 to {MAX_CAPACITY}, "
                f"found {capacity!r}"
            )
        if not 0 <= refill_per_s < math.inf:
            raise RegistrationError(
                f"{service.full_name}: expected a finite refill_per_s of at least 0, "
                f"found {refill_per_s!r}"
            )
        self.terms = Terms(capacity=capacity, refill_per_s=refill_per_s)
        self._commands = CommandMethods(service, RateLimitContext)

    def command_handler(self, name: str, *, blocking: bool = False) -> Callable[[F], F]:
        """Register the function that serves the method `name`.

        Args:
            name: Bare name of the method.
            blocking: Run a plain function in a thread, because it waits for something.

        Raises:
            RegistrationError: If there is no such method, it has a handler, or the function asks
                for something it cannot be given.
        """

        def register(function: F) -> F:
            self._commands.add(name, function, blocking=blocking)
            return function

        return register

    def validate(self) -> None:
        self._commands.check_none_streams()
        self._commands.check_all_keyed()
        self._commands.check_all_handled()

    def command(self, name: str) -> CommandMethod:
        """Return the method of that name.

        Raises:
            AnyError: If there is none.
        """
        return self._commands.find(name)
