"""The name of an exclude file as --exclude has it: FILE, FILE:COLUMN or FILE:COLUMN:TYPE. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple, Self
from urllib.parse import quote, unquote

_UNUSUAL = re.compile(r"[\s,;\"'`\u201c\u201d\u2018\u2019|#<>]|^[-*\u2022]|^(mailto|id)[:=]")


class ExcludeName(NamedTuple):
    """A name and its parts. path: a file or an address. column: or a JSON member. id_type: of its ids."""

    path: str
    column: str | None = None
    id_type: str | None = None

    def __str__(self) -> str:
        return ":".join(part for part in self if part is not None)


class ExcludeKey(NamedTuple):
    """What has to be the same of an exclude file on a resume. The log has it as text.

    sha256: of its bytes, hex. column, sheet, id_type: as the user named them.
    """

    sha256: str
    column: str | None = None
    sheet: str | None = None
    id_type: str | None = None

    def __str__(self) -> str:
        named = {"column": self.column, "sheet": self.sheet, "id_type": self.id_type}
        words = [f"{name}={quote(value)}" for name, value in named.items() if value is not None]
        return " ".join([self.sha256, *words])

    @classmethod
    def of(cls, sha256: str, column: str | None, sheet: str | None, id_type: str, *, looked_up: bool) -> Self:
        """The key of a file. Its id type counts where look-ups find its accounts."""
        return cls(sha256, column, sheet, id_type if looked_up else None)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `str` has written."""
        sha256, *words = text.split(" ")
        named = dict(word.partition("=")[::2] for word in words)
        return cls(sha256, **{name: unquote(value) for name, value in named.items() if name in cls._fields[1:]})


def is_unusual(id_: str) -> bool:
    """Whether a line of an exclude file looks like more than an id: a list, a comment, a quoted text or a link.

    It is taken whole all the same, because a free text may be an id.
    """
    return _UNUSUAL.search(id_) is not None


def names_in(text: str, id_types: Collection[str]) -> list[ExcludeName]:
    """Every way to read a name, the whole text first: the name of a file may have a colon.

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
