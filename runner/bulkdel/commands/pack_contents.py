"""What `bulkdel pack` takes: the files of a run. Finds them; writes nothing.

The log says which files a run has. Each is taken from where the log says, from beside the log, or from where --moved
says, and only with the bytes that the log knows. What the program wrote itself is taken as `forget` finds it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import header_of, is_fresh, skipped_bytes
from bulkdel.command_line import CommandLine
from bulkdel.commands.run_files import (
    BACKUP_WORDS,
    EXCLUDED_WORDS,
    MADE_AGAIN_WORDS,
    MEMBERSHIPS_WORDS,
    OUTSIDE,
    PUT_BACK_WORDS,
    ROWS,
    UNFINISHED,
    Known,
    NamedFile,
    PersonalFile,
    RunFiles,
    has_bytes,
)
from bulkdel.core.address import address_of
from bulkdel.core.exclude_name import ExcludeKey, ExcludeName
from bulkdel.core.handover import HOST, MANIFEST, PLACE, free_name, toml_of, without_files
from bulkdel.core.log_entries import Header, Saved
from bulkdel.core.option import option_of
from bulkdel.core.shards import shard_numbers
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.going_on import goes_on
from bulkdel.handover.writing import FileToPack, Read
from bulkdel.input.run_input import is_forgotten, why_unsound
from bulkdel.job import Job, load_job
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_place import EXCLUDED, INDEX, INPUT, SKIPPED, LogPlace, PinnedFile
from bulkdel.place.opening import log_at, log_place
from bulkdel.regular_file import READ_BYTES, blocks_of, open_regular
from bulkdel.run_place import VERIFICATION, home_of, is_within, local_place
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.safety.protect import PROTECT
from bulkdel.store_path import StorePath, in_store, is_store_url
from bulkdel.variables import toml_in
from bulkdel.verify.findings import findings_log, findings_path

EXPORT = "the export"
EXCLUDE_FILE = "an exclude file"
ADDED_WITH_LOG = {ROWS, EXCLUDED_WORDS}
NEEDED = {BACKUP_WORDS, MEMBERSHIPS_WORDS, MADE_AGAIN_WORDS, PUT_BACK_WORDS}
"""What the program wrote and needs to go on."""

HANDED_OVER = b'"entries":[{"type":"annotation","event":"handover",'
"""What stands in the line of a hand-over, after its number. The archive has the log before that line."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is packed. sources: in their order. options: as in `Manifest`. notes: what is left out, and why.

    goes_on: whether something remains to be sent.
    """

    sources: tuple[FileToPack, ...]
    options: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    goes_on: bool


def contents_of(runs: Sequence[RunFiles], moved: Sequence[Path], config: Path | None) -> Contents:
    """Find everything that belongs to a run and to its restore. runs: as `files_of` finds them.

    moved: files that are not where the log says. config: where the config file is now.

    Raises NotAcceptable that names each file that is missing, and the option that says where it is.
    """
    found = _Found(runs[0], moved)
    for run in runs:
        found.add_logs(run)
    for run in runs:
        found.add_written(run)
    found.note_stored_restore()
    found.add_export()
    found.add_plan()
    excluded = found.add_excluded()
    parameters = found.add_parameters()
    found.add_config(config)
    found.refuse_missing()
    options = found.options(excluded, parameters)
    return Contents(tuple(found.sources), options, tuple(found.notes), goes_on(runs[0].progress))


def tables_of(job: Job) -> frozenset[str]:
    """The tables of a config file that a run of this job, and its restore, read. Raises UsageError."""
    return frozenset({PROTECT, job.config_table, *([] if job.undo is None else [load_job(job.undo).config_table])})


class _Found:
    """The files so far. sources, config, notes: as in `Contents`."""

    def __init__(self, run: RunFiles, moved: Sequence[Path]) -> None:
        self._run = run
        self._progress = run.progress
        start = run.progress.start.facts if run.progress.start is not None else {}
        self._goes_on = goes_on(run.progress)
        self._cwd = Path(str(start.get("cwd", "")))
        self._options: Mapping[str, Any] = start.get("options", {})
        self._moved = list(moved)
        self._missing: list[str] = []
        self._names: dict[str, str] = {}  # by the path as the log has it
        self._line = _last_line(run) if self._goes_on else None
        self._plan: tuple[str, PlanFile] | None = None
        self.sources: list[FileToPack] = []
        self.config: str | None = None
        self.notes: list[str] = []

    def add_logs(self, run: RunFiles) -> None:
        """Add the log, the logs of its shards, and the findings of its verification."""
        progress, place, inside = run.progress, log_place(run.place), LogFile(self._inside(run))
        handovers = (entry for entry in progress.annotations if entry.event == "handover")
        before = next((entry.log_sha256 for entry in handovers), None)  # the archive has the log before the first
        sha256 = run.sha256 if progress.handed_over is None else before
        self._add_log(place, "the log", progress.header, inside, sha256)
        self._add_rows(run, inside)
        self._add_excluded_ids(run, inside)
        for number in shard_numbers(progress.header):
            if not is_fresh(shard := place.shard(number)):
                self._add_log(shard, "the log of a shard", header_of(shard), inside.shard(number))
        state = log_at(findings_path(run.place))
        if not is_fresh(state, findings_log(lambda _: PositionSet())):
            name = inside.folder / VERIFICATION
            self._add(state.log, "the findings of the verification", read=partial(_log_blocks, state), name=name)

    def _add_log(self, log: LogPlace, what: str, header: Header, inside: LogFile, sha256: str | None = None) -> None:
        """Add a log with the file of its skipped rows. inside: the log in the archive."""
        self._add(log.log, what, sha256, read=partial(_log_blocks, log), name=inside.log)
        if (skipped := header.skipped_sha256) is not None:
            data, pinned = skipped_bytes(log, header, skipped), PinnedFile(SKIPPED, skipped)
            self._add(log.at(pinned), pinned.words, read=lambda: iter([data]), name=inside.at(pinned))

    def _add_beside(self, log: LogPlace, pinned: PinnedFile, inside: LogFile) -> None:
        """Add a file that lies beside a log. inside: the log in the archive."""
        self._add(log.at(pinned), pinned.words, read=partial(_beside_blocks, log, pinned), name=inside.at(pinned))

    def _add_rows(self, run: RunFiles, inside: LogFile) -> None:
        """Add the rows of a run, and their index. inside: its log in the archive.

        Every row was read: another person may have put another file there. Raises NotAcceptable where they are needed.
        """
        place, header = log_place(run.place), run.progress.header
        file = next((file for file in run.files if file.what == ROWS), None)
        if file is not None:  # `files_of` has read the rows
            why = file.why_foreign and f"{file.path}: {file.why_foreign}."
        elif is_forgotten(place, run.progress):
            why = f"{ROWS}: were removed by `bulkdel forget`."
        else:  # in a store, or missing
            why = why_unsound(place, header)
        if why:
            if goes_on(run.progress):
                raise NotAcceptable(f"{run.place}: {why} Nothing was packed.")
            self.notes.append(why)
            return
        for kind in (INPUT, INDEX):
            self._add_beside(place, PinnedFile(kind, header.input.index), inside)

    def _add_excluded_ids(self, run: RunFiles, inside: LogFile) -> None:
        """Add the excluded ids that the place has kept. inside: the log of the run in the archive."""
        place = log_place(run.place)
        if (sha256 := run.progress.header.excluded_sha256) is None:
            return
        pinned = PinnedFile(EXCLUDED, sha256)
        file = next((file for file in run.files if file.what == EXCLUDED_WORDS), None)
        if in_store(run.place) or (file is not None and not file.why_foreign):
            self._add_beside(place, pinned, inside)
            return
        why = f"{place.at(pinned)}, {EXCLUDED_WORDS}: it {'is not there' if file is None else file.why_foreign}"
        (self._missing if goes_on(run.progress) else self.notes).append(why)

    def add_written(self, run: RunFiles) -> None:
        """Add what the program wrote, also by its restore."""
        for file in run.files:
            if file.what in {UNFINISHED, *ADDED_WITH_LOG}:
                continue
            if file.why_foreign:
                self._add_moved(run, file, file.why_foreign)
            elif isinstance(file.known, Saved):
                self._add(file.path, file.what, read=partial(_known_blocks, file.path, file.known))
            else:
                self._add(file.path, file.what, file.sha256)
        removed = run.progress.forgotten.keys() - {file.path.name for file in run.files}
        for name in [name for name, _ in run.progress.backups] if goes_on(run.progress) else ():
            if Path(name).name in removed:
                self._missing.append(f"{name}, {BACKUP_WORDS}: was removed by `bulkdel forget`")
        for named in run.stored:
            if named.what not in ADDED_WITH_LOG:
                self.notes.append(f"{named.path}, {named.what}, stays there")
        for named in run.missing:
            if named.what not in ADDED_WITH_LOG:
                self._add_moved(run, named, "is not there")

    def _add_moved(self, run: RunFiles, file: PersonalFile | NamedFile, why: str) -> None:
        """Add a file from where --moved says it is now. Without that, note why it is not taken from its path."""
        if file.known is not None and (now := self._take_moved(file.known)) is not None:
            self._add(now, file.what, known_as=file.path)
        elif file.what in NEEDED and goes_on(run.progress):
            self._missing.append(f"{file.path}, {file.what}: it {why}")
        else:
            self.notes.append(f"{file.path}, {file.what}, is left out: it {why}")

    def note_stored_restore(self) -> None:
        """Note a restore that is in a store: it stays there, and what goes on with the restore needs it."""
        undo = self._progress.undo
        place = None if undo is None else undo.facts.get("run")
        if isinstance(place, str) and is_store_url(place):
            self.notes.append(
                f"{place}, the place of the restore, stays there. A command that goes on with it needs --run"
            )

    def add_export(self) -> None:
        """Add the export, where it is the one of the run."""
        pinned = self._progress.header.pinned
        known = pinned["sha256"]
        path, own = self._take_moved(known), self._run.export
        if path is None and own is not None and is_within(own, self._run.place) and has_bytes(own, known):
            path = own
        if path is not None:
            self._add(path, EXPORT, known)
            return
        recorded = self._progress.header.export_path
        why = "has changed" if own is not None and is_within(own, self._run.place) else self._why(Path(recorded))
        self.notes.append(f"{recorded}, {EXPORT}, is left out: it {why}")

    def add_excluded(self) -> list[str]:
        """Add every exclude file, by its SHA-256, unless the place has kept its ids. Returns their names.

        An approved plan names all of them, so they go with it.
        """
        names, header = [], self._progress.header
        kept = header.excluded if header.excluded_sha256 is not None and self._plan is None else {}
        for text, recorded in self._progress.excluded.items():
            if text in kept:
                continue
            key = ExcludeKey.read(text)
            if (path := self._where(recorded, key.sha256)) is not None:
                name = self._add(path, EXCLUDE_FILE, key.sha256)
                names.append(str(ExcludeName(name, key.column, key.id_type)))
            elif self._goes_on:
                why = f"{self._why(Path(recorded))}, or has changed (its SHA-256 was {key.sha256})"
                if address_of(recorded) is not None:
                    why = "lies elsewhere, and no archive names an address. Copy it to this machine"
                self._missing.append(f"{recorded}, {EXCLUDE_FILE}: {why}")
        return names

    def add_parameters(self) -> dict[str, str]:
        """Add the files that are options of the job. Returns their names by option."""
        names = {}
        for name, value in self._progress.header.parameters.items():
            if not isinstance(value, dict):
                continue
            option = option_of(name)
            if (path := self._where(value["path"], value["sha256"])) is not None:
                names[option] = self._add(path, f"the file of {option}", value["sha256"])
            else:
                why = self._why(Path(value["path"]))
                self._missing.append(f"{value['path']}, the file of {option}: {why}, or has changed")
        return names

    def add_plan(self) -> None:
        """Add the plan that the run goes by, found by its seal."""
        approved = self._progress.plan
        if self._line is None or approved is None or "--plan" not in self._line.options:
            return
        recorded = self._cwd / self._line.options["--plan"][0]
        near = (recorded,) if recorded.is_file() and is_within(recorded, self._run.place) else ()
        for path in (*self._moved, *near):
            try:
                plan = PlanFile.read(path)
            except UsageError:
                continue
            if plan.sha256 == approved.get("sha256"):
                self._plan = self._add(path, "the plan", known_as=recorded), plan
                self._moved = [each for each in self._moved if each != path]
                break
        if self._plan is None:
            self._missing.append(f"{recorded}, the plan: is not there, or has changed")

    def add_config(self, given: Path | None) -> None:
        """Add those tables of the config file that a run of this job has, without its secrets."""
        recorded = self._options.get("config")
        if given is None and recorded is None:
            return
        path = given or self._cwd / str(recorded)
        if given is None and not is_within(path, self._run.place):
            self._missing.append(f"{path}, the config file: {OUTSIDE}. Where it is now: --config FILE")
            return
        try:
            with open_regular(os.path.realpath(path)) as file:
                tables = toml_in(file.read())
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no TOML"
            self._missing.append(f"{path}, the config file: {why}. Where it is now: --config FILE")
            return
        known = tables_of(load_job(self._progress.header.pinned["job"]))
        kept, secrets = without_files({name: _without_host(table) for name, table in tables.items() if name in known})
        data = toml_of(kept).encode()
        self.config = self._add(Path(path.name), "the tables of the config file", read=lambda: iter([data]))
        for name in secrets:
            table, _, key = name.rpartition(".")
            self.notes.append(f"{path}, [{table}] {key}: it names a file with a secret")

    def refuse_missing(self) -> None:
        """Raise NotAcceptable when a file is missing, or a moved one is none of the run."""
        if self._missing:
            which = "\n".join(f"  {each}" for each in self._missing)
            raise NotAcceptable(
                f"{self._run.place}: files of this run are missing. Nothing was packed.\n{which}\n"
                "Name each where it is now: --moved FILE"
            )
        for path in self._moved:
            raise NotAcceptable(
                f"--moved {path}: is no file of this run that is missing: no SHA-256 in its log is that of this file. "
                "Nothing was packed. Leave it out."
            )

    def options(self, excluded: Sequence[str], files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The options of the command that goes on which name files of the archive, by their names there.

        excluded: as `add_excluded` returns them. files: names by option.
        """
        if (line := self._line) is None:
            return {}
        config: dict[str, tuple[str, ...]] = {} if self.config is None else {"--config": (self.config,)}
        undo = self._progress.undo
        if undo is not None and not undo.is_restored:
            copies = tuple(each.name for each in self.sources if each.what in {BACKUP_WORDS, MEMBERSHIPS_WORDS})
            return {**config, **({"--from-backup": copies} if copies else {})}
        found: dict[str, tuple[str, ...]] = {**config, **{option: (name,) for option, name in files.items()}}
        if self._plan is not None:
            found["--plan"] = (self._plan[0],)
        if excluded:
            found["--exclude"] = tuple(excluded)
        for value in line.options.get("--backup-to", ()):
            if not is_store_url(value):
                name = self._names.get(_absolute(self._cwd / value)) or _plain(Path(value).name)
                found["--backup-to"] = (name,)
        return found

    @property
    def _taken(self) -> set[str]:
        return {MANIFEST, PLACE, *(each.name for each in self.sources)}

    def _add(
        self,
        path: Path,
        what: str,
        sha256: str | None = None,
        *,
        read: Read | None = None,
        known_as: Path | None = None,
        name: Path | None = None,
    ) -> str:
        """Add a file, and return its name in the archive. read: its bytes, where they are not all those of the file.

        known_as: its path as the log has it. name: the name in the archive. Without one it is that of the file, in the
        place of the run, or beside that under a name that is free.
        """
        packed = name or self._name_in_place(known_as or path)
        text = free_name(_plain(path.name), self._taken) if packed is None else str(packed)
        self._names[_absolute(known_as or path)] = text
        self.sources.append(FileToPack(text, what, path, read or partial(_blocks, path), sha256))
        return text

    def _name_in_place(self, path: Path) -> Path | None:
        """The name of a file that is in the place of the run; None for any other."""
        place, path = Path(_absolute(local_place(self._run.place))), Path(_absolute(path))
        return Path(PLACE, path.relative_to(place)) if path.is_relative_to(place) else None

    def _inside(self, run: RunFiles) -> Path:
        """The place of a run in the archive: of the run itself, of its restore, or of its memberships."""
        return (
            Path(PLACE) if run.place == self._run.place else self._name_in_place(run.place) or Path(PLACE, "restore-1")
        )

    def _take_moved(self, known: Known) -> Path | None:
        """The first of the moved files with these bytes; it is taken once."""
        for path in self._moved:
            if has_bytes(path, known):
                self._moved.remove(path)
                return path
        return None

    def _where(self, recorded: str, sha256: str) -> Path | None:
        """Where a file of the user is: as --moved or the log says, or beside the log. None when it is nowhere."""
        if (moved := self._take_moved(sha256)) is not None or address_of(recorded) is not None:
            return moved
        near = home_of(self._run.place) / Path(recorded).name
        paths = (path for path in (Path(recorded), near) if is_within(path, self._run.place))
        return next((path for path in paths if has_bytes(path, sha256)), None)

    def _why(self, path: Path) -> str:
        """Why a file that the log names is not taken."""
        return OUTSIDE if path.exists() and not is_within(path, self._run.place) else "is not there"


def _last_line(run: RunFiles) -> CommandLine:
    """The command that the last session printed. Raises NotAcceptable when no session has begun."""
    progress, undo = run.progress, run.progress.undo
    sessions = [session.facts for session in (progress.stop, progress.start) if session is not None]
    facts = [undo.facts] if undo is not None else sessions
    words = next((each["to_go_on"] for each in facts if each.get("to_go_on")), () if undo is None else None)
    try:
        return CommandLine("restore", (str(run.place),)) if words is None else CommandLine.read(words)
    except ValueError:
        if words:
            raise NotAcceptable(f"{run.place}: its last command cannot be read. Nothing was packed") from None
        raise NotAcceptable(
            f"{run.place}: no session of this run has begun, so nothing was sent. Nothing was packed. Begin the run "
            "where it is to go on."
        ) from None


def _beside_blocks(place: LogPlace, pinned: PinnedFile) -> Iterator[bytes]:
    """The bytes of a file beside a log."""
    if (file := place.open(pinned)) is None:
        raise NotAcceptable(f"{place.at(pinned)}: is missing. Nothing was packed.")
    with closing(file):
        yield from file.blocks(READ_BYTES)


def _log_blocks(place: LogPlace) -> Iterator[bytes]:
    """The lines of a log, in a file or in a store, up to its first hand-over."""
    with place.lines() as lines:
        for line in lines:
            if HANDED_OVER in line[:100]:
                return
            yield line


def _without_host(table: Any) -> Any:
    """The host of the run stands in its command. Whatever is no table is refused where it is unpacked."""
    return {name: value for name, value in table.items() if name != HOST} if isinstance(table, dict) else table


def _blocks(path: Path, stop: int = sys.maxsize) -> Iterator[bytes]:
    with open_regular(os.path.realpath(path)) as file:
        yield from blocks_of(file.fileno(), stop=stop)


def _known_blocks(path: Path, known: Saved) -> Iterator[bytes]:
    """The part of a backup that the log knows: it may call another file its own. No id of what follows was sent."""
    found = Saved()
    for block in _blocks(path, known.size):
        found = found.plus([block])
        yield block
    if found != known:
        raise NotAcceptable(f"{path}: has changed meanwhile. Nothing was packed. Run the same command again.")


def _plain(name: str) -> str:
    """The name of a file, as every system takes and shows it."""
    shown = (char if char.isprintable() and char != "\\" else "_" for char in printable(name))
    return "".join(shown).lstrip(".") or "file"


def _absolute(path: Path) -> str:
    return str(path) if isinstance(path, StorePath) else os.path.abspath(path)  # noqa: PTH100 - without following links
