"""Exclude files: ids that must never be deleted. Owns reading them.

An exclude file is an export of ids to keep: same formats, same id type, same checks. Whatever is doubtful in one stops
the run, because a file that protects less than it was meant to is worse than none.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.core.alike import Alike
from runner.errors import NotAcceptable, UsageError
from runner.source import Export, Preflight, ReadOptions, open_export, preflight, read_rows
from runner.source.recognise import is_bare_list


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
    ids: Alike = field(default_factory=Alike)


def read_excluded(paths: Sequence[Path], options: ReadOptions) -> Excluded:
    """Read every exclude file whole. Raises NotAcceptable for a bad row, a wrong shape, or no ids at all."""
    ids = Alike(options.id_type)
    files = [_read_one(path, replace(options, on_invalid="never"), ids) for path in paths]
    return Excluded(files, ids)


def _read_one(path: Path, options: ReadOptions, ids: Alike) -> ExcludeFile:
    if str(path) == "-":
        raise UsageError("--exclude -: an exclude file has to be a file; it is asked for again on a resume")
    with open_export(str(path)) as export:
        seen, used = _preflight(export, options)
        for batch in read_rows(export, seen.dialect, used, seen.fingerprint):
            ids.update(row for row in batch.rows if isinstance(row, str))
    return ExcludeFile(str(path), seen.fingerprint.sha256, seen.rows)


def _preflight(export: Export, options: ReadOptions) -> tuple[Preflight, ReadOptions]:
    """Read it as the export is read; or by the usual names; or as a plain list, one id a line without a heading.

    A heading that is taken for an id here protects one id too many, which harms nobody; and of a shape it has to be.
    """
    rng = random.Random(0)  # noqa: S311 - nothing is drawn
    ways = [options, replace(options, id_field=None)] if options.id_field is not None else [options]
    if is_bare_list(export):
        ways.append(replace(options, id_field="1"))
    for way in ways[:-1]:
        with contextlib.suppress(NotAcceptable):
            return preflight(export, way, rng=rng, sample_size=0), way
    return preflight(export, ways[-1], rng=rng, sample_size=0), ways[-1]
