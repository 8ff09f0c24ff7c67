"""A message with the metadata that came or goes with it."""

from __future__ import annotations

from typing import Generic, TypeVar

from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = ["MessageEnvelope"]

M = TypeVar("M")


@value
class MessageEnvelope(Generic[M]):
    """One message of a request or of a reply.

    Attributes:
        message: The message.
        metadata: Its own headers.
    """

    message: M
    metadata: Metadata = EMPTY_METADATA
