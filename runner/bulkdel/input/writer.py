"""Writes the input: rows in blocks, blocks in frames, each compressed by itself. docs/input-format.md specifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from bulkdel.core.input_index import Frame, Index
from bulkdel.core.input_rows import FRAME_BYTES, FRAME_MAX, Blocks, Rows, encode
from bulkdel.zstd import zstd

LEVEL = 1
"""Higher levels take three times as long, and save nothing with random ids."""


class InputWriter:
    """Takes the rows of an export in their order. For one thread."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """write: appends bytes to the file. What it raises, `add` and `finish` raise."""
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
        """Write what is left. Nothing may be added afterwards."""
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
