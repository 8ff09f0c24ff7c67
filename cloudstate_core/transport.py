"""Transports: how messages get from one node to the others.

A transport carries and does not keep. What is sent may be lost, come twice, come late or in another
order; what comes is what was sent, and who is named as its sender has sent it. Everything that must
not be lost is made sure of by whoever sends, with numbers and answers of its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import ClassVar

from cloudstate_core.clock import Clock

__all__ = ["Receive", "Transport", "TransportBackend", "check_node_name", "check_topic"]

#: Takes the name of the node that sent a message, and the message. Called on the event loop, for
#: one message after another; must not wait, and what it raises is logged and changes nothing.
Receive = Callable[[str, bytes], None]

_TOPIC = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_topic(topic: str) -> None:
    """Return if a topic can be one.

    Raises:
        ValueError: It cannot.
    """
    if not _TOPIC.fullmatch(topic):
        raise ValueError(
            f"expected a topic of 1 to 200 letters, digits and '. _ - /', found {topic!r}"
        )


def check_node_name(name: str) -> None:
    """Return if a node can have a name.

    Raises:
        ValueError: It cannot.
    """
    if not _NODE_NAME.fullmatch(name):
        raise ValueError(
            "expected a node's name of 1 to 100 letters, digits and '. _ -', the first a letter or "
            f"a digit, found {name!r}"
        )


class Transport(ABC):
    """One node's way to the others.

    Topics are names such as `deltas/carts`: letters, digits and `. _ - /`, at most 200 characters.
    Whatever is no topic is refused with `ValueError`.

    Should two processes have one name, each hears what the other sends as if from itself.

    Attributes:
        node: The name of this node, unique among all that are connected.
        max_message_bytes: The longest message that is carried.
    """

    node: str
    max_message_bytes: int

    @abstractmethod
    async def send(self, to: str, topic: str, message: bytes) -> None:
        """Send a message to one node.

        Returns when the next one may be sent, which says nothing about where this one is. Nothing
        is raised if it cannot arrive: to a node that is not there, it is lost.

        Raises:
            ValueError: The message is longer than `max_message_bytes`.
        """

    @abstractmethod
    async def broadcast(self, topic: str, message: bytes) -> None:
        """Send a message to all other nodes that listen to the topic; otherwise as `send`."""

    @abstractmethod
    def listen(self, topic: str, receive: Receive) -> AbstractAsyncContextManager[None]:
        """Receive, while the context is open, what others send to this node under a topic.

        When it has been entered, what is sent from then on arrives, unless it is lost. A node does
        not hear what it sends itself, to whomever.

        Raises:
            ValueError: From entering: somebody on this node listens to the topic already.
        """

    @abstractmethod
    def on_gap(self, missed: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `missed`, while the context is open, whenever messages to this node may be lost.

        For example after a lost connection came back, or when this node was too slow to take what
        came. It is a hint to compare states soon; a transport that cannot tell never calls.
        """


class TransportBackend(ABC):
    """A way to connect nodes, as a plugin offers it.

    Attributes:
        scheme: What an address begins with, as `http` in `http://host`; unique in the
            process.
        settings_type: A frozen dataclass with a default for every field; its values come from the
            settings section named like the scheme.
    """

    scheme: ClassVar[str]
    settings_type: ClassVar[type]

    @abstractmethod
    def open(
        self, settings: object, address: str, node: str, clock: Clock
    ) -> AbstractAsyncContextManager[Transport]:
        """Connect, and disconnect in the end.

        A connection that is lost later is made anew, without end, and reported as a gap.

        Args:
            settings: An instance of `settings_type`.
            address: As the setting `transport` says, with the scheme.
            node: The name of this node.
            clock: The time.

        Raises:
            ConfigurationError: From entering: the address is none.
            TransportUnavailable: From entering: nobody answers there.
        """
