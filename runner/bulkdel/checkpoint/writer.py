"""The checkpoint log open for writing: group commit off the event loop, the latch, and progress that trails the disk.

Owns the order of things: an entry is encoded when it is appended, written and synced in one thread, then folded into
`progress`, then its future resolves. Whatever has gathered while the last sync ran goes into the next line. The first
failure is the last thing that is tried. Must never know what an entry means, or what a run does with it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

from bulkdel.checkpoint.file import LogFile
from bulkdel.checkpoint.lock import holder
from bulkdel.checkpoint.reader import LINE_MAX, Log, is_fresh, read_entries, read_log
from bulkdel.core.log_entries import Entry, Header, Session, Skipped, Unreadable, encode_entry
from bulkdel.core.run_state import Progress
from bulkdel.errors import FileFailed

COMMIT_BYTES = 1 << 20
"""A line is closed when it has gathered this much: syncing more at once takes no longer a line, but reading it does."""

LINGER_S, RIPE_S = 0.025, 0.018
"""How long entries that nobody waits for stay behind for company, and those of whom has to wait longer for something
else: at 150 requests a second that is one sync for six entries, and a third of the processor's time. When they are
ripe, the next entry takes them along at once: a timer would wake the processor once more, for them alone."""

SLACK_MIN_S = 2 * LINGER_S
"""Who has so much time waits for company: once for the timer, and as long again when it meets a commit under way."""

ENTRY_EXTRA = 65
"""A comma, and the SHA-256 that a session gets as it is written."""

ENTRY_MAX = LINE_MAX - COMMIT_BYTES - 128
"""Bytes of the longest entry: on top of a line that is not quite full, with the line's frame around it, it still fits
the longest line that a reader accepts."""


_Item = tuple[Entry, bytes] | asyncio.Future[None]
"""One entry that waits, encoded; or the wish to be told when everything before it is durable."""


@dataclass(frozen=True, slots=True)
class _Commit:
    """What is on its way to the disk as one line, and who waits for it."""

    entries: list[Entry]
    waiters: list[asyncio.Future[None]]
    job: concurrent.futures.Future[None]


class Checkpoint:
    """The log of one run, locked for this process. `append` and `flush` belong to one event loop at a time.

    progress: what is durable, never more. recovered: where a torn tail was saved, if the log ended in one.
    failure: the first failure; from then on nothing is written and every append fails with it.
    slack_s: how long whoever appends has to wait for something else anyhow, seconds: time to wait for company.
    on_lost: called with the entries that will never be durable, when it fails and afterwards.
    """

    def __init__(self, file: LogFile, progress: Progress) -> None:
        self._file = file
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._waiting: deque[_Item] = deque()
        self._commit: _Commit | None = None
        self._closed = False
        self._urgent = False  # somebody waits for what is waiting
        self._lingering = False  # a timer will see to what is waiting
        self._ripe_at = inf
        self._timer: asyncio.TimerHandle
        self.progress = progress
        self.path = file.path
        self.recovered = file.recovered
        self.failure: FileFailed | None = None
        self.on_lost: Callable[[Sequence[Entry]], None] = lambda _: None
        self.slack_s: Callable[[], float] = lambda: 0.0

    @property
    def sha256(self) -> str:
        """SHA-256 of every durable byte of the log, hex."""
        return self._file.sha256

    @classmethod
    def create(cls, path: Path, header: Header, duplicates: Iterable[Skipped] = ()) -> Checkpoint:
        """Start a log with `header` and the whole list of `duplicates`, durable on return.

        `is_fresh(path)` must hold: else NotAcceptable. FileFailed when it cannot be written.
        """
        part, progress = _encode(header), Progress(header)
        try:
            file = LogFile.create(path, part)
            try:
                for entry in duplicates:
                    file.commit([_encode(entry)])
                    progress.apply(entry)
            except BaseException:
                file.close()
                raise
            return cls(file, progress)
        except OSError as error:
            raise FileFailed(
                f"{path}: the checkpoint cannot be created: {error.strerror}. Nothing was sent. "
                "Make room or name another file (--checkpoint), then run the same command again."
            ) from error

    @classmethod
    def resume(cls, path: Path) -> Checkpoint:
        """Go on with a log.

        NotAcceptable when it is in use, corrupt or no log; FileFailed when its tail cannot be repaired.
        """
        try:
            return cls(*LogFile.resume(path))
        except OSError as error:
            raise FileFailed(
                f"{path}: the checkpoint cannot be written: {error.strerror}. Nothing was sent. "
                "Make room or repair the disk, then run the same command again."
            ) from error

    def append(self, *entries: Entry) -> asyncio.Future[None]:
        """Enqueue `entries`, in this order and after everything appended before.

        The future resolves when they are durable and in `progress`, or raises FileFailed. It may be dropped or
        cancelled; the entries are written all the same. A session's `log_sha256` is filled in, whatever it says.
        """
        self.enqueue(*entries)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self.failure:
            _reject(future, self.failure)
            return future
        self._waiting.append(future)
        if not entries or self.slack_s() < SLACK_MIN_S:  # a flush alone has nobody who would see to it
            self._urgent = True
            if self._commit is None:
                loop.call_soon(self._begin, loop)  # not at once: what the loop's current turn appends shares one sync
        return future

    def enqueue(self, *entries: Entry) -> None:
        """The same for whoever does not wait: `on_lost` is told what does not become durable."""
        if self._closed:
            raise RuntimeError(f"{self.path}: append after close")
        items = [(entry, _encode(entry)) for entry in entries]
        if self.failure:
            self.on_lost(entries)
            return
        self._waiting.extend(items)
        if not items:
            return
        loop = asyncio.get_running_loop()
        if not self._lingering:
            self._lingering, self._ripe_at = True, loop.time() + RIPE_S
            self._timer = loop.call_later(LINGER_S, self._lingered, loop)
        elif loop.time() >= self._ripe_at:
            self._timer.cancel()
            self._ripe_at = inf
            loop.call_soon(self._lingered, loop)

    async def flush(self) -> None:
        """Wait until everything appended so far is durable. Raises FileFailed when it never will be."""
        await self.append()

    async def aclose(self) -> None:
        """Flush and close, without blocking the loop for it. Raises nothing when writing fails: `failure` tells."""
        try:
            if not self._closed:
                with suppress(FileFailed):
                    await self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Write what is waiting, let go of the lock and the file. Blocks. Raises nothing: `failure` tells."""
        self._closed = True
        while commit := self._commit or self._submit():
            concurrent.futures.wait([commit.job])
            self._finish(commit)
        self._thread.shutdown()
        self._file.close()

    def _lingered(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lingering = False
        self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._commit is None and (commit := self._submit()):
            commit.job.add_done_callback(partial(_hand_back, loop, partial(self._land, loop, commit)))
            if self._lingering and not self._waiting:  # all of them have found company
                self._timer.cancel()
                self._lingering, self._ripe_at = False, inf

    def _land(self, loop: asyncio.AbstractEventLoop, commit: _Commit) -> None:
        if self._commit is commit:  # `close` may have been faster
            self._finish(commit)
            if self._urgent or not self._lingering:
                self._begin(loop)

    def _submit(self) -> _Commit | None:
        """Hand what is waiting to the thread, up to a line's worth."""
        if not self._waiting:
            return None
        # Nothing is in flight now, so this is the hash of every byte before the line that is being made.
        sha256 = self.sha256
        entries: list[Entry] = []
        parts: list[bytes] = []
        waiters: list[asyncio.Future[None]] = []
        size = 0
        while self._waiting and size < COMMIT_BYTES:
            item = self._waiting.popleft()
            if isinstance(item, tuple):
                entry, part = _sealed(*item, sha256)
                entries.append(entry)
                parts.append(part)
                size += len(part) + 1
            else:
                waiters.append(item)
        self._urgent = self._urgent and bool(self._waiting)
        self._commit = _Commit(entries, waiters, self._thread.submit(self._write, parts))
        return self._commit

    def _write(self, parts: list[bytes]) -> None:
        if parts:  # a flush alone writes nothing
            self._file.commit(parts)

    def _finish(self, commit: _Commit) -> None:
        """Fold what has become durable and tell those who wait for it; or latch."""
        self._commit = None
        if error := commit.job.exception() or self._fold(commit.entries):
            self._latch(error, commit)
            return
        for future in commit.waiters:
            if _is_waited_for(future):
                future.set_result(None)

    def _fold(self, entries: list[Entry]) -> Unreadable | None:
        try:
            for entry in entries:
                self.progress.apply(entry)
        except Unreadable as error:  # a bug of the run; going on would let the log contradict itself further
            return error
        return None

    def _latch(self, error: BaseException, commit: _Commit) -> None:
        # The same command would begin anew without the file, and take all whom this run deleted for absent.
        gone = isinstance(error, OSError) and error.errno in {errno.ENOENT, errno.ESTALE}
        todo = "Put back the file that was there" if gone else "Make room or repair the disk"
        self.failure = FileFailed(
            f"{self.path}: the checkpoint cannot be written: {getattr(error, 'strerror', None) or error}. "
            f"Nothing more is sent. {todo}, then run the same command again: it goes on from what is in this file."
        )
        self.failure.__cause__ = error
        waiting = list(self._waiting)
        self._waiting.clear()
        self._urgent = False
        self.on_lost([*commit.entries, *(item[0] for item in waiting if isinstance(item, tuple))])
        for future in (*commit.waiters, *(item for item in waiting if not isinstance(item, tuple))):
            _reject(future, self.failure)


def _encode(entry: Entry) -> bytes:
    part = encode_entry(entry)
    if len(part) + ENTRY_EXTRA > ENTRY_MAX:
        raise ValueError(f"an entry of {len(part)} bytes; the log's lines hold {ENTRY_MAX}")
    return part


def _sealed(entry: Entry, part: bytes, sha256: str) -> tuple[Entry, bytes]:
    """Fill in what only the writer knows: a session's hash of everything before its line."""
    if not isinstance(entry, Session):
        return entry, part
    entry = replace(entry, log_sha256=sha256)
    return entry, encode_entry(entry)


def _is_waited_for(future: asyncio.Future[None]) -> bool:
    return not future.done() and not future.get_loop().is_closed()


def _reject(future: asyncio.Future[None], failure: FileFailed) -> None:
    if _is_waited_for(future):
        future.set_exception(failure)
        future.exception()  # counts as retrieved: whoever does not wait for it will meet the latch elsewhere


def _hand_back(loop: asyncio.AbstractEventLoop, land: Callable[[], None], _: concurrent.futures.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed already; `close` collects the commit
        loop.call_soon_threadsafe(land)


__all__ = ["Checkpoint", "Log", "holder", "is_fresh", "read_entries", "read_log"]
