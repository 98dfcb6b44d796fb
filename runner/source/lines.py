"""Pieces of any size to blocks of whole lines. Owns line numbers, the BOM and the cap on a line's length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from runner.core.rows import Mark
from runner.source.refusals import refusal

LINE_MAX = 1 << 20
"""Bytes of a line, a field or a row. No id needs them; an unclosed quote must not swallow a file."""

BOM = b"\xef\xbb\xbf"

BLOCK = 1 << 16
"""Bytes of a block, unless a line is longer. What is made of a block for a moment, line by line, lies in memory among
the ids that are kept for long: after blocks of a MiB the holes take as much room as those ids (measured)."""

HEAD = 1 << 16
"""Bytes from which the dialect is told: any header, and enough rows to see through a delimiter."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines in one piece.

    data: ends with a line feed, unless `torn`. line: 1-based number of its first line. byte: where that begins, from 0.
    torn: the file ends here without a final line feed.
    """

    data: bytes
    line: int
    byte: int
    torn: bool = False

    def byte_of(self, line: int) -> int:
        """Where a line of this block begins. line: 1-based, of the file."""
        ahead = line - self.line
        return self.byte + len(self.data) - len(self.data.split(b"\n", ahead)[-1])


def whole_lines(pieces: Iterable[bytes], path: str, begin: Mark | None = None) -> Iterator[Lines]:
    """Cut at line feeds, without a BOM and without the empty lines at the end of the file.

    begin: where `pieces` begin; None for the beginning of the file.

    Empty lines at the end are no rows: editors and `echo` leave them. An empty line before another row is one, because
    an id may be missing there; so empty lines wait for what comes after them.

    Raises NotAcceptable for a line (or a run of empty ones) over LINE_MAX.
    """
    kept, line, byte, begun = b"", 1, 0, False
    if begin is not None:
        line, byte, begun = begin.line, begin.byte, True
    for piece in pieces:
        data = kept + piece
        if not begun:
            if len(data) < len(BOM):
                kept = data
                continue
            byte = len(BOM) if data.startswith(BOM) else 0
            data, begun = data[byte:], True
        text = len(data.rstrip(b"\r\n"))
        end = data.find(b"\n", text) + 1 or data.rfind(b"\n", 0, text) + 1
        done, kept = (data[:end], data[end:]) if text else (b"", data)
        if len(kept) > LINE_MAX or data.find(b"\n", 0, end) > LINE_MAX:
            raise _too_long(path, line + done.count(b"\n") if len(kept) > LINE_MAX else line, kept or data)
        for some in _in_blocks(done):
            yield Lines(some, line, byte)
            line += some.count(b"\n")
            byte += len(some)
    rest = (kept if begun else kept.removeprefix(BOM)).rstrip(b"\r\n")
    if rest:
        yield Lines(rest, line, byte, torn=True)


def _in_blocks(lines: bytes) -> Iterator[bytes]:
    """Cut whole lines into pieces of about BLOCK bytes."""
    begin = 0
    while begin < len(lines):
        end = lines.rfind(b"\n", begin, begin + BLOCK) + 1 or lines.index(b"\n", begin) + 1
        yield lines[begin:end]
        begin = end


def peek(lines: Iterator[Lines]) -> tuple[bytes, Iterator[Lines]]:
    """Return the first HEAD bytes or more, in whole lines, and the lines as if nobody had looked."""
    taken: list[Lines] = []
    size = 0
    for some in lines:
        taken.append(some)
        size += len(some.data)
        if size >= HEAD:
            break
    return b"".join(some.data for some in taken), chain(taken, lines)


def skip_to(pieces: Iterable[bytes], byte: int) -> tuple[bytes, Iterator[bytes]]:
    """Return what `pieces` begin with, at most LINE_MAX of it and without BOM, and the pieces from `byte` on."""
    left, head, some = byte, b"", iter(pieces)
    for piece in some:
        head += piece[: min(left, LINE_MAX - len(head))]
        if left <= len(piece):
            return head.removeprefix(BOM), chain([piece[left:]], some)
        left -= len(piece)
    return head.removeprefix(BOM), iter(())


def _too_long(path: str, line: int, text: bytes) -> Exception:
    reason = f"over 1 MiB without {'a line end' if text.strip() else 'anything but empty lines'}"
    return refusal(path, reason, "Is it JSON Lines or CSV? Check it there.", line=line, text=text)
