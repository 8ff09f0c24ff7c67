"""Replicated types: what changes and joins cost, how large deltas are, what removals leave behind.

python bench/crdt_types.py

Beside them, where they are installed (`pip install pycrdt loro`): a map of a pycrdt and of a loro
document, in which every element is a key. Both keep documents with their whole editing history,
written in Rust; their maps let the last write of a key stay where a set lets additions win, and
their updates are bytes, so that joining one includes reading it.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType

from google.protobuf.any_pb2 import Any

# So that it can be started as a file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figure, print_table
from cloudstate_crdt import GCounter, Lattice, ORMap, ORSet, Replica, standard_types

__all__ = ["measure"]

TYPES = standard_types()
REPLICAS = tuple(Replica(f"node-{number}", 1) for number in range(3))
ME = REPLICAS[0]
ELEMENTS = 10_000
CHANGES = 1_000_000
LIVE = 100


def item(number: int) -> Any:
    return Any(type_url="p.cloudstate.io/string", value=b"\x0a\x06%06d" % number)


ITEMS = [item(number) for number in range(ELEMENTS)]


def cpu_us(action: Callable[[int], object], times: int) -> float:
    """Return the CPU time of one call, in microseconds."""
    gc.collect()
    before = time.process_time_ns()
    for number in range(times):
        action(number)
    return (time.process_time_ns() - before) / times / 1e3


def measure() -> list[Figure]:
    """Measure everything."""
    return [*local_changes(), *joins(), *bytes_per_delta(), *churn()]


def local_changes() -> list[Figure]:
    counter, elements, state = GCounter(), ORSet.bottom(TYPES), ORMap.bottom(TYPES)

    def count_under_a_key(number: int) -> None:
        state.update(ME, ITEMS[number % 100], GCounter, GCounter.increment)

    each: dict[str, Callable[[int], object]] = {
        "GCounter.increment": lambda _: counter.increment(ME),
        "ORSet.add": lambda number: elements.add(ME, ITEMS[number]),
        "ORSet.remove": lambda number: elements.remove(ITEMS[number]),
        "ORMap.update of a GCounter, 100 keys": count_under_a_key,
    }
    return [
        Figure(f"local: {name}", 1e6 / cpu_us(action, ELEMENTS), "changes/s CPU")
        for name, action in each.items()
    ]


def joins() -> list[Figure]:
    source, replica = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    deltas = [source.add(ME, each) for each in ITEMS]
    written = [delta.serialize() for delta in deltas]
    one_by_one = cpu_us(lambda number: replica.join(deltas[number]), ELEMENTS)
    assert replica == source
    reader = ORSet.bottom(TYPES)
    read = cpu_us(lambda number: reader.join(ORSet.parse(written[number], TYPES)), ELEMENTS)
    at_once = cpu_us(lambda _: ORSet.bottom(TYPES).join(source), 5) / ELEMENTS
    bytes_ = source.serialize()
    written_us = cpu_us(lambda _: source.serialize(), 5) / ELEMENTS
    parsed = cpu_us(lambda _: ORSet.parse(bytes_, TYPES), 5) / ELEMENTS
    what = f"ORSet of {ELEMENTS:,} elements"
    figures = [
        Figure(f"{what}: join of one-element deltas", one_by_one, "us/element"),
        Figure(f"{what}: read and join of one-element deltas", read, "us/element"),
        Figure(f"{what}: join of the whole", at_once, "us/element"),
        Figure(f"{what}: write the whole", written_us, "us/element"),
        Figure(f"{what}: read the whole", parsed, "us/element"),
        Figure(f"{what}: bytes of the whole", len(bytes_) / ELEMENTS, "bytes/element"),
    ]
    return [*figures, *peers(read)]


def peers(ours: float) -> list[Figure]:
    """The nearest types of others: one update for each of as many keys of a map."""
    figures = []
    for name, updates in (("pycrdt", pycrdt_updates), ("loro", loro_updates)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed, so it is not measured", file=sys.stderr)
            continue
        made, apply = updates()
        spent = cpu_us(lambda number, m=made, a=apply: a(m[number]), ELEMENTS)
        figures += [
            Figure(
                f"{name}: read and join of updates of one key each, {ELEMENTS:,} keys",
                spent,
                "us/element",
                echo=ours,
                note="echo: our ORSet, read and joined",
            ),
            Figure(f"{name}: update of one key", _mean(made[-1000:]), "bytes/delta"),
        ]
    return figures


def pycrdt_updates() -> tuple[list[bytes], Callable[[bytes], object]]:
    import pycrdt

    source, replica = pycrdt.Doc(), pycrdt.Doc()
    keys = source.get("set", type=pycrdt.Map)
    made = []
    for each in ITEMS:
        before = source.get_state()
        keys[each.value[2:].decode()] = True
        made.append(source.get_update(before))
    return made, replica.apply_update


def loro_updates() -> tuple[list[bytes], Callable[[bytes], object]]:
    import loro

    source, replica = loro.LoroDoc(), loro.LoroDoc()
    keys = source.get_map("set")
    made = []
    for each in ITEMS:
        before = source.oplog_vv
        keys.insert(each.value[2:].decode(), True)
        source.commit()
        made.append(source.export(loro.ExportMode.Updates(before)))
    return made, replica.import_


def _mean(updates: Sequence[bytes]) -> float:
    return sum(map(len, updates)) / len(updates)


def bytes_per_delta() -> list[Figure]:
    counter, elements, state = GCounter(), ORSet.bottom(TYPES), ORMap.bottom(TYPES)
    for number in range(1000):
        counter.increment(ME)
        elements.add(ME, ITEMS[number])
        state.update(ME, ITEMS[number % 100], GCounter, GCounter.increment)
    deltas: dict[str, Lattice] = {
        "GCounter.increment": counter.increment(ME),
        "ORSet.add": elements.add(ME, ITEMS[2000]),
        "ORSet.remove": elements.remove(ITEMS[1]),
        "ORMap.update of a GCounter": state.update(ME, ITEMS[0], GCounter, GCounter.increment),
    }
    return [
        Figure(f"delta: {name}", len(delta.serialize()), "bytes/delta")
        for name, delta in deltas.items()
    ]


def churn() -> list[Figure]:
    """A set after a million additions and as many removals but a hundred."""
    elements, fresh = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    for number in range(CHANGES):
        elements.add(REPLICAS[number % 3], ITEMS[number % ELEMENTS])
        if number >= LIVE:
            elements.remove(ITEMS[(number - LIVE) % ELEMENTS])
    for each in elements:
        fresh.add(REPLICAS[len(fresh) % 3], each)
    assert len(elements) == len(fresh) == LIVE
    what = f"ORSet after {CHANGES:,} additions and removals, {LIVE} elements left"
    note = "echo: a set that only ever had these elements"
    return [
        Figure(f"{what}: memory", held_bytes(elements), "bytes", echo=held_bytes(fresh), note=note),
        Figure(
            f"{what}: written",
            len(elements.serialize()),
            "bytes",
            echo=len(fresh.serialize()),
            note=note,
        ),
    ]


def held_bytes(root: object) -> int:
    """Return the size of everything that only this object leads to, but code and types."""
    seen: set[int] = {id(TYPES)}
    to_visit, total = [root], 0
    while to_visit:
        each = to_visit.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        to_visit += gc.get_referents(each)
    return total


if __name__ == "__main__":
    print_table(measure())
