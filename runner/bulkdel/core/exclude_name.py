"""The name of an exclude file as --exclude has it: FILE, FILE:COLUMN or FILE:COLUMN:TYPE. Knows no file."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class ExcludeName(NamedTuple):
    """A name and its parts. path: a file or an address. column: or a JSON member. id_type: of its ids."""

    path: str
    column: str | None = None
    id_type: str | None = None

    def __str__(self) -> str:
        return ":".join(part for part in self if part is not None)


def names_in(text: str, id_types: Collection[str]) -> list[ExcludeName]:
    """Every way to read a name, the whole text first: a file whose own name has a colon wins.

    id_types: those of the job. Another word at the end is part of the column's name.
    """
    ways = [ExcludeName(text)]
    path, colon, last = text.rpartition(":")
    if colon and path and last:
        ways.append(ExcludeName(path, last))
        before, colon, column = path.rpartition(":")
        if last in id_types and colon and before and column:
            ways.append(ExcludeName(before, column, last))
    return ways
