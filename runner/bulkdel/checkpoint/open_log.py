"""A log that this process may append to: how it is created, taken up again, and written line by line.

Blocks. Raises OSError and NotAcceptable. `bulkdel.checkpoint.writer` decides where it runs and what a failure means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import RUN, F, LogKind, Reader, Unborn, refuse_without_run
from bulkdel.checkpoint.takeover import another_words, refuse_while_written, session_in, writer_of
from bulkdel.core.log_entries import Damaged, Unreadable, frame
from bulkdel.errors import NotAcceptable
from bulkdel.place.lease import Lease
from bulkdel.place.log_place import Busy, LogPlace, Overtaken, PinnedFile, WritableLines
from bulkdel.place.spool import Spool
from bulkdel.store.certain import Taken


class Fenced(OSError):
    """Another process has written the next line. by: the process, in words. busy: this one was to take over from it."""

    def __init__(self, by: str, *, busy: bool = False) -> None:
        super().__init__(None, f"{by} {'goes on writing' if busy else 'has taken it over'}")
        self.by = by
        self.busy = busy


Files = Mapping[PinnedFile, bytes | Spool]
"""The files that are put beside a new log, in this order."""


class OpenLog:
    """A log of which this process has the lease; every byte in it is durable.

    nonce: a random word in every line that this process writes; it marks the lines of one session.
    seq: number of the last durable line. size: bytes up to its end. sha: the SHA-256 of every durable byte.
    recovered: where a torn tail was saved before it was cut off; None when there was none.
    """

    def __init__(self, lines: WritableLines, place: LogPlace, kind: LogKind[Any]) -> None:
        self._lines = lines
        self._kind = kind
        self._reader: Reader[Any] = Reader(lines, place, kind)
        self._fold: Any = None
        self.place = place
        self.nonce = place.world.random_bytes(8).hex()
        self.seq = 0
        self.size = 0
        self.sha = hashlib.sha256()
        self.recovered: Path | None = None

    @classmethod
    def create(cls, place: LogPlace, kind: LogKind[Any], header: bytes, files: Files) -> OpenLog:
        """Make a log that holds its encoded header, durably. files: those beside it that the header names.

        The header comes last: without it there is no log. Raises NotAcceptable when there is one, and OSError.
        """
        # A verification belongs to the run in this place, so another place would not do for its log.
        log, kept = cls(_writable(place, kind, new=True), place, kind), list[PinnedFile]()
        try:
            log._clear_remains()
            for pinned, data in files.items():
                kept.append(pinned)
                place.keep(pinned, data)
            try:
                log._append([header])
            except Taken:
                raise log._exists() from None
        except BaseException:
            for pinned in kept if kept and log._has_no_header() else ():
                place.drop(pinned)
            log.close()
            raise
        return log

    @classmethod
    def resume(cls, place: LogPlace, kind: LogKind[F]) -> tuple[OpenLog, F]:
        """Read a log, repair its tail, and check that no other process writes it.

        Raises NotAcceptable, before anything is changed, and OSError.
        """
        log = cls(_writable(place, kind, new=False), place, kind)
        try:
            fold = log._fold = log._reader.replay()
            log._take_over_state()
            if fold.under_way is not None:
                refuse_while_written(log._lines, place, kind, fold.under_way, log.seq + 1)
            log.recovered = log._lines.settle(log.seq, log.size, log._reader.last)
        except BaseException:
            log.close()
            raise
        return log, fold

    @property
    def lease(self) -> Lease:
        """The right to write the log, and to send."""
        return self._lines.lease

    def commit(self, parts: Sequence[bytes]) -> None:
        """Append encoded entries as one line; durable on return, and the lease is renewed.

        Raises Fenced when another process has written this line, Overtaken when the commit has to be encoded anew, and
        OSError. After Fenced or OSError no more may be written.
        """
        try:
            self._append(parts)
        except Taken as taken:
            raise Fenced(writer_of(session_in(taken.found, self.seq + 1), self._kind)) from None
        except Busy:
            raise Fenced(writer_of(self._fold.under_way, self._kind), busy=True) from None
        except Overtaken:
            self._catch_up()
            raise

    def close(self) -> None:
        """Let the log go. Every line is durable already."""
        self._lines.close()

    def _clear_remains(self) -> None:
        """Make room for the header in a file: it is empty, or holds the torn header of a process that was killed."""
        if not self._lines.length(0):
            if self.lease.length_s is None:  # a file that was moved away since it was looked for
                refuse_without_run(self.place)
            return
        with suppress(Unborn):
            next(self._reader.commits())
            raise self._exists()
        self.recovered = self._lines.settle(0, 0, b"")

    def _has_no_header(self) -> bool:
        """Whether no later session can find a header. A header may be there even after its write has failed."""
        try:
            with self.place.once().lines() as lines:
                next(Reader(lines, self.place, self._kind).commits())
        except Unborn:
            return True
        except (NotAcceptable, OSError):
            return False
        return False

    def _exists(self) -> NotAcceptable:
        return NotAcceptable(f"{self.place.where}: a log exists already. Run the same command again to go on.")

    def _append(self, parts: Sequence[bytes]) -> None:
        line = frame(self.seq + 1, parts, self.nonce)
        self._lines.append(self.seq + 1, line)
        self.seq += 1
        self.size += len(line)
        self.sha.update(line)

    def _take_over_state(self) -> None:
        self.seq, self.size, self.sha = self._reader.seq, self._reader.size, self._reader.sha.copy()

    def _catch_up(self) -> None:
        """Read the lines that the process before has written since. They count: it was not fenced yet."""
        try:
            for line in self._lines.following(self.seq + 1):
                for entry in self._reader.take(line):
                    self._fold.apply(entry)
                self._take_over_state()
        except (Damaged, Unreadable) as error:
            raise NotAcceptable(f"{self.place.where}: line {self.seq + 1}: {error}") from error


def _writable(place: LogPlace, kind: LogKind[Any], *, new: bool) -> WritableLines:
    """Open the lines of a log. Raises NotAcceptable, with the name of the process that has it."""
    try:
        return place.writable(new=new, another=new and kind is RUN)
    except Busy:
        raise NotAcceptable(another_words(place, kind)) from None
