"""How a refused export is worded: the file, the place, the text, the reason, what to do. Knows no reason by itself."""

from __future__ import annotations

from runner.core.parsing import shortened
from runner.core.rows import BadRow
from runner.errors import NotAcceptable


def refusal(
    path: str,
    reason: str,
    todo: str,
    *,
    line: int | None = None,
    byte: int | None = None,
    text: str | bytes | None = None,
) -> NotAcceptable:
    """Make the error that refuses an export.

    line: 1-based, of the decompressed text. byte: 0-based, of the file as stored. text: what stands there.
    """
    where = path
    if line is not None:
        where += f", line {line}"
    if byte is not None:
        where += f", byte {byte}"
    shown = "" if text is None else f"{shortened(text)!r}: "
    return NotAcceptable(f"{where}: {shown}{reason}. {todo}")


def bad_row(path: str, bad: BadRow, *, may_skip: bool = True) -> NotAcceptable:
    """Make the error for a row without a usable id. may_skip: whether bad rows of this file may be left out."""
    todo = "Correct the row, or leave bad rows out with --on-invalid skip." if may_skip else "Correct the row."
    if bad.reason.startswith("not a ") and "looks like" not in bad.reason:
        todo += " Where ids have another shape (a private deployment), say which with --id-pattern."
    return refusal(path, bad.reason, todo, line=bad.line, text=bad.text)
