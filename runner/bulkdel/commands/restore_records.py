"""The records of a restore: those of the backups, of the accounts that its run has deleted and that are not back.

Makes the derived export. Deletes and creates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.takeover import is_locked
from bulkdel.command_line import CommandLine
from bulkdel.core.address import address_of
from bulkdel.core.id_type import PLAIN
from bulkdel.core.log_entries import Annotation, Saved
from bulkdel.core.mac import mac_holds
from bulkdel.core.outcome import REMAINING
from bulkdel.core.restore_choice import Choice
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_numbers
from bulkdel.durable import atomic_file
from bulkdel.engine.backup import copies_in, is_backup
from bulkdel.engine.derived_export import Derived, backups_of, coming_back, copies_of, stored, write_derived
from bulkdel.engine.signals import Signals
from bulkdel.errors import FileFailed, NotAcceptable, UsageError
from bulkdel.export.reopen import Reopened
from bulkdel.export.rows import ReadOptions
from bulkdel.fleet.shard import shard_file
from bulkdel.format import counted, shown
from bulkdel.job import Job, Target
from bulkdel.output import say
from bulkdel.own_key import read_key
from bulkdel.parameters import target_options
from bulkdel.place.finding import find_run
from bulkdel.place.log_file import make_folder
from bulkdel.place.opening import log_place
from bulkdel.regular_file import open_regular
from bulkdel.run_place import (
    MADE_AGAIN,
    PUTTING_BACK,
    home_of,
    is_within,
    logged_file,
    number_of_restore,
    only_file,
    only_files,
    restore_place,
)
from bulkdel.safety.exclude import exclude_path, read_excluded
from bulkdel.safety.export_reading import ReadingProgress, fetching_of
from bulkdel.safety.run_plan import Chosen, Coming
from bulkdel.settings import RestoreSettings
from bulkdel.store_path import in_store, path_or_url

CREDENTIALS = "Your credentials for stores would go there"
RECORDS = "What it holds would be read and sent"
"""Why a backup is typed that only a log names: one in a store, and one in another folder."""


@dataclass(frozen=True, slots=True)
class RestoreArguments:
    """The arguments of one `bulkdel restore`. parameters: those of the undo; None for an undo without any."""

    run: Path
    settings: RestoreSettings
    config: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    parameters: Any

    @property
    def line(self) -> CommandLine:
        """The command line to type again, without --plan."""
        line = CommandLine("restore", (str(self.run),)).plus_parameters(self.parameters)
        return line.plus_settings(replace(self.settings, plan=False), environ=self.environ, config=self.config)

    @property
    def typed(self) -> CommandLine:
        """The same, with --plan where it was given."""
        return self.line.plus("--plan") if self.settings.plan else self.line


@dataclass(frozen=True, slots=True)
class OnlyThese:
    """What --only names. number: of the file with these texts in the place of the run, which may not be there yet."""

    number: int
    texts: tuple[str, ...]

    @classmethod
    def of(cls, arguments: RestoreArguments, progress: RunState) -> OnlyThese | None:
        """None without --only. Raises NotAcceptable for a file that cannot be read."""
        if (texts := _texts(arguments)) is None:
            return None
        there = only_files(arguments.run)
        for number, path in there.items():
            if _texts_in(path) == [*texts]:
                return cls(number, texts)
        used = (each.facts.get("only", 0) for each in progress.restores.values())
        return cls(max([*there, *used, 0]) + 1, texts)


@dataclass(frozen=True, slots=True)
class WhichRestore:
    """Which restore of a run a command is.

    number: from 1. named: what --only names; None for a restore of all. begun: what was noted of this restore last;
    None before it has begun.
    """

    run: Path
    number: int
    named: OnlyThese | None
    begun: Annotation | None

    @classmethod
    def of(cls, arguments: RestoreArguments, progress: RunState) -> WhichRestore:
        """Find it. With --only, the restore of these ids goes on, unless it has ended and some were refused.

        Raises NotAcceptable.
        """
        named, begun = OnlyThese.of(arguments, progress), progress.undo
        if named is not None:
            same = [each for each in progress.restores.values() if each.facts.get("only") == named.number]
            begun = next((each for each in same if not (each.is_restored and each.lost)), None)
        number = max(progress.restores, default=0) + 1 if begun is None else begun.facts.get("number", 1)
        return cls(arguments.run, number, named, begun)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return restore_place(self.run, self.number)

    def line(self, line: CommandLine) -> CommandLine:
        """The command of it. What --only names stands in a file: no log and no printed command has an id."""
        return line if self.named is None else line.plus("--only", only_file(self.run, self.named.number))


def derive(
    arguments: RestoreArguments, progress: RunState, job: Job, undo: Job, which: WhichRestore, *, signals: Signals
) -> Derived:
    """Write the derived export, and the file with what --only names. The lock of the log is held.

    Raises NotAcceptable, UsageError for a backup that only a log names, FileFailed when there is no room.
    """
    log, settings, step = arguments.run, arguments.settings, "reading the rows of the run"
    named, to = which.named, which.folder / MADE_AGAIN
    earlier = {run: read_log(log_place(run)).progress for run in map(find_run, settings.records_of or ())}
    with ExitStack() as stack:
        stack.enter_context(signals.phase(lambda: step))
        given = _own_backups(arguments, progress, earlier)
        reopened = Reopened.open(log, settings.export, stack)
        target = target_of(job, progress, log, arguments.config, arguments.environ)
        look_ups, accounts = target.look_ups(reopened.id_type), target.look_ups(job.id_types[undo.id_type_default])

        def copied(copies: int) -> None:
            nonlocal step
            step = f"reading the backup: {copies:,} records so far"

        def written(rows: int) -> None:
            nonlocal step
            step = f"writing {to}: {rows:,} of {progress.rows:,} rows of the run"

        backups = _backups(progress, log, given, arguments.environ)
        # Of several copies of an account the last one counts.
        all_backups = (*backups, *_earlier_backups(progress, earlier, arguments.environ))
        copies = (copies_in(path, known, beyond=more) for path, known, more in all_backups)
        choice, see = _choice_of(named, job, target)
        index = stack.enter_context(
            copies_of(copies, reopened.id_type, look_ups, accounts, on_progress=copied, see=see)
        )
        meant = {} if named is None else _meant(arguments.run, choice)
        wanted = None if named is None else {*meant.values()}
        left_out, others = 0, dict[bytes, tuple[int, bool]]()
        for id_, number, is_back in _of_others(which, progress):
            left_out += index.leave_out(id_)
            if wanted is not None and (account := stored(id_)) in wanted:
                others[account] = number, is_back
        make_place(which.folder)
        derived, come = write_derived(reopened, index, to, written, wanted)
        if named is None:
            return replace(derived, others=left_out)
        _keep_texts(named, arguments.run)
        chosen = Chosen(
            found={text: account.decode(errors="replace") for text, account in meant.items() if account in come},
            others={text: others[account] for text, account in meant.items() if account in others},
            missing=[text for text in named.texts if text not in meant],
            not_done=[text for text, account in meant.items() if account not in come and account not in others],
        )
        return replace(derived, missing=chosen.lost, others=len(chosen.others), chosen=chosen)


def _choice_of(
    named: OnlyThese | None, job: Job, target: Target
) -> tuple[Choice, Callable[[Mapping[str, Any], bytes], object]]:
    """What compares --only with the ids of a record, of every type; and what shows it each record of the backup."""
    ids_of = {name: target.look_ups(id_type, full=True).ids_of for name, id_type in job.id_types.items()}
    choice = Choice(() if named is None else named.texts, job.id_types)

    def see(record: Mapping[str, Any], account: bytes) -> None:
        if named is not None:
            choice.see({name: ids(record) for name, ids in ids_of.items()}, account)

    return choice, see


def _texts(arguments: RestoreArguments) -> tuple[str, ...] | None:
    """What --only names, from the files too, sorted; None without it. Raises NotAcceptable for an unreadable file."""
    if (only := arguments.settings.only) is None:
        return None
    texts, own = list[str](), {path.absolute() for path in only_files(arguments.run).values()}
    options = ReadOptions(PLAIN, {PLAIN.name: PLAIN}, option="--only")
    fetching, folder = fetching_of(arguments.settings.for_run, ReadingProgress()), home_of(arguments.run).absolute()
    for text in only:
        if address_of(text) is not None:
            raise UsageError(f"--only {text}: give an id, or a file on this machine")
        if Path(text).absolute() in own:
            texts.extend(_texts_in(Path(text)))
        elif Path(exclude_path(text, options.id_types)).is_file():
            read_excluded([text], options, fetching, folder, write=lambda _, ids: texts.extend(ids))
        else:
            texts.append(text)
    return tuple(sorted({*texts}))


def _meant(run: Path, choice: Choice) -> dict[str, bytes]:
    """The account of each text that means one. Raises NotAcceptable for a text that may mean several."""
    found = {text: accounts for text in choice.texts if (accounts := choice.accounts_of(text))}
    if several := {text: accounts for text, accounts in found.items() if len(accounts) > 1}:
        ids = {text: " or ".join(each.decode(errors="replace") for each in some) for text, some in several.items()}
        named = "\n".join(f"  {shown(text)}: {shown(some)}" for text, some in ids.items())
        raise NotAcceptable(
            f"{run}: --only names {counted(len(several), 'id')} that may mean several accounts. Nothing was created. "
            f"Name the one that is meant by its own id:\n{named}"
        )
    return {text: accounts[0] for text, accounts in found.items()}


def _of_others(which: WhichRestore, progress: RunState) -> Iterator[tuple[str, int, bool]]:
    """Yield each id that another restore of this run has, with its number, and whether the account is back.

    An account belongs to the first restore that names it, unless that one could not bring it back.
    Raises NotAcceptable for a restore that is not found, or is under way.
    """
    for other in progress.restores:
        if other == which.number:
            continue
        place = _place_of(which.run, other, progress.restores[other])
        if is_locked(log_place(place)):
            raise NotAcceptable(f"{place}: a restore is under way. Nothing was created. Wait for it to end.")
        with ExitStack() as stack:
            for rows, results in Reopened.open(place, None, stack).rows():
                for result in results:
                    if (is_back := result.kind in {"done", "already"}) or result.kind == REMAINING:
                        ids = rows.between(result.start, result.stop).usable[1]
                        yield from ((id_, other, is_back) for id_ in ids)


def _place_of(run: Path, number: int, noted: Annotation) -> Path:
    """The place of an earlier restore: in that of its run, or where it was begun. Raises NotAcceptable."""
    place, begun_in = restore_place(run, number), path_or_url(noted.facts.get("run", ""))
    if not is_fresh(log_place(place)):
        return place
    if in_store(begun_in):  # only the log names it
        raise NotAcceptable(
            f"{run}: restore-{number} is in the store {shown(begun_in)}, so it is not known here which accounts are "
            "back. Nothing was created. After a restore in a store there is no further one."
        )
    if is_fresh(log_place(begun_in)):
        raise NotAcceptable(
            f"{run}: the log of restore-{number} is neither in {place} nor in {shown(begun_in)}, so it is not known "
            "which accounts are back. Nothing was created. Put it back, then run the same command again."
        )
    return begun_in


def _texts_in(path: Path) -> list[str]:
    """The texts of a file of `_keep_texts`; none of another file."""
    try:
        with open_regular(path) as file:
            return [str(json.loads(line)) for line in file]
    except (OSError, ValueError):
        return []


def _keep_texts(named: OnlyThese, run: Path) -> None:
    """Write what --only names: no log and no printed command has it. Raises FileFailed."""
    to = only_file(run, named.number)
    try:
        make_folder(to.parent)
        with atomic_file(to) as file:
            file.writelines(f"{json.dumps(text)}\n".encode() for text in named.texts)
    except OSError as error:
        raise FileFailed(
            f"{to}: cannot be written: {error.strerror}. Make room, then run the same command again."
        ) from error


def make_place(folder: Path) -> None:
    """Make the place of a restore. Raises FileFailed, and NotAcceptable where it is a link, which may lead anywhere."""
    if folder.is_symlink() and (folder.name == PUTTING_BACK or number_of_restore(folder.name) is not None):
        raise NotAcceptable(
            f"{folder}: is a link, and a restore writes only in the place of its run. Nothing was created. Remove the "
            "link; then run the same command again."
        )
    try:
        make_folder(folder)
    except OSError as error:
        raise FileFailed(
            f"{folder}: cannot be made: {error.strerror}. Nothing was created. Repair that, then run the same command "
            "again."
        ) from error


def target_of(job: Job, progress: RunState, run: Path, config: Mapping[str, Any], environ: Mapping[str, str]) -> Target:
    """The API of a run as its log has it, to read its records."""
    return job.target(target_options(job, progress, run, config, environ))


def records_coming_back(arguments: RestoreArguments, job: Job, progress: RunState, to: Path) -> Coming:
    """What the records of the derived export hold."""
    target = target_of(job, progress, arguments.run, arguments.config, arguments.environ)
    look_ups = target.look_ups(job.id_types[progress.header.pinned["id_type"]], full=True)
    return coming_back(to, look_ups.fields.get("status"), look_ups.parts)


def _own_backups(arguments: RestoreArguments, progress: RunState, earlier: Mapping[Path, RunState]) -> Sequence[Path]:
    """The files and stores of --from-backup that are backups of this run; empty for those that its log names.

    earlier: the runs of --records-of. No store is asked, and no file in another folder read, that only a log names.
    Raises UsageError for one.
    """
    given, kept, environ = arguments.settings.from_backup or (), progress.memberships, arguments.environ
    logs = {arguments.run: progress, **earlier}
    begun = {run: [path for path, known in backups_in_log(run, of) if known.size] for run, of in logs.items()}
    of_earlier = {path for run in earlier for path in begun[run]}
    own = [path for path in given if path not in of_earlier]
    for run in begun if not own else earlier:
        untyped = [path for path in begun[run] if path not in given and path.parent != run]
        in_files = [path for path in untyped if not in_store(path)]
        check_typed(arguments, run, [path for path in untyped if in_store(path)], "in a store", CREDENTIALS)
        untyped_files = only_logged(in_files, run, logs[run], environ)
        check_typed(arguments, run, untyped_files, "in another folder", RECORDS)
    return [path for path in own if kept is None or not is_backup(path, kept.saved)]  # used before


def names_of_backups(arguments: RestoreArguments, progress: RunState) -> Sequence[str]:
    """The backups of the run, as they were typed or as its log names them, and the runs of --records-of."""
    settings = arguments.settings
    logged = [path for path, known in backups_in_log(arguments.run, progress) if known.size]
    return [*map(str, settings.from_backup or logged), *map(str, settings.records_of or ())]


def check_typed(arguments: RestoreArguments, run: Path, paths: Sequence[Path], where: str, why: str) -> None:
    """Refuse backups that only a log names. where, why: they are what. Raises UsageError."""
    if paths:
        raise UsageError(
            f"{run}: names {counted(len(paths), 'backup')} {where}: {shown(', '.join(map(str, paths)))}. {why}, and "
            "only the log names it. Nothing was sent. If that is where you keep it, add --from-backup with it, and "
            f"with each other backup of this run, to:\n  {arguments.typed}"
        )


def backups_in_log(run: Path, progress: RunState) -> list[tuple[Path, Saved]]:
    """The backups of the run in this place, as its log names them, each with what is durable of it."""
    return [(logged_file(name, run), known) for name, known in progress.backups]


def _earlier_backups(
    progress: RunState, earlier: Mapping[Path, RunState], environ: Mapping[str, str]
) -> list[tuple[Path, Saved, bool]]:
    """The backups of --records-of. Raises NotAcceptable for a run on another pool, or one without a backup."""
    found: list[tuple[Path, Saved, bool]] = []
    for path, other in earlier.items():
        for name in ("host", "pool"):
            if other.header.pinned[name] != (own := progress.header.pinned[name]):
                raise NotAcceptable(
                    f"--records-of {path}: is a run on the {name} {other.header.pinned[name]}, and this one is on "
                    f"{own}. Nothing was created. Name a run on the same accounts."
                )
        if not (backups := _backups(other, path, (), environ)):
            raise NotAcceptable(f"--records-of {path}: no backup of this run is still there. Nothing was created.")
        found += backups
    return found


def _say_missing(name: str) -> None:
    say(f"The backup {name} of this run is not among the files of --from-backup. Its records are missing.")


def only_logged(paths: Iterable[Path], run: Path, progress: RunState, environ: Mapping[str, str]) -> list[Path]:
    """Those of the files that only the log names: they are in another folder, and this user has not typed them."""
    typed: Collection[Path] = ()
    if progress.start is not None and mac_holds(progress.start, read_key(environ)):
        if not progress.header.shards:
            return []  # every session that has named one is bound
        if (name := progress.start.facts.get("backup")) is not None:
            backup = logged_file(name, run)
            typed = {backup, *(shard_file(backup, number) for number in shard_numbers(progress.header))}
    return [path for path in paths if path not in typed and not is_within(path, run)]


def _backups(
    progress: RunState, run: Path, given: Sequence[Path], environ: Mapping[str, str]
) -> list[tuple[Path, Saved, bool]]:
    """The backups of a run, each with what is durable of it, and whether what follows that is read too.

    It is not read where another person may have named the file. given: as of `_own_backups`.
    """
    beyond = not progress.header.shards and mac_holds(progress.start, read_key(environ))
    return [(*each, beyond) for each in backups_of(progress, run, given, _say_missing, beyond=beyond)]
