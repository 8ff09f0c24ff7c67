from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty

from cloudstate.value_entity import ValueEntity, ValueEntityCommandContext
from cloudstate_core.status import Status
from profiles.profiles_pb2 import _PROFILES, NewName, Shown, User


@dataclass
class Profile:
    name: str
    former_names: list[str] = field(default_factory=list)


entity = ValueEntity(_PROFILES, state_type=Profile)


@entity.command_handler("Rename")
def rename(state: Profile | None, command: NewName, ctx: ValueEntityCommandContext) -> Empty:
    if not command.name:
        ctx.fail("a profile needs a name", code=Status.INVALID_ARGUMENT)
    former_names = [] if state is None else [*state.former_names, state.name]
    ctx.update(Profile(command.name, former_names))
    return Empty()


@entity.command_handler("Get")
def get(state: Profile | None, user: User, ctx: ValueEntityCommandContext) -> Shown:
    if state is None:
        ctx.fail(f"nobody is called {user.user}", code=Status.NOT_FOUND)
    return Shown(name=state.name, former_names=state.former_names)


@entity.command_handler("Forget")
def forget(ctx: ValueEntityCommandContext) -> Empty:
    ctx.delete()
    return Empty()
