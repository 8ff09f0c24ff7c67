"""Value entities in the kit: the state is what the next handler gets."""

from __future__ import annotations

import pytest
from profiles.entity import Profile, entity
from profiles.profiles_pb2 import NewName, User

from cloudstate_core.anys import AnyError, encode
from cloudstate_core.status import Status
from cloudstate_core.store import Commit, EntityKey, PutValue
from cloudstate_core.testing import EntityKit, Failed

KEY = EntityKey(entity.persistence_id, "joe")


@pytest.fixture
def kit() -> EntityKit:
    return EntityKit(entity)


def test_the_state_is_of_the_type_that_handlers_get(kit: EntityKit) -> None:
    kit.handle("Rename", NewName(user="joe", name="Joe"))

    handled = kit.handle("Rename", NewName(user="joe", name="Joseph"))

    assert handled.state == Profile("Joseph", ["Joe"])
    assert handled.version == 2
    assert handled.events == ()


def test_the_value_outlives_a_crash_and_idle_time(kit: EntityKit) -> None:
    kit.handle("Rename", NewName(user="joe", name="Joe"))

    kit.crash()
    assert kit.state("joe") == Profile("Joe")
    kit.clock.advance(3600)
    assert not kit.is_live("joe")
    assert kit.handle("Get", User(user="joe")).reply.name == "Joe"


def test_a_value_that_is_deleted_or_was_never_there_is_none(kit: EntityKit) -> None:
    kit.handle("Rename", NewName(user="joe", name="Joe"))

    assert kit.handle("Forget", User(user="joe")).state is None
    assert kit.state("joe") is None
    handled = kit.handle("Get", User(user="joe"))
    assert handled.failure == Failed("nobody is called joe", Status.NOT_FOUND)


def test_a_state_that_cannot_be_read_is_told_to_whoever_looks_at_it(kit: EntityKit) -> None:
    kit.run(kit.store.commit(Commit(KEY, 1, (PutValue(0, encode("no profile")),))))

    handled = kit.handle("Rename", NewName(user="ann", name="Ann"))
    assert handled.state == Profile("Ann")
    with pytest.raises(AnyError):
        kit.state("joe")
