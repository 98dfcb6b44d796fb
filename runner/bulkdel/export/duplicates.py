"""Finds the rows that repeat an id, at any distance, in flat memory. Owns the temporary file.

Ids are collected with their positions, in partitions by a hash: all rows with one id are in one partition. Full
partitions are written to a temporary file. At the end each partition is searched alone. Ids are compared by their
text, so a collision of hashes does no harm. A partition with too many different ids is distributed again, by the next
byte of the hash, so the number of partitions grows with the export.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Self

from bulkdel.core.record import Record
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.durable import write_all
from bulkdel.errors import FileFailed
from bulkdel.format import printable

PARTITIONS = 256
"""One partition for each value of a byte."""

SPILL_ROWS = 1 << 16
"""Rows that are collected before they are written: enough for long reads. They take about 2 MB."""

JOINS = 8
"""How often the ids are joined to one text a partition until they are written: often enough that they are still in the
processor's cache (measured)."""

KEYS_MAX = 1 << 16
"""Different keys of a partition that is searched in memory, at most; with their ids about 12 MB."""

HASH_BITS = 64

FIRSTS_MIN = 4_000
"""Rows to draw the sample from, at least, if the export has so many. They are taken by their hash, so at random."""

RESERVE = 1.1
"""Factor of the estimated size, because the later rows of an export may be longer than the first ones."""


class DuplicateFinder:
    """Takes the ids of an export in order, then finds the rows that repeat one. Use as a context manager.

    folder: of the temporary file, which has no name; None for the system's own.
    key: two ids with one key are one account (`IdType.key`).
    share: how much of the export has been read, 0 to 1, to estimate the size of the file.
    growing: the bytes so far of other files there that grow with the export; the sum has to fit.
    spill_rows, keys_max: for tests. shift: the first bit of the byte of the hash that selects the partition.
    """

    def __init__(
        self,
        folder: Path | None,
        key: Callable[[str], str],
        share: Callable[[], float],
        *,
        growing: Callable[[], int] = lambda: 0,
        spill_rows: int = SPILL_ROWS,
        keys_max: int = KEYS_MAX,
        shift: int = 0,
    ) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._key = key
        self._share = share
        self._growing = growing
        self._spill_rows = spill_rows
        self._keys_max = keys_max
        self._shift = shift
        self._hash: Callable[[str], int] = (lambda key: hash(key) >> shift) if shift else hash
        self._partitions: list[tuple[array[int], list[str]]] = [(array("Q"), []) for _ in range(PARTITIONS)]
        self._held = self._loose = 0
        self._spills: list[int] = []
        self._size = 0
        self._needed = 0
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def add(self, positions: Sequence[int], ids: Sequence[str]) -> None:
        """Take the next rows. Raises FileFailed when the temporary file cannot be written."""
        partitions, hash_of, mask = self._partitions, self._hash, PARTITIONS - 1
        for position, id_, key in zip(positions, ids, self._keys(ids), strict=True):
            its_positions, its_ids = partitions[hash_of(key) & mask]
            its_positions.append(position)
            its_ids.append(id_)
        self._held += len(ids)
        self._loose += len(ids)
        if self._held >= self._spill_rows:
            self._spill()
        elif self._loose * JOINS >= self._spill_rows:
            self._join()

    def find(self, found: PositionSet) -> list[Record]:
        """Add the rows that repeat an id to `found`. Raises FileFailed.

        Returns rows that repeat none: all of a short export, else at least FIRSTS_MIN, in any order.
        """
        firsts: list[Record] = []
        for number in range(PARTITIONS):
            firsts += self._search(number, found, wanted=len(firsts) < FIRSTS_MIN)
        return firsts

    def _search(self, number: int, found: PositionSet, *, wanted: bool) -> list[Record]:
        """Search one partition. wanted: return the rows that repeat no id."""
        seen: dict[str, int] = {}
        first_of = seen.setdefault
        for positions, ids in self._segments(number):
            keys = zip(positions, self._keys(ids), strict=True)
            found.add([position for position, key in keys if first_of(key, position) != position])
            if len(seen) > self._keys_max and self._shift < HASH_BITS - 8:
                seen.clear()
                more = self._spread(number, found)
                return more if wanted else []
        if not wanted:
            return []
        firsts = (
            Record(position, id_)
            for positions, ids in self._segments(number)
            for position, id_, key in zip(positions, ids, self._keys(ids), strict=True)
            if seen[key] == position
        )
        return list(islice(firsts, 0, None, len(seen) // FIRSTS_MIN or 1))

    def _keys(self, ids: Sequence[str]) -> Iterable[str]:
        return ids if self._key is str else map(self._key, ids)

    def _spread(self, number: int, found: PositionSet) -> list[Record]:
        """Search a partition that is too large: distribute it by the next byte of the hash."""
        with DuplicateFinder(
            self._folder,
            self._key,
            self._share,
            spill_rows=self._spill_rows,
            keys_max=self._keys_max,
            shift=self._shift + 8,
        ) as finer:
            for positions, ids in self._segments(number):
                finer.add(positions, ids)
            return finer.find(found)

    def _join(self) -> None:
        """Make one text of the ids of each partition, which takes a third of their memory."""
        for _, ids in self._partitions:
            if ids:
                ids[:] = ["\n".join(ids)]  # no id has a control character
        self._loose = 0

    def _spill(self) -> None:
        """Write the collected rows: an index of the partitions, then the partitions.

        An index entry is the byte where the partition begins, counted from the index, and its number of rows. One entry
        more says where the last partition ends. The index is in the file and not in memory: it grows with the export.
        """
        index, parts = array("Q"), list[bytes]()
        begin = 16 * (PARTITIONS + 1)
        for positions, ids in self._partitions:
            index.extend((begin, len(positions)))
            parts += (positions.tobytes(), "\n".join(ids).encode())
            begin += len(parts[-2]) + len(parts[-1])
            del positions[:]
            ids.clear()
        index.extend((begin, 0))
        self._held = self._loose = 0
        self._spills.append(self._size)
        self._write(b"".join([index.tobytes(), *parts]))

    def _segments(self, number: int) -> Iterator[tuple[Sequence[int], Sequence[str]]]:
        """The rows of one partition, spill by spill: their positions, ascending, and their ids."""
        for spill in self._spills:
            begin, rows, end, _ = array("Q", self._read(32, spill + 16 * number))
            if rows:
                data = self._read(end - begin, spill + begin)
                yield array("Q", data[: 8 * rows]), data[8 * rows :].decode().split("\n")
        positions, ids = self._partitions[number]
        if ids:
            yield positions, "\n".join(ids).split("\n")

    def _write(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:  # 0600, and without a name
                    self._fd = os.dup(file.fileno())
            self._check_space(len(data))
            write_all(self._fd, data)
            self._size += len(data)
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error

    def _check_space(self, more: int) -> None:
        """Estimate the size of the file from the share of the export that was read. Raises FileFailed without room."""
        disk, growing = os.fstatvfs(self._fd), self._growing()
        self._needed = round((self._size + more + growing) / self._share() * RESERVE)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and free < self._needed - self._size - growing:  # some file systems do not report their size
            raise self._failed(f"{free // 1_000_000:,} MB are free there")

    def _read(self, length: int, offset: int) -> bytes:
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        if len(data) != length:
            raise RuntimeError("the temporary file of the duplicates was cut short")
        return data

    def _failed(self, why: str) -> FileFailed:
        needed = f"{-(-self._needed // 1_000_000):,} MB" if self._needed else "the size of the export's ids"
        return FileFailed(
            f"{printable(self._folder)}: the rows of this export, and finding its duplicates, take about {needed} in "
            f"this folder: {why}. Nothing was sent. Make room there, or name a place in another folder: "
            "--run PLACE"
        )
