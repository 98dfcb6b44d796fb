"""The index of an input: where each frame is, and the SHA-256 of its content. Pure. See docs/input-format.md."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self

import orjson

from bulkdel.core.input_rows import FRAME_MAX

_SHA256_DIGITS = 64

FRAME_LINE_MAX = 300
"""Bytes of the line of a frame, and of the last line, at most."""

BYTES_MAX = 1 << 62
"""No file is longer."""


class Frame(NamedTuple):
    """A part of the input that is compressed alone.

    at, rows: position of its first row, and how many it has. byte, size: where it lies in the file.
    length, sha256: of its content, which is not compressed.
    """

    at: int
    rows: int
    byte: int
    size: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Index:
    """The frames of an input, one after the other."""

    frames: Sequence[Frame]

    @property
    def rows(self) -> int:
        """How many rows the input has."""
        return self.frames[-1].at + self.frames[-1].rows if self.frames else 0

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return self.frames[-1].byte + self.frames[-1].size if self.frames else 0

    @property
    def content(self) -> str:
        """SHA-256 over the hashes of the frames: it does not depend on the compression."""
        return hashlib.sha256("".join(frame.sha256 for frame in self.frames).encode()).hexdigest()

    def between(self, first: int, stop: int) -> Sequence[Frame]:
        """The frames with the rows `[first, stop)`."""
        begin = max(bisect_right(self.frames, first, key=lambda frame: frame.at) - 1, 0)
        return self.frames[begin : bisect_left(self.frames, stop, key=lambda frame: frame.at)]

    def encode(self) -> bytes:
        """As the file has it: a line a frame, and one for the whole."""
        last = {"rows": self.rows, "bytes": self.size, "content": self.content}
        return b"".join(orjson.dumps(each) + b"\n" for each in (*(frame._asdict() for frame in self.frames), last))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Inverse of `encode`. Raises ValueError for what it did not write."""
        *lines, last = [orjson.loads(line) for line in data.splitlines()] or [None]
        found = cls(tuple(map(_frame, lines)))
        for before, frame in pairwise((Frame(0, 0, 0, 0, 0, ""), *found.frames)):
            if (frame.at, frame.byte) != (before.at + before.rows, before.byte + before.size):
                raise ValueError("the frames do not follow each other")
        if last != {"rows": found.rows, "bytes": found.size, "content": found.content}:
            raise ValueError("the last line is not that of these frames")
        return found


def _frame(members: Any) -> Frame:
    if not isinstance(members, dict) or tuple(members) != Frame._fields:
        raise ValueError("no frame")
    frame = Frame(**members)
    *numbers, sha256 = frame
    whole = set(map(type, numbers)) == {int} and isinstance(sha256, str) and len(sha256) == _SHA256_DIGITS
    if not whole or min(frame.at, frame.byte) < 0 or min(frame.rows, frame.size, frame.length) < 1:
        raise ValueError("no frame")
    if frame.length > FRAME_MAX or frame.size > FRAME_MAX + (FRAME_MAX >> 7) or frame.byte >= BYTES_MAX:
        raise ValueError(f"a frame of {frame.size} bytes at {frame.byte}, and {frame.length} before compression")
    return frame
