"""Exclude files: ids that must never be deleted. Owns reading them.

An exclude file is an export of ids to keep: same formats, same id type, same checks. Whatever is doubtful in one stops
the run, because a file that protects less than it was meant to is worse than none.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import NotAcceptable, UsageError
from runner.source import Export, Preflight, ReadOptions, open_export, preflight, read_rows
from runner.source.recognise import is_bare_list


@dataclass(frozen=True, slots=True)
class Excluded:
    """One exclude file. sha256: of its bytes, hex. keys: folded ids (`IdType.key`), about 200 bytes of memory each."""

    path: str
    sha256: str
    keys: frozenset[str]


def read_excluded(paths: Sequence[Path], options: ReadOptions) -> list[Excluded]:
    """Read every exclude file whole. Raises NotAcceptable for a bad row, a wrong shape, or no ids at all."""
    return [_read_one(path, replace(options, on_invalid="stop")) for path in paths]


def _read_one(path: Path, options: ReadOptions) -> Excluded:
    if str(path) == "-":
        raise UsageError("--exclude -: an exclude file has to be a file; it is asked for again on a resume")
    with open_export(str(path)) as export:
        seen, used = _preflight(export, options)
        keys = frozenset(
            options.id_type.key(row)
            for batch in read_rows(export, seen.dialect, used, seen.fingerprint)
            for row in batch.rows
            if isinstance(row, str)
        )
    return Excluded(str(path), seen.fingerprint.sha256, keys)


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
