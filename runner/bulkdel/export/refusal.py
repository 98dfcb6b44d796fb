"""The refusal of an export: its message (file, place, text, reason, what to do), and how many bad rows are too many."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from bulkdel.core.bad_rows import BadGroup, BadRow, MaxInvalid, Why, looks_like
from bulkdel.core.id_parser import shortened
from bulkdel.errors import NotAcceptable
from bulkdel.format import shown

AS_UTF_8 = "Export it as UTF-8, or name its encoding with --encoding."


class Fault(enum.Enum):
    """A fault that options may mend: `export.advice` looks for them."""

    COLUMN = "it is not clear which column or member has the id"
    ENCODING = "the text is not UTF-8"
    BAD_ROWS = "rows have no usable id"


class ExportRefused(NotAcceptable):
    """An export or an exclude file is not acceptable.

    line: of the fault; 0 without one. usable: the number of usable ids, when the whole file was read.
    fault: one that options may mend. bad: the bad rows by reason. rows: how many rows there are, with the bad ones.
    public: the message without texts of rows.
    """

    def __init__(
        self,
        message: str,
        *,
        public: str | None = None,
        line: int = 0,
        usable: int = 0,
        fault: Fault | None = None,
        bad: Sequence[BadGroup] = (),
    ) -> None:
        super().__init__(message)
        self.line = line
        self.usable = usable
        self.fault = fault
        self.bad = bad
        self._public = public

    @property
    def rows(self) -> int:
        """How many rows were read, the bad ones included; 0 when the file was not read to its end."""
        return self.usable + sum(group.count for group in self.bad)

    def plus(self, text: str, public: str) -> ExportRefused:
        """The same refusal with more lines."""
        return ExportRefused(
            f"{self}\n{text}",
            public=f"{self.public}\n{public}" if public else self.public,
            line=self.line,
            usable=self.usable,
            fault=self.fault,
            bad=self.bad,
        )

    @property
    def public(self) -> str:
        """See `BulkdelError`."""
        return str(self) if self._public is None else self._public


def refusal(
    path: str,
    reason: str,
    todo: str,
    *,
    line: int | None = None,
    byte: int | None = None,
    text: str | bytes | None = None,
    private: str = "",
    fault: Fault | None = None,
) -> ExportRefused:
    """Make the error that refuses an export.

    line: 1-based, of the decompressed text. byte: 0-based, of the file as stored. text: of the row. private: more of
    the reason, with texts of rows.
    """
    where = shown(path)
    if line is not None:
        where += f", line {line}"
    if byte is not None:
        where += f", byte {byte}"
    reason, quoted = shown(reason), "" if text is None else f"{shortened(text)!r}: "
    public = f"{where}: {reason}. {todo}"
    message = f"{where}: {quoted}{reason}{shown(private)}. {todo}"
    return ExportRefused(message, public=public, line=line or 0, fault=fault)


def refuse_at_once(path: str, bad: BadRow, *, torn: bool = False) -> None:
    """Raise ExportRefused for a bad row that no option makes acceptable. torn: the file ends in this row."""
    reason, todo, fault = bad.why.words, "", None
    match bad.why.why:
        case Why.RESULT:
            todo = "Only what was refused or is unknown goes again: bulkdel results RUN --only refused,unknown."
        case Why.NOT_UTF8:
            todo = "Get the export again." if torn else AS_UTF_8
            fault = None if torn else Fault.ENCODING
        case Why.NOT_JSON if torn:
            reason, todo = f"{reason}; the file ends in the middle of this row", "Get the export again."
    if todo:
        raise refusal(path, reason, todo, line=bad.line, text=bad.text, fault=fault)


def bad_rows_refusal(
    path: str, groups: Sequence[BadGroup], rows: int, *, skip: MaxInvalid | None, protects: bool
) -> ExportRefused | None:
    """Make the error that refuses an export for its bad rows; None when they may be skipped.

    groups: the bad rows by reason, the most frequent first. rows: all rows, bad ones included. skip: how many may be
    skipped; None for none. protects: whether the file is an exclude file.
    """
    bad, allowed = sum(group.count for group in groups), skip.allowed(rows) if skip is not None else 0
    if not bad or (bad < rows and bad <= allowed):
        return None
    how_many = f"{bad:,} of {rows:,} rows {'is' if bad == 1 else 'are'} bad"
    if bad == rows:
        how_many = f"all {rows:,} rows are bad" if rows > 1 else "its only row is bad"
    elif skip is not None:
        how_many += f", more than the {allowed:,} that --skip-invalid allows"
    todo = _todo(groups, rows, skips=skip is not None, protects=protects)

    def message(*, public: bool) -> str:
        if bad == 1 < rows and skip is None:
            return f"{path}, {row_shown(groups[0].first, public=public)}. Nothing was sent. {todo}"
        return f"{path}: {how_many}. Nothing was sent.\n{bad_rows_table(groups, public=public)}\n{todo}".rstrip()

    return ExportRefused(
        message(public=False),
        public=message(public=True),
        line=min(group.first.line for group in groups),
        usable=rows - bad,
        fault=Fault.BAD_ROWS,
        bad=groups,
    )


def row_shown(bad: BadRow, *, public: bool = False) -> str:
    """One bad row in words: its line, its text (unless it is `public`) and the reason."""
    text = "" if public else f"{bad.text!r}: "
    return f"line {bad.line}: {text}{bad.why.words}"


def bad_rows_table(groups: Sequence[BadGroup], *, public: bool = False) -> str:
    """The bad rows as a table: how many have each reason, and the first of them."""
    width = max(4, *(len(f"{group.count:,}") for group in groups))
    lines = [f"  {'rows':>{width}}  the first of them"]
    lines += [f"  {group.count:>{width},}  {row_shown(group.first, public=public)}" for group in groups]
    return "\n".join(lines)


def _todo(groups: Sequence[BadGroup], rows: int, *, skips: bool, protects: bool) -> str:
    bad = sum(group.count for group in groups)
    hint = "" if protects else _hint(groups, rows)
    if protects:
        todo = "Correct the file."
    elif bad == rows:  # `without_a_way` ends the message
        todo = "Otherwise correct the file." if hint else ""
    elif skips:
        todo = f"Correct the rows; or, if so many are expected, allow them with --skip-invalid {bad}."
    else:
        todo = f"Correct the row{'s' if bad > 1 else ''}, or leave bad rows out with --skip-invalid {bad}."
    return f"{hint} {todo}".lstrip()


def _hint(groups: Sequence[BadGroup], rows: int) -> str:
    """The option that would accept these ids."""
    if not (alike := looks_like(groups)):
        return ""
    names, options = " or ".join(alike), " or ".join(f"--id-type {name}" for name in alike)
    if most_look_like(groups, rows):
        return f"Most rows look like {names}: say so with {options}."
    return f"Rows that look like {names} need a run of their own, with {options}."


def most_look_like(groups: Sequence[BadGroup], rows: int) -> bool:
    """Whether most of all rows look like the id types of `looks_like`."""
    alike = looks_like(groups)
    return bool(alike) and sum(group.count for group in groups if group.first.why.looks_like == alike) * 2 > rows


def without_a_way(error: ExportRefused) -> str:
    """What is left to do where most rows are bad, and no column, id type or encoding lets the file be read."""
    shapeless = sum(group.count for group in error.bad if group.first.why.why is Why.SHAPE)
    if shapeless * 2 > error.rows:
        return (
            "Do the ids have another shape (a private deployment)? Then give it with --id-pattern. "
            "Otherwise correct the file."
        )
    return "Correct the file." if error.bad and not error.usable else ""
