"""The input of a run: written while the export is read, and opened where the log lies.

A new input gets its name with the log. Owns the comparison with what the header of the log pins.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack

from bulkdel.core.input_index import FRAME_LINE_MAX, Index
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import Header, InputPins
from bulkdel.core.run_state import RunState
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.format import shown
from bulkdel.input.frames import Input, InputWriter
from bulkdel.place.log_place import INDEX, INPUT, LogPlace, PinnedFile, bytes_of
from bulkdel.place.spool import Spool


class NewInput:
    """The input of a run that has no log yet: `add` each batch of rows in its order, then `finish`.

    where: for messages.
    """

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
        """Its facts for the header of the log."""
        return InputPins(hashlib.sha256(self._encoded).hexdigest(), self._index.content)

    @property
    def files(self) -> Mapping[PinnedFile, bytes | Spool]:
        """The files to put beside the log."""
        index = self.pins.index
        return {PinnedFile(INPUT, index): self._spool, PinnedFile(INDEX, index): self._encoded}

    def _failed(self, error: OSError) -> FileFailed:
        return FileFailed(
            f"{self._where}: the rows of the export cannot be written: {error.strerror}. Nothing was sent, and nothing "
            "is kept. Make room there, then run the same command again."
        )


def open_input(place: LogPlace, header: Header, stack: ExitStack, first: int = 0, stop: int | None = None) -> Input:
    """Open the rows `[first, stop)` of a run; `stack` closes them. header: of the log in this place. Blocks.

    Raises NotAcceptable when they are missing, or are not those that the header pins.
    """
    index = _index_of(place, header)
    stop = index.rows if stop is None else stop
    pinned, frames = PinnedFile(INPUT, header.input.index), index.between(first, stop)
    start, end = (frames[0].byte, frames[-1].byte + frames[-1].size) if frames else (0, 0)
    if (file := place.open(pinned, start, end)) is None:
        raise _missing(place, pinned)
    stack.callback(file.close)
    return Input(file.read_at, index, str(place.at(pinned)))


def why_unsound(place: LogPlace, header: Header) -> str:
    """Why the files in this place are not the rows that the header pins; empty when they are. Reads every row."""
    try:
        with ExitStack() as stack:
            deque(open_input(place, header, stack).rows(), maxlen=0)
    except (NotAcceptable, Halted) as error:
        return str(error)
    return ""


def _index_of(place: LogPlace, header: Header) -> Index:
    """The index of the input of a run. Raises NotAcceptable, see `open_input`."""
    pinned, most = PinnedFile(INDEX, header.input.index), FRAME_LINE_MAX * (header.counts["rows"] + 1)
    if (data := bytes_of(place, pinned, most)) is None:
        raise _missing(place, pinned)
    if hashlib.sha256(data).hexdigest() != header.input.index:
        raise _other(place, pinned, "its SHA-256 differs")
    try:
        index = Index.decode(data)
    except (ValueError, TypeError) as error:
        raise _other(place, pinned, str(error)) from error
    if (index.content, index.rows) != (header.input.content, header.counts["rows"]):
        raise _other(place, pinned, "it is of other rows")
    return index


def is_forgotten(place: LogPlace, progress: RunState) -> bool:
    """Whether `bulkdel forget` has removed the rows of the run with this log."""
    at = place.at(PinnedFile(INPUT, progress.header.input.index))
    return at.name in progress.forgotten and not os.path.lexists(at)


def _other(place: LogPlace, pinned: PinnedFile, why: str) -> NotAcceptable:
    return NotAcceptable(
        f"{place.at(pinned)}: is not the index of the rows that the log names ({shown(why)}). Put a copy of what was "
        "there back, then run this again."
    )


def _missing(place: LogPlace, pinned: PinnedFile) -> NotAcceptable:
    return NotAcceptable(
        f"{place.at(pinned)}: is missing. It holds {pinned.words}. Put it back in the place of the run. Then run "
        "this again."
    )
