"""What a handler answers when a message alone does not say it."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstate.entity_pb2 import Failure, Forward, SideEffect
from cloudstate_core.anys import encode
from cloudstate_core.failure_code import with_code
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_core.targets import target_with_message
from cloudstate_core.value import value

__all__ = ["ActionReply"]


@value
class ActionReply:
    """A reply, a forward, a failure or none of them, and the effects that go with it.

    Example:
        >>> ActionReply.message(Receipt(...)).effect(mailer.Send, Mail(...))

    Attributes:
        payload: The reply's message; None if it is no reply.
        metadata: Headers of the reply; None for none.
        forwarded: Which command answers instead.
        failed: The failure. Unlike one of `ActionContext.fail` it does not end a stream of replies
            in this process; the runtime ends it there (Cloudstate protocol, actions).
        side_effects: What else is called, in order, also beside a failure.
    """

    payload: object = None
    metadata: Metadata | None = None
    forwarded: Forward | None = None
    failed: Failure | None = None
    side_effects: tuple[SideEffect, ...] = ()

    @classmethod
    def message(cls, payload: object, *, metadata: Metadata | None = None) -> ActionReply:
        """Answer with a message."""
        return cls(payload, metadata)

    @classmethod
    def forward(
        cls,
        target: object,
        command: object = None,
        message: object = None,
        /,
        *,
        metadata: Metadata | None = None,
    ) -> ActionReply:
        """Let another command answer; the arguments are those of `ActionContext.forward`.

        Raises:
            AnyError: If they name no command, or the message is not what the command takes.
        """
        to, message = target_with_message(target, command, message)
        forwarded = Forward(
            service_name=to.service, command_name=to.command, payload=encode(message)
        )
        if metadata is not None:
            forwarded.metadata.CopyFrom(metadata.to_wire())
        return cls(forwarded=forwarded)

    @classmethod
    def failure(cls, description: str, *, code: Status | None = None) -> ActionReply:
        """Answer with a failure.

        Args:
            description: What the client is told.
            code: The status the client sees. Without one it is gRPC UNKNOWN, HTTP 500.

        Raises:
            ValueError: `code` is no status of a failure.
        """
        failed = Failure(description=description)
        return cls(failed=failed if code is None else with_code(failed, code))

    @classmethod
    def no_reply(cls) -> ActionReply:
        """Answer with nothing; a stream of replies goes on without this one."""
        return cls()

    @classmethod
    def combined(cls, replies: Iterable[ActionReply]) -> ActionReply:
        """Return one for several: the last that says something, with the effects of all."""
        said, side_effects = cls(), list[SideEffect]()
        for reply in replies:
            side_effects.extend(reply.side_effects)
            if not reply.is_silent():
                said = reply
        return said.with_effects(side_effects)

    def effect(
        self,
        target: object,
        command: object = None,
        message: object = None,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> ActionReply:
        """Return the same with one more effect; the arguments are those of `ActionContext.effect`.

        Raises:
            AnyError: If they name no command, or the message is not what the command takes.
        """
        to, message = target_with_message(target, command, message)
        side_effect = SideEffect(
            service_name=to.service,
            command_name=to.command,
            payload=encode(message),
            synchronous=synchronous,
        )
        if metadata is not None:
            side_effect.metadata.CopyFrom(metadata.to_wire())
        return self.with_effects((*self.side_effects, side_effect))

    def is_silent(self) -> bool:
        """Return whether it answers nothing; it may have effects."""
        return self.payload is None and self.forwarded is None and self.failed is None

    def with_effects(self, side_effects: Iterable[SideEffect]) -> ActionReply:
        """Return the same with these effects in place of its own."""
        return ActionReply(
            self.payload, self.metadata, self.forwarded, self.failed, tuple(side_effects)
        )
