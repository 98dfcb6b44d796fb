"""A log that this process may append to: how it is created, taken up again, and written line by line.

Blocks. Raises OSError and NotAcceptable. `bulkdel.checkpoint.writer` decides where it runs and what a failure means.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import RUN, F, LogKind, Reader, Unborn, refuse_without_run, writer_of
from bulkdel.checkpoint.under_way import another_words
from bulkdel.core.log_entries import Damaged, Entry, Session, Unreadable, decode_line, frame
from bulkdel.errors import NotAcceptable
from bulkdel.output import say
from bulkdel.place.lease import Lease
from bulkdel.place.log_place import Busy, LogPlace, Overtaken, WritableLines
from bulkdel.store.certain import Taken


class Fenced(OSError):
    """Another process has written the next line. by: it, in words. busy: it is the one that was to be taken over."""

    def __init__(self, by: str, *, busy: bool = False) -> None:
        super().__init__(None, f"{by} {'goes on writing' if busy else 'has taken it over'}")
        self.by = by
        self.busy = busy


class OpenLog:
    """A log of which this process has the lease; every byte in it is durable.

    nonce: a random word in every line that this process writes; it marks the lines of one session.
    seq: number of the last durable line. size: bytes up to its end. sha: the SHA-256 of every durable byte.
    recovered: where a torn tail was saved before it was cut off; None when there was none.
    adopted: the header that a process has left which was killed while it created the log, or which creates it now.
    """

    def __init__(self, lines: WritableLines, place: LogPlace, kind: LogKind[Any], nonce: str | None) -> None:
        self._lines = lines
        self._kind = kind
        self._reader: Reader[Any] = Reader(lines, place, kind)
        self._fold: Any = None
        self.place = place
        self.nonce = nonce or secrets.token_hex(8)
        self.seq = 0
        self.size = 0
        self.sha = hashlib.sha256()
        self.recovered: Path | None = None
        self.adopted: Entry | None = None

    @classmethod
    def create(cls, place: LogPlace, kind: LogKind[Any], header: bytes, nonce: str | None) -> OpenLog:
        """Make a log that holds its encoded header, durably; or go on with a creation that was cut short.

        The list of skipped rows must follow, by `commit`, and then `begin`. Raises NotAcceptable when there is a log,
        and OSError.
        """
        # A verification belongs to the run in this place, so it cannot have another one.
        log = cls(_writable(place, kind, new=True), place, kind, nonce)
        try:
            log._clear_remains()
            while not log.seq:
                try:
                    log._append([header])
                except Taken as taken:  # another process has just begun to create it
                    log._adopt(taken.found)
        except BaseException:
            log.close()
            raise
        return log

    @classmethod
    def resume(cls, place: LogPlace, kind: LogKind[F], nonce: str | None) -> tuple[OpenLog, F]:
        """Read a log, repair its tail, and see that no other process writes it.

        Raises NotAcceptable, when nothing was changed, and OSError.
        """
        log = cls(_writable(place, kind, new=False), place, kind, nonce)
        try:
            fold = log._fold = log._reader.replay()
            log._take_over_state()
            if fold.under_way is not None:
                log._watch(fold.under_way)
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
            raise Fenced(writer_of(_session_of(taken.found, self.seq + 1), self._kind)) from None
        except Busy:
            raise Fenced(writer_of(self._fold.under_way, self._kind), busy=True) from None
        except Overtaken:
            self._catch_up()
            raise

    def begin(self) -> None:
        """End the creation. What follows are the lines of one session, so they have a nonce of their own."""
        if self.adopted is not None:
            self.nonce = secrets.token_hex(8)

    def close(self) -> None:
        """Let the log go. Every line is durable already."""
        self._lines.close()

    def _clear_remains(self) -> None:
        """Make room for the header in a file.

        It must be empty, or hold the remains of a process that was killed while it created the log: a torn header,
        which is saved, or a header with a part of its list of skipped rows, which this process writes again.
        """
        if not self._lines.length(0):
            if self.lease.length_s is None:  # a file that was moved away since it was looked for
                refuse_without_run(self.place)
            return
        with suppress(Unborn):
            if any(fold.born for fold, _ in self._reader.folding()):
                raise NotAcceptable(f"{self.place.where}: a log exists already. Run the same command again to go on.")
        if self._reader.seq:
            self._lines.empty()
        else:
            self.recovered = self._lines.settle(0, 0, b"")

    def _append(self, parts: Sequence[bytes]) -> None:
        line = frame(self.seq + 1, parts, self.nonce)
        self._lines.append(self.seq + 1, line)
        self.seq += 1
        self.size += len(line)
        self.sha.update(line)

    def _adopt(self, line: bytes) -> None:
        """Go on with a log that has this header: its process was killed, or is at it now. It writes the same lines."""
        try:
            self.adopted = self._reader.take(line)[0]
        except Damaged as error:
            option = self.place.option
            raise NotAcceptable(
                f"{self.place.where}: line 1 is damaged ({error}). Give {option} another place"
            ) from error
        self.nonce = decode_line(line, 1).nonce
        self._take_over_state()

    def _watch(self, session: Session) -> None:
        """Raise NotAcceptable when the process of this session still writes."""
        where, by = self.place.where, writer_of(session, self._kind)
        if self._lines.watch_s:
            wait_s = self._lines.watch_s
            say(f"{where}: {by} has not ended. Watching for {wait_s:.0f} s whether it still writes.", "watching")
        line = self._lines.watch(self.seq + 1)
        if line is not None:
            by = writer_of(_session_of(line, self.seq + 1) or session, self._kind)
            raise NotAcceptable(f"{where}: {by} is under way. Wait for it to end or stop it, then run this again.")

    def _take_over_state(self) -> None:
        self.seq, self.size, self.sha = self._reader.seq, self._reader.size, self._reader.sha.copy()

    def _catch_up(self) -> None:
        """Read the lines that the process before has written since. They belong to the log: it was not fenced yet."""
        try:
            for line in self._lines.following(self.seq + 1):
                for entry in self._reader.take(line):
                    self._fold.apply(entry)
                self._take_over_state()
        except (Damaged, Unreadable) as error:
            raise NotAcceptable(f"{self.place.where}: line {self.seq + 1}: {error}") from error


def _writable(place: LogPlace, kind: LogKind[Any], *, new: bool) -> WritableLines:
    """Open the lines of a log. Raises NotAcceptable that names the process which has it."""
    try:
        return place.writable(new=new, another=new and kind is RUN)
    except Busy:
        raise NotAcceptable(another_words(place, kind)) from None


def _session_of(line: bytes, seq: int) -> Session | None:
    """The session that begins with this line; None when none does."""
    try:
        entries = decode_line(line, seq).entries
    except (Damaged, Unreadable):
        return None
    first = entries[0] if entries else None
    return first if isinstance(first, Session) and first.event == "start" else None
