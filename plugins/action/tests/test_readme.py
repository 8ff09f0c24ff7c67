"""The example of the README does what it says."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from cloudstate.action_pb2 import ActionCommand
from cloudstate_action.servicer import ActionServicer
from cloudstate_action.shape import STREAM, STREAM_IN, UNARY
from cloudstate_action.wire import RPCS
from cloudstate_core.anys import pack_message
from cloudstate_core.caller import LateCaller

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def greeter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What protoc makes of the proto, without protoc."""
    file = FileDescriptorProto(name="greeter.proto", syntax="proto3")
    for name in re.findall(r"message (\w+) { string text = 1; }", block("proto")):
        file.message_type.add(name=name).field.add(name="text", number=1, type=9, label=1)
    service = file.service.add(name="Greeter")
    rpc = r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);"
    for name, client, asked, server, answered in re.findall(rpc, block("proto")):
        service.method.add(
            name=name,
            input_type=f".{asked}",
            output_type=f".{answered}",
            client_streaming=bool(client),
            server_streaming=bool(server),
        )
    pool = DescriptorPool()
    pool.Add(file)
    module = ModuleType("greeter_pb2")
    module.DESCRIPTOR = pool.FindFileByName("greeter.proto")
    for name in ("Name", "Greeting"):
        setattr(module, name, GetMessageClass(pool.FindMessageTypeByName(name)))
    monkeypatch.setitem(sys.modules, "greeter_pb2", module)
    return module


async def test_the_example_greets(
    greeter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greetings_of_readme.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("greetings_of_readme")
    module.action.validate()
    methods = {
        m.rpc.path: m for m in ActionServicer({"Greeter": module.action}, LateCaller()).methods()
    }

    async def said(shape, name: str, *texts: str) -> list[str]:
        async def sending():
            packed = [pack_message(greeter.Name(text=text)) for text in texts]
            first = ActionCommand(service_name="Greeter", name=name)
            if not shape.client_streaming:
                first.payload.CopyFrom(packed.pop())
            yield first
            for each in packed:
                yield ActionCommand(payload=each)

        return [
            r.failure.description or greeter.Greeting.FromString(r.reply.payload.value).text
            async for r in methods[RPCS[shape].path].serve(sending())
        ]

    assert await said(UNARY, "Greet", "Joe") == ["Hello Joe"]
    assert await said(UNARY, "Greet", "") == ["who is there?"]
    assert await said(STREAM_IN, "GreetAll", "Ann", "Bob") == ["Hello Ann, Bob"]
    assert await said(STREAM, "GreetEach", "Ann", "", "Bob") == ["Hello Ann", "", "Hello Bob"]
