"""The log in a store: one object a commit, created only if there is none of its number.

That is what keeps two processes apart, in the place of a lock: to take a log over is to create its next number. The
process before it then fails to create that number, and sends nothing more. docs/store.md has the protocol.

Everything here blocks and raises OSError. `StoreLog` has what `LogFile` has, and `checkpoint.writer` uses either.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bulkdel.checkpoint.licence import Licence, Terms
from bulkdel.checkpoint.reader import RUN, F, LogKind, Reader, writer_of
from bulkdel.checkpoint.watch import session_of, wait_for_line
from bulkdel.core.log_entries import Damaged, Entry, Session, Unreadable, decode_line, frame
from bulkdel.errors import NotAcceptable
from bulkdel.output import say
from bulkdel.store.certain import Creator, Getter, Taken
from bulkdel.store.directory import OBJECT_BYTES_MAX
from bulkdel.store.lines import LINES_A_ROLL, StoreLines, line_name, roll_name
from bulkdel.store.probe import ANOTHER, AS_BEFORE, probe
from bulkdel.store_path import StorePath

ROLL_BYTES_MAX = OBJECT_BYTES_MAX
"""Bytes of the longest roll. A longer one is left out, and its lines are read one by one."""


OVERTAKE_LICENCES = 6
"""For so many licences a process that is busy is tried to be taken over."""


class Fenced(OSError):
    """Another process has written the next line. by: it, in words. busy: it is the one that was to be taken over."""

    def __init__(self, by: str, *, busy: bool = False) -> None:
        super().__init__(None, f"{by} {'goes on writing' if busy else 'has taken it over'}")
        self.by = by
        self.busy = busy


class Overtaken(Exception):
    """The process before this one wrote once more before it was fenced. That is read; the commit must be repeated."""


class StoreLog:
    """A log in a store that this process may append to, until another one takes it over.

    path, nonce, seq, size, sha, recovered: as in `LogFile`. licence: what each commit renews.
    adopted: the header that a process has left which was killed while it created the log, or which creates it now.
    """

    recovered = None

    def __init__(self, path: StorePath, kind: LogKind[Any], terms: Terms, nonce: str | None, todo: str) -> None:
        """Open the store. Raises NotAcceptable, with `todo`, for one that cannot keep two runs apart."""
        means = terms.means
        self._objects = means.open(path)
        self._getter = Getter(self._objects, terms.patience_s, means)
        probe(self._objects, path, means, todo=todo)
        self._kind = kind
        self._terms = terms
        self._creator = Creator(self._objects, terms.patience_s, means)
        self._lines = StoreLines(path, means, terms.patience_s)
        self._rolls = means.threads(1)
        self._reader: Reader[Any] = Reader(self._lines, path, kind)
        self._fold: Any = None
        self._overtakes = False  # the session before may be under way, and this one has not written yet
        self._overtakes_until = float("inf")
        self.path = path
        self.nonce = nonce or secrets.token_hex(8)
        self.seq = self.size = 0
        self.sha = hashlib.sha256()
        self.licence = Licence(terms)
        self.adopted: Entry | None = None

    @classmethod
    def create(cls, path: StorePath, kind: LogKind[Any], header: bytes, terms: Terms, nonce: str | None) -> StoreLog:
        """Make a log that holds its encoded header, durably; or go on with a creation that was cut short.

        The list of skipped rows must follow, by `commit`, and then `begin`. Raises NotAcceptable and OSError.
        """
        # A verification belongs to a run in this store, so it cannot have another one.
        log = cls(path, kind, terms, nonce, ANOTHER if kind is RUN else AS_BEFORE)
        try:
            while not log.seq:
                if (line := log._lines.line(1)) is None:
                    with suppress(Taken):  # another process has just begun to create it
                        log._append([header])
                else:
                    log._adopt(line)
        except BaseException:
            log.close()
            raise
        return log

    @classmethod
    def resume(cls, path: StorePath, kind: LogKind[F], terms: Terms, nonce: str | None) -> tuple[StoreLog, F]:
        """Read a log, and watch whether another process writes it. This one has it from its first commit on.

        Raises NotAcceptable when another process writes it, and OSError.
        """
        log = cls(path, kind, terms, nonce, AS_BEFORE)
        try:
            fold = log._fold = log._reader.replay()
            log._take_over_state()
            if fold.under_way is not None:
                log._overtakes = terms.take_over
                if not terms.take_over:
                    log._watch(fold.under_way)
            log._roll(log.seq // LINES_A_ROLL * LINES_A_ROLL)
        except BaseException:
            log.close()
            raise
        return log, fold

    def commit(self, parts: Sequence[bytes]) -> None:
        """Write encoded entries as one line; durable on return, and the licence is renewed.

        Raises Fenced when another process has written this line, Overtaken when the commit has to be encoded anew, and
        OSError when the store has failed for the whole patience. After Fenced or OSError no more may be written.
        """
        try:
            self._append(parts)
        except Taken as taken:
            now = self._terms.means.clock()
            if not self._overtakes:
                raise Fenced(writer_of(session_of(taken.found, self.seq + 1), self._kind)) from None
            if now > self._overtakes_until:
                raise Fenced(writer_of(self._fold.under_way, self._kind), busy=True) from None
            self._overtakes_until = min(self._overtakes_until, now + self._terms.licence_s * OVERTAKE_LICENCES)
            self._catch_up()
            raise Overtaken from None

    def begin(self) -> None:
        """End the creation. What follows are the lines of one session, so they have a nonce of their own."""
        if self.adopted is not None:
            self.nonce = secrets.token_hex(8)

    def close(self) -> None:
        """End the threads. Every line is durable already."""
        self._creator.close()
        self._getter.close()
        self._lines.close()
        self._rolls.shutdown(wait=False, cancel_futures=True)

    def _append(self, parts: Sequence[bytes]) -> None:
        """Create the next line. The same number always has the same bytes, however often it is tried. Raises Taken."""
        line = frame(self.seq + 1, parts, self.nonce)
        began = self._terms.means.clock()
        self._creator.create(line_name(self.seq + 1), line)
        self.licence.renew(began)
        if self._overtakes:
            self._overtakes = False
            self.licence.succeed()
        self.seq += 1
        self.size += len(line)
        self.sha.update(line)
        if self.seq % LINES_A_ROLL == 0:
            self._roll(self.seq)

    def _adopt(self, line: bytes) -> None:
        """Go on with a log that has this header: its process was killed, or is at it now. It writes the same lines."""
        try:
            self.adopted = self._reader.take(line)[0]
        except Damaged as error:
            raise NotAcceptable(f"{self.path}: line 1 is damaged ({error}). Give --store another URL") from error
        self.nonce = decode_line(line, 1).nonce
        self._take_over_state()

    def _watch(self, session: Session) -> None:
        """Raise NotAcceptable when the process of this session still writes."""
        by = writer_of(session, self._kind)
        wait_s = self._terms.wait_s
        say(f"{self.path}: {by} has not ended. Watching for {wait_s:.0f} s whether it still writes.", "watching")
        line = wait_for_line(self._lines, self.seq + 1, self.path, self._terms)
        if line is not None:
            by = writer_of(session_of(line, self.seq + 1) or session, self._kind)
            raise NotAcceptable(f"{self.path}: {by} is under way. Wait for it to end or stop it, then run this again.")

    def _take_over_state(self) -> None:
        self.seq, self.size, self.sha = self._reader.seq, self._reader.size, self._reader.sha.copy()

    def _catch_up(self) -> None:
        """Read the lines that the process before has written since. They belong to the log: it was not fenced yet.

        Many at the same time: read one after the other, a busy process would write as fast as this one reads.
        """
        try:
            for line in self._lines.lines(range(self.seq + 1, 10**12)):
                for entry in self._reader.take(line):
                    self._fold.apply(entry)
                self._take_over_state()
        except (Damaged, Unreadable) as error:
            raise NotAcceptable(f"{self.path}: line {self.seq + 1}: {error}") from error

    def _roll(self, last: int) -> None:
        """Join the thousand lines up to `last` in one object, if that is not done yet. Only reading needs it."""
        if last:
            self._rolls.submit(self._write_roll, last)

    def _write_roll(self, last: int) -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: the log was closed meanwhile
            if self._getter.get(roll_name(last)) is None and (roll := self._joined(last)) is not None:
                self._objects.create(roll_name(last), roll)

    def _joined(self, last: int) -> bytes | None:
        """The thousand lines up to `last`; None when one is missing or they are too long. Reads no more than needed."""
        roll, count = bytearray(), 0
        for line in self._lines.lines(range(last - LINES_A_ROLL + 1, last + 1)):
            roll += line
            count += 1
            if len(roll) > ROLL_BYTES_MAX:
                return None
        return bytes(roll) if count == LINES_A_ROLL else None
