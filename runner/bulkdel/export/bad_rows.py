"""Bad rows: when they refuse an export, the message, and the file that --on-invalid skip writes them to."""

from __future__ import annotations

import csv
import errno
import glob
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bulkdel.core.bad_rows import BadGroup, BadRow, MaxInvalid, Why, looks_like
from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.file import Export, Fingerprint
from bulkdel.export.options import Dialect, ReadOptions
from bulkdel.export.reader import read_parsed
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.sniff import header_of

REASONS = ".reasons.csv"
"""The ending, after the name of the file of bad rows, of the file with their reasons."""


def bad_rows_refusal(
    path: str, groups: Sequence[BadGroup], rows: int, *, on_invalid: str, max_invalid: MaxInvalid
) -> ExportRefused | None:
    """Make the error that refuses an export for its bad rows; None when they may be skipped.

    groups: the bad rows by reason, the most frequent first. rows: all rows, bad ones included.
    """
    bad = sum(group.count for group in groups)
    allowed = max_invalid.allowed(rows)
    if not bad or (on_invalid == "skip" and bad < rows and bad <= allowed):
        return None
    first = min(group.first.line for group in groups)
    if bad == 1 < rows and on_invalid != "skip":
        return ExportRefused(
            f"{path}, {shown(groups[0].first)}. Nothing was sent. {_todo(groups, rows, allowed, on_invalid)}",
            line=first,
            usable=rows - bad,
        )
    how_many = f"{bad:,} of {rows:,} rows {'is' if bad == 1 else 'are'} bad"
    if bad == rows:
        how_many = f"all {rows:,} rows are bad" if rows > 1 else "its only row is bad"
    elif on_invalid == "skip":
        how_many += f", more than the {allowed:,} that --max-invalid allows"
    return ExportRefused(
        f"{path}: {how_many}. Nothing was sent.\n{_table(groups)}\n{_todo(groups, rows, allowed, on_invalid)}",
        line=first,
        usable=rows - bad,
    )


def shown(bad: BadRow) -> str:
    """One bad row in words: its line, its text and the reason."""
    return f"line {bad.line}: {bad.text!r}: {bad.why.words}"


def _table(groups: Sequence[BadGroup]) -> str:
    width = max(4, *(len(f"{group.count:,}") for group in groups))
    lines = [f"  {'rows':>{width}}  the first of them"]
    lines += [f"  {group.count:>{width},}  {shown(group.first)}" for group in groups]
    return "\n".join(lines)


def _todo(groups: Sequence[BadGroup], rows: int, allowed: int, on_invalid: str) -> str:
    bad = sum(group.count for group in groups)
    hint = _hint(groups, rows) if on_invalid != "never" else ""
    if on_invalid == "never" or bad == rows:
        todo = "Otherwise correct the file." if hint else "Correct the file."
    elif bad <= allowed:
        todo = f"Correct the row{'s' if bad > 1 else ''}, or leave bad rows out with --on-invalid skip."
    elif on_invalid == "skip":
        todo = f"Correct the rows; or, if so many are expected, allow them with --max-invalid {bad}."
    else:
        todo = f"Correct the rows, or leave them out with --on-invalid skip --max-invalid {bad}."
    return f"{hint} {todo}".lstrip()


def _hint(groups: Sequence[BadGroup], rows: int) -> str:
    """The option that would accept these ids."""
    alike = looks_like(groups)
    mostly = sum(group.count for group in groups if group.first.why.looks_like == alike) * 2 > rows
    if alike:
        names = " or ".join(alike)
        options = " or ".join(f"--id-type {name}" for name in alike)
        if mostly:
            return f"Most rows look like {names}: say so with {options}."
        return f"Rows that look like {names} need a run of their own, with {options}."
    shapeless = sum(group.count for group in groups if group.first.why.why is Why.SHAPE)
    if shapeless * 2 > rows:
        return "Have the ids another shape (a private deployment)? Then say which with --id-pattern."
    return ""


def write_invalid(export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, to: Path) -> None:
    """Write the bad rows to `to` as they are in the export, after its CSV header: an export to correct and run.

    Beside it, `to` + REASONS gets the line and the reason of each, and no text of the row. Both are readable by their
    owner alone, and get their names only when both are complete and on disk.

    Raises NotAcceptable when `to` holds other rows, which may have been corrected by hand, FileFailed when a file
    cannot be written, and Halted when the export has changed since the preflight.
    """
    reasons = Path(f"{to}{REASONS}")
    if export.is_file(to) or export.is_file(reasons):
        raise NotAcceptable(f"{to}: this is the export itself; bad rows need another file. Rename the export.")
    try:
        if to.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for left in to.parent.glob(f".{glob.escape(to.name)}.*.part"):  # of a run that was killed
            left.unlink(missing_ok=True)
        with atomic_file(reasons) as why, atomic_file(to) as rows:
            rows.write(header_of(export, dialect))
            why.write(b"line,reason\n")
            for parsed in read_parsed(export, dialect, options, fingerprint):
                if parsed.raw:
                    rows.writelines(parsed.raw)
                    why.write(_reasons(parsed.bad.values()))
    except FileExistsError as error:
        raise NotAcceptable(
            f"{to}: holds other rows than those left out now, perhaps corrected by hand. Nothing was sent. "
            "Move it away first."
        ) from error
    except OSError as error:
        raise FileFailed(
            f"{to}: {error.strerror}. The bad rows could not be written; nothing was sent and no part is kept. "
            f"Make room in {to.absolute().parent}, and run again."
        ) from error


def _reasons(bad: Iterable[BadRow]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((row.line, row.why.words) for row in bad)
    return text.getvalue().encode()
