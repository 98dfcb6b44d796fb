"""Reads the input from any row on. A frame is checked whole before the first of its rows is handed out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from bulkdel.core.input_index import Frame, Index
from bulkdel.core.input_rows import Rows, decode_frame
from bulkdel.errors import Halted
from bulkdel.format import shown
from bulkdel.zstd import zstd


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
