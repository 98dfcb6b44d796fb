"""Exclude files: ids that must never be deleted. Owns reading them.

An exclude file is an export of ids to keep: same formats, same id type, same checks. Whatever is doubtful in one stops
the run, because a file that protects less than it was meant to is worse than none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkdel.core.duplicates import Duplicates
from bulkdel.core.id_set import IdSet
from bulkdel.errors import UsageError
from bulkdel.export import Export, Preflight, ReadOptions, open_export, preflight, read_rows
from bulkdel.export.recognise import is_bare_list
from bulkdel.export.refusal import ExportRefused


@dataclass(frozen=True, slots=True)
class ExcludeFile:
    """One exclude file. sha256: of its bytes, hex. ids: how many rows it has."""

    path: str
    sha256: str
    ids: int


@dataclass(frozen=True, slots=True)
class Excluded:
    """What is protected by files. ids: all of them together."""

    files: Sequence[ExcludeFile] = ()
    ids: IdSet = field(default_factory=IdSet)


def read_excluded(paths: Sequence[Path], options: ReadOptions) -> Excluded:
    """Read every exclude file whole. Raises NotAcceptable for a bad row, a wrong shape, or no ids at all."""
    ids = IdSet(options.id_type)
    files = [_read_one(path, replace(options, on_invalid="never"), ids) for path in paths]
    return Excluded(files, ids)


def _read_one(path: Path, options: ReadOptions, ids: IdSet) -> ExcludeFile:
    if str(path) == "-":
        raise UsageError("--exclude -: an exclude file has to be a file; it is asked for again on a resume")
    with open_export(str(path)) as export:
        seen, used = _preflight(export, options)
        for batch in read_rows(export, seen.dialect, used, seen.fingerprint):
            ids.update(row for row in batch.rows if isinstance(row, str))
    return ExcludeFile(str(path), seen.fingerprint.sha256, seen.rows)


def _preflight(export: Export, options: ReadOptions) -> tuple[Preflight, ReadOptions]:
    """Read it in the first way that gives an id. Raises NotAcceptable.

    The first way that gives an id decides, also when other rows are bad: a way that comes later might read another
    column, and protect other ids without a word. If no way gives one, the error is that of the one that got furthest.
    """
    errors: list[ExportRefused] = []
    for way in _ways(export, options):
        try:
            rng = random.Random(0)  # noqa: S311 - nothing is drawn
            return preflight(export, way, rng=rng, sample_size=0, known=Duplicates()), way
        except ExportRefused as error:
            if error.usable:
                raise
            errors.append(error)
    raise max(errors, key=lambda error: error.line)


def _ways(export: Export, options: ReadOptions) -> list[ReadOptions]:
    """As the export is read; or by the usual names; or, a plain list, as the first column.

    A heading that is taken for an id here protects one id too many, which harms nobody; and of a shape it has to be.
    """
    bare = is_bare_list(export)
    # Each line of any file is a free-text id: as such only what looks like a list is read.
    ways = [options] if options.format != "lines" or bare else []
    if options.format == "lines":
        ways.append(replace(options, format="auto"))
    if options.id_field is not None:
        ways.append(replace(options, id_field=None))
    if bare:
        ways.append(replace(options, format="csv", id_field="1"))
    return ways
