"""What a test wants a handler to be answered when it asks another service."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from google.protobuf import any_pb2
from google.protobuf.empty_pb2 import Empty

from cloudstate_core.anys import AnyError, encode
from cloudstate_core.errors import AskFailed
from cloudstate_core.status import Status
from cloudstate_core.targets import target_of
from cloudstate_core.testing.kit.handled import Failed, KitError, PassedOn

__all__ = ["Answers", "CannedAnswers"]

#: By target a reply, `Failed`, an exception, or a function of the message that gives one; or one
#: function of what was asked for everything.
Answers: TypeAlias = Mapping[Any, Any] | Callable[[PassedOn], Any]


class CannedAnswers:
    """Finds the answer to what is asked."""

    def __init__(self, answers: Answers) -> None:
        """Read who answers what.

        Raises:
            KitError: A key of `answers` names no command.
        """
        self._for_all = answers if callable(answers) else None
        self._by_name = {} if callable(answers) else _by_name(answers)

    def has(self, asked: PassedOn) -> bool:
        """Return whether there is an answer."""
        return self._for_all is not None or asked.name in self._by_name

    async def find(self, asked: PassedOn) -> any_pb2.Any:
        """Return the reply, packed, and note the answer in `asked`.

        Raises:
            AskFailed: The answer is a failure.
            KitError: The answer is none that the command could give.
        """
        if self._for_all is not None:
            found = self._for_all(asked)
        else:
            found = self._by_name[asked.name]
            if callable(found) and not isinstance(found, type):
                found = found(asked.message)
        if inspect.isawaitable(found):
            found = await found
        asked.answer = found
        if isinstance(found, Failed):
            raise AskFailed(found.description, code=found.code or Status.UNKNOWN)
        if isinstance(found, BaseException):
            raise found
        return _reply(asked, found)


def _by_name(answers: Mapping[Any, Any]) -> dict[str, Any]:
    found = {}
    for key, answer in answers.items():
        try:
            target = target_of(*key) if isinstance(key, tuple) else target_of(key)
        except (AnyError, TypeError) as error:
            raise KitError(f"answers: {error}") from error
        found[target.name] = answer
    return found


def _reply(asked: PassedOn, found: Any) -> any_pb2.Any:
    method = target_of(asked.service, asked.command).method
    expected = str(method.output_type.full_name) if method is not None else ""
    if found is None and expected == Empty.DESCRIPTOR.full_name:
        found = Empty()
    try:
        packed = encode(found)
    except AnyError as error:
        raise KitError(f"answer to {asked.name}: {error}") from error
    if expected and packed.type_url.partition("/")[2] != expected:
        raise KitError(
            f"answer to {asked.name}: expected a message of type {expected}, found "
            f"{packed.type_url.partition('/')[2]}"
        )
    return packed
