"""The bad rows that --on-invalid skip leaves out, in a file of their own, and the reasons in a second one."""

from __future__ import annotations

import csv
import glob
import io
from pathlib import Path

from bulkdel.core.row_filter import BadRow
from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.file import Export, Fingerprint
from bulkdel.export.options import Dialect, ReadOptions
from bulkdel.export.reader import read_parsed
from bulkdel.export.recognise import header_of

REASONS = ".reasons.csv"
"""What is appended to the name of the file of bad rows for the reasons."""


def write_invalid(export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, to: Path) -> None:
    """Write the bad rows to `to` as they stand in the export, after its CSV header: to be corrected and fed back.

    Beside it, `to` + REASONS gets the line and the reason of each, and no text of the row. Both are readable by their
    owner alone, and get their names only when both are complete and on disk.

    Raises NotAcceptable when `to` holds other rows, which may have been corrected by hand, FileFailed when a file
    cannot be written, and Halted when the export has changed since the preflight.
    """
    reasons = Path(f"{to}{REASONS}")
    if export.is_file(to) or export.is_file(reasons):
        raise NotAcceptable(f"{to}: this is the export itself; bad rows need another file. Rename the export.")
    try:
        for left in to.parent.glob(f".{glob.escape(to.name)}.*.part"):  # by a run that was killed while it wrote
            left.unlink(missing_ok=True)
        with atomic_file(reasons) as why, atomic_file(to) as rows:
            rows.write(header_of(export, dialect))
            why.write(b"line,reason\n")
            for parsed in read_parsed(export, dialect, options, fingerprint):
                if parsed.raw:
                    rows.writelines(parsed.raw)
                    why.write(_reasons([row for row in parsed.batch.rows if isinstance(row, BadRow)]))
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


def _reasons(bad: list[BadRow]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((row.line, row.why.words) for row in bad)
    return text.getvalue().encode()
