"""The input of a run that has no log yet. It is written while the export is read, and gets its name with the log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from bulkdel.core.input_index import Index
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import InputPins
from bulkdel.errors import FileFailed
from bulkdel.input.frames import Input, InputWriter
from bulkdel.place.log_place import INDEX, INPUT, PinnedFile
from bulkdel.place.spool import Spool


class NewInput:
    """Takes the rows in their order: `add` each batch, then `finish`. where: for messages."""

    def __init__(self, spool: Spool, where: str) -> None:
        self._spool = spool
        self._where = where
        self._writer = InputWriter(spool.write)
        self._index = Index(())
        self._encoded = self._index.encode()

    def add(self, rows: Rows) -> None:
        """Add the next rows. Raises FileFailed."""
        try:
            self._writer.add(rows)
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """No row follows. Raises FileFailed."""
        try:
            self._index = self._writer.finish()
        except OSError as error:
            raise self._failed(error) from error
        self._encoded = self._index.encode()

    @property
    def size(self) -> int:
        """How many bytes are written so far."""
        return self._writer.size

    @property
    def rows(self) -> Input:
        """To read them, once all were added."""
        return Input(self._spool.read_at, self._index, self._where)

    @property
    def pins(self) -> InputPins:
        """What the header of the log says of it."""
        return InputPins(hashlib.sha256(self._encoded).hexdigest(), self._index.content)

    @property
    def files(self) -> Mapping[PinnedFile, bytes | Spool]:
        """What is put beside the log."""
        index = self.pins.index
        return {PinnedFile(INPUT, index): self._spool, PinnedFile(INDEX, index): self._encoded}

    def _failed(self, error: OSError) -> FileFailed:
        return FileFailed(
            f"{self._where}: the rows of the export cannot be written: {error.strerror}. Nothing was sent, and nothing "
            "is kept. Make room there, then run the same command again."
        )
