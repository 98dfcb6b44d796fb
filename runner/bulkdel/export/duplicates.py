"""Finds the rows that repeat an id, at any distance, in flat memory. Owns the temporary file.

Ids are collected with their positions. A hash distributes many ids over partitions in a temporary file; all rows with
one key are in one partition. At the end each partition is searched by itself. Keys are compared by their text, so a
collision of hashes does no harm. A partition with too many different keys is distributed again, by the next byte of the
hash, so the number of partitions grows with the export.
"""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

from bulkdel.core.duplicates import Duplicates
from bulkdel.durable import write_all
from bulkdel.errors import FileFailed
from bulkdel.format import printable

PARTITIONS = 256
"""One partition for each value of a byte."""

RUN_ROWS = 1 << 14
"""Rows that are collected before they are written: few enough for the processor's cache (four times as many take twice
the time)."""

KEYS_MAX = 1 << 16
"""Different keys of a partition that is searched at once; with their ids about 8 MB."""

HASH_BYTES = 8

INDEX_ENTRY = "QQ"
"""Of a partition in the index of its run: the byte where it begins, counted from the index, and its number of rows. One
entry more says where the last partition ends. The index is in the file and not in memory: it grows with the export."""

ENTRY_BYTES = struct.calcsize(INDEX_ENTRY)

RESERVE = 1.1
"""Factor of the estimated size, because the later rows of an export may be longer than the first ones."""


class Segment(NamedTuple):
    """Some rows of one partition, ascending. The position of each is `base` and its offset."""

    base: int
    offsets: Sequence[int]
    ids: Sequence[str]


class _Run(NamedTuple):
    """Some consecutive rows in the temporary file: an index of the partitions, then the partitions.

    base: the position of the first row. code: of the array of offsets. begin: the byte where the index begins.
    """

    base: int
    code: Literal["H", "Q"]
    begin: int


class Sample(Protocol):
    """Draws some of the rows that repeat no id. The rows come in any order."""

    def passes(self, count: int) -> bool:
        """Whether none of the next `count` rows is drawn; then they are passed over."""

    def add(self, positions: Sequence[int], ids: Sequence[str]) -> None:
        """Offer the next rows."""


class DuplicateFinder:
    """Takes the ids of an export in order, then finds the rows that repeat one. Use as a context manager.

    folder: of the temporary file, which has no name; None for the system's own.
    key: two ids with one key are one account (`IdType.key`).
    share: how much of the export has been read, 0 to 1, to estimate the size of the file.
    run_rows, keys_max: for tests. byte: the byte of the hash that selects the partition.
    """

    def __init__(
        self,
        folder: Path | None,
        key: Callable[[str], str],
        share: Callable[[], float],
        *,
        run_rows: int = RUN_ROWS,
        keys_max: int = KEYS_MAX,
        byte: int = 0,
    ) -> None:
        self._folder = folder
        self._key = key
        self._share = share
        self._run_rows = run_rows
        self._keys_max = keys_max
        self._byte = byte
        self._ids: list[str] = []
        self._positions = array("Q")
        self._hashes = array("q")
        self._runs: list[_Run] = []
        self._rows = array("Q", bytes(8 * PARTITIONS))  # of each partition
        self._size = 0
        self._needed = 0
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def add(self, positions: Sequence[int], ids: Sequence[str]) -> None:
        """Take the next rows. Raises FileFailed when the temporary file cannot be written."""
        self._positions.extend(positions)
        self._ids += ids
        self._hashes.extend(map(hash, self._keys(ids)))  # now, while the text is in the processor's cache
        if len(self._ids) >= self._run_rows:
            self._write_run()

    def find(self, found: Duplicates, sample: Sample) -> None:
        """Add the rows that repeat an id to `found`; `sample` is offered the others. Raises FileFailed."""
        if not self._runs:
            self._search([Segment(0, self._positions, self._ids)], found, sample)
            return
        if self._ids:
            self._write_run()
        for number in range(PARTITIONS):
            if self._fits(number):
                self._search(self._segments(number), found, sample)
            else:
                self._spread(number, found, sample)

    def _fits(self, number: int) -> bool:
        """Whether the different keys of a partition fit the memory."""
        if self._rows[number] <= self._keys_max or self._byte == HASH_BYTES - 1:
            return True
        keys: set[str] = set()
        for segment in self._segments(number):
            keys.update(self._keys(segment.ids))
            if len(keys) > self._keys_max:
                return False
        return True

    def _search(self, segments: Iterable[Segment], found: Duplicates, sample: Sample) -> None:
        """Search one partition."""
        seen: set[str] = set()
        take: Callable[[str], object] = seen.add  # returns None, so what it takes is not among the repeated
        for base, offsets, ids in segments:
            repeated = [at for at, key in zip(offsets, self._keys(ids), strict=True) if key in seen or take(key)]
            if repeated:
                found.add(map(base.__add__, repeated))
            if not sample.passes(len(ids) - len(repeated)):
                rows = zip(map(base.__add__, offsets), ids, strict=True)
                firsts = [(position, id_) for position, id_ in rows if position not in found]
                sample.add([position for position, _ in firsts], [id_ for _, id_ in firsts])

    def _keys(self, ids: Sequence[str]) -> Iterable[str]:
        return ids if self._key is str else map(self._key, ids)

    def _spread(self, number: int, found: Duplicates, sample: Sample) -> None:
        """Search a partition that is too large: distribute it by the next byte of the hash."""
        with DuplicateFinder(
            self._folder,
            self._key,
            self._share,
            run_rows=self._run_rows,
            keys_max=self._keys_max,
            byte=self._byte + 1,
        ) as finer:
            for base, offsets, ids in self._segments(number):
                finer.add([base + offset for offset in offsets], ids)
            finer.find(found, sample)

    def _write_run(self) -> None:
        """Write the collected rows, partition by partition."""
        numbers = self._hashes.tobytes()[self._byte :: HASH_BYTES]
        members: list[list[int]] = [[] for _ in range(PARTITIONS)]
        for i, number in enumerate(numbers):
            members[number].append(i)
        base, ids = self._positions[0], self._ids
        consecutive = self._positions[-1] - base == len(ids) - 1
        code: Literal["H", "Q"] = "H" if self._positions[-1] - base < 1 << 16 else "Q"
        parts: list[bytes] = []
        index, begin = array("Q"), ENTRY_BYTES * (PARTITIONS + 1)
        for number, rows in enumerate(members):
            offsets = rows if consecutive else [self._positions[i] - base for i in rows]
            begins = array(code, offsets).tobytes()
            text = "\n".join([ids[i] for i in rows]).encode()  # no id has a control character
            parts += [begins, text]
            index.extend((begin, len(rows)))
            begin += len(begins) + len(text)
            self._rows[number] += len(rows)
        index.extend((begin, 0))
        self._runs.append(_Run(base, code, self._size))
        self._write(b"".join([index.tobytes(), *parts]))
        self._ids.clear()
        del self._positions[:], self._hashes[:]

    def _write(self, data: bytes) -> None:
        where = self._folder or Path(tempfile.gettempdir())
        try:
            if self._fd < 0:
                with tempfile.TemporaryFile(dir=where, buffering=0) as file:  # 0600, and without a name
                    self._fd = os.dup(file.fileno())
            self._check_space(len(data), where)
            write_all(self._fd, data)
            self._size += len(data)
        except OSError as error:
            raise self._failed(where, error.strerror or str(error)) from error

    def _check_space(self, more: int, where: Path) -> None:
        """Estimate the size of the file from the share of the export that was read. Raises FileFailed without room."""
        disk = os.fstatvfs(self._fd)
        self._needed = round((self._size + more) / self._share() * RESERVE)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and free < self._needed - self._size:  # some file systems do not tell
            raise self._failed(where, f"{_megabytes(free)} are free there")

    def _failed(self, where: Path, why: str) -> FileFailed:
        needed = f"about {_megabytes(self._needed)}" if self._needed else "about the size of the export's ids"
        return FileFailed(
            f"{printable(where)}: finding the duplicates of this export takes a temporary file of {needed} in this "
            f"folder: {why}. Nothing was sent. Make room there, or name a checkpoint in another folder: "
            "--checkpoint PATH"
        )

    def _segments(self, number: int) -> Iterator[Segment]:
        """The rows of one partition, run by run."""
        for base, code, at in self._runs:
            entries = self._read(2 * ENTRY_BYTES, at + ENTRY_BYTES * number)
            begin, rows, end, _ = struct.unpack(2 * INDEX_ENTRY, entries)
            if rows:
                data, offsets = self._read(end - begin, at + begin), array(code)
                text = rows * offsets.itemsize
                offsets.frombytes(data[:text])
                yield Segment(base, offsets, data[text:].decode().split("\n"))

    def _read(self, length: int, offset: int) -> bytes:
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise self._failed(self._folder or Path(tempfile.gettempdir()), error.strerror or str(error)) from error
        if len(data) != length:
            raise RuntimeError("the temporary file of the duplicates was cut short")
        return data


def _megabytes(size: int) -> str:
    return f"{-(-size // 1_000_000):,} MB"
