"""Recognises an export by its beginning: format, delimiter, the field of the id.

A doubtful export is refused, with what was found, because a wrong guess would delete the wrong accounts.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import orjson

from bulkdel.core.bad_rows import Unusable
from bulkdel.core.id_parser import id_of_line, id_of_value, value_of_record
from bulkdel.errors import NotAcceptable
from bulkdel.export.compression import MAGIC, detect
from bulkdel.export.csv import CORRECT_QUOTES
from bulkdel.export.encoding import UTF_8, WIDE_WORDS, recognised, wide_without_mark
from bulkdel.export.file import Export, Hashing
from bulkdel.export.lines import Lines, decoded, peek, whole_lines
from bulkdel.export.refusal import Fault, refusal
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.format import shown

CANDIDATES = ("id", "userId", "user_id")
"""Names that are taken for the id without --id-field, in any case, if exactly one of them is present."""

_CANDIDATES = frozenset(name.casefold() for name in CANDIDATES)

DELIMITERS = (",", ";", "\t")

_MARKS = tuple(mark.encode() for mark in ("{", "[", '"', *DELIMITERS))
"""A line with one of these may be more than a bare id."""

_FOREIGN = (
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"PK\x03\x04", "a ZIP archive or a workbook"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook, or an encrypted one"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
"""How other formats begin. UTF-8 text begins with none of the byte-order marks, and an id with none of the others."""

_LOG_LINE = re.compile(rb'\s*\{\s*"seq"\s*:')

_COLUMN_NAMES = re.compile(
    r"(?:user|account|external|custom(?:er)?|ext|login|e)?[ _.-]?"
    r"(?:ids?|user|name|login|mail|account|key|phone|mobile|identity|identifier|relation|number|uuid|uid|guid|sub)",
    re.IGNORECASE,
)
"""Headings of id columns in most exports. An account's own free-text id is hardly ever one of these."""

SEP_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)
"""A first line that names the delimiter, as Excel writes and reads it."""

_TITLE = re.compile(r"[^\W\d_][\w .:()/-]{0,63}")
"""A heading begins with a letter and is short. Some misshapen ids look like that too, see `_is_heading`."""


def resolve(head: bytes, options: ReadOptions, path: str, compression: str, encoding: str = UTF_8) -> Dialect:
    """Recognise an export by its first whole lines (UTF-8, no BOM). encoding: of the file. Raises NotAcceptable."""
    return replace(_resolve(head, options, path, compression), encoding=encoding)


def _resolve(head: bytes, options: ReadOptions, path: str, compression: str) -> Dialect:
    _refuse_foreign(head, path)
    lines = [line for line in head.split(b"\n") if line.strip()]
    if not lines:
        raise refusal(path, "no ids", "Is this the right file?")
    if _LOG_LINE.match(lines[0]):
        raise refusal(path, "a log of bulkdel, not an export", "Name the export it belongs to.", line=1)
    if options.whole:
        found = _resolve_jsonl(head, options, path, compression)
        if found.id_field is None:
            raise refusal(path, "ids, and this job needs whole records", RECORDS, line=1)
        return found
    if options.format == "lines":
        return Dialect("lines", compression)
    if options.format == "auto" and _is_plain_list(lines, options):
        return Dialect("lines", compression, guessed=True)
    if options.format == "jsonl" or (options.format == "auto" and _is_jsonl(lines[0], options, path)):
        return _resolve_jsonl(head, options, path, compression)
    return _resolve_csv(head, options, path, compression)


def _is_plain_list(lines: list[bytes], options: ReadOptions) -> bool:
    """Whether each line of the head is an id of the wanted shape, so that the file can only be a plain list."""
    check = options.id_check()
    if check.id_type.shape is None or options.id_field is not None:
        return False
    head = b"\n".join(lines)
    if not _is_bare(head) or _COLUMN_NAMES.fullmatch(lines[0].strip().decode(errors="replace")):
        return False
    ids = [line.removesuffix(b"\r").decode(errors="replace") for line in lines]
    return all(isinstance(id_, str) for id_ in check.check_all(ids))


def _is_bare(lines: bytes) -> bool:
    """Whether each line is text in one column: neither JSON, nor quoted, nor with a delimiter."""
    return not any(mark in lines for mark in _MARKS)


def _refuse_foreign(head: bytes, path: str) -> None:
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise refusal(path, f"{name}, not UTF-8 text", "Export it as UTF-8 CSV or JSON Lines.", byte=0)
    if detect(head[:MAGIC]) != "none":
        raise refusal(path, "compressed twice", "Decompress it once.", byte=0)
    start = head[:4096]
    if (wide := wide_without_mark(start)) is not None:
        name, todo = f"{WIDE_WORDS[wide]}, not UTF-8 text", f"Read it with --encoding {wide}, or export it as UTF-8."
        raise refusal(path, name, todo, byte=start.index(0), fault=Fault.ENCODING)
    if start.count(0) > len(start) // 8:
        raise refusal(path, "binary data, not UTF-8 text", "Export it as UTF-8.", byte=start.index(0))


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
    read = value_of_record if options.whole else orjson.loads
    for number, line in lines:
        try:
            row = read(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            name = _member(row, options.id_field, _Place(path, number, options))
            return Dialect("jsonl", compression, id_field=name, guessed=options.id_field is None)
        if isinstance(id_of_value(row), str):
            if options.id_field is not None:
                todo = f"Leave {'the column' if options.protects else '--id-field'} out, or write objects."
                raise refusal(path, "a bare value has no fields", todo, line=number, text=line)
            return Dialect("jsonl", compression)
    number, line = lines[0]
    why = id_of_line(line, None)
    assert isinstance(why, Unusable)
    reason = (NO_RECORD, RECORDS) if options.whole else (why.words, "Write one id or one object a line.")
    raise refusal(path, *reason, line=number, text=line)


NO_RECORD = "no JSON object, and this job needs whole records"
RECORDS = (
    "Write one JSON object a line, each a whole record, as --backup keeps them. `bulkdel restore RUN --plan` "
    "makes such a file of a run."
)


@dataclass(frozen=True, slots=True)
class _Place:
    """The row in which the column or the member of the id is looked for."""

    path: str
    line: int
    options: ReadOptions

    def option(self, column: str = "") -> str:
        """With which the user names the column."""
        if self.options.protects:
            return f"{self.options.option} " + shown(shlex.quote(f"{self.path}:{column or 'COLUMN'}"))
        return f"--id-field {column}".rstrip()


def _member(row: dict[str, object], wanted: str | None, place: _Place) -> str:
    """Return the path of the id as the members of `row` spell it. wanted: the path that the user named."""
    if wanted is None:
        return _guess(list(row), place, "member")
    value: object = row
    spelled = []
    for part in wanted.split("."):
        names = list(value) if isinstance(value, dict) else []
        name = _named(part, names, place)
        if name is None:
            raise _no_column(place, f"no member {wanted} in the first object", list(row))
        spelled.append(name)
        value = value[name] if isinstance(value, dict) else None
    return ".".join(spelled)


def _named(wanted: str, names: list[str], place: _Place) -> str | None:
    """Return the one of `names` that is meant: the same text, or else the same without case. Raises NotAcceptable."""
    if wanted in names:
        return wanted
    found = [name for name in dict.fromkeys(names) if name.casefold() == wanted.casefold()]
    if len(found) > 1:
        raise _no_column(place, f"{wanted} may be any of {', '.join(found)}", names)
    return found[0] if found else None


def _guess(names: list[str], place: _Place, what: str, todo: str = "") -> str:
    """Return the one name that is a candidate. what: a column or a member. Raises NotAcceptable."""
    found = [name for name in dict.fromkeys(names) if name.casefold() in _CANDIDATES]
    if len(found) == 1:
        return found[0]
    reason = f"more than one candidate for the id ({', '.join(found)})" if found else f"no {what} for the id"
    raise _no_column(place, reason, names, todo)


def _no_column(place: _Place, reason: str, names: list[str], todo: str = "", *, twice: str = "") -> NotAcceptable:
    """The refusal for want of a column. Without a header, the names are the texts of a row."""
    there = ", ".join(repr(name) for name in names[:50]) + (", …" if len(names) > 50 else "")  # noqa: PLR2004 - a screen
    private = f"{twice}; there are: {there}"
    todo = f"Name one with {place.option()}.{todo}"
    return refusal(place.path, reason, todo, line=place.line, private=private, fault=Fault.COLUMN)


def _resolve_csv(head: bytes, options: ReadOptions, path: str, compression: str) -> Dialect:
    """Look at the first row with each delimiter, and find the column of the id in it."""
    text, wanted = decoded(Lines(head, 1), path), options.id_field
    sep_line = SEP_LINE.match(text)
    line, text = (2, text[sep_line.end() :]) if sep_line else (1, text)
    if not text.strip():
        raise refusal(path, "no ids", "Is this the right file?")
    place = _Place(path, line, options)
    delimiter, row = _first_row(text, (sep_line[1],) if sep_line else DELIMITERS, wanted, place)
    dialect = Dialect("csv", compression, delimiter, sep_line=sep_line is not None)
    if wanted is not None and wanted.isdecimal():
        column = int(wanted) - 1
        if not 0 <= column < len(row):
            raise _no_column(place, f"no column {wanted}", row)
        header = _is_heading(row[column], options)
        return replace(dialect, header=header, id_field=row[column] if header else None, id_column=column)
    if wanted is None:
        todo = f" If the first line is no header, give the column's number: {place.option('1')}."
        if len(row) == 1:
            todo = " If the first line is an id as well, and there is one id a line: --format lines."
        if len(text.strip().splitlines()) == 1:
            todo += " It has no row after this one: is this the right file?"
        name: str | None = _guess(row, place, "column", todo)
    else:
        name = _named(wanted, row, place)
    if name is None:
        raise _no_column(place, f"no column {wanted}", row)
    shape = options.id_type.shape
    like_an_id = "@" in name or any(map(str.isdigit, name))  # `urn:id` has the shape of an id, too
    if wanted is not None and shape is not None and like_an_id and shape.fullmatch(name):
        todo = f"Give its number: {place.option(str(row.index(name) + 1))}."
        raise refusal(path, "the first row has an id where a column's name was looked for", todo, line=line)
    if twice := sorted({each for each in row if each and row.count(each) > 1}):  # spreadsheets leave empty ones
        todo = " With a column number the names do not matter."
        raise _no_column(place, "the same header twice", row, todo, twice=f" ({', '.join(twice)})")
    return replace(dialect, header=True, id_field=name, id_column=row.index(name), guessed=wanted is None)


def _first_row(text: str, delimiters: Sequence[str], wanted: str | None, place: _Place) -> tuple[str, list[str]]:
    """Return the delimiter that the first row leaves no doubt about, and that row. Raises NotAcceptable."""
    rows = {delimiter: row for delimiter in delimiters if (row := next(_rows(text, delimiter), None)) is not None}
    names = _CANDIDATES if wanted is None else {wanted.casefold()}
    found = [delimiter for delimiter, row in rows.items() if not names.isdisjoint(name.casefold() for name in row)]
    # A name decides. Rows of several delimiters have it only where it is alone in the row: then any of them will do.
    if not found or (wanted and wanted.isdecimal()):
        found = [delimiter for delimiter, row in rows.items() if len(row) > 1]
        if not found and len(rows) < len(delimiters):  # with one of the delimiters the first row is no CSV
            reason, todo, first = "a quote is misplaced or not closed", CORRECT_QUOTES, text.split("\n", 1)[0]
            if "\r" in first and "\n" not in text:
                reason, todo = "its lines end in carriage returns alone", "Export it with line feeds (LF or CRLF)."
            raise refusal(place.path, reason, todo, line=place.line, text=first)
        if len(found) > 1:
            steady = [each for each in found if len({len(row) for row in islice(_rows(text, each), 100)}) == 1]
            found = steady if len(steady) == 1 else found
        if len(found) > 1:
            seen = "; ".join(f"with {each!r}: {rows[each]}" for each in found)
            reason, todo = f"the delimiter is not clear: {seen}", f"Name the id column with {place.option()}."
            raise refusal(place.path, reason, todo, line=1, fault=Fault.COLUMN)
    delimiter = found[0] if found else next(iter(rows))
    return delimiter, rows[delimiter]


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of the head; ends at the first damage."""
    with suppress(csv.Error):
        yield from csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)


def _is_heading(cell: str, options: ReadOptions) -> bool:
    """Whether the first cell of a column that was given by number is its heading.

    The two mistakes are not alike. To take a heading for an id sends one id that hardly exists. To take an id for a
    heading leaves one account undeleted, and shows it as the column's name in the plan. So:

    - One of the usual names is a heading, unless it has the shape of an id.
    - Under a type without a shape everything else is data.
    - Under a type with a shape it is a heading if it reads like a title and has the shape of no type of this job.
    """
    check = options.id_check()
    if _COLUMN_NAMES.fullmatch(cell) or cell == options.id_type.name:
        return check.id_type.shape is None or not check.id_type.shape.fullmatch(cell)
    if check.id_type.shape is None or isinstance(check.check(cell), str):
        return False
    shapes = [each.shape for each in options.id_types.values() if each.shape]
    return _TITLE.fullmatch(cell) is not None and not any(shape.fullmatch(cell) for shape in shapes)


def recognise(export: Export, options: ReadOptions) -> Dialect:
    """Recognise the dialect as the preflight does, for a resume. Raises NotAcceptable for a doubtful file."""
    head, compression, encoding = _head(export, options.encoding)
    return resolve(head, options, export.path, compression, encoding)


def is_bare_list(export: Export, options: ReadOptions) -> bool:
    """Whether the first line is text in one column, so that `--id-field 1` cannot mean the wrong one."""
    return _is_bare(_head(export, options.encoding)[0].lstrip().partition(b"\n")[0])


def header_of(export: Export, dialect: Dialect) -> bytes:
    """Return the lines above the data rows of a CSV file, so that some of its rows can be run as an export."""
    if not dialect.header and not dialect.sep_line:
        return b""
    lines = _head(export, dialect.encoding)[0].splitlines(keepends=True)
    above = 1 if dialect.sep_line else 0
    if dialect.header:
        reader = csv.reader((line.decode() for line in lines[above:]), delimiter=dialect.delimiter or ",", strict=True)
        next(reader)
        above += reader.line_num
    return b"".join(lines[:above])


def _head(export: Export, encoding: str | None) -> tuple[bytes, str, str]:
    """The first whole lines, the compression and the encoding of an export. encoding: --encoding."""
    compression, found, plain = recognised(Hashing(export), encoding)
    return peek(whole_lines(plain, export.path))[0], compression, found
