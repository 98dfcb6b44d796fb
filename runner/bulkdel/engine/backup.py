"""The backup: a copy of every account, on disk before the account is deleted. Owns that file.

JSON Lines of the records as the API returned them; the name of the file chooses gzip (`.gz`) or zstd (`.zst`). The
standard library writes the JSON, because it keeps every number and every lone surrogate. Each write is a whole member
(frame). So the file can be read at any time, and after a crash it is cut back to its last whole member and continued.
Like the checkpoint it is fail-stop: nothing is written after the first failure.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.group_commit import GroupCommit
from bulkdel.core.log_entries import Saved
from bulkdel.durable import DISK, Disk, check_place
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.safety.checks import check_known

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MODE = 0o600
"""The file is personal data."""

READ_BYTES = 1 << 20

BATCH_BYTES = 8 << 20
"""Bytes of the lines that are packed and written together, at most: the memory of a batch."""


class Backup(GroupCommit[bytes, Saved]):
    """A backup open for appending. `save` belongs to one event loop. saved: what is durable."""

    def __init__(
        self, path: Path, fd: int, saved: Saved, disk: Disk = DISK, thread: concurrent.futures.Executor | None = None
    ) -> None:
        """Take an open file. thread: what runs the writes, one after the other; a thread of its own by default."""
        thread = thread or concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="backup")
        super().__init__(BATCH_BYTES, thread, self._note)
        self._fd = fd
        self._disk = disk
        self._pack = _packing(path)
        self.path = path
        self.saved = saved

    @classmethod
    def open(
        cls,
        path: Path,
        durable: Saved | None,
        *,
        disk: Disk = DISK,
        thread: concurrent.futures.Executor | None = None,
    ) -> Backup:
        """Open a new backup, or an earlier one to continue it. Blocks, and reads the whole file.

        durable: the part that the checkpoint knows to be durable; None when the file must be new. A torn member after
        that part is cut off: no id of it was sent.

        Raises NotAcceptable when the file is not the one that the checkpoint knows, FileFailed when it cannot be
        written.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                check_known(path, durable)
                known = durable or Saved()
                _check_same(path, fd, known)
                size = _whole_bytes(path, fd, known.size)
                if size < os.fstat(fd).st_size:
                    disk.truncate(fd, size)
                # Written once more: after a sync that failed, the system may keep these bytes in memory only and count
                # them as written, so that another sync would not write them.
                at = known.size
                for block in _blocks(fd, known.size):
                    disk.write_at(fd, block, at)
                    at += len(block)
                disk.sync(fd)
                disk.sync_directory(path)
            except BaseException:
                os.close(fd)
                raise
        except BlockingIOError:
            raise NotAcceptable(f"{path}: another run writes its backup there. Name another file (--backup).") from None
        except OSError as error:
            raise _failed(path, error) from error
        return cls(path, fd, Saved(size, _crc(fd, known.size, size, known.crc)), disk, thread)

    async def save(self, records: Iterable[Mapping[str, Any]]) -> Saved:
        """Write `records`; they are durable on return. Returns the durable part. May be cancelled; the write goes on.

        Raises FileFailed when they cannot be written, Halted for a record that is nested too deep.
        """
        try:
            lines = [f"{json.dumps(record, separators=(',', ':'))}\n".encode() for record in records]
        except RecursionError:
            raise Halted(f"{self.path}: a record is nested too deep to be copied (--backup)") from None
        for line in lines:
            self.add(line, len(line))
        await self.flush()
        return self.saved

    def close(self) -> None:
        """Write what is left, and close. Blocks."""
        super().close()
        os.close(self._fd)

    def _write(self, items: list[bytes]) -> tuple[Saved]:
        packed = self._pack(b"".join(items))
        self._disk.write(self._fd, packed)
        self._disk.sync(self._fd)
        size = self.saved.size + len(packed)
        check_place(self._fd, self.path, size)
        return (Saved(size, zlib.crc32(packed, self.saved.crc)),)

    def _note(self, written: Saved) -> None:
        self.saved = written

    def _failure_of(self, error: BaseException) -> FileFailed:
        return _failed(self.path, error)


def _check_same(path: Path, fd: int, known: Saved) -> None:
    if _crc(fd, 0, known.size) != known.crc:
        raise NotAcceptable(
            f"{path}: is not the backup that this run wrote: its first {known.size:,} bytes are others. Nothing more "
            "was sent. Put the file back, or name a new one (--backup)."
        )


def _whole_bytes(path: Path, fd: int, start: int) -> int:
    """The end of the last whole line, member or frame; the bytes before `start` are known to be whole."""
    blocks = _blocks(fd, start)
    match path.suffix:
        case ".gz":
            return _members(blocks, start, lambda: zlib.decompressobj(31), zlib.error)
        case ".zst":
            return _members(blocks, start, zstd.ZstdDecompressor, zstd.ZstdError)
    end = at = start
    for block in blocks:
        if (newline := block.rfind(b"\n")) >= 0:
            end = at + newline + 1
        at += len(block)
    return end


def _crc(fd: int, start: int, stop: int, crc: int = 0) -> int:
    """CRC-32 of the file up to `stop`; `crc` is that of the bytes before `start`."""
    at = start
    while at < stop and (block := os.pread(fd, min(READ_BYTES, stop - at), at)):
        crc = zlib.crc32(block, crc)
        at += len(block)
    return crc


def _blocks(fd: int, at: int) -> Iterator[bytes]:
    while block := os.pread(fd, READ_BYTES, at):
        yield block
        at += len(block)


def _members(blocks: Iterable[bytes], start: int, make: Callable[[], Any], error: type[Exception]) -> int:
    """The end of the last whole gzip member or zstd frame."""
    end = at = start
    member = make()
    try:
        for block in blocks:
            at += len(block)
            rest = block
            while rest:
                member.decompress(rest)
                if not member.eof:
                    break
                rest = member.unused_data
                end = at - len(rest)
                member = make()
    except error:
        pass  # the torn end of a write that was never durable
    return end


def _failed(path: Path, error: BaseException) -> FileFailed:
    return FileFailed(
        f"{path}: the backup cannot be written: {getattr(error, 'strerror', None) or error}. An id is sent only "
        "after the copy of its record is on disk. Make room, then run the same command again."
    )


def _packing(path: Path) -> Callable[[bytes], bytes]:
    match path.suffix:
        case ".gz":
            return lambda data: gzip.compress(data, 6, mtime=0)
        case ".zst":
            return zstd.compress
        case _:
            return bytes
