"""Reading the checkpoint log: line by line, in flat memory, to the first byte that cannot be trusted.

Owns the judgement of what is damaged: a torn tail (a commit that never became durable, so nothing relied on it) or
corruption (a durable commit is lost or changed, so the log is refused). Never writes, locks or repairs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bulkdel.core.log_entries import LINE_START, Damaged, Entry, Header, Session, Unreadable, decode_line, sound
from bulkdel.core.run_state import Progress
from bulkdel.errors import NotAcceptable
from bulkdel.output import say
from bulkdel.settings import LOG, SANDBOX_LOG

LINE_MAX = 8 << 20
"""Bytes of the longest line, newline included. The writer (`bulkdel.checkpoint.writer`) keeps to it, so that a reader
can hold any line that a commit wrote, and needs no more memory for a file that is no log. The longest entry there can
be: a MiB of the export has at most 2**19 rows, of which every other one may be skipped: 2**18 ranges of some
22 bytes."""

HEADER_START = b'{"seq":1,"entries":[{"type":"header",'
"""The beginning of every log."""

READ_BYTES = 1 << 20

START_OVER = (
    "Put back a copy of this file if there is one. With another --checkpoint the run starts from the first row: "
    "ids that are gone already are then counted as absent."
)


class Unborn(NotAcceptable):
    """A run was killed while it created this log: its header or list of duplicates is incomplete. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Log:
    """The sound part of a log.

    size: bytes of the sound lines. sha256: over those. damaged_tail: bytes after them; while a run is writing they may
    be half a commit.
    """

    progress: Progress
    sha256: str
    damaged_tail: int
    size: int


def find_log(path: Path) -> Path:
    """Return the log that is meant by `path`: this file, or the log beside the export `path`; which one is said.

    Raises NotAcceptable when there is neither.
    """
    if _begins_a_log(path):
        return path
    beside = [log for ending in (LOG, SANDBOX_LOG) if (log := Path(f"{path}{ending}")).is_file()]
    if beside:
        other = f" (there is also {beside[1]})" if beside[1:] else ""
        say(f"The checkpoint of {path} is {beside[0]}{other}.")
        return beside[0]
    if not os.path.lexists(path):
        raise NotAcceptable(f"{path}: no such file, and no checkpoint {path}{LOG} beside it")
    return path


def _begins_a_log(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            return file.read(len(HEADER_START)) == HEADER_START
    except OSError:
        return False


def open_log(path: Path, flags: int = os.O_RDONLY, *, option: str = "--checkpoint") -> int:
    """Open a log that exists: a regular file, and no symbolic link. Raises NotAcceptable, naming the option."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for its other end. It means nothing to a regular file.
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        symbolic = error.errno == errno.ELOOP
        reason = "is a symbolic link; name the file itself" if symbolic else f"cannot be opened: {error.strerror}"
        raise NotAcceptable(f"{path}: {reason} ({option})") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAcceptable(f"{path}: is not a regular file; a checkpoint has to be one ({option})")
    return fd


class Reader:
    """One pass over the log in `fd` as it is now. Lines that are written meanwhile are not read.

    seq: of the last sound line, which is also its line number. size: bytes of the sound lines. last: the last of them.
    damaged_tail: bytes behind them.
    """

    __slots__ = ("_fd", "_nonce", "_nonces", "_path", "_stop", "damaged_tail", "last", "seq", "sha", "size")

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._stop = os.fstat(fd).st_size
        self._nonce = ""
        self._nonces = set[str]()  # of all sessions so far
        self.seq = 0
        self.size = 0
        self.last = b""
        self.damaged_tail = 0
        self.sha = hashlib.sha256()

    def commits(self) -> Iterator[list[Entry]]:
        """The entries, line by line. Raises NotAcceptable for corruption and for what this version cannot read."""
        with open(self._fd, "rb", buffering=READ_BYTES, closefd=False) as file:
            file.seek(0)
            while line := file.readline(min(LINE_MAX, self._stop - self.size)):
                try:
                    nonce, entries = decode_line(line, self.seq + 1)
                    self._check(nonce, entries)
                except Unreadable as error:
                    raise NotAcceptable(f"{self._here}: {error}") from error
                except Damaged as error:
                    self._judge(line, error)
                    return
                yield entries
                self.seq += 1
                self.size += len(line)
                self.last = line
                self.sha.update(line)
        if not self.seq:
            raise Unborn(f"{self._path}: is empty, so nothing was sent under it. Run the same command again.")

    def folding(self) -> Iterator[tuple[Progress, list[Entry]]]:
        """The entries, line by line, each line folded into the one Progress before it is handed out.

        Raises NotAcceptable as well for an entry that contradicts those before it, and Unborn when the list of
        duplicates is not whole: it is written before the first intent, so nothing was sent.
        """
        progress: Progress | None = None
        for entries in self.commits():
            more = entries
            if progress is None:
                assert isinstance(entries[0], Header), "commits() lets no log without a header through"
                progress, more = Progress(entries[0]), entries[1:]
            try:
                for entry in more:
                    progress.apply(entry)
            except Unreadable as error:
                raise NotAcceptable(f"{self._here}: {error}") from error
            yield progress, entries
        if progress is not None and not progress.born:
            raise _killed_while_created(self._path)

    def replay(self) -> Progress:
        """Fold the whole log."""
        progress, _ = deque(self.folding(), maxlen=1).pop()
        return progress

    @property
    def _here(self) -> str:
        return f"{self._path}: line {self.seq + 1} (byte {self.size})"

    def _check(self, nonce: str, entries: list[Entry]) -> None:
        if not self.seq and not (entries and isinstance(entries[0], Header)):
            raise Unreadable("the log does not begin with a header")
        if nonce != self._nonce:
            begins = bool(entries) and isinstance(entries[0], Session) and entries[0].event == "start"
            if self.seq and (nonce in self._nonces or not begins):
                raise Damaged("it belongs to another session than the line before it")
            self._nonces.add(nonce)
            self._nonce = nonce
        for entry in entries if Session in map(type, entries) else ():
            if type(entry) is Session and entry.log_sha256 != self.sha.hexdigest():
                raise Unreadable(
                    f"the session that {entry.event}s here found other bytes before it (SHA-256 {entry.log_sha256}) "
                    f"than there are now: the file was changed by something other than bulkdel. {START_OVER}"
                )

    def _judge(self, line: bytes, damage: Damaged) -> None:
        """Distinguish a torn tail from corruption. `line` is the first damaged line; the lines before it are sound."""
        tail = os.pread(self._fd, min(LINE_MAX + 1, self._stop - self.size), self.size)
        if not tail.startswith(line) and self.seq:
            return  # a run has just cut the torn tail off; the lines that were read are sound
        whole = [part for part in tail.splitlines(keepends=True) if sound(part)]
        if not self.seq and not whole:
            self._judge_first(tail)
        if whole or len(tail) > LINE_MAX or tail.count(LINE_START) > 1:
            raise NotAcceptable(
                f"{self._here} is damaged ({damage}), and it is not the last thing that was written: "
                f"commits that were safe on disk are lost or changed. {START_OVER}"
            )
        self.damaged_tail = self._stop - self.size

    def _judge_first(self, tail: bytes) -> None:
        if not tail.startswith(HEADER_START[: len(tail)]):
            raise NotAcceptable(f"{self._path}: is not a checkpoint of bulkdel. Name another file (--checkpoint).")
        if len(tail) <= LINE_MAX and tail.count(LINE_START) <= 1:
            raise _killed_while_created(self._path)


def _killed_while_created(path: Path) -> Unborn:
    return Unborn(
        f"{path}: a run is creating this checkpoint, or was killed while it did; nothing was sent under it. "
        "Run the same command again."
    )


def read_log(path: Path) -> Log:
    """Read a log without its lock, also while a run writes it. A damaged tail is counted and otherwise ignored."""
    fd = open_log(path)
    try:
        reader = Reader(fd, path)
        progress = reader.replay()
        return Log(progress, reader.sha.hexdigest(), reader.damaged_tail, reader.size)
    finally:
        os.close(fd)


def read_entries(path: Path) -> Iterator[Entry]:
    """Every entry of a log in order, without its lock; a damaged tail is ignored."""
    fd = open_log(path)
    try:
        for entries in Reader(fd, path).commits():
            yield from entries
    finally:
        os.close(fd)


def is_fresh(path: Path) -> bool:
    """Whether a new run begins here: without a log, or after a run that was killed while it created its log."""
    if not os.path.lexists(path):
        return True
    fd = open_log(path)
    try:
        return not any(progress.born for progress, _ in Reader(fd, path).folding())
    except Unborn:
        return True
    finally:
        os.close(fd)
