"""Reads the export of one command: anew, or to compare it with the log of its run. Deletes nothing."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.address import address_of
from bulkdel.core.bad_rows import MaxInvalid
from bulkdel.core.excluded_rows import excluded_in
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.input_rows import Rows
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.errors import Drained, NotAcceptable, UsageError
from bulkdel.export.advice import Way, Words, advise, left_words
from bulkdel.export.converting import WORKBOOK, TableRows, as_text, rows_of, table_of
from bulkdel.export.download import Fetching, Source, fetch
from bulkdel.export.encoding import encoding_named
from bulkdel.export.file import Export, Fingerprint, fingerprint, open_export
from bulkdel.export.invalid_file import REASONS, InvalidRows
from bulkdel.export.preflight import preflight, preflight_of_input
from bulkdel.export.refusal import ExportRefused, without_a_way
from bulkdel.export.rows import Parsed, ReadOptions, dialect_of
from bulkdel.export.sniff import header_of, recognise
from bulkdel.format import shown
from bulkdel.input.frames import Input
from bulkdel.input.run_input import NewInput, is_forgotten, open_input
from bulkdel.job import Target
from bulkdel.place.lease import Terms
from bulkdel.place.log_file import missing_folders, remove_empty
from bulkdel.place.opening import log_place
from bulkdel.place.spool import Spool
from bulkdel.run_place import INVALID, own_file
from bulkdel.safety.as_planned import check_export
from bulkdel.safety.exclude import Excluded
from bulkdel.safety.run_plan import CheckedExport, RunArguments
from bulkdel.settings import Settings
from bulkdel.store.far_object import Reach

SILENCE_S = 30.0
"""Seconds of silence after which the source of an export is asked again; --timeout may be shorter."""


class Reading(Enum):
    """Which rows are read before the first request.

    ANEW: the rows of the export, for a new run, and for a log that this user has not begun: it may be forged.
    ROWS: the rows of the input, for more exclude files. The sample was looked up before. The duplicates of the log
    stay: rows with the same id are excluded together, so the first row of each other id stays the same.
    LOGGED: none. The log has all facts that are needed.
    """

    ANEW = auto()
    ROWS = auto()
    LOGGED = auto()


class ReadingProgress:
    """The progress of reading the export. Another thread may stop the reading.

    text: the current step in words.
    """

    def __init__(self) -> None:
        self.text = "opening the export"
        self._stopped = threading.Event()

    def copied(self, done: int) -> None:
        """Note the number of bytes copied from a pipe so far. Raises Drained."""
        self.note(f"copying the export from a pipe: {done:,} bytes so far")

    def note(self, text: str) -> None:
        """Note the progress in words, such as that of copying an export that lies elsewhere. Raises Drained."""
        self.text = text
        self.check()

    def over(self, found: Input) -> Iterator[Rows]:
        """Yield the rows of an input, and note how far it is. Raises Drained, and what `Input.rows` raises."""
        for rows in found.rows():
            yield rows
            self.note(f"reading the rows of the run: {rows.stop:,} of {found.size:,}")

    def read(self, done: int, total: int) -> None:
        """Note the number of bytes read so far. Raises Drained."""
        self.note(f"reading the export: {done:,} of {total:,} bytes")

    def stop(self) -> None:
        """End the reading at its next block."""
        self._stopped.set()

    def check(self) -> None:
        """Raise Drained when the reading was stopped."""
        if self._stopped.is_set():
            raise Drained


@dataclass(frozen=True, slots=True)
class ExportReading:
    """How one command reads its export. `stack` closes what is opened.

    target: the API; None for the sandbox, which is filled from the rows. rng: draws the sample.
    """

    arguments: RunArguments
    options: ReadOptions
    reading: ReadingProgress
    stack: ExitStack
    target: Target | None
    excluded: Excluded
    rng: random.Random

    def of_new_run(self) -> CheckedExport:
        """Read every row, for a new run or its plan. Raises what `export.preflight` raises."""
        run = self.arguments.run
        self.stack.callback(remove_empty, missing_folders(run))
        opened, new, invalid = self._open(), None, None
        if self.arguments.command != "plan":
            new = self._new_input(log_place(self.arguments.run).spool())
            if self.options.skip_invalid is not None:
                invalid = InvalidRows(self.arguments.folder, self.stack)
        elif self.target is None or self.excluded.to_look_up:  # what reads the rows again
            new = self._new_input(Spool.unnamed(self.arguments.folder))
        export = self._preflight(opened, new, invalid)
        return replace(
            export,
            rows=None if new is None else new.rows,
            new=new,
            invalid_to=self._invalid_to(opened.file) if export.counts["invalid"] else None,
            invalid=invalid,
        )

    def of_log(self, log: RunState, how: Reading) -> CheckedExport:
        """Compare the export with the log. how: which rows are read."""
        known = self._known(log, self._rows_of(log, how), how)
        if how is Reading.ANEW:
            return self._read_once_more(known) if known.gone else self._compared(known, log)
        if not known.gone:
            known = self._as_named(known, log)
        return known if how is Reading.LOGGED else excluding(known, self.excluded.ids, self.reading)

    def _rows_of(self, log: RunState, how: Reading) -> Input | None:
        """The rows of the run, as far as they are read; None where none is. Raises NotAcceptable."""
        place = log_place(self.arguments.run, Terms(patience_s=self.arguments.settings.patience))
        forgotten, fills = is_forgotten(place, log), self.target is None  # the sandbox is filled from all rows
        if forgotten and not log.complete:
            raise NotAcceptable(
                f"{place.where}: `bulkdel forget` has removed the rows of this run, so it cannot go on. Nothing was "
                "sent. If there is a copy of the file, put it back; then run the same command again."
            )
        reads_none = log.complete or log.header.shards or self.arguments.command == "plan"
        if how is Reading.LOGGED and (forgotten or (reads_none and not fills)):
            return None
        first = 0 if fills or how is not Reading.LOGGED else log.begin
        return open_input(place, log.header, self.stack, first)

    def _known(self, log: RunState, rows: Input | None, how: Reading) -> CheckedExport:
        """The export as the log has it. It need not be there any more."""
        export, pinned = self.arguments.export, log.header.pinned
        address, logged = address_of(export), log.header.export_object.get("address")
        if address is None:  # a file of another name is mistyped
            gone = export != "-" and Path(export).name == Path(log.header.export_path).name
            gone = gone and not os.path.lexists(export)
        else:  # an object is not read again, unless the log may be forged
            gone = address.shown == logged and how is not Reading.ANEW
        gone |= self.arguments.settings.as_confirmed
        invalid = own_file(self.arguments.run, INVALID)
        return CheckedExport(
            export if address is None else address.shown,
            self.options,
            dialect_of(pinned).as_named(self.options),
            Fingerprint(pinned["sha256"], pinned["bytes"]),
            log.asked,
            log.skipped,
            rows,
            invalid_to=invalid if log.asked["invalid"] and os.path.lexists(invalid) else None,
            gone=gone,
        )

    def _as_named(self, known: CheckedExport, log: RunState) -> CheckedExport:
        """The export that the command names, to be compared with that of the run."""
        file, source = self._open_file()
        if table_of(file, self.options, self.reading.note) is None:
            dialect = recognise(file, self.options)
        else:  # its rows are not read again, so its columns are not recognised
            dialect = known.dialect
        known = replace(known, path=file.path, state=file.state, source=source, dialect=dialect)
        if file.copied or file.state != log.header.export_state:  # else it was not written to since
            known = replace(known, fingerprint=fingerprint(file, self.reading.read))
        return known

    def _compared(self, known: CheckedExport, log: RunState) -> CheckedExport:
        """Read every row of the export, because the log may be forged. Raises NotAcceptable for other rows."""
        opened, again = self._open(sheet=known.dialect.sheet), self._new_input(Spool.unnamed(self.arguments.folder))
        export = self._preflight(opened, again, None)
        if export.fingerprint == known.fingerprint and again.pins.content != log.header.input.content:
            raise other_rows(self.arguments.run)
        return replace(export, rows=known.rows, invalid_to=known.invalid_to)

    def _read_once_more(self, known: CheckedExport) -> CheckedExport:
        """Check the rows of the input as those of an export: another person may have written it."""
        assert known.rows is not None, "a log has its rows"
        approved = self.arguments.approved
        if self.options.whole or approved is not None:
            what = "nothing shows that its rows are those of the plan" if approved else "records cannot be compared"
            raise NotAcceptable(
                f"{known.path}: is not there, and no session of {self.arguments.run} was begun by this user on "
                f"this machine, so {what}. Nothing was sent. Put the export back."
            )
        skipped, sample = preflight_of_input(
            self.reading.over(known.rows),
            self.options,
            self.arguments.run,
            count=known.rows.size,
            protected=self.excluded.ids,
            rng=self.rng,
            temporary=self.arguments.folder,
        )
        return replace(known, **_counted({"rows": known.rows.size}, skipped), sample=sample)

    def _preflight(self, opened: _Opened, new: NewInput | None, invalid: InvalidRows | None) -> CheckedExport:
        """Read and check every row. new, invalid: take the rows, and the bad ones."""

        def take(parsed: Parsed) -> None:
            if new is not None:
                new.add(parsed.for_input())
            if invalid is not None:
                invalid.add(parsed)

        table = opened.table
        try:
            found = preflight(
                opened.file,
                self.options,
                protected=self.excluded.ids,
                rng=self.rng,
                on_progress=self.reading.read,
                temporary=self.arguments.folder,
                dialect=None if table is None else table.in_copy,
                to=take,
                growing=lambda: 0 if new is None else new.size,
            )
        except ExportRefused as error:
            raise with_advice(self.arguments, opened.original, self.options, error, self.reading)[0] from error
        if opened.original.state[2:4] != opened.state[2:4]:  # size and time
            raise NotAcceptable(f"{opened.file.path}: was changed while it was read. Nothing was sent. Start again.")
        if new is not None:
            new.finish()
        if invalid is not None and found.bad:
            invalid.finish(header_of(opened.file, found.dialect), found.bad)
        return CheckedExport(
            path=opened.original.path,
            state=opened.original.state,
            source=opened.source,
            options=self.options,
            dialect=found.dialect if table is None else table.dialect,
            hidden=() if table is None else table.hidden,
            fingerprint=opened.fingerprint or found.fingerprint,
            counts=found.counts,
            skipped=found.skipped,
            preflight=found,
            sample=found.sample,
            met=found.kept,
            perhaps=found.perhaps,
        )

    def _new_input(self, spool: Spool) -> NewInput:
        self.stack.callback(spool.close)
        return NewInput(spool, str(self.arguments.folder))

    def _invalid_to(self, file: Export) -> Path:
        """The file for the bad rows. Raises NotAcceptable when it is the export."""
        to = own_file(self.arguments.run, INVALID)
        if file.is_file(to) or file.is_file(Path(f"{to}{REASONS}")):
            raise NotAcceptable(f"{to}: this is the export itself; bad rows need another file. Rename the export.")
        return to

    def _open(self, sheet: str | None = None) -> _Opened:
        """Open the export to read its rows. Those of a table are copied first. sheet: the one that a log has."""
        arguments, options = self.arguments, replace(self.options, sheet=self.options.sheet or sheet)
        original, source = self._open_file()
        table = table_of(original, options, self.reading.note)
        of_workbook = table is not None and table.format == WORKBOOK
        if self.options.sheet is not None and not of_workbook and not arguments.settings.exclude:
            raise UsageError(
                f"--sheet {shown(self.options.sheet)}: {arguments.export} is no workbook. Nothing was sent. Leave "
                "--sheet out, or name the workbook"
            )
        if table is None:
            return _Opened(original, original, source, original.state)
        state, read = original.state, fingerprint(original, self.reading.read)
        try:
            rows = rows_of(table, self.arguments.folder)
        except ExportRefused as error:
            raise with_advice(arguments, original, self.options, error, self.reading)[0] from error
        return _Opened(original, self.stack.enter_context(rows.file), source, state, rows, read)

    def _open_file(self) -> tuple[Export, Source | None]:
        """Open what the command names. A pipe, or what lies elsewhere, is copied to a file without a name.

        Of a run by a plan, no row of another export is refused, or shown.
        """
        arguments, source = self.arguments, None
        if arguments.rows is not None:
            file = Export(os.dup(arguments.rows), arguments.export, copied=True)
        elif (address := address_of(arguments.export)) is None:
            file = open_export(arguments.export, folder=self.arguments.folder, on_progress=self.reading.copied)
        else:
            file, source = fetch(address, self.arguments.folder, fetching_of(arguments.settings, self.reading))
        self.stack.enter_context(file)
        if arguments.approved is not None:
            check_export(arguments, self.target, fingerprint(file, self.reading.read))
        return file, source


@dataclass(frozen=True, slots=True)
class _Opened:
    """An export that is open. original: the file that was named. file: its rows, which of a table are a copy.

    source: where the original is a copy from. state: of the original when it was opened. table: the rows of a table,
    and fingerprint that of the table; else None.
    """

    original: Export
    file: Export
    source: Source | None
    state: tuple[int, ...]
    table: TableRows | None = None
    fingerprint: Fingerprint | None = None


def excluding(export: CheckedExport, protected: IdSet, reading: ReadingProgress) -> CheckedExport:
    """The export without the rows of these ids. The rows are found in its input; the duplicates stay."""
    assert export.rows is not None, "there is an input, because the rows may be wanted"
    duplicates, invalid = (export.skipped.by_reason[reason] for reason in ("duplicate", "invalid"))
    found = excluded_in(reading.over(export.rows), protected, duplicates)
    skipped = SkippedRows.of(excluded=found.positions, duplicate=duplicates, invalid=invalid)
    return replace(export, **_counted(export.counts, skipped), met=found.kept(), perhaps=found.perhaps)


def _counted(before: Mapping[str, int], skipped: SkippedRows) -> dict[str, Any]:
    """The rows that are never sent, and the counts with them."""
    counts = {str(reason): rows.size for reason, rows in skipped.by_reason.items()}
    return {"skipped": skipped, "counts": {**before, "ids": before["rows"] - skipped.rows.size, **counts}}


def other_rows(path: Path) -> NotAcceptable:
    """Make the refusal: the log is not about the rows of the export."""
    return NotAcceptable(
        f"{path}: what it says of the rows of the export is not so, and no session of it was begun by this user on "
        "this machine. Nothing was sent. Ask for the log that the run has written; a run in another place (--run) "
        "begins anew."
    )


def export_refusal(
    arguments: RunArguments, options: ReadOptions, reading: ReadingProgress
) -> tuple[ExportRefused, tuple[Way, ...]] | None:
    """The refusal of the export with its advice; None when it is acceptable."""
    with ExitStack() as stack:
        file = stack.enter_context(open_export(arguments.export))
        rows, own, _ = as_text(file, options, arguments.folder, reading.note, stack, for_advice=True)
        try:
            preflight(rows, own, on_progress=reading.read)
        except ExportRefused as error:
            return with_advice(arguments, rows, own, error, reading)
    return None


def fetching_of(settings: Settings, reading: ReadingProgress) -> Fetching:
    """How an export that lies elsewhere is fetched."""
    reach = Reach(settings.ca_file, settings.proxy, min(SILENCE_S, settings.timeout))
    return Fetching(reach, settings.patience, reading.note)


def read_options(arguments: RunArguments, id_type: IdType) -> ReadOptions:
    """How the export is read."""
    settings, job = arguments.settings, arguments.job
    return ReadOptions(
        id_type=id_type,
        id_types=job.id_types,
        format=settings.format,
        id_field=settings.id_field,
        trim=settings.trim,
        skip_invalid=None if settings.skip_invalid is None else MaxInvalid.parse(settings.skip_invalid),
        id_pattern=settings.id_pattern,
        whole=job.takes_records,
        encoding=None if settings.encoding is None else encoding_named(settings.encoding),
        sheet=settings.sheet,
    )


def with_advice(
    arguments: RunArguments, file: Export, options: ReadOptions, error: ExportRefused, reading: ReadingProgress
) -> tuple[ExportRefused, tuple[Way, ...]]:
    """Add to the refusal of an export the commands with which it can be read, where options may mend it."""
    if error.fault is None or arguments.undoes is not None:
        return error, ()
    asked = arguments.settings.id_type is not None
    with ExitStack() as stack:
        rows, own, _ = as_text(file, options, arguments.folder, reading.note, stack, for_advice=True)
        ways = advise(rows, own, error, asked=asked, on_progress=reading.read)
    said: list[Words] = []
    for way in ways:
        said += [words for words in way.why if words.text and words not in said]
        names, left = " ".join(f"{option} {shown(value)}" for option, value in way.given.items()), left_words(way)
        said.append(_command(f"To read it with {names}:", arguments.line.plus_given(way.given)))
        if left is not None:
            said += [left, _command("To leave them out:", arguments.line.plus_given({**way.given, **way.skipping}))]
    if not ways and (todo := without_a_way(error)):
        said = [Words(todo, todo)]
    for words in said:
        error = error.plus(words.text, words.public)
    return error, ways


def _command(why: str, line: CommandLine) -> Words:
    """A command to paste. A heading may be the text of a row, so it is not public."""
    return Words(f"{why}\n  {line}", "")
