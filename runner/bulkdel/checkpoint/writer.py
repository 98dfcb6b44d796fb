"""A log open for writing: write-ahead, with group commit, and progress that trails the disk.

Owns the order of effects: an entry is encoded when it is enqueued, written and synced in the commit thread, then folded
into `progress`, then its waiters go on. After the first failure nothing more is written (fail-stop). It does not know
the meaning of an entry. `Checkpoint` is the log of a run; a verification has a log of another kind.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import Generic, NoReturn, Self

import orjson

from bulkdel.checkpoint.commit_queue import CommitQueue
from bulkdel.checkpoint.open_log import Fenced, Files, OpenLog
from bulkdel.checkpoint.reader import RUN, F, LogKind
from bulkdel.core.log_entries import BatchHeader, Entry, Header, Session, VerifyHeader, to_json
from bulkdel.core.mac import with_mac
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.input.skipped import packed
from bulkdel.place.lease import Lease
from bulkdel.place.log_place import LINE_MAX, SKIPPED, LogPlace, Overtaken, PinnedFile

COMMIT_BYTES = 1 << 20
"""A line that has grown to this takes no further entry: a longer one would take more memory to read."""

ENTRY_EXTRA = 138
"""A comma, and the SHA-256 and the MAC that are filled into a session entry."""

ENTRY_MAX = LINE_MAX - COMMIT_BYTES - 128
"""Bytes of the longest entry. An almost full line has room for it, and for the frame, within LINE_MAX."""


KEEPS = 20
"""How often in one lease `LogWriter.keep` looks whether a renewal is due."""

Queued = tuple[Entry, bytes, bytes | None]
"""An entry, its bytes, and the key for the MAC of a session entry; None without a MAC."""


class LogWriter(CommitQueue[Queued, Entry], Generic[F]):
    """A log that is locked for this process. `enqueue` and `flush` belong to one event loop at a time.

    place: where the log is. path: of the log, for messages. progress: the state that the durable entries describe.
    recovered: the file with a torn tail, if there was one.
    failure, lost: see `CommitQueue`; the items are `Queued`.
    """

    def __init__(self, file: OpenLog, progress: F) -> None:
        """Take an open log."""
        super().__init__(COMMIT_BYTES, file.place.world.threads(1, "checkpoint"), progress.apply)
        self._file = file
        self._closed = False
        self.progress = progress
        self.place = file.place
        self.path = file.place.where
        self.recovered = file.recovered

    @classmethod
    def create(
        cls,
        place: LogPlace,
        header: Header | VerifyHeader | BatchHeader,
        skipped: SkippedRows | None = None,
        files: Files | None = None,
        *,
        kind: LogKind[F] = RUN,  # type: ignore[assignment]  # for F = RunState; a TypeVar has no default before 3.13
    ) -> Self:
        """Start a log with `header` and the files that it names: the `skipped` rows, and `files`. Durable on return.

        Raises NotAcceptable unless `is_fresh(place)`, FileFailed when it cannot be written.
        """
        skipped, files = skipped or SkippedRows(), dict(files or {})
        if isinstance(header, Header) and skipped.rows.size:
            data = packed(skipped, header.end)
            files[PinnedFile(SKIPPED, sha256 := hashlib.sha256(data).hexdigest())] = data
            header = replace(header, skipped_sha256=sha256)
        progress = kind.fold(header, skipped)
        try:
            return cls(OpenLog.create(place, kind, _encode(header), files), progress)
        except OSError as error:
            option = "--run" if kind is RUN else kind.option
            raise FileFailed(
                f"{place.where}: the log of the {kind.name} cannot be created: {error.strerror or error}. Nothing was "
                f"sent. {place.mend}, or name another place ({option}); then run the same command again."
            ) from error

    @classmethod
    def resume(cls, place: LogPlace, kind: LogKind[F] = RUN) -> Self:  # type: ignore[assignment]
        """Open an existing log.

        Raises NotAcceptable when it is in use, corrupt or no log, FileFailed when its tail cannot be repaired.
        """
        try:
            return cls(*OpenLog.resume(place, kind))
        except OSError as error:
            raise FileFailed(
                f"{place.where}: the log of the {kind.name} cannot be written: {error.strerror or error}. Nothing was "
                f"sent. {place.mend}, then run the same command again."
            ) from error

    @property
    def lease(self) -> Lease:
        """The right to write the log, and to send."""
        return self._file.lease

    async def begun(self) -> None:
        """Wait until the start entry of this session is durable.

        Raises NotAcceptable when another process has begun a session in the same log of a store, and FileFailed.
        """
        try:
            await self.flush()
        except FileFailed as error:
            if isinstance(fenced := error.__cause__, Fenced):
                does = (
                    "goes on writing, so it is not gone: stop it first" if fenced.busy else "has begun before this one"
                )
                raise NotAcceptable(
                    f"{self.path}: {fenced.by} {does}. Nothing was sent. To see it:\n  bulkdel status {self.path}"
                ) from error
            raise

    async def keep(self) -> NoReturn:
        """Renew the lease while there is nothing to write: in a pause, or an outage. Until cancelled."""
        while self.lease.length_s is not None:
            if self.lease.renewal_due:
                self.touch()
            await asyncio.sleep(self.lease.length_s / KEEPS)
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    @property
    def sha256(self) -> str:
        """SHA-256 of every durable byte of the log, hex."""
        return self._file.sha.hexdigest()

    def enqueue(self, *entries: Entry, key: bytes | None = None) -> None:
        """Add `entries` to the next commit, in this order, without waiting for it: `flush` waits.

        Entries that do not become durable are in `lost`. A session entry gets its `log_sha256` when it is written, and
        with `key` its MAC.

        Raises RuntimeError after `close`, ValueError when an entry is longer than ENTRY_MAX; then nothing is added.
        """
        if self._closed:
            raise RuntimeError(f"{self.path}: enqueue after close")
        for encoded in [(entry, _encode(entry), key) for entry in entries]:
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

    def _write(self, items: list[Queued]) -> list[Entry]:
        """Make one line durable; returns its entries, each session with the hash of everything before the line."""
        while True:
            entries, parts = self._encoded(items)
            with suppress(Overtaken):  # the bytes before the line are others now
                self._file.commit(parts)
                return entries

    def _encoded(self, items: list[Queued]) -> tuple[list[Entry], list[bytes]]:
        entries, parts = [], []
        for entry, part, key in items:
            if isinstance(entry, Session):
                entry = replace(entry, log_sha256=self._file.sha.hexdigest())  # noqa: PLW2901 - the entry as it is written
                entry = with_mac(entry, key)  # noqa: PLW2901
                part = _encode(entry)  # noqa: PLW2901
            entries.append(entry)
            parts.append(part)
        return entries, parts

    def _failure_of(self, error: BaseException) -> FileFailed:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, Fenced):
            return FileFailed(
                f"{self.path}: {reason}. This run sends nothing more. To see the log: bulkdel status {self.path}"
            )
        # Without the file the same command would start over; a run would count the ids that it deleted as absent.
        gone = isinstance(error, OSError) and error.errno in {errno.ENOENT, errno.ESTALE}
        todo = "Put back what was there" if gone else self.place.mend
        return FileFailed(
            f"{self.path}: the log cannot be written: {reason}. Nothing more is sent. {todo}, then run the same "
            "command again: it goes on from what the log holds."
        )


Checkpoint = LogWriter[RunState]
"""The log of a run."""


def _encode(entry: Entry) -> bytes:
    part = orjson.dumps(to_json(entry))
    if len(part) + ENTRY_EXTRA > ENTRY_MAX:
        raise ValueError(f"an entry of {len(part)} bytes; the log's lines hold {ENTRY_MAX}")
    return part
