"""The file of the rows that are never sent: a bit a row for each reason. docs/log-format.md specifies it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import orjson

from bulkdel.core.outcome import SKIPS
from bulkdel.core.skipped_rows import PAGE_ROWS, PositionSet, SkippedRows
from bulkdel.input.frames import LEVEL
from bulkdel.zstd import zstd

PIECE_BYTES = PAGE_ROWS // 8

HEAD_MAX = 1_000
"""Bytes of the first line, at most."""


def packed(skipped: SkippedRows, rows: int) -> bytes:
    """The file. rows: of the export; of a shard, those up to its last row."""
    compressor = zstd.ZstdCompressor(LEVEL)
    head = orjson.dumps({"rows": rows, "bitmaps": list(skipped.by_reason)}) + b"\n"
    pieces = (piece for found in skipped.by_reason.values() for piece in found.bitmap(rows))
    return b"".join([compressor.compress(head), *map(compressor.compress, pieces), compressor.flush()])


def packed_max(rows: int) -> int:
    """Bytes of the file, at most. rows: as for `packed`."""
    plain = HEAD_MAX + len(SKIPS) * -(-rows // 8)
    return plain + (plain >> 8) + HEAD_MAX  # what zstd may add to bytes that it cannot compress


def unpacked(data: bytes, rows: int) -> SkippedRows:
    """Read the file. rows: as for `packed`. Raises ValueError for what that did not write."""
    try:
        return _read(_Plain(data), rows)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error


def _read(plain: _Plain, rows: int) -> SkippedRows:
    if plain.line() != {"rows": rows, "bitmaps": list(SKIPS)}:
        raise ValueError("it is of another export")
    found = SkippedRows()
    for reason in SKIPS:
        positions = PositionSet()
        for number, size in enumerate(_sizes(rows)):
            positions.add_bitmap(number, plain.take(size))
        if positions.count(rows, rows + 8):
            raise ValueError("a row behind the last one")
        found.add(reason, positions)
    plain.end()
    return found


def _sizes(rows: int) -> Iterator[int]:
    """The sizes of the pieces of a bitmap."""
    whole, rest = divmod(-(-rows // 8), PIECE_BYTES)
    yield from repeat(PIECE_BYTES, whole)
    yield from [rest] if rest else []


class _Plain:
    """The plain bytes of a compressed file, piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._decompressor = zstd.ZstdDecompressor()
        self._data = data
        self._ahead = b""

    def line(self) -> Any:
        """Read the first line, as JSON."""
        self._ahead = self._more(HEAD_MAX)
        line, feed, self._ahead = self._ahead.partition(b"\n")
        if not feed:
            raise ValueError("no first line")
        return orjson.loads(line)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        while len(self._ahead) < size and (more := self._more(size)):
            self._ahead += more
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(piece) < size:
            raise ValueError("its end is missing")
        return piece

    def end(self) -> None:
        """Raise ValueError unless everything was read."""
        if self._ahead or self._more(1) or not self._decompressor.eof or self._decompressor.unused_data:
            raise ValueError("more follows")

    def _more(self, size: int) -> bytes:
        data, self._data = self._data, b""
        return b"" if self._decompressor.eof else self._decompressor.decompress(data, size)
