"""The file of bad rows that --on-invalid skip leaves behind. Owns its writing; knows nothing of why a row is bad."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from runner.errors import FileFailed, NotAcceptable
from runner.source.export import Export


class InvalidFile:
    """Bad rows exactly as they stand in the export, after the CSV header; mode 0600. To be corrected and fed back.

    Written under another name and given its own only when it is complete, so that it can never be half a file, nor
    the export that is being read. There is no file without a bad row.
    """

    def __init__(self, to: Path | None, export: Export, header: bytes) -> None:
        self._to = to
        self._export = export
        self._header = header
        self._file: BinaryIO | None = None
        self._part = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind that `keep` did not give its name."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._part.unlink()
            self._file = None

    def write(self, rows: list[bytes]) -> None:
        """Append rows, line ends included. Raises FileFailed."""
        if not rows or self._to is None:
            return
        try:
            if self._file is None:
                self._file = self._create(self._to)
            self._file.writelines(rows)
        except OSError as error:
            raise self._failed(error) from error

    def _create(self, to: Path) -> BinaryIO:
        if self._export.is_file(to):
            raise NotAcceptable(f"{to}: this is the export itself; bad rows need another file. Rename the export.")
        fd, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part")  # 0600, O_EXCL
        self._part = Path(name)
        file = os.fdopen(fd, "wb")
        file.write(self._header)
        return file

    def keep(self) -> Path | None:
        """Complete the file and return its path; None when no row was bad. Raises FileFailed."""
        if self._file is None or self._to is None:
            return None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if self._to.exists() and self._to.read_bytes() != self._part.read_bytes():
                raise NotAcceptable(
                    f"{self._to}: holds other rows than those left out now, perhaps corrected by hand. Nothing was "
                    "sent. Move it away first."
                )
            self._part.replace(self._to)
        except OSError as error:
            raise self._failed(error) from error
        self._file = None
        return self._to

    def _failed(self, error: OSError) -> FileFailed:
        return FileFailed(
            f"{self._to}: {error.strerror}. The bad rows could not be written; nothing was sent. Free the disk."
        )
