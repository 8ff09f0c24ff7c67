"""Three services that pass requests on to each other as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Forward, Reply, SideEffect
from cloudstate_core.handler import Outcome, Request
from runtime_doubles.specs import field, file, message, service

Answer = Callable[[Request], Awaitable[Outcome]]

ROUTES = file(
    "routes.proto",
    "r",
    message("M", field("id", 1, key=True)),
    message("Other"),
    service=[
        service(name, {"Do": (".r.M", ".r.M"), "Ask": (".r.M", ".r.Other")}) for name in "ABC"
    ],
    dependency=["cloudstate/entity_key.proto"],
)


class Handlers:
    """One handler for all services, which does what the test says and notes it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, Answer] = {}

    async def handle(self, request: Request) -> Outcome:
        self.requests.append(request)
        answer = self.answers.get(request.service)
        return replies() if answer is None else await answer(request)

    @property
    def order(self) -> list[str]:
        return [request.service for request in self.requests]

    def answers_with(self, service: str, outcome: Outcome) -> None:
        async def answer(request: Request) -> Outcome:
            return outcome

        self.answers[f"r.{service}"] = answer

    def raises(self, service: str, error: Exception) -> None:
        async def answer(request: Request) -> Outcome:
            raise error

        self.answers[f"r.{service}"] = answer


def request(service: str = "A", **more) -> Request:
    payload = Any(type_url="type.googleapis.com/r.M", value=b"\x0a\x03joe")
    return Request(f"r.{service}", "Do", payload, **more)


def packed(text: bytes = b"\x0a\x01x", type_url: str = "type.googleapis.com/r.M") -> Any:
    return Any(type_url=type_url, value=text)


def replies(*effects: SideEffect, type_url: str = "type.googleapis.com/r.M") -> Outcome:
    action = ClientAction(reply=Reply(payload=packed(b"reply", type_url)))
    return Outcome(action, effects)


def forwards(service: str, *effects: SideEffect, command: str = "Do", **more) -> Outcome:
    to = Forward(service_name=f"r.{service}", command_name=command, payload=packed(), **more)
    return Outcome(ClientAction(forward=to), effects)


def effect(service: str, *, synchronous: bool = False, command: str = "Do", **more) -> SideEffect:
    return SideEffect(
        service_name=f"r.{service}",
        command_name=command,
        payload=packed(),
        synchronous=synchronous,
        **more,
    )


def gate(handlers: Handlers, service: str) -> asyncio.Event:
    """Hold every command of a service back until the event is set."""
    opened = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await opened.wait()
        return replies()

    handlers.answers[f"r.{service}"] = answer
    return opened
