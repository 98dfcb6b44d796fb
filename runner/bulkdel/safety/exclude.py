"""Exclude files: ids that must never be deleted. Owns reading them.

An exclude file has the formats and the checks of an export, and its id type unless it is named with another one. Any
fault in it refuses the run, because the file could protect fewer ids than it should.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkdel.core.address import address_of
from bulkdel.core.exclude_name import ExcludeKey, ExcludeName, is_unusual, names_in
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.advice import Words, advise
from bulkdel.export.converting import as_text
from bulkdel.export.download import Fetching, fetch
from bulkdel.export.file import Export, fingerprint, open_export
from bulkdel.export.preflight import Preflight, preflight
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.rows import Parsed, ReadOptions
from bulkdel.export.sniff import is_bare_list
from bulkdel.format import did_you_mean, shown
from bulkdel.run_place import is_kept_by_restore


@dataclass(frozen=True, slots=True)
class ExcludeFile:
    """One exclude file.

    path: without column and type. sha256: of its bytes, hex. ids: how many it has, one a row.
    column, sheet: as the user named them. id_type: of its ids. looked_up: whether that is another than the run's, so
    that its accounts are found by look-ups. sheet_read: of a workbook. sheets_hidden: those that were not read, as one
    text; None without any. unusual: how many of the ids look like more than an id (`core.exclude_name.is_unusual`).
    field_read: the column or member that has the ids; None where each line is one. recognised: whether that is another
    than the export's, which was named and which this file lacks.
    """

    path: str
    sha256: str
    ids: int
    id_type: str
    column: str | None = None
    sheet: str | None = None
    looked_up: bool = False
    sheet_read: str | None = None
    sheets_hidden: str | None = None
    unusual: int = 0
    field_read: str | None = None
    recognised: bool = False

    @property
    def key(self) -> str:
        """What has to be the same on a resume: the bytes, and what was taken from them. The log has it."""
        return str(ExcludeKey.of(self.sha256, self.column, self.sheet, self.id_type, looked_up=self.looked_up))


@dataclass(frozen=True, slots=True)
class Excluded:
    """The exclude files, and their ids. ids: of the run's type. to_look_up: those of other types, by type."""

    files: tuple[ExcludeFile, ...]
    ids: IdSet
    to_look_up: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_excluded(
    names: Sequence[str | Path],
    options: ReadOptions,
    fetching: Fetching,
    folder: Path,
    *,
    write: Callable[[ExcludeFile, Sequence[str]], object] = lambda _file, _ids: None,
    stored: Callable[[Collection[str]], Iterable[tuple[ExcludeFile, Sequence[str]]]] = lambda _typed: (),
) -> Excluded:
    """Read every exclude file. Raises NotAcceptable: a bad row, a wrong shape, no id in a file.

    names: each may end in `:COLUMN` or `:COLUMN:TYPE`.
    fetching, folder: for one that lies elsewhere, and for a workbook. It is copied to a file there that has no name.
    write: takes each file with its ids. stored: yields those of an earlier session that are not among these keys.
    """
    options = replace(options, skip_invalid=None, whole=False, protects=True)
    files, ids, others = list[ExcludeFile](), IdSet(options.id_type), dict[str, dict[str, str]]()

    def add(file: ExcludeFile, good: Sequence[str]) -> None:
        files.append(file)
        if file.id_type not in options.id_types:
            raise NotAcceptable(
                f"{file.path}: has ids of the type {shown(file.id_type)}, which this job does not know."
            )
        if file.looked_up:
            key = options.id_types[file.id_type].key
            others.setdefault(file.id_type, {}).update((key(id_), id_) for id_ in good)
        else:
            ids.update(good)

    for name in names:
        if str(name) == "-":
            raise UsageError(f"{options.option} -: has to be a file; a later command reads it again")
        with ExitStack() as stack:
            found_name, export = _open(name, options, fetching, folder, stack)
            id_type = options.id_types[found_name.id_type] if found_name.id_type is not None else options.id_type
            looked_up = id_type.name != options.id_type.name
            # The shape and the column of the run's ids say nothing of another type.
            own = replace(options, id_type=id_type, id_pattern=None, id_field=None) if looked_up else options
            own = own if found_name.column is None else replace(own, id_field=found_name.column)
            if is_kept_by_restore(Path(found_name.path)):  # it is read so, whatever the export is like
                own = replace(own, format="jsonl", id_field="id", encoding=None, id_pattern=None)
            rows, own, sheets = as_text(export, own, folder, fetching.on_progress, stack)
            try:
                found, good = _preflight(rows, own, column=found_name.column)
            except ExportRefused as error:
                raise _advised(rows, own, found_name, error, options.id_type.name) from error
            sha256 = found.fingerprint.sha256 if rows is export else fingerprint(export).sha256
        read, hidden = sheets.get("sheet"), [name for name in sheets.get("hidden", ()) if name != sheets["sheet"]]
        sheet = read if read == options.sheet else None
        other_field = own.id_field is not None and found.dialect.guessed and found.dialect.id_field is not None
        file = ExcludeFile(
            *(export.path, sha256, found.rows, id_type.name, found_name.column, sheet, looked_up, read),
            *(", ".join(hidden) or None, sum(map(is_unusual, good)), found.dialect.id_field, other_field),
        )
        write(file, good)
        add(file, good)
    for of_run, ids_of_run in stored({file.key for file in files}):
        add(of_run, ids_of_run)
    return Excluded(tuple(files), ids, {name: tuple(found.values()) for name, found in others.items()})


def exclude_path(name: str | Path, id_types: Mapping[str, IdType]) -> str:
    """The path or address of an exclude file, without column and type."""
    return str(_local(name, id_types).path)


def _local(name: str | Path, id_types: Mapping[str, IdType], option: str = "--exclude") -> ExcludeName:
    """The way to read a name that names a file. Raises UsageError where two do: another person may have made one."""
    ways = names_in(str(name), id_types)
    there = [way for way in ways if os.path.lexists(way.path)]
    files = [way.path for way in there if not Path(way.path).is_dir()]
    if len(files) > 1:
        raise UsageError(
            f"{option} {shown(name)}: may mean {' or '.join(map(shown, files))}, and both files are there. Rename or "
            "remove the one that is not meant"
        )
    return next(iter(there), ways[0])


def _check_type(found: ExcludeName, options: ReadOptions) -> None:
    """Refuse a name of which the file is there, and the last part is no id type. Raises UsageError."""
    rest, _, name = str(found).rpartition(":")
    path, _, column = rest.rpartition(":")
    if not os.path.lexists(found.path) and column and os.path.lexists(path):
        known, alike = ", ".join(options.id_types), did_you_mean(name, options.id_types)
        raise UsageError(f"{options.option} {found}: {name!r} is no id type; they are {known}.{alike}")


def _open(
    name: str | Path, options: ReadOptions, fetching: Fetching, folder: Path, stack: ExitStack
) -> tuple[ExcludeName, Export]:
    """Open the file or the object. The parts after a colon count only if the rest names one."""
    if address_of(str(name)) is None:
        found = _local(name, options.id_types, options.option)
        _check_type(found, options)
        return found, stack.enter_context(open_export(found.path))
    refused: NotAcceptable | None = None
    for way in names_in(str(name), options.id_types):
        address = address_of(way.path)
        if address is None or address.fault is not None:
            continue
        try:
            return way, stack.enter_context(fetch(address, folder, fetching)[0])
        except NotAcceptable as error:
            refused = refused or error
    assert refused is not None, "the whole name is an address"
    raise refused


def _preflight(export: Export, options: ReadOptions, *, column: str | None) -> tuple[Preflight, list[str]]:
    """Read it in the first way that gives an id. Returns also its ids. Raises NotAcceptable.

    That way decides, also when other rows are bad, because a later way might read another column and so protect other
    ids. If no way gives an id, the error is that of the way that read the most lines, and of those the last.
    column: named by the user; then there is no other way.
    """
    errors: list[ExportRefused] = []
    for way in _ways(export, options, column=column):
        ids: list[str] = []

        def take(parsed: Parsed, ids: list[str] = ids) -> None:
            ids += parsed.ids

        try:
            return preflight(export, way, to=take), ids
        except ExportRefused as error:
            if error.usable:
                raise
            errors.append(error)
    raise max(reversed(errors), key=lambda error: error.line)


def _ways(export: Export, options: ReadOptions, *, column: str | None) -> list[ReadOptions]:
    """The ways to try: as the export is read; by the usual names; a plain list as the first column.

    A heading that is taken for an id protects one id too many, which does no harm.
    """
    if column is not None:
        return [replace(options, format="auto" if options.format == "lines" else options.format)]
    bare = is_bare_list(export, options)
    # Any line can be a free-text id, so only a file that looks like a plain list is read as one.
    ways = [options] if options.format != "lines" or bare else []
    if options.format == "lines":
        ways.append(replace(options, format="auto"))
    if options.id_field is not None:
        ways.append(replace(options, id_field=None))
    if bare:
        ways.append(replace(options, format="csv", id_field="1"))
    return ways


def _advised(
    rows: Export, options: ReadOptions, name: ExcludeName, error: ExportRefused, run_type: str
) -> ExportRefused:
    """Add to the refusal how the file can be named so that it is read."""
    ways = advise(rows, options, error, asked=True) or advise(rows, options, error, asked=False)
    said: list[Words] = []
    for way in ways:
        column = way.given.get("--id-field", name.column)
        id_type = way.given.get("--id-type", options.id_type.name)
        named = ExcludeName(name.path, column, None if id_type == run_type else id_type) if column else None
        said += [words for words in way.why if words.text and words not in said]
        words = [f"{options.option} {shlex.quote(str(named))}"] if named is not None and way.reads else []
        words += [f"--encoding {way.given['--encoding']}"] if "--encoding" in way.given else []
        if words:
            said.append(Words(f"To read it: {' '.join(words)}", ""))
    for each in said:
        error = error.plus(each.text, each.public)
    return error
