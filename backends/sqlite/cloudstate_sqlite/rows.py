"""Many rows in one statement.

Every statement gives up the interpreter's lock and has to get it back, which takes long when the
event loop is busy. So rows go in by the hundred. A statement is prepared for 1, 2, 4, 8 ... rows,
and the rows it has too many are left empty.
"""

# Statements are put together of constants alone; values are always bound.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

__all__ = ["Lookup", "RowInsert", "SqlValue"]

SqlValue = int | float | str | bytes | None

_MAX_ROWS = 128


class RowInsert:
    """Adds rows to a table.

    Args:
        table: The table.
        columns: Its columns; the first one is never empty.
        on_conflict: What follows `ON CONFLICT`, if a row may be there already.
    """

    def __init__(self, table: str, columns: Sequence[str], on_conflict: str = "") -> None:
        self._width = len(columns)
        self._before = f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM ("
        self._after = ") WHERE column1 IS NOT NULL" + (
            f" ON CONFLICT {on_conflict}" if on_conflict else ""
        )
        self._statements: dict[int, str] = {}

    def run(self, connection: apsw.Connection, values: list[SqlValue]) -> None:
        """Add rows; `values` holds their columns, row after row."""
        for bindings, rows in _chunks(values, self._width):
            statement = self._statements.get(rows)
            if statement is None:
                statement = self._before + _values(rows, self._width) + self._after
                self._statements[rows] = statement
            connection.execute(statement, bindings)


class Lookup:
    """Looks up many things at once.

    Args:
        columns: How many columns a thing to look up has; the first one is never empty.
        query: The query. `{sought}` stands for a table with the columns `column1`, `column2` ...
    """

    def __init__(self, columns: int, query: str) -> None:
        self._width = columns
        self._query = query
        self._statements: dict[int, str] = {}

    def run(self, connection: apsw.Connection, values: list[SqlValue]) -> list[tuple[Any, ...]]:
        """Return what is found; `values` holds what is sought, row after row."""
        found: list[tuple[Any, ...]] = []
        for bindings, rows in _chunks(values, self._width):
            statement = self._statements.get(rows)
            if statement is None:
                sought = f"({_values(rows, self._width)})"
                statement = self._query.replace("{sought}", sought)
                self._statements[rows] = statement
            found += connection.execute(statement, bindings)
        return found


def _chunks(values: list[SqlValue], width: int) -> list[tuple[list[SqlValue], int]]:
    chunks = []
    for first in range(0, len(values), _MAX_ROWS * width):
        chunk = values[first : first + _MAX_ROWS * width]
        rows = 1 << (len(chunk) // width - 1).bit_length()
        chunk += [None] * (rows * width - len(chunk))
        chunks.append((chunk, rows))
    return chunks


def _values(rows: int, width: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"VALUES {','.join([row] * rows)}"
