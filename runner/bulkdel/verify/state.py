"""The findings of a verification on the disk, so that it can be killed and resumed.

A line is a commit with a checksum, as in the checkpoint. Nothing is synced, because a lost finding is only looked up
again; everything from the first damaged line on is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from bulkdel.checkpoint.file import APPEND, MODE, NEW
from bulkdel.checkpoint.lock import try_lock
from bulkdel.checkpoint.reader import LINE_MAX, open_log
from bulkdel.core.log_entries import Damaged, Unreadable
from bulkdel.core.ranges import Ranges
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.core.verification import FIRST_LINE, Books, Finding, decode, encode_first, encode_found, found_of
from bulkdel.durable import write_all
from bulkdel.errors import FileFailed, NotAcceptable


class State:
    """Open and locked for this process. Use as a context manager.

    books: the findings. resumed: whether it had any at the start. aside: where older findings were moved to.
    """

    def __init__(
        self, path: Path, pinned: Mapping[str, Any], *, tool: str, at: str, again: bool, duplicates: PositionSet
    ) -> None:
        """Resume the findings at `path`, or start new ones: without a file, with `again`, or if it pins other values.

        duplicates: of the log that is verified. Older findings are moved aside and never overwritten. Raises
        NotAcceptable for a file of another kind or of another process; FileFailed when it cannot be written.
        """
        self.path = path
        self.aside: Path | None = None
        self._pinned, self._duplicates = dict(pinned), duplicates
        self._fd = -1
        try:
            found = self._open()
            if found is not None and (again or found != self._pinned):
                self.aside = next(name for i in count(1) if not os.path.lexists(name := Path(f"{path}.old-{i}")))
                path.rename(self.aside)
                self.close()
                found = self._open()
            if found is None:
                self._write(encode_first(tool, at, pinned))
        except OSError as error:
            self.close()
            raise FileFailed(f"{path}: {error.strerror}. Nothing was asked. Name another file: --state PATH") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> dict[str, Any] | None:
        """Open, lock and read the file, which may be new. Returns what it pins; None when it is empty."""
        try:
            self._fd = os.open(self.path, APPEND | NEW, MODE)
        except FileExistsError:
            self._fd = open_log(self.path, APPEND, option="--state")
        _lock(self._fd, self.path)
        self._seq, self.books = 0, Books(self._duplicates)
        return self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and its lock."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def record(self, at: str, found: Mapping[Finding, Ranges]) -> None:
        """Write the findings, then count them. After a FileFailed nothing more may be recorded."""
        try:
            self._write(encode_found(self._seq + 1, at, found))
        except OSError as error:
            raise FileFailed(
                f"{self.path}: cannot be written: {error.strerror}. Make room, then run the same command again: "
                "it goes on from what is in this file."
            ) from error
        self.books.apply(found)

    def _write(self, line: bytes) -> None:
        write_all(self._fd, line)
        self._seq += 1

    def _read(self) -> dict[str, Any] | None:
        """Fold the sound lines and cut off the rest. Returns what they pin; None without a sound line."""
        pinned: dict[str, Any] | None = None
        size = 0
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            while line := file.readline(LINE_MAX):
                try:
                    entry = decode(line, self._seq + 1)
                    if pinned is None:
                        pinned = entry["pinned"]
                        if pinned != self._pinned:  # another log has other duplicates
                            self.books = Books()
                    else:
                        self.books.apply(found_of(entry))
                except Damaged:
                    break
                except Unreadable as error:
                    raise self._foreign(f"line {self._seq + 1}: {error}") from error
                self._seq += 1
                size += len(line)
            if pinned is None:
                self._check_remains(file)
        os.ftruncate(self._fd, size)
        self.resumed = self._seq > 1
        return pinned

    def _check_remains(self, file: BinaryIO) -> None:
        """Refuse a file without a sound line unless it begins as ours do: another file must not be cut."""
        file.seek(0)
        start = file.read(len(FIRST_LINE))
        if not FIRST_LINE.startswith(start):
            raise self._foreign("it begins otherwise")

    def _foreign(self, why: str) -> NotAcceptable:
        return NotAcceptable(
            f"{self.path}: is not the state of a verification that this version can go on with ({why}). "
            "Name another file (--state) or move it away."
        )


def _lock(fd: int, path: Path) -> None:
    if not try_lock(fd, path):
        raise NotAcceptable(f"{path}: another verification is under way. Wait for it, or stop it.")
