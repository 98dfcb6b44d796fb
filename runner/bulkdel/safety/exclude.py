"""Exclude files: ids that must never be deleted. Owns reading them.

An exclude file has the formats, the id type and the checks of an export. Any fault in it refuses the run, because the
file could protect fewer ids than it should.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bulkdel.core.address import address_of
from bulkdel.core.id_type import IdSet
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.errors import UsageError
from bulkdel.export import Export, Preflight, ReadOptions, open_export, preflight, read_rows
from bulkdel.export.download import Fetching, fetch_unnamed
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.sniff import is_bare_list


@dataclass(frozen=True, slots=True)
class ExcludeFile:
    """One exclude file. sha256: of its bytes, hex. ids: how many rows it has."""

    path: str
    sha256: str
    ids: int


def read_excluded(
    paths: Sequence[str | Path], options: ReadOptions, ids: IdSet, fetching: Fetching, folder: Path
) -> list[ExcludeFile]:
    """Add the ids of every exclude file to `ids`. Raises NotAcceptable: a bad row, a wrong shape, no id in a file.

    fetching, folder: for one that lies elsewhere. It is copied to a file there that has no name, each time anew.
    """
    options = replace(options, on_invalid="never", whole=False)
    files: list[ExcludeFile] = []
    for path in paths:
        if str(path) == "-":
            raise UsageError("--exclude -: an exclude file has to be a file; a resume reads it again")
        address = address_of(str(path))
        with open_export(str(path)) if address is None else fetch_unnamed(address, folder, fetching) as export:
            found, used = _preflight(export, options)
            for parsed in read_rows(export, found.dialect, used, found.fingerprint):
                ids.update(row for row in parsed.batch.rows if isinstance(row, str))
        files.append(ExcludeFile(export.path, found.fingerprint.sha256, found.rows))
    return files


def _preflight(export: Export, options: ReadOptions) -> tuple[Preflight, ReadOptions]:
    """Read it in the first way that gives an id. Raises NotAcceptable.

    That way decides, also when other rows are bad, because a later way might read another column and so protect other
    ids. If no way gives an id, the error is that of the way that read the most lines.
    """
    errors: list[ExportRefused] = []
    for way in _ways(export, options):
        try:
            rng = random.Random(0)  # noqa: S311 - nothing is drawn
            return preflight(export, way, rng=rng, sample_size=0, known=PositionSet()), way
        except ExportRefused as error:
            if error.usable:
                raise
            errors.append(error)
    raise max(errors, key=lambda error: error.line)


def _ways(export: Export, options: ReadOptions) -> list[ReadOptions]:
    """The ways to try: as the export is read; by the usual names; a plain list as the first column.

    A heading that is taken for an id protects one id too many, which does no harm.
    """
    bare = is_bare_list(export)
    # Any line can be a free-text id, so only a file that looks like a plain list is read as one.
    ways = [options] if options.format != "lines" or bare else []
    if options.format == "lines":
        ways.append(replace(options, format="auto"))
    if options.id_field is not None:
        ways.append(replace(options, id_field=None))
    if bare:
        ways.append(replace(options, format="csv", id_field="1"))
    return ways
