"""Where a log lies, and its lines.

Everything here blocks, and raises OSError for what fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import NamedTuple, Protocol

from bulkdel.place.lease import Lease
from bulkdel.place.spool import Spool
from bulkdel.world import World

LINE_MAX = 8 << 20
"""Bytes of the longest line, newline included. The writer (`bulkdel.checkpoint.writer`) keeps to it, so that a reader
can hold any line that a commit wrote, and needs no more memory for a file that is no log. The longest list of
skipped rows in one entry has 10,000 ranges: about 200 kB."""


class Busy(Exception):
    """Another process has the log."""


class Overtaken(Exception):
    """The process before this one wrote once more before it was fenced. Read its line, then make this one anew."""


class PinnedFile(NamedTuple):
    """A file beside a log, which the header of the log pins by its SHA-256.

    kind: SKIPPED, EXCLUDED, INDEX or INPUT. sha256: of its bytes; of an input, that of its index.
    """

    kind: str
    sha256: str

    @property
    def words(self) -> str:
        """For messages."""
        return _KINDS[self.kind][0]

    def name(self, number: int) -> str:
        """Its name in a folder. number: of the shard, if it lies beside the log of one; 0 for the log of the run."""
        _, stem, ending = _KINDS[self.kind]
        return f"{stem}{number_of(number)}{ending}"


SKIPPED, EXCLUDED, INDEX, INPUT = "skipped", "excluded", "index", "input"
"""Kinds: the rows that are never sent; the excluded ids; the index of the rows of the run; these rows."""

_KINDS = {
    SKIPPED: ("the rows that are never sent", "skipped", ".zst"),
    EXCLUDED: ("the excluded ids", "excluded", ".zst"),
    INDEX: ("the index of the rows", "input", ".index.jsonl"),
    INPUT: ("the rows of the run", "input", ".jsonl.zst"),
}
"""Of each kind: its words, and how its name begins and ends in a folder."""


def number_of(shard: int) -> str:
    """The part of a file name that names the shard; empty for 0, the run."""
    return f".{shard}" if shard else ""


class LogLines(Protocol):
    """The lines of a log as they are stored: in a file, or in a store."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines in their order, each with its newline; the last one may be torn."""
        ...

    def tail(self, start: int) -> bytes | None:
        """The bytes from `start` on, LINE_MAX + 1 at most. None where a commit is whole or absent."""
        ...

    def length(self, start: int) -> int:
        """How many bytes of a torn line there are from `start` on. 0 where a commit is whole or absent."""
        ...


class WritableLines(LogLines, Protocol):
    """The lines of a log that this process may append to."""

    @property
    def lease(self) -> Lease:
        """The right to write them, and to send."""
        ...

    @property
    def watch_s(self) -> float:
        """How long `watch` waits."""
        ...

    def watch(self, seq: int) -> bytes | None:
        """Wait for this line, until it is known whether the process of a session that has not ended still writes.

        Returns the line that it has written; None without one. Does not wait where a lock keeps processes apart, or
        where this process is to take the log over.
        """
        ...

    def following(self, seq: int) -> Iterator[bytes]:
        """Yield the lines from this number on that another process has written since they were read."""
        ...

    def settle(self, seq: int, size: int, last: bytes) -> Path | None:
        """Make the lines that were read durable, and cut off a torn line behind them.

        seq, size: how many lines and bytes were read. last: the last of the lines. Returns where the torn one is saved.
        """
        ...

    def append(self, seq: int, line: bytes) -> None:
        """Write a line; durable on return. Every attempt at a number must have the same bytes.

        Raises Taken when another process has written a line of this number. Raises Overtaken when the process that is
        taken over has written it, and Busy when that process goes on for long. Raises OSError. More may be written only
        after Overtaken.
        """
        ...

    def close(self) -> None:
        """Let the log go. Raises nothing: every line is durable already."""
        ...


class LogPlace(Protocol):
    """Where a log lies."""

    @property
    def where(self) -> Path:
        """The path by which a command names it: the place of a run."""
        ...

    @property
    def log(self) -> Path:
        """The path of the log, for messages about its content."""
        ...

    @property
    def world(self) -> World:
        """The disk, the network and the threads that it is written with."""
        ...

    @property
    def number(self) -> int:
        """The number of the shard that has this log; 0 for any other log."""
        ...

    @property
    def kept_as(self) -> str:
        """What a message calls its parts, such as `the objects`."""
        ...

    @property
    def mend(self) -> str:
        """What to do when it cannot be written."""
        ...

    def spool(self) -> Spool:
        """Begin the input of a new log: it gets its name by `keep`.

        Raises NotAcceptable while another process has one here, FileFailed when it cannot be written.
        """
        ...

    def keep(self, pinned: PinnedFile, data: bytes | Spool) -> None:
        """Make a file beside the log durable. Only while it is writable, and before there is a line.

        Raises FileFailed when it cannot be written, NotAcceptable when something else is there.
        """
        ...

    def drop(self, pinned: PinnedFile) -> None:
        """Remove a file beside a log whose creation has failed. Raises nothing. From a store nothing is removed."""
        ...

    def open(self, pinned: PinnedFile, start: int = 0, stop: int | None = None) -> Spool | None:
        """Open a file beside the log, to read at least its bytes `[start, stop)`; None when there is none.

        stop: None for all bytes. Raises NotAcceptable when it cannot be read, FileFailed where its copy has no room.
        """
        ...

    def at(self, pinned: PinnedFile) -> Path:
        """Where that file lies."""
        ...

    def shard(self, number: int) -> LogPlace:
        """The log of a shard. number: from 1."""
        ...

    def once(self) -> LogPlace:
        """The same place without patience: a failed request is not repeated."""
        ...

    def is_there(self) -> bool:
        """Whether there may be a log. Always true of a store: only reading tells."""
        ...

    def beside(self) -> Sequence[Path]:
        """The files in this folder with the names of pinned files. Empty for a store."""
        ...

    def shard_log(self) -> Path | None:
        """The first log of a shard that is here; None without one."""
        ...

    def lines(self, *, by_rolls: bool = True) -> AbstractContextManager[LogLines]:
        """Open the lines to read them, also while a process writes them. by_rolls: whether rolls spare requests.

        Raises NotAcceptable when they cannot be opened, and for a store that fails later.
        """
        ...

    def writable(self, *, new: bool, another: bool) -> WritableLines:
        """Open the lines to append to them. new: make a file if there is none.

        another: whether a message may propose another place.

        Raises Busy, and NotAcceptable when they cannot be opened, or when the place cannot keep two processes apart.
        """
        ...

    def held(self) -> AbstractContextManager[None]:
        """Hold the lock, and change nothing. Raises Busy. A store has no lock."""
        ...

    def is_held(self) -> bool | None:
        """Whether a process has the lock. None where there is no lock: there a new line tells (`watch`)."""
        ...

    def watch(self, seq: int) -> bytes | None:
        """Wait for this line, until no process can have the log any more. None when no process has written it.

        Raises NotAcceptable when the store fails.
        """
        ...

    def end(self) -> object:
        """A value that changes when the log grows; None when it cannot be read."""
        ...


def bytes_of(place: LogPlace, pinned: PinnedFile, most: int) -> bytes | None:
    """The bytes of a file beside the log; of one that has more than `most`, one byte more. None when there is none.

    Raises what `LogPlace.open` raises.
    """
    if (file := place.open(pinned, 0, most + 1)) is None:
        return None
    with closing(file):
        return file.read_at(0, min(most, file.size) + 1)
