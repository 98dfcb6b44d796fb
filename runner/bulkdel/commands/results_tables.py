"""The outcome of every row as a workbook or as Parquet, beside JSON Lines and CSV. Owns these two formats.

Their rows are those of the JSON Lines. Memory does not grow with them. Each format needs an extra, which is loaded here
and nowhere else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import to_install

SHEET_ROWS = 1_048_576
"""Rows of a sheet, as Excel has them; more rows go to further sheets."""

TEXT_MAX = 32_767
"""Characters of a cell."""

NUMBERS = frozenset({"position", "line", "attempts"})
"""Columns that hold integers in every job. The others are text, because the codes of some APIs are."""

BATCH_ROWS = 1 << 16

Records = Iterable[Mapping[str, Any]]


def text_of(value: Any) -> str | None:
    """The text of a cell."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


class Workbook:
    """`.xlsx`. Each text is a text: none is run as a formula, and none is made a link or a number.

    columns: of every sheet, as headings. folder: of the temporary files. stack: removes them.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[str], folder: Path, stack: ExitStack, rows: int) -> None:
        try:
            import xlsxwriter  # noqa: PLC0415 - an extra
        except ImportError:
            raise _missing(".xlsx", "excel") from None
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".bulkdel-results-"))
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": temporary})
        self._columns, self._rows = columns, rows
        self._sheets = self._row = 0
        self._begin_sheet()

    def write(self, records: Records) -> None:
        """Add the records of some rows. Raises NotAcceptable for a text that is too long for a cell."""
        for record in records:
            if self._row == self._rows:
                self._begin_sheet()
            for at, name in enumerate(self._columns):
                value = record.get(name)
                if name in NUMBERS and value is not None:
                    self._sheet.write_number(self._row, at, value)
                elif (text := text_of(value)) is not None and self._sheet.write_string(self._row, at, text) != 0:
                    raise NotAcceptable(
                        f"row {record.get('position')}: {name} has more than {TEXT_MAX:,} characters, which no cell of "
                        "a workbook holds. Name a file that ends in .csv.gz or .jsonl"
                    )
            self._row += 1

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet(f"results {self._sheets}" if self._sheets > 1 else "results")
        self._sheet.write_row(0, 0, self._columns)
        self._row = 1

    def close(self) -> None:
        """Write the rest: the file is whole then. Raises OSError."""
        import xlsxwriter.exceptions  # noqa: PLC0415 - an extra

        try:
            self._book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise (error.args[0] if isinstance(error.args[0], OSError) else OSError(str(error))) from error


class Parquet:
    """`.parquet`, with typed columns."""

    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            raise _missing(".parquet", "parquet") from None
        self._columns = columns
        self._schema = pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns])
        self._batch_of = pa.record_batch
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._held: list[Mapping[str, Any]] = []

    def write(self, records: Records) -> None:
        """Add the records of some rows."""
        self._held += records
        if len(self._held) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = [
            [record.get(name) if name in NUMBERS else text_of(record.get(name)) for record in self._held]
            for name in self._columns
        ]
        self._writer.write_batch(self._batch_of(columns, schema=self._schema))
        self._held = []

    def close(self) -> None:
        """Write the rest: the file is whole then."""
        if self._held:
            self._flush()
        self._writer.close()


def _missing(ending: str, extra: str) -> UsageError:
    return UsageError(
        f"--out with {ending}: needs the extra {extra}. Install it: {to_install(extra)}. "
        "Or name a file that ends in .csv or .csv.gz"
    )
