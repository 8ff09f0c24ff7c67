"""What the writer does besides commits; each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudstate_core.errors import StaleEpoch
from cloudstate_core.store import EntityKey
from cloudstate_sqlite import statements
from cloudstate_sqlite.ledger import Ledger
from cloudstate_sqlite.schema import MAX_SEQUENCE, SEQUENCE_BITS

__all__ = ["claim", "delete", "probe", "save_offsets"]


def claim(ledger: Ledger, slices: Sequence[int]) -> int:
    epoch = 1 + max((ledger.epochs[number] for number in slices), default=0)
    ledger.connection.executemany(
        "UPDATE slices SET epoch = ? WHERE slice = ?", ((epoch, number) for number in slices)
    )
    for number in slices:
        ledger.epochs[number] = epoch
    return epoch


def save_offsets(ledger: Ledger, consumer: bytes, offsets: Mapping[int, int]) -> None:
    ledger.connection.executemany(
        "INSERT INTO offsets VALUES (?, ?, ?)"
        " ON CONFLICT (consumer, slice) DO UPDATE SET position = excluded.position",
        ((consumer, number, position) for number, position in offsets.items()),
    )


def delete(ledger: Ledger, key: EntityKey, epoch: int) -> None:
    head = ledger.head(key)
    current = ledger.epochs[head.slice]
    if epoch < current:
        raise StaleEpoch(key.entity_id, held=epoch, current=current)
    if not head.entity:
        return
    first = head.entity << SEQUENCE_BITS
    ledger.connection.execute(
        statements.ERASE,
        {
            "entity": head.entity,
            "first": first,
            "last": first + MAX_SEQUENCE,
            "after": ledger.indexed_to,
        },
    )
    # What was used stays used.
    ledger.keep_last_entity()
    ledger.connection.execute(
        "UPDATE slices SET position = ? WHERE slice = ?",
        (ledger.positions[head.slice], head.slice),
    )
    ledger.forget(key)


def probe(ledger: Ledger) -> None:
    """Do nothing: that the writer comes to it shows that it works."""
