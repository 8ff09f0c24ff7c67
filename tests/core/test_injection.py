from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Annotated, Any, Optional, Union

import pytest

from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import (
    Slot,
    bind,
    choices_of,
    describe,
    is_async,
    same_type,
    signature_of,
)


class Apple:
    """Something to ask for."""


class Pear:
    """Something else to ask for."""


def slot(name: str, *types: object) -> Slot:
    return Slot(name, lambda annotation: any(annotation == each for each in types))


APPLE, PEAR, FRUIT = slot("apple", Apple), slot("pear", Pear), slot("fruit", Apple, Pear)


def none() -> str:
    return "nothing"


def one(pear: Pear) -> object:
    return pear


def both(pear: Pear, apple: Apple) -> object:
    return pear, apple


def two_apples(first: Apple, second: Apple) -> object:
    return first, second


# --- Which value goes to which parameter ---------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"), [(none, "nothing"), (one, "p"), (both, ("p", "a"))]
)
def test_a_handler_is_given_what_it_asks_for_in_its_own_order(
    function: Callable[..., object], expected: object
) -> None:
    assert bind(function, [APPLE, PEAR])("a", "p") == expected


def test_the_first_slot_that_accepts_an_annotation_gets_the_parameter() -> None:
    assert bind(one, [APPLE, FRUIT, PEAR])("a", "f", "p") == "f"


def test_of_several_parameters_of_one_type_the_last_is_for_the_first_slot() -> None:
    handler = bind(two_apples, [APPLE, PEAR, FRUIT])

    assert handler("a", "p", "f") == ("f", "a")


def test_two_parameters_cannot_share_a_slot() -> None:
    with pytest.raises(RegistrationError, match="two parameters ask for the apple; remove 'sec"):
        bind(two_apples, [APPLE, PEAR])


def test_what_is_offered_is_named_if_nothing_fits() -> None:
    with pytest.raises(
        RegistrationError,
        match=r"parameter 'pear' of type Pear; expected one of the apple, the other apple$",
    ):
        bind(one, [APPLE, slot("other apple", Apple)])


def test_a_handler_is_resolved_once_and_not_at_each_call() -> None:
    asked: list[object] = []
    handler = bind(one, [Slot("pear", lambda annotation: asked.append(annotation) or True)])

    handler("p")
    handler("p")

    assert asked == [Pear]


# --- Annotations ---------------------------------------------------------------------


def quoted(pear: "Pear") -> None: ...  # noqa: UP037 - the quotes are the subject
def quoted_inside(pear: Optional["Pear"]) -> None: ...  # noqa: UP037, UP045
def plain(pear: Pear) -> None: ...


plain.__annotations__ = {"pear": Pear}


@pytest.mark.parametrize("function", [quoted, plain])
def test_an_annotation_is_the_same_as_text_and_as_an_object(
    function: Callable[..., object],
) -> None:
    assert signature_of(function).parameters["pear"].annotation is Pear


def test_a_name_quoted_inside_an_annotation_is_resolved() -> None:
    assert choices_of(signature_of(quoted_inside).parameters["pear"].annotation) == [Pear]


def test_a_local_name_that_cannot_be_resolved_is_said_to_belong_to_the_top() -> None:
    class Local:
        """Not visible from outside this function."""

    def handler(local: Local) -> None: ...

    with pytest.raises(RegistrationError, match="'Local' is not defined at run time; define or im"):
        signature_of(handler)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Apple, [Apple]),
        (Optional[Apple], [Apple]),  # noqa: UP045
        (Apple | None, [Apple]),
        (Union[Apple, Pear], [Apple, Pear]),  # noqa: UP007
        (Apple | Pear | None, [Apple, Pear]),
        (Annotated[Apple, "green"], [Apple]),
        (Annotated[Apple | None, "green"] | Pear, [Apple, Pear]),
        (list[Apple], [list[Apple]]),
        (None, []),
        (type(None), []),
        (Any, [Any]),
    ],
    ids=str,
)
def test_the_choices_of_an_annotation(annotation: object, expected: list[object]) -> None:
    assert choices_of(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (Apple, Apple),
        (Apple | None, Apple),
        (Apple, Apple | None),
        (Apple, Apple | Pear),
        (Annotated[Apple, "green"], Apple),
        (dict, dict[str, int]),
        (dict[str, int], dict),
        (dict[str, int], dict[str, str]),
    ],
    ids=str,
)
def test_annotations_that_name_a_type(annotation: object, wanted: object) -> None:
    assert same_type(annotation, wanted)


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (Pear, Apple),
        (Pear | None, Apple | None),
        (None, None),
        (list, dict[str, int]),
        ({"a": 1}, Apple),
        ("Apple", Apple),
    ],
    ids=str,
)
def test_annotations_that_name_another(annotation: object, wanted: object) -> None:
    assert not same_type(annotation, wanted)


# --- Functions of every sort ---------------------------------------------------------


class Basket:
    def put(self, pear: Pear) -> object:
        return pear

    async def put_later(self, pear: Pear) -> object:
        return pear

    def __call__(self, pear: Pear) -> object:
        return pear


class AsyncBasket:
    async def __call__(self, pear: Pear) -> object:
        return pear


def many(start: str, pear: Pear, end: str) -> object:
    return start, pear, end


async def later(pear: Pear) -> object:
    return pear


def decorated(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def call(*values: object) -> object:
        return function(*values)

    return call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (one, "one"),
        (Basket().put, "Basket.put"),
        (Basket(), "Basket.__call__"),
        (functools.partial(many, "start", end="end"), "many"),
        (functools.partial(functools.partial(many, "start"), end="end"), "many"),
        (decorated(one), "one"),
        (lambda: None, "<lambda>"),
    ],
    ids=["function", "method", "object", "partial", "partials", "decorated", "lambda"],
)
def test_a_callable_is_bound_and_described_by_what_its_author_wrote(
    function: Callable[..., object], name: str
) -> None:
    handler = bind(function, [PEAR])

    assert handler("p") in ("p", ("start", "p", "end"), None)
    assert re.fullmatch(rf"{re.escape(name)} \(.*test_injection\.py:\d+\)", handler.where)
    assert handler.where == describe(function)
    assert not handler.is_async


@pytest.mark.parametrize(
    "function",
    [later, Basket().put_later, AsyncBasket(), functools.partial(later)],
    ids=["function", "method", "object", "partial"],
)
def test_an_async_callable_is_known_for_one(function: Callable[..., object]) -> None:
    assert is_async(function)
    assert bind(function, [PEAR]).is_async


def test_what_has_no_code_is_described_by_its_name() -> None:
    assert describe(len) == "len"
    assert describe(Apple) == "Apple"
    assert describe(5) == "5"


@pytest.mark.parametrize("value", [None, 5, "one", Apple()], ids=["none", "number", "text", "obj"])
def test_what_cannot_be_called_is_no_handler(value: Any) -> None:
    with pytest.raises(RegistrationError, match="expected a function, found "):
        bind(value, [PEAR])


def test_a_built_in_function_without_a_signature_is_refused() -> None:
    with pytest.raises(RegistrationError, match="its annotations cannot be read"):
        bind(min, [PEAR])
