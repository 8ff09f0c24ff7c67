"""The program in the README is the one that is tested here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from profiles.entity import entity
from profiles.profiles_pb2 import NewName, Shown, User
from serving_boards import Serve, Served

from cloudstate_core.anys import decode
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status
from cloudstate_core.store import EntityKey

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("language", "file"),
    [("python", "profiles/entity.py"), ("proto", "protos/profiles/profiles.proto")],
)
def test_the_readme_shows_the_files_as_they_are(language: str, file: str) -> None:
    readme = (HERE.parent / "README.md").read_text()
    (shown,) = re.findall(rf"```{language}\n(.*?)```\n", readme, re.DOTALL)

    assert shown == (HERE / file).read_text()


async def ask(served: Served, command: str, message: Message) -> object:
    action = (await served.ask(command, message, "profiles.Profiles")).action
    if action.HasField("failure"):
        return action.failure.description, code_of(action.failure)
    return decode(action.reply.payload)


async def test_the_program_works(serving: Serve) -> None:
    async with serving(entities=[entity]) as served:
        nobody = ("nobody is called joe", Status.NOT_FOUND)
        assert await ask(served, "Get", User(user="joe")) == nobody
        refused = await ask(served, "Rename", NewName(user="joe"))
        assert refused == ("a profile needs a name", Status.INVALID_ARGUMENT)
        for name in ("Joe", "Joseph"):
            assert await ask(served, "Rename", NewName(user="joe", name=name)) == Empty()
        stored = await served.store.inner.value(EntityKey("profiles.Profiles", "joe"))
        assert stored.value is not None
        assert stored.value.type_url == "json.cloudstate.io/Profile"
        assert stored.value.value[2:] == b'{"former_names":["Joe"],"name":"Joseph"}'
        await served.passivate()
        shown = Shown(name="Joseph", former_names=["Joe"])
        assert await ask(served, "Get", User(user="joe")) == shown
        assert await ask(served, "Forget", User(user="joe")) == Empty()
        assert await ask(served, "Get", User(user="joe")) == nobody
