"""Workbooks and Parquet to CSV, in a process of its own: `python -m bulkdel.export.tables`.

A process, because a workbook is read into memory as a whole: its memory is limited, and is given back. And because
these readers are not written in Python: a damaged file may end the process that reads it.

The argument is the task, one JSON object; stdout is the result, another one. The CSV is written to a descriptor.
"""

from __future__ import annotations

import csv
import os
import re
import resource
import sys
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from bulkdel.core.table_cells import EMPTY_CELL, cell_of, heading_of, is_blank
from bulkdel.parent import end_with_parent

MEMORY_MAX = 4 << 30
"""Bytes of address space that the process may have."""

UNPACKED_MAX = 2 << 30
"""Bytes of a workbook after decompression, at most: a sheet with all rows that Excel has takes a tenth."""

RATIO_MAX = 500
"""How far a part of a workbook may outgrow its compressed bytes. Sheets of repeated rows reach 100."""

RATIO_FREE = 64 << 20
"""Up to so many bytes the ratio does not matter."""

BATCH_ROWS = 1 << 16
FLUSH_CHARS = 1 << 20

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How .xls files begin, and encrypted .xlsx files."""

_NO_VALUE = re.compile(rb"(?:</(?:\w+:)?f>|<(?:\w+:)?f(?:\s[^<>]*)?/>)\s*</(?:\w+:)?c>")
"""A cell of an .xlsx file with a formula and without its value: a program wrote it that does not calculate."""

_ERROR = re.compile(rb"<(?:\w+:)?c\s[^<>]*\bt=[\"']e[\"']")
"""A cell of an .xlsx file with an error as its value, such as #N/A. It is read as an empty text."""

OVERLAP = 4096
"""Bytes of a block that are searched once more with the next block."""

UNPACK_TODO = "If it is a workbook all the same, open it and save it as CSV."


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """The file cannot be read. installs: the extra that is missing."""

    reason: str
    todo: str
    installs: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be read.

    format: `workbook` or `parquet`. file, out: descriptors. sheet: --sheet. sheet_may_lack: whether a workbook without
    that sheet is read as if none was named.
    columns: which of the columns of a row are written, from 0; None for all. rows_max: rows to read, the heading
    included; None for all.
    """

    format: str
    file: int
    out: int
    sheet: str | None = None
    columns: Sequence[int] | None = None
    rows_max: int | None = None
    sheet_may_lack: bool = False


def read(task: Task) -> dict[str, Any]:
    """Write the rows, and return what was read: the sheet, and the names of the hidden ones. Raises Refused."""
    return _read_workbook(task) if task.format == "workbook" else _read_parquet(task)


class _Rows:
    """Writes rows as CSV: line n is row n of the sheet, so no cell may have a line feed.

    errors: an empty text may be an error, so a row of empty texts is no blank row.
    """

    def __init__(self, task: Task, *, errors: bool = False) -> None:
        self._columns = task.columns
        self._errors = errors
        self._out = open(task.out, "w", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115 - a descriptor
        self._writer = csv.writer(self._out, lineterminator="\n")
        self.written = 0

    def write(self, cells: Sequence[Any]) -> None:
        """Write one row. A row with an empty id is no blank row while it has other cells."""
        self.written += 1
        if self.written == 1:
            some = cells if self._columns is None else [cells[at] for at in self._columns if at < len(cells)]
            self._writer.writerow(map(heading_of, some))
            return
        blank = all(map(is_blank, cells))
        if blank and self._errors and not any(cells):
            self._writer.writerow([EMPTY_CELL] * (len(cells) if self._columns is None else len(self._columns)))
            return
        if self._columns is None:
            self._writer.writerow([] if blank else map(cell_of, cells))
            return
        chosen = [cell_of(cells[at]) if at < len(cells) else "" for at in self._columns]
        if not blank and not chosen[0]:
            chosen[0] = EMPTY_CELL
        self._writer.writerow([] if blank else chosen)

    def write_texts(self, texts: Sequence[str]) -> None:
        """Write rows of one column, all of them text."""
        joined = "\n".join(texts)
        if not any(mark in joined for mark in ('"', ",", "\r")) and joined.count("\n") == len(texts) - 1 and all(texts):
            self._out.write(f"{joined}\n")
            self.written += len(texts)
        else:
            for text in texts:
                self.write([text or EMPTY_CELL])

    def close(self) -> None:
        """Hand the rest to the operating system."""
        self._out.flush()


def _read_workbook(task: Task) -> dict[str, Any]:
    try:
        import python_calamine as calamine  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refused("a workbook", "", installs="excel") from None
    errors = _has_errors(task.file)
    file = os.fdopen(os.dup(task.file), "rb")
    try:
        file.seek(0)
        workbook = calamine.load_workbook(file)
        worksheets = [each for each in workbook.sheets_metadata if each.typ is calamine.SheetTypeEnum.WorkSheet]
        visible = [each.name for each in worksheets if each.visible is calamine.SheetVisibleEnum.Visible]
        hidden = [each.name for each in worksheets if each.name not in visible]
        wanted = None if task.sheet_may_lack and task.sheet not in {*visible, *hidden} else task.sheet
        name = _sheet(wanted, visible, hidden, lambda name: workbook.get_sheet_by_name(name).height > 0)
        sheet = workbook.get_sheet_by_name(name)
        if sheet.start is not None and sheet.start[0] > 0:
            raise Refused(
                f"the first row of its sheet {name!r} is empty",
                "The first row has to name the columns: delete the empty rows above it.",
            )
        rows, before = _Rows(task, errors=errors), [""] * (sheet.start[1] if sheet.start is not None else 0)
        for cells in sheet.iter_rows():
            rows.write([*before, *cells])
            if rows.written == task.rows_max:
                break
        rows.close()
    except calamine.PasswordError:
        raise Refused("an encrypted workbook", "Open it, and save a copy without a password.") from None
    except (calamine.CalamineError, calamine.ZipError, calamine.XmlError) as error:
        todo = "Open it and save it again, or export it as CSV."
        encrypted = "EncryptedPackage".encode("utf-16-le")
        if os.pread(task.file, 8, 0) == OLE and encrypted in os.pread(task.file, 1 << 20, 0):
            raise Refused("an encrypted workbook", "Open it, and save a copy without a password.") from None
        raise Refused(f"a damaged workbook, or another kind of file ({error})", todo) from None
    return {"sheet": name, "hidden": hidden}


def _check_unpacked(parts: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse a workbook that grows too much. Its parts say how large they are; the limit of memory holds besides."""
    size = sum(part.file_size for part in parts)
    bombs = [part for part in parts if part.file_size > RATIO_FREE and part.file_size > RATIO_MAX * part.compress_size]
    if bombs or size > UNPACKED_MAX:
        raise Refused(f"its parts would become {size:,} bytes", UNPACK_TODO)


def _has_errors(fd: int) -> bool:
    """Whether a cell may be an error. Of a file other than .xlsx it is not known, so it may.

    Refuses a workbook that grows too much. Refuses formulas without a value: they are read as empty cells, and at the
    end of a sheet not at all.
    """
    errors = parts = 0
    with os.fdopen(os.dup(fd), "rb") as file, suppress(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError):
        if not zipfile.is_zipfile(file):
            return True
        archive = zipfile.ZipFile(file)
        _check_unpacked(archive.infolist())
        for name in archive.namelist():
            if "worksheets/" in name.casefold() and name.casefold().endswith(".xml"):
                parts += 1
                with archive.open(name) as part:
                    held = b""
                    while block := part.read(FLUSH_CHARS):
                        held += block
                        if _NO_VALUE.search(held):
                            raise Refused(
                                "it has formulas without their values, so it is not known what they show",
                                "Open it in a spreadsheet and save it again, which calculates them.",
                            )
                        errors += _ERROR.search(held) is not None
                        held = held[-OVERLAP:]
    return bool(errors) or not parts


def _sheet(wanted: str | None, visible: Sequence[str], hidden: Sequence[str], has_rows: Any) -> str:
    """Return the sheet to read: the one that was named, or the only visible one with rows."""
    there = f"Its sheets are {_listed(visible)}" + (f"; hidden: {_listed(hidden)}" if hidden else "")
    if wanted is not None:
        if wanted not in {*visible, *hidden}:
            raise Refused(f"no sheet is called {wanted!r}. {there}", "Name one with --sheet.")
        return wanted
    some = list(visible) if len(visible) == 1 and not hidden else [name for name in visible if has_rows(name)]
    if len(some) == 1:
        return some[0]
    if some:
        raise Refused(f"several sheets have rows. {there}", "Name one with --sheet.")
    raise Refused(f"no visible sheet has rows. {there}", "If a hidden one is meant, name it with --sheet.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) or "none"


def _read_parquet(task: Task) -> dict[str, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise Refused("a Parquet file", "", installs="parquet") from None
    try:
        file = pq.ParquetFile(os.fdopen(os.dup(task.file), "rb"), pre_buffer=False)
        paths = list(_paths(pa, file.schema_arrow))
        chosen = [paths[at] for at in (range(len(paths)) if task.columns is None else task.columns)]
        rows, missing = _Rows(Task(task.format, task.file, task.out)), "" if task.columns is None else EMPTY_CELL
        rows.write([".".join(path) for path in chosen])
        names = sorted({".".join(path) for path in chosen})
        for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            columns = [_values(pa, batch, path) for path in chosen]
            if task.rows_max is not None and rows.written + batch.num_rows > task.rows_max:
                columns = [column[: task.rows_max - rows.written] for column in columns]
            if len(columns) == 1 and all(type(value) is str for value in columns[0]):
                rows.write_texts(columns[0])
            else:
                for cells in zip(*columns, strict=True):
                    rows.write([missing if value is None else value for value in cells])
            if rows.written == task.rows_max:
                break
        rows.close()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refused(f"a damaged Parquet file ({str(error)[:200]})", "Get it again.") from None
    return {"sheet": None, "hidden": []}


def _paths(pa: Any, fields: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The columns, with those inside structs. Lists and maps hold no id of a row."""
    for field in fields:
        path = (*before, field.name)
        if pa.types.is_struct(field.type):
            yield from _paths(pa, field.type.fields, path)
        elif not pa.types.is_nested(field.type):
            yield path


def _values(pa: Any, batch: Any, path: Sequence[str]) -> list[Any]:
    column = batch.column(path[0])
    for name in path[1:]:
        column = pa.compute.struct_field(column, name) if hasattr(pa, "compute") else column.field(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:  # noqa: PLR2004 - a UUID
        return [None if value is None else str(uuid.UUID(bytes=value)) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def main() -> None:
    """Do the task of the first argument."""
    end_with_parent(drains=False)
    task = Task(**orjson.loads(sys.argv[1]))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    try:
        found = read(task)
    except Refused as error:
        _end({"reason": error.reason, "todo": error.todo, "installs": error.installs})
    except MemoryError:
        _end({"reason": f"it takes more than {MEMORY_MAX >> 30} GiB of memory", "todo": UNPACK_TODO, "installs": None})
    except OSError as error:
        _end({"failed": error.strerror or str(error)})
    _end(found)


def _end(found: dict[str, Any]) -> NoReturn:
    sys.stdout.buffer.write(orjson.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # a library may take long to free memory that is freed at the end anyway


if __name__ == "__main__":
    main()
