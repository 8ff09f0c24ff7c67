"""Actions that tests declare: complete, but for what the test is about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from serving_stations import ARCHIVE, STATION
from station.station_pb2 import Word

from cloudstate_action.context import ActionContext
from cloudstate_action.entity import Action
from cloudstate_action.shape import shape_of


def station(**handlers: Callable[..., AnyType]) -> Action:
    """The station; methods without a handler here have one that answers what it is told."""
    return complete(Action(STATION), {**_STATION, **handlers})


def archive(kept: list[str] | None = None, **handlers: Callable[..., AnyType]) -> Action:
    """The archive, which notes what it keeps."""
    kept = [] if kept is None else kept

    def keep(asked: Word) -> Word:
        kept.append(asked.text)
        if asked.text.startswith("refuse"):
            raise ValueError("a secret")
        return Word(text=f"kept {asked.text}")

    def forget(asked: Word) -> None:
        kept.remove(asked.text)

    async def recall(asked: Word) -> AsyncIterator[Word]:
        for text in kept:
            yield Word(text=text)

    own = {"Keep": keep, "Forget": forget, "Find": find, "Recall": recall}
    return complete(Action(ARCHIVE), {**own, **handlers})


def complete(action: Action, handlers: dict[str, Callable[..., AnyType]]) -> Action:
    for name, function in handlers.items():
        shape = shape_of(action.service.methods_by_name[name])
        getattr(action, shape.decorator)(name)(function)
    return action


def find(asked: Any) -> str:
    return asked.type_url


def say(word: Word) -> Word:
    return Word(text=word.text.upper())


async def join(words: AsyncIterator[Word]) -> Word:
    return Word(text=" ".join([word.text async for word in words]))


async def spell(word: Word) -> AsyncIterator[Word]:
    for letter in word.text:
        yield Word(text=letter)


async def echo(words: AsyncIterator[Word], ctx: ActionContext) -> AsyncIterator[Word]:
    async for word in words:
        yield Word(text=word.text.upper())


def nothing(word: Word) -> Empty:
    return Empty()


_STATION: dict[str, Callable[..., AnyType]] = {
    "Say": say,
    "Join": join,
    "Spell": spell,
    "Echo": echo,
}
