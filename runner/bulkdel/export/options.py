"""How the user wants the export to be read, and the dialect that was recognised. Owns both records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from bulkdel.core.bad_rows import MAX_INVALID, MaxInvalid
from bulkdel.core.id_parser import IdCheck, with_pattern
from bulkdel.core.id_type import IdType
from bulkdel.errors import UsageError


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the user wants the export to be read.

    id_types: all types of the job, to name the one that a misshapen id looks like.
    id_field: JSON member, with dots; CSV header name or 1-based column number.
    trim: strip surrounding spaces of ids instead of refusing them.
    on_invalid: what a row without a usable id does: stop everything, or be left out and counted. `never`: it stops, and
        there is no way around it.
    max_invalid: how many rows may be left out.
    id_pattern: a regex that replaces the type's shape; it has to match the whole id.
    """

    id_type: IdType
    id_types: Mapping[str, IdType]
    format: Literal["auto", "jsonl", "csv", "lines"] = "auto"
    id_field: str | None = None
    trim: bool = False
    on_invalid: Literal["stop", "skip", "never"] = "stop"
    max_invalid: MaxInvalid = MAX_INVALID
    id_pattern: str | None = None

    def id_check(self) -> IdCheck:
        """Return the checks of ids for these options. Raises UsageError for a pattern that is no regular expression."""
        try:
            id_type = with_pattern(self.id_type, self.id_pattern)
        except re.error as error:
            raise UsageError(
                f"--id-pattern {self.id_pattern}: not a regular expression: {error}. Correct it."
            ) from error
        return IdCheck(id_type, self.id_types, trim=self.trim)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of the file and the place of the id. The log's header keeps it, so that a resume reads the same rows.

    format: `jsonl`, `csv` or `lines` (each line is an id). compression: `none`, `gzip` or `zstd`.
    delimiter: CSV only. header: CSV only: the first row names columns and is no data.
    id_field: the JSON member's path or the CSV column's header name; None for bare strings, plain lines and CSV
        without a header.
    id_column: CSV only, 0-based.
    guessed: the id field, or that each line is an id, was recognised and not named by the user; the plan says so.
    sep_line: CSV only: the first line names the delimiter (`sep=;`, as Excel writes it) and is neither header nor data.
    """

    format: str
    compression: str
    delimiter: str | None = None
    header: bool = False
    id_field: str | None = None
    id_column: int | None = None
    guessed: bool = False
    sep_line: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the members as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises TypeError for unknown or missing members."""
        return cls(**value)
