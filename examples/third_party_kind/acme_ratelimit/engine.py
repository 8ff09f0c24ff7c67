"""How a rate limited entity is driven in the runtime: store, user function, clock."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from acme_ratelimit.machine import (
    Answer,
    Answered,
    Ask,
    CommandArrived,
    Crash,
    Input,
    Instruction,
    Load,
    Loaded,
    MessageArrived,
    Moment,
    Opening,
    RateLimitMachine,
)
from acme_ratelimit.ratelimit_pb2 import Bucket, FromFunction, ToFunction
from cloudstate_core.anys import pack_message
from cloudstate_core.drive import Driver
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    CloudstateError,
    CorruptState,
    DeadlineExceeded,
    UserFunctionError,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.links import Rpc
from cloudstate_core.store import EntityKey, PutValue, Write

__all__ = ["HANDLE", "RateLimitEngine"]

#: The protocol's method for this kind.
HANDLE: Rpc[ToFunction, FromFunction] = Rpc(
    "/acme.ratelimit.RateLimiter/handle", ToFunction, FromFunction
)


class RateLimitEngine:
    """One activation of one entity."""

    def __init__(
        self,
        entity: DeployedEntity,
        entity_id: str,
        host: RuntimeHost,
        output_type_urls: Mapping[str, str],
    ) -> None:
        """Prepare; `open` starts.

        Args:
            entity: The service.
            entity_id: Which entity.
            host: What the runtime offers.
            output_type_urls: For each command, the type its reply must have.
        """
        self._key = EntityKey(entity.persistence_id, entity_id)
        self._service_name = entity.service_name
        self._host = host
        self._stream = host.link.open_stream(HANDLE)
        self._machine = RateLimitMachine(entity.service_name, entity_id, output_type_urls)
        self._driver: Driver[Input, Instruction] = Driver(self._machine, self._perform)
        self._request: Request
        self._outcome: Outcome | None = None

    @property
    def version(self) -> int:
        """Return the revision of the bucket."""
        return self._machine.revision

    async def open(self) -> None:
        """Load the bucket, and agree on the terms."""
        await self._driver.run(Opening())

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command."""
        self._request, self._outcome = request, None
        await self._driver.run(CommandArrived(request.command, request.payload, self._now()))
        return self._answer()

    def fault(self) -> CloudstateError | None:
        """Return what came of the stream after the last reply."""
        return self._stream.unasked()

    async def aclose(self) -> None:
        """End the stream."""
        await self._stream.aclose()

    def _answer(self) -> Outcome:
        # Every command ends with an `Answer` or an exception, so there is one here.
        assert self._outcome is not None
        return self._outcome

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case Load():
                stored = await self._host.store.value(self._key)
                return Loaded(stored.revision, _bucket_in(stored.value), self._now())
            case Ask(message):
                return await self._ask(message)
            case Answer():
                await self._commit(instruction)
                return Answered()
            case Crash(reason, detail):
                raise UserFunctionError(reason, detail=f"{self._service_name} {detail}")

    async def _commit(self, answer: Answer) -> None:
        writes: tuple[Write, ...] = ()
        if answer.bucket is not None:
            writes = (PutValue(answer.revision, pack_message(answer.bucket)),)
        version = answer.revision + len(writes)
        outcome = Outcome(answer.action, answer.side_effects, version=version)
        self._outcome = await self._host.commit(self._request, self._key, writes, outcome)

    async def _ask(self, message: ToFunction) -> MessageArrived:
        timeout_s = self._host.relay_timeout_s
        try:
            return MessageArrived(await self._stream.ask(message, timeout_s))
        except TimeoutError:
            raise DeadlineExceeded(
                f"the user function did not answer within {timeout_s:g} s"
            ) from None

    def _now(self) -> Moment:
        clock = self._host.clock
        return Moment(clock.monotonic_s(), clock.unix_time_s())


def _bucket_in(stored: Any | None) -> Bucket | None:
    if stored is None:
        return None
    bucket = Bucket()
    try:
        is_bucket = stored.Unpack(bucket)
    except DecodeError:
        is_bucket = False
    if not is_bucket:
        raise CorruptState(f"expected a stored bucket, found {stored.type_url!r}")
    return bucket
