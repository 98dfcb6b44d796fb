"""Recognises an export by its beginning: format, delimiter, the field of the id. Reads no file.

A doubtful export is refused, with what was found, because a wrong guess would delete the wrong accounts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NoReturn

import orjson

from bulkdel.core.bad_rows import Unusable
from bulkdel.core.id_parser import id_of_line, id_of_value
from bulkdel.errors import NotAcceptable
from bulkdel.export.compression import MAGIC, detect
from bulkdel.export.csv import CORRECT_QUOTES
from bulkdel.export.options import Dialect, ReadOptions
from bulkdel.export.refusal import refusal

CANDIDATES = ("id", "userId", "user_id")
"""Names that are taken for the id without --id-field, in any case, if exactly one of them is present."""

_CANDIDATES = frozenset(name.casefold() for name in CANDIDATES)

DELIMITERS = (",", ";", "\t")

_MARKS = tuple(mark.encode() for mark in ("{", "[", '"', *DELIMITERS))
"""A line with one of these may be more than a bare id."""

_FOREIGN = (
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\xfe\xff", "UTF-16 (big-endian)"),
    (b"\xff\xfe", "UTF-16 (little-endian)"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
"""How other formats begin. UTF-8 text begins with none of the byte-order marks, and an id with none of the others."""

_CHECKPOINT = re.compile(rb'\s*\{\s*"seq"\s*:')

_COLUMN_NAMES = re.compile(
    r"(?:user|account|external|custom(?:er)?|ext|login|e)?[ _.-]?"
    r"(?:ids?|user|name|login|mail|account|key|phone|mobile|identity|identifier|relation|number|uuid|uid|guid|sub)",
    re.IGNORECASE,
)
"""Headings of id columns in most exports. An account's own free-text id is hardly ever one of these."""

_SEP_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)
"""A first line that names the delimiter, as Excel writes and reads it."""

_TITLE = re.compile(r"[^\W\d_][\w .:()/-]{0,63}")
"""A heading begins with a letter and is short. Some misshapen ids look like that too, see `_is_heading`."""


def resolve(head: bytes, options: ReadOptions, path: str, compression: str) -> Dialect:
    """Recognise an export by its first whole lines (plain bytes, without BOM). Raises NotAcceptable."""
    _refuse_foreign(head, path)
    lines = [line for line in head.split(b"\n") if line.strip()]
    if not lines:
        raise refusal(path, "no ids", "Is this the right file?")
    if _CHECKPOINT.match(lines[0]):
        raise refusal(path, "a checkpoint of bulkdel, not an export", "Name the export it belongs to.", line=1)
    if options.format == "lines":
        return _plain_lines(compression, guessed=False)
    if options.format == "auto" and _is_plain_list(lines, options):
        return _plain_lines(compression, guessed=True)
    if options.format == "jsonl" or (options.format == "auto" and _is_jsonl(lines[0], options, path)):
        return _resolve_jsonl(head, options, path, compression)
    return _Csv(head, options, path, compression).resolve()


def _plain_lines(compression: str, *, guessed: bool) -> Dialect:
    return Dialect("lines", compression, None, header=False, id_field=None, id_column=None, guessed=guessed)


def _is_plain_list(lines: list[bytes], options: ReadOptions) -> bool:
    """Whether each line of the head is an id of the wanted shape, so that the file can only be a plain list."""
    check = options.id_check()
    if check.id_type.shape is None or options.id_field is not None:
        return False
    head = b"\n".join(lines)
    if not is_bare(head) or _COLUMN_NAMES.fullmatch(lines[0].strip().decode(errors="replace")):
        return False
    ids = [line.removesuffix(b"\r").decode(errors="replace") for line in lines]
    return all(isinstance(id_, str) for id_ in check.check_all(ids))


def is_bare(lines: bytes) -> bool:
    """Whether each line is text in one column: neither JSON, nor quoted, nor with a delimiter."""
    return not any(mark in lines for mark in _MARKS)


def _refuse_foreign(head: bytes, path: str) -> None:
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise refusal(path, f"{name}, not UTF-8 text", "Export it as UTF-8 CSV or JSON Lines.", byte=0)
    if detect(head[:MAGIC]) != "none":
        raise refusal(path, "compressed twice", "Decompress it once.", byte=0)
    start = head[:4096]
    if b"\0" in start:
        # UTF-16 text that is mostly ASCII has a NUL in every other byte. The first or the second decides the order.
        name = "binary data"
        for first, order in ((0, "big"), (1, "little")):
            half = start[first::2]
            if half.count(0) > len(half) // 2 and start[1 - first :: 2].count(0) <= len(half) // 8:
                name = f"UTF-16 ({order}-endian, without a byte-order mark)"
        if name != "binary data" or start.count(0) > len(start) // 8:
            raise refusal(path, f"{name}, not UTF-8 text", "Export it as UTF-8.", byte=start.index(0))


def _is_jsonl(line: bytes, options: ReadOptions, path: str) -> bool:
    """Whether the first row is JSON. The name of the file decides only when the text does not."""
    text = line.strip()
    if text.startswith(b"["):
        todo = "Write one object a line (jq -c '.[]'), or say what it is with --format."
        raise refusal(path, "a JSON array, not JSON Lines", todo, line=1, text=text)
    if text.startswith(b"{"):
        return True
    if options.id_field is not None or re.search(r"\.(?:csv|tsv)(?:\.\w+)?$", path, re.IGNORECASE):
        return False  # only CSV has fields without braces
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if isinstance(value, str) and _COLUMN_NAMES.fullmatch(value):
        todo = "Say which with --format jsonl or --format csv."
        raise refusal(path, "either the heading of a CSV column or an id", todo, line=1, text=text)
    return True


def _resolve_jsonl(head: bytes, options: ReadOptions, path: str, compression: str) -> Dialect:
    """Let the first row that is an object or an id decide. Bad rows before it are reported when they are read."""
    lines = [(number, line) for number, line in enumerate(head.split(b"\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            field, guessed = _member(row, options.id_field, path, number)
            return Dialect("jsonl", compression, None, header=False, id_field=field, id_column=None, guessed=guessed)
        if isinstance(id_of_value(row), str):
            if options.id_field is not None:
                todo = "Leave --id-field out, or export objects."
                raise refusal(path, "a bare value has no fields", todo, line=number, text=line)
            return Dialect("jsonl", compression, None, header=False, id_field=None, id_column=None, guessed=False)
    number, line = lines[0]
    why = id_of_line(line, None)
    assert isinstance(why, Unusable)
    raise refusal(path, why.words, "Write one id or one object a line.", line=number, text=line)


def _member(row: dict[str, object], wanted: str | None, path: str, line: int) -> tuple[str, bool]:
    if wanted is not None:
        return _spelled(row, wanted, path, line), False
    return _guess(path, list(row), line), True


def _spelled(row: dict[str, object], wanted: str, path: str, line: int) -> str:
    """Return the path `wanted` as the members of `row` spell it."""
    value: object = row
    spelled = []
    for part in wanted.split("."):
        names = list(value) if isinstance(value, dict) else []
        name = _named(part, names, path, line)
        if name is None:
            raise _no_column(path, f"no member {wanted} in the first object", list(row), line=line)
        spelled.append(name)
        value = value[name] if isinstance(value, dict) else None
    return ".".join(spelled)


def _named(wanted: str, names: list[str], path: str, line: int) -> str | None:
    """Return the one of `names` that is meant: the same text, or else the same without case. Raises NotAcceptable."""
    if wanted in names:
        return wanted
    found = [name for name in dict.fromkeys(names) if name.casefold() == wanted.casefold()]
    if len(found) > 1:
        raise _no_column(path, f"{wanted} may be any of {', '.join(found)}", names, line=line)
    return found[0] if found else None


def _is_candidate(name: str) -> bool:
    return name.casefold() in _CANDIDATES


def _guess(path: str, names: list[str], line: int = 1) -> str:
    found = [name for name in names if _is_candidate(name)]
    if len(found) == 1:
        return found[0]
    seen = f"more than one candidate for the id ({', '.join(found)})" if found else "no column or member for the id"
    raise _no_column(path, seen, names, line=line)


def _no_column(path: str, reason: str, names: list[str], todo: str = "", line: int = 1) -> NotAcceptable:
    shown = ", ".join(repr(name) for name in names[:50]) + (", …" if len(names) > 50 else "")  # noqa: PLR2004 - a screen
    return refusal(path, f"{reason}; there are: {shown}", f"Name one with --id-field.{todo}", line=line)


class _Csv:
    """Resolves a CSV file. Its first row is looked at with each delimiter."""

    def __init__(self, head: bytes, options: ReadOptions, path: str, compression: str) -> None:
        try:
            self._text = head.decode()
        except UnicodeDecodeError as error:
            line = head.count(b"\n", 0, error.start)
            text = head.split(b"\n")[line]
            raise refusal(path, "not UTF-8", "Export it as UTF-8.", line=line + 1, text=text) from error
        self._options = options
        self._path = path
        self._compression = compression
        sep_line = _SEP_LINE.match(self._text)
        self._named_delimiter = sep_line[1] if sep_line else None
        self._line = 2 if sep_line else 1
        self._text = self._text[sep_line.end() :] if sep_line else self._text

    def resolve(self) -> Dialect:
        """Raises NotAcceptable for what is not clear."""
        if not self._text.strip():
            raise refusal(self._path, "no ids", "Is this the right file?")
        if self._named_delimiter is not None:
            return self._columns(self._named_delimiter, self._first_row(self._named_delimiter) or self._bad_quotes())
        rows = {delimiter: row for delimiter in DELIMITERS if (row := self._first_row(delimiter)) is not None}
        delimiter = self._delimiter(rows)
        return self._columns(delimiter, rows[delimiter])

    def _columns(self, delimiter: str, row: list[str]) -> Dialect:
        """Find the column of the id in the first row."""
        wanted = self._options.id_field
        if wanted is not None and wanted.isdecimal():
            column = int(wanted) - 1
            if not 0 <= column < len(row):
                raise self._no_column(f"no column {wanted}", row)
            header = self._is_heading(row[column])
            return Dialect(
                "csv",
                self._compression,
                delimiter,
                header,
                row[column] if header else None,
                column,
                guessed=False,
                sep_line=self._named_delimiter is not None,
            )
        name = self._guess(row) if wanted is None else _named(wanted, row, self._path, self._line)
        if name is None:
            raise self._no_column(f"no column {wanted}", row)
        twice = sorted({each for each in row if row.count(each) > 1})
        if twice:
            todo = " With a column number the names do not matter."
            raise self._no_column(f"the same header twice ({', '.join(twice)})", row, todo)
        return Dialect(
            "csv",
            self._compression,
            delimiter,
            header=True,
            id_field=name,
            id_column=row.index(name),
            guessed=wanted is None,
            sep_line=self._named_delimiter is not None,
        )

    def _no_column(self, reason: str, row: list[str], todo: str = "") -> NotAcceptable:
        return _no_column(self._path, reason, row, todo, self._line)

    def _bad_quotes(self) -> NoReturn:
        line = self._text.split("\n", 1)[0]
        raise refusal(self._path, "a quote is misplaced or not closed", CORRECT_QUOTES, line=self._line, text=line)

    def _guess(self, row: list[str]) -> str:
        names = list(dict.fromkeys(row))
        if len([name for name in names if _is_candidate(name)]) == 1:
            return _guess(self._path, names)
        todo = " If the first line is no header, give the column's number: --id-field 1."
        if len(row) == 1:
            todo = " If the first line is an id as well, and there is one id a line: --format lines."
        found = ", ".join(name for name in names if _is_candidate(name))
        reason = f"more than one candidate for the id ({found})" if found else "no column for the id"
        raise self._no_column(reason, row, todo)

    def _first_row(self, delimiter: str) -> list[str] | None:
        return next(self._rows(delimiter), None)

    def _rows(self, delimiter: str) -> Iterator[list[str]]:
        """Yield the rows of the head; ends at the first damage."""
        try:
            yield from csv.reader(io.StringIO(self._text, newline="\n"), delimiter=delimiter, strict=True)
        except csv.Error:
            return

    def _delimiter(self, rows: dict[str, list[str]]) -> str:
        """Return the delimiter that the first row leaves no doubt about."""
        wanted = self._options.id_field
        names = _CANDIDATES if wanted is None else {wanted.casefold()}
        named = [delimiter for delimiter, row in rows.items() if not names.isdisjoint(name.casefold() for name in row)]
        if named and not (wanted and wanted.isdecimal()):
            return named[0]  # only a lone column has the same name with every delimiter
        several = [delimiter for delimiter, row in rows.items() if len(row) > 1]
        if not several and len(rows) < len(DELIMITERS):  # where the quotes are read as such, they are wrong
            self._bad_quotes()
        if len(several) > 1:
            steady = [delimiter for delimiter in several if self._steady(delimiter)]
            several = steady if len(steady) == 1 else several
        if len(several) <= 1:
            return several[0] if several else next(iter(rows))
        seen = "; ".join(f"with {delimiter!r}: {rows[delimiter]}" for delimiter in several)
        raise refusal(self._path, f"the delimiter is not clear: {seen}", "Name the id column with --id-field.", line=1)

    def _steady(self, delimiter: str) -> bool:
        """Whether the first rows all have as many columns."""
        widths = {len(row) for row, _ in zip(self._rows(delimiter), range(100), strict=False)}
        return len(widths) == 1

    def _is_heading(self, cell: str) -> bool:
        """Whether the first cell of a column that was given by number is its heading.

        The two mistakes are not alike. To take a heading for an id sends one id that hardly exists; to take an id for a
        heading leaves one account undeleted, and shows it as the column's name in the plan. So an id in its shape is
        data, and anything else under a shaped type is a heading if it reads like a title and like no type of this
        job; free text is data unless it is one of the usual names.
        """
        check = self._options.id_check()
        if _COLUMN_NAMES.fullmatch(cell) or cell == self._options.id_type.name:
            return check.id_type.shape is None or not check.id_type.shape.fullmatch(cell)
        if check.id_type.shape is None or isinstance(check.check(cell), str):
            return False
        shapes = [each.shape for each in self._options.id_types.values() if each.shape]
        return _TITLE.fullmatch(cell) is not None and not any(shape.fullmatch(cell) for shape in shapes)
