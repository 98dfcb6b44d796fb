"""The file of the input: rows in blocks, blocks in frames, each compressed alone. See docs/input-format.md.

It is written in the order of the rows, and read from any row on. A frame is checked whole before the first of its rows
is handed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from bulkdel.core.input_index import Frame, Index
from bulkdel.core.input_rows import FRAME_BYTES, FRAME_MAX, Blocks, Rows, decode_frame, encode
from bulkdel.errors import Halted
from bulkdel.format import shown
from bulkdel.zstd import zstd

LEVEL = 1
"""Higher levels take three times as long, and save nothing with random ids."""


class InputWriter:
    """Takes the rows of an export in their order. For one thread."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """write: appends bytes to the file. `add` and `finish` raise its errors."""
        self._write = write
        self._blocks = Blocks()
        self._frames: list[Frame] = []
        self._content = bytearray()  # of the frame that is not written yet
        self._at = self._rows = self._byte = 0

    def add(self, rows: Rows) -> None:
        """Add the next rows. Raises ValueError when they do not follow the last ones, or a frame would be too long."""
        for block in self._blocks.add(rows):
            self._add(block)

    @property
    def size(self) -> int:
        """How many bytes are written so far."""
        return self._byte

    def finish(self) -> Index:
        """Write the remaining rows. Nothing may be added afterwards."""
        if (last := self._blocks.end()) is not None:
            self._add(last)
        if self._content:
            self._end_frame()
        return Index(tuple(self._frames))

    def _add(self, block: Rows) -> None:
        self._content += encode(block)
        self._rows += len(block.ids)
        if len(self._content) >= FRAME_BYTES:
            self._end_frame()

    def _end_frame(self) -> None:
        content = bytes(self._content)
        if len(content) > FRAME_MAX:
            raise ValueError(f"a frame of {len(content)} bytes")
        packed = zstd.compress(content, LEVEL)
        self._write(packed)
        sha256 = hashlib.sha256(content).hexdigest()
        self._frames.append(Frame(self._at, self._rows, self._byte, len(packed), len(content), sha256))
        self._at, self._rows, self._byte = self._at + self._rows, 0, self._byte + len(packed)
        self._content.clear()


class Input:
    """The input of a run. Blocks while it reads. where: what messages call it."""

    def __init__(self, read_at: Callable[[int, int], bytes], index: Index, where: str) -> None:
        """read_at(offset, size): up to `size` bytes of the file from `offset` on. May raise OSError."""
        self._read_at = read_at
        self._index = index
        self._where = where

    def rows(self, first: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """Yield the rows with positions in `[first, stop)`, block by block. stop: None for all.

        Raises Halted for a frame that is damaged or cannot be read, before any of its rows.
        """
        stop = self._index.rows if stop is None else min(stop, self._index.rows)
        for frame in self._index.between(first, stop):
            for block in self._blocks(frame):
                if block.stop > first and block.at < stop:
                    yield block.between(first, stop)

    def _blocks(self, frame: Frame) -> list[Rows]:
        """The rows of a frame. Raises Halted unless they are those that the index says."""
        try:
            return decode_frame(self._content(frame), frame.at, frame.rows)
        except (ValueError, TypeError, OSError, zstd.ZstdError) as error:
            last = frame.at + frame.rows - 1
            raise Halted(
                f"{self._where}: rows {frame.at:,} to {last:,} cannot be read ({shown(_why(error))}). This command has "
                "sent none of them. Put back a copy of the file, then run the same command again."
            ) from error

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self._index.rows

    def _content(self, frame: Frame) -> bytes:
        packed = self._read_at(frame.byte, frame.size)
        if len(packed) != frame.size:
            raise ValueError(f"{frame.size - len(packed):,} bytes are missing")
        decompressor = zstd.ZstdDecompressor()
        content = decompressor.decompress(packed, frame.length + 1)
        if len(content) != frame.length or not decompressor.eof or decompressor.unused_data:
            raise ValueError("its length differs")
        if hashlib.sha256(content).hexdigest() != frame.sha256:
            raise ValueError("its SHA-256 differs")
        return content


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
