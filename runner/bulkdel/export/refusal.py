"""The message of a refused export: file, place, text, reason, and what to do."""

from __future__ import annotations

from bulkdel.core.bad_rows import BadRow, Why
from bulkdel.core.id_parser import shortened
from bulkdel.errors import NotAcceptable


class ExportRefused(NotAcceptable):
    """An export or an exclude file is not acceptable.

    line: of the fault; 0 without one. usable: the number of usable ids, when the whole file was read.
    """

    def __init__(self, message: str, *, line: int = 0, usable: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.usable = usable


def refusal(
    path: str,
    reason: str,
    todo: str,
    *,
    line: int | None = None,
    byte: int | None = None,
    text: str | bytes | None = None,
) -> ExportRefused:
    """Make the error that refuses an export.

    line: 1-based, of the decompressed text. byte: 0-based, of the file as stored. text: of the row.
    """
    where = path
    if line is not None:
        where += f", line {line}"
    if byte is not None:
        where += f", byte {byte}"
    shown = "" if text is None else f"{shortened(text)!r}: "
    return ExportRefused(f"{where}: {shown}{reason}. {todo}", line=line or 0)


def refuse_at_once(path: str, bad: BadRow, *, torn: bool = False) -> None:
    """Raise ExportRefused for a bad row that no option makes acceptable. torn: the file ends in this row."""
    reason, todo = bad.why.words, ""
    match bad.why.why:
        case Why.RESULT:
            todo = "Only what was refused or is unknown goes again: bulkdel results CHECKPOINT --only refused,unknown."
        case Why.NOT_UTF8:
            todo = "Get the export again." if torn else "Export it as UTF-8."
        case Why.NOT_JSON if torn:
            reason, todo = f"{reason}; the file ends in the middle of this row", "Get the export again."
    if todo:
        raise refusal(path, reason, todo, line=bad.line, text=bad.text)
