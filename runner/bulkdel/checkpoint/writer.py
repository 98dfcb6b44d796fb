"""A log open for writing: write-ahead, with group commit, and progress that trails the disk.

Owns the order of effects: an entry is encoded when it is enqueued, written and synced in the commit thread, then folded
into `progress`, then its waiters go on. After the first failure nothing more is written (fail-stop). Never knows what
an entry means. `Checkpoint` is the log of a run; a verification has a log of another kind.
"""

from __future__ import annotations

import concurrent.futures
import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Generic, Self

import orjson

from bulkdel.checkpoint.file import PLAIN, How, LogFile
from bulkdel.checkpoint.group_commit import GroupCommit
from bulkdel.checkpoint.reader import LINE_MAX, RUN, F, LogKind
from bulkdel.core.log_entries import Entry, Header, Session, Skipped, VerifyHeader, to_json
from bulkdel.core.run_state import Progress
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.errors import FileFailed

COMMIT_BYTES = 1 << 20
"""A line that has grown to this takes no further entry: a longer one would take more memory to read."""

ENTRY_EXTRA = 65
"""A comma, and the SHA-256 that is filled into a session entry."""

ENTRY_MAX = LINE_MAX - COMMIT_BYTES - 128
"""Bytes of the longest entry. Even in a line that is almost full it fits LINE_MAX, with the frame of the line."""


class LogWriter(GroupCommit[tuple[Entry, bytes], Entry], Generic[F]):
    """A log that is locked for this process. `enqueue` and `flush` belong to one event loop at a time.

    progress: the state that the durable entries describe. recovered: the file with a torn tail, if there was one.
    failure, lost: see `GroupCommit`; the items are entries, each with its bytes.
    """

    def __init__(self, file: LogFile, progress: F, how: How) -> None:
        """Take an open log."""
        thread = how.thread or concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        super().__init__(COMMIT_BYTES, thread, progress.apply)
        self._file = file
        self._closed = False
        self.progress = progress
        self.path = file.path
        self.recovered = file.recovered

    @classmethod
    def create(
        cls,
        path: Path,
        header: Header | VerifyHeader,
        skipped: SkippedRows | None = None,
        how: How = PLAIN,
        kind: LogKind[F] = RUN,  # type: ignore[assignment]  # for F = Progress; a TypeVar has no default before 3.13
    ) -> Self:
        """Start a log with `header` and the whole list of `skipped` rows, durable on return.

        `is_fresh(path)` must hold: else NotAcceptable. FileFailed when it cannot be written.
        """
        skipped = skipped or SkippedRows()
        part, progress = _encode(header), kind.fold(header, skipped)
        try:
            file = LogFile.create(path, kind, part, how)
            try:
                for reason, ranges in skipped.entries():
                    file.commit([_encode(Skipped(reason, ranges))])
            except BaseException:
                file.close()
                raise
            return cls(file, progress, how)
        except OSError as error:
            raise FileFailed(
                f"{path}: the log of the {kind.name} cannot be created: {error.strerror}. Nothing was sent. "
                f"Make room or name another file ({kind.option}), then run the same command again."
            ) from error

    @classmethod
    def resume(cls, path: Path, how: How = PLAIN, kind: LogKind[F] = RUN) -> Self:  # type: ignore[assignment]
        """Open an existing log.

        NotAcceptable when it is in use, corrupt or no log; FileFailed when its tail cannot be repaired.
        """
        try:
            return cls(*LogFile.resume(path, kind, how), how)
        except OSError as error:
            raise FileFailed(
                f"{path}: the log of the {kind.name} cannot be written: {error.strerror}. Nothing was sent. "
                "Make room or repair the disk, then run the same command again."
            ) from error

    @property
    def sha256(self) -> str:
        """SHA-256 of every durable byte of the log, hex."""
        return self._file.sha.hexdigest()

    def enqueue(self, *entries: Entry) -> None:
        """Add `entries` to the next commit, in this order, without waiting for it: `flush` waits.

        What does not become durable is in `lost`. The `log_sha256` of a session entry is filled in when it is written.

        Raises RuntimeError after `close`, ValueError when an entry is longer than ENTRY_MAX; then nothing is added.
        """
        if self._closed:
            raise RuntimeError(f"{self.path}: enqueue after close")
        for encoded in [(entry, _encode(entry)) for entry in entries]:
            self.add(encoded, len(encoded[1]) + 1)

    async def aclose(self) -> None:
        """Flush and close, without blocking the event loop. Raises nothing: a failure is in `failure`."""
        try:
            with suppress(FileFailed):
                await self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Write the rest, and close the file, which releases its lock. Blocks. Raises nothing: see `failure`."""
        self._closed = True
        super().close()
        self._file.close()

    def _write(self, items: list[tuple[Entry, bytes]]) -> list[Entry]:
        """Make one line durable; returns its entries, each session with the hash of everything before the line."""
        entries, parts = [], []
        for entry, part in items:
            if isinstance(entry, Session):
                entry = replace(entry, log_sha256=self._file.sha.hexdigest())  # noqa: PLW2901 - the entry as it is written
                part = _encode(entry)  # noqa: PLW2901
            entries.append(entry)
            parts.append(part)
        self._file.commit(parts)
        return entries

    def _failure_of(self, error: BaseException) -> FileFailed:
        # Without the file the same command would start over; a run would count the ids that it deleted as absent.
        gone = isinstance(error, OSError) and error.errno in {errno.ENOENT, errno.ESTALE}
        todo = "Put back the file that was there" if gone else "Make room or repair the disk"
        return FileFailed(
            f"{self.path}: the log cannot be written: {getattr(error, 'strerror', None) or error}. "
            f"Nothing more is sent. {todo}, then run the same command again: it goes on from what is in this file."
        )


Checkpoint = LogWriter[Progress]
"""The log of a run."""


def _encode(entry: Entry) -> bytes:
    part = orjson.dumps(to_json(entry))
    if len(part) + ENTRY_EXTRA > ENTRY_MAX:
        raise ValueError(f"an entry of {len(part)} bytes; the log's lines hold {ENTRY_MAX}")
    return part
