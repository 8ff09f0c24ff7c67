"""The types with removal, each with its operations and what the oracle expects of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from causal_oracle import Operation, differences, surviving
from kinds_of_values import item

from cloudstate_crdt import Flag, GCounter, ORMap, ORSet, standard_types

X, Y, K = item("x"), item("y"), item("k")
TYPES = standard_types()


@dataclass(frozen=True)
class Scope:
    """One family of histories: a type, its operations, how to look at it, what to expect."""

    name: str
    bottom: object
    operations: tuple[Operation, ...]
    look: Callable
    expected: Callable

    def differences(self, length: int = 4) -> tuple[int, list[str]]:
        return differences(self.bottom, self.operations, length, self.look, self.expected)


def _set_kills(later: str, earlier: str) -> bool:
    return earlier.startswith("add") and later in {"clear", earlier.replace("add", "remove")}


ORSET = Scope(
    "orset",
    ORSet.bottom(TYPES),
    (
        Operation("add x", lambda state, me: state.add(me, X)),
        Operation("remove x", lambda state, me: state.remove(X)),
        Operation("add y", lambda state, me: state.add(me, Y)),
        Operation("clear", lambda state, me: state.clear()),
    ),
    look=lambda state: {element.value.decode() for element in state},
    expected=lambda done, visible: {
        name.removeprefix("add ")
        for name in surviving(done, visible, _set_kills)
        if name.startswith("add")
    },
)

FLAG = Scope(
    "flag",
    Flag(),
    (
        Operation("enable", lambda state, me: state.enable()),
        Operation("look", lambda state, me: Flag()),
    ),
    look=lambda state: state.enabled,
    expected=lambda done, visible: any(done[each].name == "enable" for each in visible),
)

FLAG_UNDER_A_KEY = Scope(
    "flag under a key",
    ORMap.bottom(TYPES),
    (
        Operation(
            "enable", lambda state, me: state.update(me, K, Flag, lambda flag, _: flag.enable())
        ),
        Operation("create", lambda state, me: state.create(me, K, Flag)),
        Operation("remove", lambda state, me: state.remove(K)),
    ),
    look=lambda state: state.get(K).enabled if K in state else None,
    expected=lambda done, visible: _flag(surviving(done, visible, lambda by, _: by == "remove")),
)


def _flag(names: list[str]) -> bool | None:
    names = [name for name in names if name != "remove"]
    return "enable" in names if names else None


def _map_kills(later: str, earlier: str) -> bool:
    return later == "remove" or (later, earlier) == ("take x", "put x")


def _seen(state: ORMap) -> object:
    value = state.get(K)
    if isinstance(value, GCounter):
        return value.value
    return None if value is None else {element.value for element in value}


MAP = Scope(
    "ormap",
    ORMap.bottom(TYPES),
    (
        Operation(
            "count", lambda state, me: state.update(me, K, GCounter, lambda c, i: c.increment(i))
        ),
        Operation("put x", lambda state, me: state.update(me, K, ORSet, lambda s, i: s.add(i, X))),
        Operation("take x", lambda state, me: state.update(me, K, ORSet, lambda s, _: s.remove(X))),
        Operation("remove", lambda state, me: state.remove(K)),
    ),
    look=_seen,
    expected=lambda done, visible: _expected(surviving(done, visible, _map_kills)),
)


def _expected(names: list[str]) -> object:
    left = Counter(names)
    # `gcounter` comes before `orset`, so that is what is seen where both are.
    if left["count"]:
        return left["count"]
    return ({b"x"} if left["put x"] else set()) if left["put x"] + left["take x"] else None


INNER = item("inner")


def _deep(change: Callable) -> Callable:
    return lambda state, me: state.update(
        me, K, ORMap, lambda outer, i: outer.update(i, INNER, ORMap, change)
    )


def _deep_value(state: ORMap) -> int:
    outer = state.get(K)
    inner = outer and outer.get(INNER)
    counter = inner.get(X) if inner else None
    return counter.value if counter else 0


DEEP_MAP = Scope(
    "ormap three deep",
    ORMap.bottom(TYPES),
    (
        Operation(
            "count",
            _deep(lambda m, i: m.update(i, X, GCounter, lambda c, w: c.increment(w))),
        ),
        Operation("remove x", _deep(lambda m, _: m.remove(X))),
        Operation("remove", lambda state, me: state.remove(K)),
    ),
    look=_deep_value,
    expected=lambda done, visible: surviving(
        done, visible, lambda by, _: by in {"remove", "remove x"}
    ).count("count"),
)


SCOPES = (ORSET, FLAG, FLAG_UNDER_A_KEY, MAP, DEEP_MAP)
