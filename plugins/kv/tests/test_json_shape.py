from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Optional
from typing import Any as AnyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.anys import AnyError
from cloudstate_core.errors import RegistrationError
from cloudstate_kv.json_shape import shape_of


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Odd(Enum):
    PAIR = (1, 2)


@dataclass
class Item:
    name: str
    quantity: int = 1
    colour: Colour | None = None


@dataclass(frozen=True)
class Cart:
    owner: str
    items: list[Item] = field(default_factory=list)
    by_name: dict[str, Item] = field(default_factory=dict)
    total: float = 0.0
    is_open: bool = True
    level: Level = Level.LOW
    best: Optional[Item] = None  # noqa: UP045 - it is written so too
    notes: Annotated[list[str | None], "free text"] = field(default_factory=list)
    rest: AnyType = None


@dataclass
class Node:
    """Contains itself."""

    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


@dataclass
class WithLater:
    name: str
    number: int = field(default=0, init=False)


@dataclass
class Big(Item):
    weight: float = 0.0


CART = shape_of(Cart, "here")


def through_json(shape_type: AnyType, value: object) -> object:
    shape = shape_of(shape_type, "here")
    text = json.dumps(shape.write(value, "state"), allow_nan=False)
    return shape.read(json.loads(text), "state")


# --- There and back ------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]))
items = st.builds(Item, texts, st.integers(), st.none() | st.sampled_from(Colour))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
carts = st.builds(
    Cart,
    owner=texts,
    items=st.lists(items, max_size=3),
    by_name=st.dictionaries(texts, items, max_size=3),
    total=st.floats(allow_nan=False, allow_infinity=False),
    is_open=st.booleans(),
    level=st.sampled_from(Level),
    best=st.none() | items,
    notes=st.lists(st.none() | texts, max_size=3),
    rest=json_values,
)


@given(carts)
def test_a_dataclass_comes_back_as_it_was(cart: Cart) -> None:
    assert through_json(Cart, cart) == cart


@given(
    st.recursive(
        st.builds(Node, st.integers()),
        lambda n: st.builds(Node, st.integers(), st.lists(n, max_size=3)),
        max_leaves=12,
    )
)
def test_a_dataclass_may_contain_itself(tree: Node) -> None:
    assert through_json(Node, tree) == tree


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (dict, {"a": [1, {"b": None}]}),
        (list, [1, "a", None]),
        (dict[str, int], {"a": 1}),
        (dict[str, list[Item]], {"a": [Item("x")]}),
        (list[Colour], [Colour.RED]),
        (list[dict[str, float | None]], [{"a": 1.5, "b": None}]),
    ],
    ids=str,
)
def test_lists_and_dicts_come_back_as_they_were(declared: AnyType, value: object) -> None:
    assert through_json(declared, value) == value


def test_what_is_read_is_of_the_declared_classes() -> None:
    read = CART.read(
        {"owner": "joe", "items": [{"name": "a", "colour": "red"}], "total": 3, "level": 2}, "state"
    )

    assert read == Cart("joe", [Item("a", 1, Colour.RED)], total=3.0, level=Level.HIGH)
    assert isinstance(read, Cart)
    assert (type(read.total), read.level, read.items[0].colour) == (float, Level.HIGH, Colour.RED)


# --- What cannot be written ----------------------------------------------------------


def cart(**fields: AnyType) -> Cart:
    return Cart(**{"owner": "joe", **fields})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("joe", "state: expected Cart, found 'joe'"),
        ({"owner": "joe"}, "state: expected Cart, found dict"),
        (cart(owner=7), "state.owner: expected str, found 7"),
        (cart(owner=None), "state.owner: expected str, found None"),
        (cart(is_open=1), "state.is_open: expected bool, found 1"),
        (cart(total=float("nan")), "state.total: expected a finite number, found nan"),
        (cart(total=True), "state.total: expected float, found True"),
        (cart(items=(Item("a"),)), "state.items: expected a list, found tuple"),
        (cart(items=[Item("a"), 3]), "state.items[1]: expected Item, found 3"),
        (cart(items=[Big("a")]), "state.items[0]: expected Item, found Big"),
        (
            cart(items=[Item("a"), Item("b", "2")]),  # type: ignore[arg-type]
            "state.items[1].quantity: expected int, found '2'",
        ),
        (cart(items=[Item("a", True)]), "state.items[0].quantity: expected int, found True"),
        (cart(by_name={"x": None}), "state.by_name['x']: expected Item, found None"),
        (cart(by_name={1: Item("a")}), "state.by_name: expected keys of str, found 1"),
        (cart(level=1), "state.level: expected Level, found 1"),
        (cart(best=Cart("x")), "state.best: expected Item, found Cart"),
        (cart(notes=["a", b"b"]), "state.notes[1]: expected str, found bytes"),
        (cart(rest={"a": [Decimal(1)]}), "state.rest['a'][0]: expected what JSON can hold, found"),
        (cart(rest={1: 2}), "state.rest: expected keys of str, found 1"),
        (cart(rest=[float("inf")]), "state.rest[0]: expected a finite number, found inf"),
        (cart(owner=["x" * 100]), "state.owner: expected str, found list"),
        (cart(is_open="x" * 100), "state.is_open: expected bool, found str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_of_another_type_is_refused_with_its_place(value: object, why: str) -> None:
    with pytest.raises(AnyError) as caught:
        CART.write(value, "state")

    assert str(caught.value).startswith(why)


# --- What cannot be read -------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "state: expected an object with the fields of Cart, found None"),
        ([], "state: expected an object with the fields of Cart, found list"),
        ({}, "state.owner: expected a value, found none"),
        ({"owner": "joe", "age": 3}, "state: Cart has no field 'age'"),
        ({"owner": 3}, "state.owner: expected str, found 3"),
        ({"owner": "joe", "items": {}}, "state.items: expected a list, found dict"),
        ({"owner": "joe", "items": [{}]}, "state.items[0].name: expected a value, found none"),
        (
            {"owner": "joe", "items": [{"name": "a", "quantity": 1.0}]},
            "state.items[0].quantity: expected int, found 1.0",
        ),
        (
            {"owner": "joe", "by_name": {"a": {"name": "x", "colour": "blue"}}},
            "state.by_name['a'].colour: expected one of 'red', 'green', found 'blue'",
        ),
        ({"owner": "joe", "level": 3}, "state.level: expected one of 1, 2, found 3"),
        ({"owner": "joe", "level": [1]}, "state.level: expected one of 1, 2, found list"),
        ({"owner": "joe", "level": True}, "state.level: expected one of 1, 2, found True"),
        ({"owner": "joe", "notes": "ab"}, "state.notes: expected a list, found 'ab'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_not_written_so_is_refused_with_its_place(data: object, why: str) -> None:
    with pytest.raises(AnyError) as caught:
        CART.read(data, "state")

    assert str(caught.value) == why


def test_a_class_may_refuse_what_it_is_given() -> None:
    with pytest.raises(AnyError) as caught:
        shape_of(list[Even], "here").read([{"number": 2}, {"number": 3}], "state")

    assert str(caught.value) == "state[1]: Even: 3 is odd"


# --- Types that cannot be stored -----------------------------------------------------


@dataclass
class WithDate:
    when: list[datetime]


@dataclass
class WithUnion:
    either: int | str


@dataclass
class WithSet:
    names: set[str]


@dataclass
class WithKeys:
    by_number: dict[int, str]


@dataclass
class WithOdd:
    odd: Odd


@dataclass
class WithNested:
    nested: dict[str, list[WithSet]]


@dataclass
class WithUnknown:
    unknown: Nowhere  # type: ignore[name-defined]  # noqa: F821 - that is the point


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (WithDate, "here: WithDate.when: expected a dataclass, an enum, str, int"),
        (WithUnion, "here: WithUnion.either: expected one type or None, found int | str"),
        (WithSet, "here: WithSet.names: expected a dataclass, an enum"),
        (WithKeys, "here: WithKeys.by_number: expected a dict with keys of str, found int"),
        (WithOdd, "here: WithOdd.odd: expected members of Odd with values of str or int, found PA"),
        (WithNested, "here: WithNested.nested: WithSet.names: expected a dataclass, an enum"),
        (WithLater, "here: WithLater.number: a field with init=False cannot be read back"),
        (WithUnknown, "here: WithUnknown: the annotation 'Nowhere' is not defined at run time"),
        (list[bytes], "here: expected a dataclass, an enum, str, int, float, bool"),
        (tuple[int, ...], "here: expected a dataclass, an enum, str, int, float, bool"),
        (dict[int, int], "here: expected a dict with keys of str, found int"),
    ],
    ids=str,
)
def test_what_json_cannot_hold_is_refused_when_it_is_declared(declared: AnyType, why: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        shape_of(declared, "here")

    assert str(caught.value).startswith(why)
