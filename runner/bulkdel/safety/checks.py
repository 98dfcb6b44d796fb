"""The checks of a run before anything is sent.

Two refusals are elsewhere: `export.refusal` refuses the content of an export, `safety.confirmation` a run without a
confirmation. These checks send nothing and leave no file. UsageError is exit 2, NotAcceptable 3, Halted 4,
FileFailed 5.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from bulkdel.command_line import how_to_restore, how_to_take_back, quoted
from bulkdel.core.account_match import lag_is_over
from bulkdel.core.address import address_of
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Changed, MembershipsSaved, Saved
from bulkdel.core.option import option_of
from bulkdel.core.pace import Wish
from bulkdel.core.page_access import Right
from bulkdel.core.retry import LAG_MAX_S, sample_suffices
from bulkdel.core.run_state import Progress
from bulkdel.core.shards import RAY, shard_numbers
from bulkdel.errors import FileFailed, Halted, NotAcceptable, TooLate, UsageError
from bulkdel.export.addresses import check_exclude, check_export
from bulkdel.export.encoding import encoding_named
from bulkdel.format import counted, did_you_mean, located, shown, span, until_words
from bulkdel.http.shared_rate import ADDRESS
from bulkdel.http.transport import host_in
from bulkdel.job import FindsCreated, Job, LookUps, Target, loadable_jobs
from bulkdel.options import OPTIONS
from bulkdel.output import say
from bulkdel.parameters import check_values, options_of_run
from bulkdel.place.log_file import missing_folders
from bulkdel.place.opening import log_place
from bulkdel.regular_file import open_regular
from bulkdel.run_place import (
    BACKUP,
    LOG,
    OF_SANDBOX,
    PUTTING_BACK,
    STORED_LOG,
    is_written_by,
    logged_file,
    logged_name,
    restore_place,
)
from bulkdel.safety.exclude import ExcludeFile, exclude_path
from bulkdel.safety.plan_from_file import OTHER_USER, check_user
from bulkdel.safety.protect import (
    IDS_MAX,
    PROTECT,
    RATE_MAX,
    ids_max,
    protects_pool,
    protects_pools,
    rate_max,
    requires_other_user,
)
from bulkdel.safety.run_plan import RunArguments, RunPlan, SampleCheck
from bulkdel.settings import Settings
from bulkdel.store.certain import Retrying
from bulkdel.store.file_parts import parts_of
from bulkdel.store_path import in_store
from bulkdel.times import until_of

LISTEN, TOKENS = "listen", tuple(right.value for right in Right)
"""The table of the config with the tokens of the live page, and its members."""

AGES_APART_S = 6 * 3_600.0
"""The most seconds that the clocks of server and machine may differ where an age counts in days."""

READ_BYTES = 1 << 20

LONGEST_NAME = 48
"""Bytes of the longest name of a file in the place of a run: a file of a restore while it is written."""

T = TypeVar("T")


# The arguments


def check_arguments(arguments: RunArguments) -> None:
    """Refuse arguments that cannot work, before a file is opened. Raises UsageError or NotAcceptable."""
    if arguments.config:
        tables = {"run", PROTECT, LISTEN, *(job.config_table for job in loadable_jobs())}
        for name, value in arguments.config.items():
            if name not in tables or not isinstance(value, dict):  # it would have no effect
                raise UsageError(f"--config: {name!r} is no table of it; its tables are {', '.join(sorted(tables))}")
    rate_max(arguments.config)
    ids_max(arguments.config)
    check_page(arguments)
    check_other_user(arguments)
    arguments.settings.check(arguments.job.chunk_max)
    check_values(arguments.job, arguments.parameters)
    if arguments.settings.backup_memberships and arguments.job.memberships is None:
        raise UsageError(
            f"--backup-memberships: {arguments.job.name} has no memberships to copy. Leave --backup-memberships out"
        )
    if not arguments.settings.as_confirmed:  # else it is not read
        check_export(arguments.export, arguments.line)
    for path in arguments.settings.exclude or ():
        check_exclude(path)
    _check_names(arguments)
    checked_id_type(arguments.job, arguments.settings)
    if arguments.settings.encoding is not None:
        encoding_named(arguments.settings.encoding)
    _check_records(arguments)
    if arguments.approved is None:  # else the plan may name the folder: `prepare` compares the export first
        check_folders(arguments)


def check_folders(arguments: RunArguments) -> None:
    """Refuse a run that cannot write its files. Raises UsageError, and FileFailed."""
    _check_place(arguments.run, sandbox=arguments.settings.sandbox)
    if (backup := arguments.backup) is not None:
        if arguments.settings.backup_to is not None:
            check_folder(backup, "--backup-to")
        _check_reached(backup)


def checked_id_type(job: Job, settings: Settings) -> IdType:
    """Return the id type that was asked for. Raises UsageError for one that the job does not know."""
    name = settings.id_type or job.id_type_default
    if name not in job.id_types:
        raise UsageError(
            f"--id-type {name!r}: {job.name} knows {', '.join(job.id_types)}.{did_you_mean(name, job.id_types)}"
        )
    return job.id_types[name]


def _check_records(arguments: RunArguments) -> None:
    """Refuse options that cannot work in a job whose rows are whole records. Raises UsageError."""
    job, settings = arguments.job, arguments.settings
    if job.takes_records and settings.format not in {"auto", "jsonl"}:
        raise UsageError(f"--format {settings.format}: {job.name} takes whole records, one JSON object a line")
    if job.takes_records and settings.keeps_backup:
        raise UsageError(f"--backup: {job.name} changes no record that could be kept. Leave --backup out")
    for guard in settings.guards.given if job.takes_records else ():
        raise UsageError(f"{guard.option}: {job.name} creates what is not there; it spares nothing. Leave it out")


def _check_names(arguments: RunArguments) -> None:
    """Refuse a file of the user under a name that the run writes in its place: it would be replaced.

    Raises UsageError.
    """
    for path in (arguments.export, *_excluded_paths(arguments), arguments.settings.backup_to):
        if path is not None and address_of(str(path)) is None and is_written_by(arguments.run, Path(path)):
            raise UsageError(
                f"{path}: has the name of a file that this run writes in its place, so it would be replaced. Nothing "
                "was sent. Give your file another name, or name another place (--run)"
            )


def _check_place(run: Path, *, sandbox: bool) -> None:
    """Refuse a place that can hold no run, or has one of the other kind. Raises UsageError, and FileFailed."""
    if run.name.endswith(OF_SANDBOX) and not sandbox:  # other commands would take the run for practice
        raise UsageError(f"--run {run}: a place of this name is for a run with --sandbox. Name another place")
    if in_store(run):
        if run.scheme == "file" and _is_of_other_kind(run.directory / LOG, run.directory / STORED_LOG):
            raise UsageError(
                f"--run {run}: a run is in the folder {run.directory}. Go on with that, or name a new store"
            )
        return check_folder(run, "--run")
    if _is_of_other_kind(run / STORED_LOG, run / LOG):
        raise UsageError(f"--run {run}: is the store of a run. Go on with file://{run.absolute()}, or name a new place")
    try:
        (restore_place(run, 100) / PUTTING_BACK / ("." * LONGEST_NAME)).lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"--run {run}: the name is too long. Name a shorter place: --run PLACE") from error
        if error.errno == errno.ENOTDIR:
            raise UsageError(f"--run {run}: is no folder, and a run is kept in one. Name a new one") from error
    missing = missing_folders(run)
    for folder in missing:
        if folder.is_symlink():
            raise UsageError(
                f"--run {run}: {folder} is a link to a folder that is not there. Make that folder, mount it, or name "
                "another place"
            )
    return check_folder((missing or [run / LOG])[0], "--run")


def say_open_folder(run: Path) -> None:
    """Warn when others can open the folder of a new run. Its mode stays: the folder is the user's."""
    if in_store(run) or not run.is_dir():
        return
    mode = stat.S_IMODE(run.stat().st_mode)
    if others := "replace its files" if mode & 0o022 else "read its names" if mode & 0o044 else "":
        say(
            f"--run {run}: others can {others}, because the folder has mode {mode:o}. The files of the run have mode "
            f"600. To keep others out: chmod 700 {quoted(str(run))}"
        )


def _is_of_other_kind(other: Path, own: Path) -> bool:
    """Whether a place has the log of a run of the other kind, and none of its own."""
    return os.path.lexists(other) and not os.path.lexists(own)


def check_folder(path: Path, option: str) -> None:
    """Refuse a file or store of the run when its folder does not exist, or takes no file.

    A file is made to try it, and removed. An object store is not tried: nothing is ever removed from one. A folder that
    is missing is not made: it may be a share that is not mounted. Raises UsageError, and FileFailed.
    """
    folder = path.absolute().parent
    if in_store(path):
        if path.scheme != "file":
            return
        folder = path.directory.parent
    with suppress(PermissionError):  # the attempt to write gives the reason
        if not folder.is_dir():
            raise UsageError(f"{option} {path}: the folder {folder} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileFailed(
            f"{option} {path}: the folder {folder} takes no file: {error.strerror}. Nothing was sent"
        ) from error


def _check_reached(backup: Path) -> None:
    """Refuse a backup in a store that cannot be read: the run reads it before it sends. Raises FileFailed."""
    if not in_store(backup):
        return
    try:
        next(parts_of(Retrying.at(backup)), None)
    except OSError as error:
        why = error.strerror or error
        raise FileFailed(f"{backup}: the store of the backup cannot be read: {why}. Nothing was sent") from error


def check_credentials(target: Target | None, log: Progress | None) -> None:
    """Refuse, before the export is read, a run that could not sign in. Raises UsageError."""
    if target is not None and target.key is None and not (log is not None and log.complete):
        raise UsageError(f"no credentials for {target.pinned_host}: {target.key_hint}, or practise with --sandbox")


def check_look_ups(arguments: RunArguments, target: Target, id_type: IdType) -> None:
    """Refuse, before anything is sent, options that need look-ups when the API has none. Raises UsageError."""
    settings, look_ups, job = arguments.settings, target.look_ups(id_type), arguments.job.name
    wanted = FindsCreated if arguments.job.target_state.created else LookUps
    if not isinstance(look_ups, wanted):
        raise UsageError(
            f"the look-ups of {job} do not inherit from bulkdel.job.{wanted.__name__}: docs/adding-a-job.md"
        )
    guards = settings.guards.given
    if not look_ups.possible:
        options = {"--look-first": settings.look_first, "--backup": settings.keeps_backup}
        for option, given in {**options, **{guard.option: True for guard in guards}}.items():
            if given:
                raise UsageError(f"{option}: the API of {job} has no look-ups. Leave {option} out")
        return
    for guard in guards:
        if guard.fact not in look_ups.fields:
            raise UsageError(
                f"{guard.option}: the look-ups of {job} return no {guard.words}. Leave {guard.option} out; "
                "docs/reference.md says which jobs have it, and how [http.look_up] names it"
            )


def checked_until(arguments: RunArguments, now: datetime) -> datetime | None:
    """Return when the run has to stop. Raises UsageError for a time that has passed, in a run of a batch TooLate.

    The batch has given its process a time that had not passed then.
    """
    text = arguments.settings.not_after
    if text is None:
        return None
    at = until_of(text, now)
    if at <= now:
        passed = f"--not-after {text!r}: has passed; it is {until_words(now.astimezone(at.tzinfo))}. Nothing was sent"
        if ADDRESS in arguments.environ and arguments.command == "run":
            raise TooLate(passed)
        raise UsageError(f"{passed}. Give a later time, or leave --not-after out")
    return at


# The files of the run


def check_not_undone(log: Progress | None, path: Path) -> None:
    """Refuse to resume a run after its restore has begun: the restore would miss what the run does from now on.

    Raises NotAcceptable.
    """
    if log is not None and not log.complete and (undo := log.undo) is not None:
        of_job = options_of_run(log.header.pinned["job"])
        raise NotAcceptable(
            f"{path}: a restore of this run has begun ({undo.at}), so the run is not resumed. Nothing was sent.\n"
            f"{how_to_restore(log, undo, path, of_job)}"
        )


def check_not_handed_over(log: Progress | None, path: Path) -> None:
    """Refuse to go on with a run from a log that was handed over: two machines would send its rows.

    Raises NotAcceptable.
    """
    if log is not None and (packed := log.handed_over) is not None:
        raise NotAcceptable(f"{path}: nothing was sent. {how_to_take_back(packed, path)}")


def check_shards(arguments: RunArguments, log: Progress | None) -> None:
    """Refuse what a run in several processes cannot do. Raises UsageError."""
    settings, wanted = arguments.settings, arguments.settings.shard_count
    if log is not None:
        wanted = len(shard_numbers(log.header))  # a resume keeps the cut
    if wanted <= 1:
        if settings.on == RAY and log is None:
            raise UsageError(f"--shards {settings.shards}: give 2 or more, for a process on a node for each")
        return
    for option, given, way in (
        ("--sandbox", settings.sandbox, "Start `bulkdel sandbox` and name it with --host"),
        ("--backup-memberships", settings.backup_memberships, "Leave --shards out, or the copy of the memberships"),
        ("`bulkdel batch`", ADDRESS in arguments.environ, "Leave it out: the runs of a batch are processes already"),
    ):
        if given:
            raise UsageError(f"--shards: cannot be used with {option}. {way}")
    if arguments.job.target_state.created:
        raise UsageError(f"--shards: {arguments.job.name} creates accounts, which one process does. Leave --shards out")


def check_excluded(log: Progress, files: Sequence[ExcludeFile], path: Path) -> bool:
    """Whether exclude files were added. Raises NotAcceptable when a file of the run is missing or has changed."""
    now, before = {file.key for file in files}, log.excluded
    gone = {sha256: name for sha256, name in before.items() if sha256 not in now}
    if gone and not log.complete:
        given = {located(file.path) for file in files}
        changes = [
            f"  {name}: {'was changed since' if name in given else 'is not given now'} (its SHA-256 was {sha256})"
            for sha256, name in gone.items()
        ]
        raise NotAcceptable(
            f"{path}: this run was started with other exclude files. Nothing was sent.\n"
            + "\n".join(changes)
            + "\nGive each of these as it was (--exclude); more may be added."
        )
    return any(sha256 not in before for sha256 in now)


def check_guards(plan: RunPlan) -> None:
    """Refuse a resume with guards that spare fewer accounts than before. Raises NotAcceptable."""
    log = plan.progress
    if log is None or log.complete or not (loosened := plan.guards.loosened(log.guards)):
        return
    kept, changes = plan.guards, []
    for guard, before, now in loosened:
        kept = replace(kept, **{guard.name: getattr(log.guards, guard.name)})
        old, new = (", ".join(values) or "none" for values in (before, now))
        changes.append(f"  {guard.option}: the log has {old}, this run has {new}")
    line = plan.line.without("--spare", "--only-status")
    for option, values in kept.options.items():
        line = line.plus(option, *values)
    raise NotAcceptable(
        f"{plan.run}: this run was started with guards that spare more. A resume may add guards and tighten "
        "them. Nothing was sent.\n" + "\n".join(changes) + f"\nTo go on:\n  {line}"
    )


def check_ages(plan: RunPlan, ahead_s: int | None) -> None:
    """Refuse an age of --spare that was counted from a wrong clock: it would spare other accounts.

    Raises NotAcceptable. ahead_s: how far the server's clock is ahead of ours; None when it is not known.
    """
    if plan.ages and ahead_s is not None and abs(ahead_s) > AGES_APART_S:
        raise NotAcceptable(
            f"--spare: an age counts from the clock of this machine, which differs by {span(abs(ahead_s))} from that "
            f"of the server. {plan.words.nothing}. Set the clock, or write a date such as active-since=2026-01-31."
        )


def _excluded_paths(arguments: RunArguments) -> list[str | Path]:
    """The exclude files without their columns and types."""
    return [exclude_path(name, arguments.job.id_types) for name in arguments.settings.exclude or ()]


def _own_places(arguments: RunArguments) -> tuple[Path, ...]:
    """The place of the run, and its log."""
    return arguments.run, log_place(arguments.run).log


def check_backup(arguments: RunArguments, log: Progress | None, *, proven: bool = False) -> Saved | None:
    """Return the part of the backup that is known to be durable; None for a new file.

    A run with a backup needs it in every session: otherwise the backup would have unnoticed gaps. proven: whether this
    user has begun the last session. If not, the refusal does not propose the path in the log.

    Raises NotAcceptable, and UsageError when the backup would be written over another file of the run.
    """
    backup, known = arguments.backup, log.backup if log else None
    if backup is None:
        if known is not None and log is not None and not log.complete:
            place = shown(known[0])
            way = f"Go on with --backup-to {place}, or name a new file there"
            if logged_file(known[0], arguments.run) == arguments.run / BACKUP:
                way = "Go on with --backup"
            elif not proven or address_of(known[0]) is not None:
                way = "Another person may have written the log: name with --backup-to where you keep it, or a new file"
            raise NotAcceptable(f"this run keeps a backup in {place}, as its log says. Nothing was sent. {way}")
        return None
    same = known is not None and known[0] == logged_name(backup, arguments.run)
    durable = known[1] if known and (same or _has_moved(backup, known[1])) else None
    if log is None or not log.complete:
        check_known(backup, durable)
    for other in (*_own_places(arguments), arguments.export, *_excluded_paths(arguments)):
        if backup.absolute() == Path(other).absolute():
            option = arguments.settings.backup_option
            raise UsageError(f"{option}: {backup} is another file of this run; name one of its own: --backup-to FILE")
    return durable


def check_memberships(arguments: RunArguments, log: Progress | None, *, proven: bool) -> Path | None:
    """Return where the copy of the memberships is, or will be; None without --backup-memberships.

    A run with that copy needs it in every session. After the first id was sent, the copy cannot be made any more. Until
    then it is made anew, even if the log names one: a forged log would leave the run without a copy. proven: whether
    this user has begun the last session. If not, a file that is there already is refused.

    Raises NotAcceptable, and UsageError when the copy would be written over another file of the run.
    """
    backup, wanted = arguments.backup, arguments.settings.memberships_in(arguments.run)
    if log is not None and log.complete:
        return wanted
    known = log.memberships_to if log else None
    if wanted is None:
        if known is not None:
            raise NotAcceptable(
                f"this run keeps a copy of the memberships in {known}. Nothing was sent. Go on with "
                "--backup-memberships"
            )
        return None
    if log is not None and log.sent and log.memberships is not None:
        logged = logged_file(log.memberships.path, arguments.run)
        moved = _has_moved(wanted, Saved(log.memberships.size, log.memberships.crc))
        path = wanted if moved else logged
        _check_copied(path, log.memberships)
        return path
    if log is not None and log.sent:
        raise NotAcceptable(
            "--backup-memberships: this run has begun without it, and the memberships of the users whose ids were "
            "sent are lost. Nothing more was sent. Leave it out, or begin a run of its own for the other ids."
        )
    for other in (backup, *_own_places(arguments), arguments.export, *_excluded_paths(arguments)):
        if other is not None and wanted.absolute() == Path(other).absolute():
            option = arguments.settings.backup_option
            raise UsageError(f"{option}: {wanted} is another file of this run; name another backup: --backup-to FILE")
    if os.path.lexists(wanted) and (not proven or logged_name(wanted, arguments.run) != known):
        raise NotAcceptable(
            f"{wanted}: is there already, and this run did not write it, or no session of it was begun by this user on "
            "this machine. Nothing was sent. Move it away, or name a new file (--backup-to)."
        )
    return wanted


def _has_moved(path: Path, known: Saved) -> bool:
    """Whether a file begins with the bytes that the run wrote to another place: it was moved, or handed over."""
    if not known.size or in_store(path):
        return False
    try:
        return _saved_in(path, known.size) == known
    except OSError:
        return False


def _saved_in(path: Path, size_max: int | None = None) -> Saved:
    """Length and CRC-32 of a file, or of its beginning. Raises OSError."""
    crc = size = 0
    with open_regular(path) as file:
        while block := file.read(READ_BYTES if size_max is None else min(READ_BYTES, size_max - size)):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return Saved(size, crc)


def _check_copied(path: Path, known: MembershipsSaved) -> None:
    """Refuse a copy of the memberships that is not the one of the log. Raises NotAcceptable."""
    try:
        found = _saved_in(path)
    except OSError as error:
        fault = error.strerror or "it cannot be read"
    else:
        fault = "it has changed" if found != (known.size, known.crc) else ""
    if fault:
        raise NotAcceptable(
            f"{path}: is not the copy of the memberships that this run wrote: {fault}. Nothing was sent. "
            "Put the file back, then run the same command again."
        )


def check_known(path: Path, durable: Saved | None) -> None:
    """Refuse a file that is not this run's backup. durable: as in `Backup.open`. Raises NotAcceptable."""
    if in_store(path):
        return  # its objects are read when it is opened
    try:
        there = path.lstat()
    except FileNotFoundError:
        size = 0
    except OSError as error:
        raise NotAcceptable(f"{path}: the backup cannot be read: {error.strerror}") from error
    else:
        if not stat.S_ISREG(there.st_mode):
            raise NotAcceptable(f"{path}: is not a regular file; a backup has to be one")
        size = there.st_size
    if durable is None and size:
        raise NotAcceptable(
            f"{path}: is there already, and the last session of this run did not write it. Nothing was sent. "
            "Name a new file (--backup-to)."
        )
    if durable is not None and size < durable.size:
        raise NotAcceptable(
            f"{path}: holds {size:,} bytes, but this run wrote {durable.size:,}: copies of "
            "records are missing. Nothing more was sent. Put the file back, or name a new one (--backup-to)."
        )


# The export


def check_max(config: Mapping[str, Any], ids: int, export: str, verb: str) -> None:
    """Refuse more ids than the config allows for one run. Raises NotAcceptable."""
    most = ids_max(config)
    if most is not None and ids > most:
        raise NotAcceptable(
            f"{export}: asks to {verb} {ids:,} ids, and [{PROTECT}] {IDS_MAX} of the config allows {most:,}. Nothing "
            "was sent. Is it the right export? If so, raise the number in the config."
        )


OTHERWISE = "Give the export and the options of that run, or another place (--run) for a new one."


def refuse_differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    path: Path,
    *,
    leave_out: Collection[str] = (),
    otherwise: str = OTHERWISE,
) -> None:
    """Compare the pinned values of the header with this run. Raises NotAcceptable naming each difference.

    otherwise: what the user can do.
    """
    # Members of `source` and `table`, and the parameters, move up: a message names the member that differs.
    old, new = (
        {
            **{name: value for name, value in pinned.items() if name not in {"source", "table", "parameters"}},
            **pinned.get("source", {}),
            **pinned.get("table", {}),
            **{option_of(name): _compared(value) for name, value in pinned.get("parameters", {}).items()},
        }
        for pinned in (before, now)
    )
    different = [
        f"  {shown(_pinned_words(name))}: the log has {old.get(name)!r}, this run {new.get(name)!r}"
        for name in {**new, **old}
        if name not in leave_out and _json_of(old.get(name)) != _json_of(new.get(name))
    ]
    if different:
        raise NotAcceptable(
            f"{path}: belongs to another run, nothing was sent.\n" + "\n".join(different) + f"\n{otherwise}"
        )


def _pinned_words(name: str) -> str:
    """What a pinned value is: the option that sets it, or what it says of the export."""
    words = {"sha256": "SHA-256 of the export", "bytes": "bytes of the export"}
    return words.get(name) or (option_of(name) if name in OPTIONS else name)


def _json_of(value: Any) -> str:
    """A value as text. `true` and 1 differ in it, as they do for a server."""
    return json.dumps(value, sort_keys=True)


def _compared(parameter: Any) -> Any:
    """The part of a parameter that must be the same: of a file its content, not its path; of a list the set."""
    if isinstance(parameter, list):
        return sorted(set(parameter))
    return f"a file with SHA-256 {parameter['sha256']}" if isinstance(parameter, dict) else parameter


# The server


def listen_tokens(config: Mapping[str, Any]) -> dict[str, Path]:
    """The files with the tokens of the live page, by what each allows. Raises UsageError."""
    table = config.get(LISTEN, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"config, {LISTEN}: is a table with the files of tokens. The address stands in [run]")
    for name, value in table.items():
        if name not in TOKENS or not (isinstance(value, str) and value.strip()):
            keys = " and ".join(TOKENS)
            raise UsageError(f"config, [{LISTEN}] {shown(name)}: its keys are {keys}; each names a file with a token")
    return {name: Path(value).expanduser() for name, value in table.items()}


def check_page(arguments: RunArguments) -> dict[str, Path]:
    """The files with the tokens of the page. Raises UsageError where others could read the page without one."""
    address, tokens = arguments.settings.listen_address, listen_tokens(arguments.config)
    if address is not None and not (address.loopback or tokens):
        raise UsageError(
            f"--listen {arguments.settings.listen}: other machines could read the page. Name a file with a token in "
            'the config, so that the page asks for it ([listen] read = "page.token"), or listen on 127.0.0.1'
        )
    return tokens


def check_other_user(arguments: RunArguments) -> None:
    """Where another user is required, refuse a run without a plan, and a run by the user that has made the plan.

    Every session is checked. A restore and a sandbox need no plan: a restore brings accounts back, and a sandbox has
    none. Raises UsageError.
    """
    approved, required = arguments.approved, requires_other_user(arguments.config)
    if approved is not None and (required or approved.values[OTHER_USER]):
        check_user(approved, arguments.claimed)
    if not required or arguments.undoes is not None or arguments.settings.sandbox:
        return
    said = f"config, [{PROTECT}] {OTHER_USER}"
    if ADDRESS in arguments.environ:
        raise UsageError(f"{said}: a batch goes by no plan of another user. Run each of its exports with `run --plan`")
    if approved is None and arguments.command == "run":
        raise UsageError(
            f"{said}: a run needs a plan that another user has made (--plan). Nothing was sent. Have that user make "
            f"it:\n  {arguments.planning_line}"
        )


def check_log_user(arguments: RunArguments, log: Progress | None, path: Path) -> None:
    """Refuse a session by the user that has made the plan, and one without a plan, where the log says so.

    The config of this session may lack the setting that the plan had. Raises UsageError.
    """
    if log is None or log.plan is None or log.plan.get(OTHER_USER) is not True:
        return
    if arguments.undoes is not None or arguments.command != "run":
        return
    if arguments.approved is None:
        raise UsageError(
            f"{path}: this run goes by a plan that another user has to run ([{PROTECT}] {OTHER_USER}). Nothing was "
            "sent. Resume it with that plan: run --plan FILE"
        )
    check_user(arguments.approved, arguments.claimed)


def check_change(arguments: RunArguments, wish: Wish, now: datetime) -> None:
    """Refuse a change of a running session to a value that cannot work. Raises UsageError."""
    settings, value = arguments.settings, wish.value
    if wish.what is Changed.RATE:
        rate, highest = cast("float", value), rate_max(arguments.config)
        replace(settings, rate=rate).check()
        if highest is not None and not 0 < rate <= highest:
            asked = f"{rate:g} requests/s" if rate else "0 is unlimited"
            raise UsageError(f"rate: {asked}, and [{PROTECT}] {RATE_MAX} of the config allows {highest:g}")
    elif wish.what is Changed.CONCURRENCY:
        replace(settings, concurrency=cast("int", value)).check()
    elif wish.what is Changed.UNTIL:
        until = until_of(cast("str", value), now, "until")
        if until <= now:
            raise UsageError(f"until {value}: is in the past. `stop` ends the run now")
        approved = None if arguments.approved is None else arguments.approved.values["not_after"]
        if approved is not None and until > datetime.fromisoformat(approved):
            raise UsageError(
                f"until {value}: the plan of this run was approved until {approved}, and for no later time"
            )


def same_host(one: str, other: str) -> bool:
    """Whether two base URLs name one host and port."""
    with suppress(ValueError):
        (name, _, port), (other_name, _, other_port) = host_in(one), host_in(other)
        return (name, port) == (other_name, other_port)
    return False


def check_pool(plan: RunPlan) -> None:
    """Refuse a protected pool, and on a resume another pool than the one of the log. Raises NotAcceptable.

    If the pool cannot be compared and the config protects any pool, the run is refused.
    """
    config = plan.arguments.config
    if plan.pool is None and protects_pools(config):
        raise NotAcceptable(
            f"config, [{PROTECT}] pools: the sign-in of {plan.arguments.job.name} names no pool, so it cannot be "
            f"compared with the protected ones. {plan.words.nothing}."
        )
    if plan.pool is not None and protects_pool(config, plan.pool):
        raise NotAcceptable(
            f"pool {plan.pool}: the config protects it ([{PROTECT}] pools). {plan.words.nothing}; use another key."
        )
    undoes = plan.arguments.undoes
    if undoes is not None and plan.pool is not None and plan.pool != undoes.pool:
        raise NotAcceptable(
            f"{undoes.run}: is a run on pool {undoes.pool}, but this key signs in to pool {plan.pool}. "
            f"{plan.words.nothing}. Use the key of that pool."
        )
    if plan.progress is not None and plan.pool != (pinned := plan.progress.header.pinned["pool"]):
        raise NotAcceptable(
            f"{plan.run}: is a run on pool {pinned}, but this key signs in to pool {plan.pool}. "
            f"{plan.words.nothing}. Use the key of that pool, or another place (--run) for a new run."
        )


def check_sample(plan: RunPlan) -> None:
    """Refuse to go on when fewer than half of the sample exist. Raises Halted."""
    if (trouble := sample_trouble(plan)) is not None:
        raise Halted(trouble)


def _still_there(server: SampleCheck, plan: RunPlan) -> str | None:
    """The reason why a sample halts a run that creates accounts: half of them were never gone.

    None on a resume: the rows that remain may be just the accounts that were never gone.
    """
    if plan.progress is not None or 2 * len(server.found) <= server.asked:
        return None
    there = f"{len(server.found)} of {server.asked} sampled accounts are still there under their old id"
    undoes = plan.arguments.undoes
    deleted_at = undoes.settled_at if undoes is not None else None
    if deleted_at is not None and server.moment is not None and not lag_is_over(deleted_at, server.moment):
        return (
            f"{there}. The run that deleted them has only just ended, and look-ups may lag behind it. "
            f"{plan.words.nothing}. Run the same command again in {LAG_MAX_S / 60:.0f} minutes"
        )
    return (
        f"{there}. Is it the right export and pool {server.pool}? {plan.words.nothing}. Accounts that were never "
        f"deleted need no restore. To create the others, run {plan.arguments.job.name} on a copy of the export "
        "without these (docs/restore.md)"
    )


def sample_trouble(plan: RunPlan) -> str | None:
    """The reason why the sample halts the run; None when enough ids exist, or with --allow-absent.

    A guard that cannot decide halts the run, too.
    """
    server = plan.server
    if plan.arguments.job.target_state.created:
        return _still_there(server, plan)
    judged = [plan.guards.judge(account.facts) for account in server.found.values()]
    if missing := [each.missing for each in judged if each.missing is not None]:
        guard = missing[0]
        field_name = plan.target.look_ups(plan.id_type).fields.get(guard.fact, guard.fact)
        return (
            f"{len(missing)} of {counted(len(judged), 'sampled account')} have no {guard.words} that can be read "
            f"({field_name}), and {guard.option} needs it. {plan.words.nothing}. Leave {guard.option} out, or use a "
            "key that may read that field"
        )
    # `bulkdel restore` has made the export for this pool and type. A missing group costs only its memberships.
    made = plan.arguments.undoes is not None
    if made or plan.arguments.settings.allow_absent or sample_suffices(server.asked, len(server.found)):
        return None
    look_ups, unproven = plan.target.look_ups(plan.id_type), ""
    if server.unproven:
        unproven = f"{server.unproven} others are not proven absent. {look_ups.misread.text}. "
    return (
        f"{len(server.found)} of {server.asked} sampled ids exist as {plan.id_type.name} in pool {server.pool}. "
        f"{unproven}{plan.words.nothing}. Check first: the export, its column (--id-field), the id type (--id-type), "
        "and whether the key is one of the pool that you mean. Look for one of these ids in that pool. Only when they "
        "are meant to be gone already, add --allow-absent"
    )
