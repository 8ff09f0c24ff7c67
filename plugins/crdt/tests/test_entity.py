from __future__ import annotations

from collections.abc import Callable
from typing import Any as AnyType

import pytest
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate.crdt_entity import (
    Crdt,
    CrdtCommandContext,
    CrdtEntity,
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    ORMap,
    ORSet,
)
from cloudstate_core.context import CommandContext
from cloudstate_core.errors import RegistrationError
from cloudstate_core.metadata import Metadata

PUPPET = DESCRIPTOR.services_by_name["Puppet"]


def declared(default: AnyType = GCounter) -> CrdtEntity:
    return CrdtEntity(PUPPET, default=default)


def register(function: Callable[..., AnyType], default: AnyType = GCounter) -> CrdtEntity:
    entity = declared(default)
    assert entity.command_handler("Do")(function) is function
    return entity


# --- Done right ----------------------------------------------------------------------


def test_a_handler_names_what_it_wants_in_any_order() -> None:
    def do(
        ctx: CrdtCommandContext, counter: GCounter, order: Order, metadata: Metadata
    ) -> Word: ...

    method = register(do).command("Do")

    assert method.handler.where.startswith("test_a_handler_names")


@pytest.mark.parametrize(
    ("default", "annotation"),
    [
        (GCounter, GCounter),
        (GCounter, GCounter | None),
        (GCounter, Crdt),
        (GCounter, GCounter | ORSet),
        (lambda _: GCounter, ORSet),
        (lambda: LWWRegister(""), LWWRegister),
        (None, GCounter | None),
        (None, Crdt | None),
        (ORSet, ORSet[str]),
        (ORSet[str], ORSet[str] | None),
        (ORSet[str], ORSet | GCounter),
        (lambda: LWWRegister(""), LWWRegister[str]),
        (None, ORMap[str, GCounter] | None),
    ],
)
def test_the_state_is_annotated_as_what_it_may_be(default: AnyType, annotation: object) -> None:
    def do(state: object) -> Word: ...

    do.__annotations__["state"] = annotation
    entity = register(do, default)

    assert entity.takes_state(entity.command("Do"))


def test_a_handler_may_take_the_context_of_all_kinds() -> None:
    def do(ctx: CommandContext) -> Word: ...

    entity = register(do)

    assert not entity.takes_state(entity.command("Do"))


def test_an_entity_is_stored_under_the_name_of_its_service() -> None:
    entity = CrdtEntity(PUPPET, [DESCRIPTOR], GCounter, passivation_timeout_s=2)

    assert entity.persistence_id == "puppet.Puppet"
    assert entity.entity_type == "cloudstate.crdt.Crdt"
    assert entity.passivation_timeout_s == 2
    assert CrdtEntity(PUPPET, persistence_id="p").persistence_id == "p"


def test_a_declared_entity_is_valid_once_every_command_is_handled() -> None:
    def do(order: Order) -> Word: ...

    entity = register(do)
    with pytest.raises(RegistrationError, match=r"no command handler for Watch; add @entity"):
        entity.validate()

    entity.command_handler("Watch", calls=[(PUPPET, "Do")])(do)
    entity.validate()
    ((where, target),) = entity.declared_calls()
    assert ("do (" in where, target.name) == (True, "puppet.Puppet.Do")


# --- Mistakes ------------------------------------------------------------------------


def test_what_a_handler_cannot_be_given_is_an_error_that_names_it() -> None:
    def bare(state) -> Word: ...  # type: ignore[no-untyped-def]

    def stranger(state: int) -> Word: ...

    def other(state: GSet) -> Word: ...

    def twice(first: GCounter, second: GCounter) -> Word: ...

    def optional(counter: GCounter) -> Word: ...

    for function, default, reason in (
        (bare, GCounter, "parameter 'state' has no type annotation"),
        (stranger, GCounter, "of type int; expected one of the command puppet.Order"),
        (other, GCounter, "of type GSet; expected one of .* the state GCounter"),
        (twice, GCounter, "two parameters ask for the state GCounter"),
        (optional, None, "parameter 'counter' is None as long as nobody has created the CRDT"),
    ):
        with pytest.raises(RegistrationError, match=reason) as found:
            register(function, default)
        assert function.__name__ in str(found.value)
        assert "test_entity.py" in str(found.value)


def test_a_command_has_one_handler() -> None:
    def do(order: Order) -> Word: ...

    entity = register(do)

    with pytest.raises(RegistrationError, match="command 'Do' is handled already by"):
        entity.command_handler("Do")(do)
    with pytest.raises(RegistrationError, match=r"has no method 'Dance'; it has Do, Watch"):
        entity.command_handler("Dance")(do)
    with pytest.raises(RegistrationError, match=r"@entity\.command_handler\('Name'\)"):
        entity.command_handler(do)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("default", "reason"),
    [
        (LWWRegister, "an LWWRegister begins with a value"),
        (LWWRegister[str], "an LWWRegister begins with a value"),
        (list[str], "expected the default to be one of .*, found list"),
        (Crdt, "expected the default to be one of Flag, GCounter, .*, found Crdt"),
        (int, "expected the default to be one of .*, found int"),
        (7, "expected the default to be a type of CRDT, such as GCounter, or a function .* 7"),
        (Flag(), "expected the default to be a type of CRDT"),
        (lambda _a, _b: Flag, "expected a function of the entity id, or of nothing"),
        (lambda *, key: key, "expected a function of the entity id, or of nothing"),
    ],
)
def test_a_default_that_makes_no_crdt_is_an_error(default: AnyType, reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        declared(default)


def test_a_default_is_a_plain_function() -> None:
    async def later() -> type[Crdt]:
        return GCounter

    with pytest.raises(RegistrationError, match=r"later .*: default: expected a plain function"):
        declared(later)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"service_descriptor": "Puppet"}, "expected a service descriptor"),
        ({"file_descriptors": [1]}, "expected file_descriptors to be a list"),
        ({"persistence_id": 1}, "expected persistence_id to be text"),
        ({"passivation_timeout_s": 0}, "passivation_timeout_s: expected more than 0, found 0"),
    ],
)
def test_a_wrong_argument_is_an_error(arguments: dict[str, AnyType], reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        CrdtEntity(**{"service_descriptor": PUPPET, **arguments})
