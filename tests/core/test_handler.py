from __future__ import annotations

from dataclasses import fields, replace

from google.protobuf.any_pb2 import Any

from cloudstate_core.handler import Conditions, Hop, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata


class Waits:
    def has_left(self) -> bool:
        return False

    def when_left(self, listener: object) -> None:
        pass


async def _messages():
    yield Any()


def test_a_request_without_its_metadata_is_otherwise_the_same() -> None:
    full = Request(
        service="shop.Orders",
        command="Place",
        payload=Any(type_url="x/y", value=b"1"),
        metadata=Metadata([("tenant", "a")]),
        deadline_s=1.5,
        hops=(Hop("shop.Carts", "Buy", "forward"),),
        messages=_messages(),
        conditions=Conditions(command_key="k"),
        waiting=("shop.Carts/joe",),
        departure=Waits(),
    )
    # Otherwise a field that gets lost would not be seen.
    for field in fields(full):
        assert getattr(full, field.name) != field.default, field.name

    assert full.without_metadata() == replace(full, metadata=EMPTY_METADATA)
    assert full.without_metadata().departure is full.departure
