"""The file of the bad rows that --skip-invalid leaves out, and the one with their reasons."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bulkdel.core.bad_rows import BadGroup
from bulkdel.durable import atomic_file, remove_parts
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.rows import Parsed
from bulkdel.place.log_file import make_folder
from bulkdel.place.spool import Spool

REASONS = ".reasons.csv"
"""The ending, after the name of the file of bad rows, of the file with their reasons."""

BLOCK = 1 << 20


class InvalidRows:
    """Gathers the bad rows while the export is read, byte for byte, and their reasons. A reason may quote a cell."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """folder: of the two files without a name that hold them until a run begins. stack: closes these."""
        self._folder = folder
        self._stack = stack
        self._files: tuple[Spool, Spool] | None = None
        self._above = b""
        self._why: dict[str, int] = {}

    def add(self, parsed: Parsed) -> None:
        """Take the bad ones of some rows. Raises FileFailed."""
        if not parsed.raw:
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((row.line, row.why.words) for row in parsed.bad.values())
        try:
            if self._files is None:
                self._files = self._open(), self._open()
                self._files[1].write(b"line,reason\n")
            rows, reasons = self._files
            rows.write(b"".join(parsed.raw))
            reasons.write(text.getvalue().encode())
        except OSError as error:
            raise _failed(self._folder, self._folder, error) from error

    def finish(self, above: bytes, bad: tuple[BadGroup, ...]) -> None:
        """No row follows. above: the lines above the first row, such as the header. bad: the bad rows by reason."""
        self._above = above
        for group in bad:
            why = group.first.why.why.name
            self._why[why] = self._why.get(why, 0) + group.count

    def _open(self) -> Spool:
        spool = Spool.unnamed(self._folder)
        self._stack.callback(spool.close)
        return spool

    def known(self) -> dict[str, Any]:
        """The facts of both files for the header of the log; empty without a bad row."""
        if self._files is None:
            return {}
        rows, reasons = self._files
        return {"why": dict(self._why), "rows": _known(self._above, rows), "reasons": _known(b"", reasons)}

    def write(self, to: Path) -> None:
        """Write both files: an export to correct and run, and `to` + REASONS. Only where there is a bad row.

        They get their names only when both are complete and on disk. Raises NotAcceptable when one is there with other
        bytes, such as rows that were corrected by hand, and FileFailed.
        """
        assert self._files is not None, "there is a bad row"
        reasons = Path(f"{to}{REASONS}")
        try:
            if to.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            make_folder(to.parent)
            remove_parts(to)  # of a run that was killed
            with atomic_file(reasons) as why, atomic_file(to) as rows:
                rows.write(self._above)
                for spool, file in zip(self._files, (rows, why), strict=True):
                    file.writelines(spool.blocks(BLOCK))
        except FileExistsError as error:
            other = error.filename2 or error.filename
            raise NotAcceptable(
                f"{other}: holds something else than this run writes there, perhaps of an "
                "earlier run, or corrected by hand. Nothing was sent. Move it away first."
            ) from error
        except OSError as error:
            raise _failed(to, to.absolute().parent, error) from error


def _known(above: bytes, spool: Spool) -> dict[str, Any]:
    sha, size = hashlib.sha256(above), len(above) + spool.size
    for block in spool.blocks(BLOCK):
        sha.update(block)
    return {"sha256": sha.hexdigest(), "bytes": size}


def _failed(to: Path, folder: Path, error: OSError) -> FileFailed:
    return FileFailed(
        f"{to}: {error.strerror}. The bad rows could not be written; nothing was sent and no part is kept. "
        f"Make room in {folder}, and run again."
    )
