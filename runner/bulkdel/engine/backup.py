"""The backup: a copy of every account, on disk before the account is deleted. Owns that file, and reading it back.

JSON Lines of the records as the API returned them; the name of the file chooses gzip (`.gz`) or zstd (`.zst`). The
standard library writes the JSON, because it keeps every number and every lone surrogate. Each write is a whole member
(frame). So the file can be read at any time, and after a crash it is cut back to its last whole member and continued.
Like the log it is fail-stop: nothing is written after the first failure.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bulkdel.checkpoint.commit_queue import CommitQueue
from bulkdel.core.log_entries import Saved
from bulkdel.core.nesting import is_deep_record
from bulkdel.durable import check_place
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.compression import MAGIC, decompressed, detect
from bulkdel.export.lines import LINE_MAX
from bulkdel.place.backup_file import check_known
from bulkdel.regular_file import READ_BYTES, blocks_of
from bulkdel.store.certain import Retrying
from bulkdel.store.file_parts import parts_of
from bulkdel.store_path import StorePath, in_store
from bulkdel.world import WORLD, World
from bulkdel.zstd import zstd

MODE = 0o600
"""For the owner only: the file is personal data."""

SUFFIXES = {"gzip": ".gz", "zstd": ".zst", "none": ""}
"""The ending of a backup, by its compression."""

BEGINS = {".gz": b"\x1f", ".zst": b"\x28"}
"""The first byte of a backup, by the ending of its name. A plain one begins with a record."""

MOVED = "If the backups of the run have moved, name each of them: --from-backup FILE"

BATCH_BYTES = 8 << 20
"""Bytes of the lines that are packed and written together, at most: the memory of a batch."""


class Backup(CommitQueue[bytes, Saved]):
    """A backup open for appending. `save` belongs to one event loop. saved: its durable part."""

    def __init__(self, path: Path, fd: int, saved: Saved, world: World) -> None:
        """Take an open file."""
        super().__init__(BATCH_BYTES, world.threads(1, "backup"), self._note)
        self._fd = fd
        self._disk = world.disk
        self._pack = packing(path)
        self.path = path
        self.saved = saved

    @classmethod
    def open(cls, path: Path, durable: Saved | None, world: World = WORLD) -> Backup:
        """Open a new backup, or an earlier one to continue it. Blocks, and reads the whole file.

        durable: the part that the log knows to be durable; None when the file must be new. A torn member after
        that part is cut off: no id of it was sent.

        Raises NotAcceptable when the file is not the one that the log knows, FileFailed when it cannot be
        written.
        """
        disk = world.disk
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                check_known(path, durable)
                known = durable or Saved()
                _check_same(path, fd, known)
                size = _whole_bytes(path.suffix, fd, known.size)
                if size < os.fstat(fd).st_size:
                    disk.truncate(fd, size)
                # Written once more: after a failed sync, the system may keep these bytes in memory only and count them
                # as written. Then another sync would not write them.
                at = known.size
                for block in blocks_of(fd, known.size):
                    disk.write_at(fd, block, at)
                    at += len(block)
                disk.sync(fd)
                disk.sync_directory(path)
            except BaseException:
                os.close(fd)
                raise
        except BlockingIOError:
            raise NotAcceptable(
                f"{path}: another run writes its backup there. Name another file (--backup-to)."
            ) from None
        except OSError as error:
            raise _failed(path, error) from error
        return cls(path, fd, known.plus(blocks_of(fd, known.size, size)), world)

    async def save(self, lines: Iterable[bytes]) -> Saved:
        """Write lines of `line_of`; they are durable on return. Returns the durable part.

        May be cancelled; the write goes on. Raises FileFailed when they cannot be written.
        """
        for line in lines:
            self.add(line, len(line))
        await self.flush()
        return self.saved

    def close(self) -> None:
        """Write what is left, and close. Blocks."""
        self._end_writes()
        os.close(self._fd)

    def _end_writes(self) -> None:
        super().close()

    def _write(self, items: list[bytes]) -> tuple[Saved]:
        packed = self._pack(b"".join(items))
        self._disk.write(self._fd, packed)
        self._disk.sync(self._fd)
        saved = self.saved.plus([packed])
        check_place(self._fd, self.path, saved.size)
        return (saved,)

    def _note(self, written: Saved) -> None:
        self.saved = written

    def _failure_of(self, error: BaseException) -> FileFailed:
        return _failed(self.path, error)


def line_of(record: Mapping[str, Any]) -> bytes:
    """A record as a line of a backup. Raises ValueError, with the reason, if no restore could read the record."""
    try:
        line = json.dumps(record, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError("is nested too deep") from None
    if is_deep_record(line, record):
        raise ValueError("is nested too deep")
    if len(line) > LINE_MAX:
        raise ValueError(f"takes {len(line):,} bytes, and a line of a backup has at most {LINE_MAX:,}")
    return line + b"\n"


class Copy(NamedTuple):
    """One record in a backup. line: as it stands there, without the line feed. record: the same, parsed."""

    line: bytes
    record: dict[str, Any]

    @classmethod
    def of(cls, line: bytes) -> Copy:
        """Read a line. Raises ValueError for one that is no record."""
        try:
            record = orjson.loads(line)
        except ValueError:  # the other parser also reads a lone surrogate
            record = json.loads(line)
        if is_deep_record(line, record):
            raise ValueError("nested too deep")
        if not isinstance(record, dict):
            raise ValueError(f"not an object but {type(record).__name__}")  # noqa: TRY004 - like the parser's errors
        return cls(line, record)


def copies_in(path: Path, known: Saved, *, beyond: bool = True) -> Iterator[Copy]:
    """Yield the records of a backup in the order in which they were saved. Flat memory; blocks.

    known: the part that is durable by the log. beyond: read the bytes after that part, too, up to a torn line or
    member: no id from there on was sent.

    Raises NotAcceptable when the file cannot be read, or when its durable part has other bytes than the run wrote.
    """
    fd = _open(path)
    try:
        if not holds(fd, known):
            raise NotAcceptable(
                f"{path}: its first {known.size:,} bytes are not those that the run wrote, so records are lost or "
                f"changed. Put the file back. {MOVED}"
            )
        compression = detect(os.pread(fd, MAGIC, 0))
        end = _whole_bytes(SUFFIXES[compression], fd, known.size)
        yield from _copies(path, fd, compression, 0, known.size)
        with suppress(_Torn):
            yield from _copies(path, fd, compression, known.size, end if beyond else known.size)
    except _Torn as error:
        raise NotAcceptable(f"{path}: holds a line that is no record: {error}. Put the file back. {MOVED}") from error
    finally:
        os.close(fd)


def is_backup(path: Path, known: Saved) -> bool:
    """Whether this file begins with the durable part `known`. Raises NotAcceptable when it cannot be read."""
    fd = _open(path)
    try:
        return holds(fd, known)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    if in_store(path):
        return _fetched(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a named pipe would wait
    except OSError as error:
        raise NotAcceptable(f"{path}: the backup cannot be opened: {error.strerror}. {MOVED}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAcceptable(f"{path}: is not a regular file; a backup is one. {MOVED}")
    return fd


def _fetched(path: StorePath) -> int:
    """A backup in a store, joined in a temporary file without a name."""
    try:
        with tempfile.TemporaryFile() as file:
            for data in parts_of(Retrying.at(path)):
                file.write(data)
            file.flush()
            return os.dup(file.fileno())
    except OSError as error:
        raise NotAcceptable(f"{path}: the backup cannot be read: {error.strerror or error}. {MOVED}") from error


def holds(fd: int, known: Saved, suffix: str | None = None) -> bool:
    """Whether an open file begins with the durable part `known`, and a record ends there.

    Another person may have written `known`. A forged one of a few bytes is easy to guess, and the bytes after it would
    count as torn. suffix: of its name; None when its content shows how it is compressed.
    """
    if Saved().plus(blocks_of(fd, 0, known.size)) != known:
        return False
    if suffix is None:
        suffix = SUFFIXES[detect(os.pread(fd, MAGIC, 0))]
    return _whole_bytes(suffix, fd, 0, known.size) == known.size


def is_of_records(fd: int, known: Saved) -> bool:
    """Whether an open file begins with the durable part `known`, and has only records, except a torn end.

    Another person may have written `known`, and the first line of a private file can be guessed.
    """
    if not holds(fd, known):
        return False
    compression = detect(os.pread(fd, MAGIC, 0))
    suffix = SUFFIXES[compression]
    end = _whole_bytes(suffix, fd, known.size)
    if suffix not in BEGINS and not b"{".startswith(os.pread(fd, 1, end)):  # a torn line begins as a whole one
        return False
    try:
        for _ in _copies(Path("backup"), fd, compression, 0, end):
            pass
    except (_Torn, NotAcceptable):
        return False
    return True


def holds_more(fd: int, known: Saved) -> bool:
    """Whether a record follows the durable part `known` of an open file; its line may lack its end."""
    suffix = SUFFIXES[detect(os.pread(fd, MAGIC, 0))]
    end = _whole_bytes(suffix, fd, known.size)
    if end > known.size or suffix in BEGINS:
        return end > known.size
    rest = os.pread(fd, LINE_MAX + 1, end)
    try:
        Copy.of(rest)
    except (ValueError, RecursionError):
        return len(rest) > LINE_MAX  # a run writes no longer line
    return True


class _Torn(Exception):
    """A line of a backup is no record."""


def _copies(path: Path, fd: int, compression: str, start: int, stop: int) -> Iterator[Copy]:
    """Yield the records between two ends of lines or members. Raises _Torn at a line that is no record."""
    rest = b""
    for block in decompressed(blocks_of(fd, start, stop), compression, str(path), READ_BYTES) if start < stop else ():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            try:
                yield Copy.of(line)
            except (ValueError, RecursionError) as error:
                raise _Torn(type(error).__name__) from error
    if rest:
        raise _Torn("its end is missing")


def _check_same(path: Path, fd: int, known: Saved) -> None:
    """Refuse a file that is not this run's. Without a known part, the file has to begin as a backup does.

    A file of zeros is accepted: a loss of power may leave it in place of the first records. Raises NotAcceptable.
    """
    fault = ""
    if not holds(fd, known, path.suffix):
        fault = f"its first {known.size:,} bytes are others, or end within a record"
    elif not BEGINS.get(path.suffix, b"{").startswith(os.pread(fd, 1, 0)) and any(map(any, blocks_of(fd, 0))):
        fault = "its first byte is another"
    if fault:
        raise NotAcceptable(
            f"{path}: is not the backup that this run wrote: {fault}. Nothing more was sent. Put the file back, or "
            "name a new one (--backup-to)."
        )


def _whole_bytes(suffix: str, fd: int, start: int, stop: int = sys.maxsize) -> int:
    """The end of the last whole line, member or frame before `stop`; one begins at `start`."""
    blocks = blocks_of(fd, start, stop)
    match suffix:
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


def packing(path: Path) -> Callable[[bytes], bytes]:
    """The function that packs bytes into a whole member (frame) of a file with this name."""
    match path.suffix:
        case ".gz":
            return lambda data: gzip.compress(data, 6, mtime=0)
        case ".zst":
            return zstd.compress
        case _:
            return bytes
