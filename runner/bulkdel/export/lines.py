"""Bytes of any size to blocks of whole lines. Owns line numbers, the BOM and the cap on a line's length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from bulkdel.export.refusal import AS_UTF_8, Fault, refusal

LINE_MAX = 1 << 20
"""Bytes of a line, a field or a row, at most. An id is much shorter; an unclosed quote would take in a whole file."""

BOM = b"\xef\xbb\xbf"

BLANK_MAX = 1 << 24
"""Bytes of consecutive blank rows at the end, at most: a million rows (as many as Excel has) of 15 columns."""

BLOCK = 1 << 16
"""Bytes of a block, unless a line is longer. The objects that are made for each line of a block lie in memory between
the ids that are kept: with blocks of 1 MiB, the holes that they leave take as much room as those ids (measured)."""

HEAD = 1 << 16
"""Bytes that `sniff` reads: a whole header, and enough rows to recognise the delimiter."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive whole lines.

    data: the bytes; they end with a line feed, unless `torn`.
    line: 1-based number of the first line.
    torn: whether the file ends here without a final line feed.
    """

    data: bytes
    line: int
    torn: bool = False

    @property
    def last_line(self) -> int:
        """1-based number of its last line."""
        return self.line + self.data.count(b"\n") - (0 if self.torn else 1)


def whole_lines(blocks: Iterable[bytes], path: str) -> Iterator[Lines]:
    """Cut at line feeds, without a BOM. Raises NotAcceptable for a line over LINE_MAX."""
    kept, line, begun = b"", 1, False
    for block in blocks:
        data = kept + block
        if not begun:
            if len(data) < len(BOM):
                kept = data
                continue
            data, begun = data.removeprefix(BOM), True
        end = data.rfind(b"\n") + 1
        if data.find(b"\n", 0, end) > LINE_MAX:
            raise _too_long(path, line, data)
        at = 0
        while at < end:  # a block is about BLOCK bytes of whole lines
            stop = data.rfind(b"\n", at, min(at + BLOCK, end)) + 1 or data.index(b"\n", at) + 1
            some, at = data[at:stop], stop
            yield Lines(some, line)
            line += some.count(b"\n")
        kept = data[end:]
        if len(kept) > LINE_MAX:
            raise _too_long(path, line, kept)
    if rest := kept if begun else kept.removeprefix(BOM):
        yield Lines(rest, line, torn=True)


def without_blank_end(blocks: Iterable[Lines], delimiter: str | None, path: str) -> Iterator[Lines]:
    """Leave out the blank rows at the end of the file. Editors write empty lines; spreadsheets write emptied cells.

    A row is blank when it has only spaces and, in CSV, empty cells. A blank row before another row is a bad row,
    because an id may be missing there. So blank rows are kept until another row follows. Inside quotes such lines would
    be text. But the line that closes the quotes is not blank, so none is left out.

    Raises NotAcceptable for more than BLANK_MAX bytes of blank rows.
    """
    separator = delimiter.encode() if delimiter is not None else None
    blank = {b""} if separator is None else {b"", b'""'}
    held: list[Lines] = []
    size = 0
    for block in blocks:
        end = len(block.data)  # where its blank rows begin
        while end:
            begin = block.data.rfind(b"\n", 0, end - 1) + 1
            row = block.data[begin:end]
            if any(cell.strip() not in blank for cell in (row.split(separator) if separator else (row,))):
                break
            end = begin
        if end:
            yield from held
            held, size = [], 0
            yield block if end == len(block.data) else Lines(block.data[:end], block.line)
        if end < len(block.data):
            line = block.line + block.data.count(b"\n", 0, end)
            held.append(Lines(block.data[end:], line, block.torn))
            size += len(block.data) - end
            if size > BLANK_MAX:
                todo = "Is it the right file? If so, delete the blank rows."
                raise refusal(path, "over 16 MiB of nothing but blank rows", todo, line=held[0].line)


def decoded(block: Lines, path: str) -> str:
    """Return a block as text. Raises NotAcceptable with the line that is not UTF-8."""
    try:
        return block.data.decode()
    except UnicodeDecodeError as error:
        before = block.data.count(b"\n", 0, error.start)
        text = block.data.split(b"\n")[before]
        reason = f"not UTF-8: byte 0x{block.data[error.start]:02x}"
        line = block.line + before
        raise refusal(path, reason, AS_UTF_8, line=line, text=text, fault=Fault.ENCODING) from error


def peek(lines: Iterator[Lines]) -> tuple[bytes, Iterator[Lines]]:
    """Return the first HEAD bytes or more, in whole lines, and an iterator over all lines."""
    taken: list[Lines] = []
    size = 0
    for some in lines:
        taken.append(some)
        size += len(some.data)
        if size >= HEAD:
            break
    return b"".join(some.data for some in taken), chain(taken, lines)


def _too_long(path: str, line: int, text: bytes) -> Exception:
    return refusal(
        path, "over 1 MiB without a line end", "Is it JSON Lines or CSV? Check it there.", line=line, text=text
    )
