"""The file that --skip-invalid writes the bad rows to, and the one with their reasons."""

from __future__ import annotations

import csv
import errno
import glob
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bulkdel.core.bad_rows import BadRow
from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.file import Export, Fingerprint
from bulkdel.export.reader import read_rows
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.export.sniff import header_of

REASONS = ".reasons.csv"
"""The ending, after the name of the file of bad rows, of the file with their reasons."""


def write_invalid(export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, to: Path) -> None:
    """Write the bad rows to `to` as they are in the export, after its CSV header: an export to correct and run.

    Beside it, `to` + REASONS gets the line and the reason of each, and no text of the row. Both are readable by their
    owner alone, and get their names only when both are complete and on disk.

    Raises NotAcceptable when `to` holds other rows, which may have been corrected by hand, FileFailed when a file
    cannot be written, and Halted when the export has changed since the preflight.
    """
    reasons = Path(f"{to}{REASONS}")
    if export.is_file(to) or export.is_file(reasons):
        raise NotAcceptable(f"{to}: this is the export itself; bad rows need another file. Rename the export.")
    try:
        if to.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for left in to.parent.glob(f".{glob.escape(to.name)}.*.part"):  # of a run that was killed
            left.unlink(missing_ok=True)
        with atomic_file(reasons) as why, atomic_file(to) as rows:
            for bad, reasons_of_bad in bad_rows(export, dialect, options, fingerprint):
                rows.write(bad)
                why.write(reasons_of_bad)
    except FileExistsError as error:
        raise NotAcceptable(
            f"{to}: holds other rows than those left out now, perhaps corrected by hand. Nothing was sent. "
            "Move it away first."
        ) from error
    except OSError as error:
        raise FileFailed(
            f"{to}: {error.strerror}. The bad rows could not be written; nothing was sent and no part is kept. "
            f"Make room in {to.absolute().parent}, and run again."
        ) from error


def bad_rows(
    export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bytes of both files, part by part: the bad rows, and their reasons.

    Raises Halted when the export has changed since the preflight.
    """
    yield header_of(export, dialect), b"line,reason\n"
    for parsed in read_rows(export, dialect, options, fingerprint):
        if parsed.raw:
            yield b"".join(parsed.raw), _reasons(parsed.bad.values())


def _reasons(bad: Iterable[BadRow]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((row.line, row.why.words) for row in bad)
    return text.getvalue().encode()
