"""`bulkdel restore`: undoes a run. It makes the derived export, then goes the way of `bulkdel run` with the undo.

read the log of the run → derived export from its backup → `run` of the undo (plan, confirmation, sending) → map → the
same for the memberships, where the run kept a copy of them

The engine knows no job by name: the job of the run names its undo.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.annotation import annotate, annotating
from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.takeover import locked
from bulkdel.command_line import CommandLine, quoted
from bulkdel.commands import plan as plan_command
from bulkdel.commands import run as run_command
from bulkdel.commands.notices import Notices, notifying
from bulkdel.commands.restore_records import (
    RECORDS,
    RestoreArguments,
    WhichRestore,
    backups_in_log,
    check_typed,
    derive,
    make_place,
    names_of_backups,
    only_logged,
    records_coming_back,
    target_of,
)
from bulkdel.core.log_entries import MADE, MembershipsSaved, stamp
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import EXIT_REFUSED
from bulkdel.engine.backup import is_backup
from bulkdel.engine.derived_export import Derived
from bulkdel.engine.derived_memberships import write_map, write_memberships
from bulkdel.engine.session_entries import process_facts
from bulkdel.engine.signals import Signals, ignore
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import counted, printable, shown, shown_host
from bulkdel.going_on import how_to_restore
from bulkdel.job import SANDBOX, Job, TargetOptions, load_job
from bulkdel.library import Summary
from bulkdel.output import say
from bulkdel.parameters import parameters_of
from bulkdel.place.opening import WRITING, log_place
from bulkdel.run_place import KEEP, MADE_AGAIN, NEW_IDS, PUT_BACK, PUTTING_BACK, local_place, logged_file
from bulkdel.safety.log_checks import check_not_handed_over, refuse_differences
from bulkdel.safety.run_plan import Coming, RunArguments, RunToUndo
from bulkdel.safety.server_checks import check_named_host, is_own_host, same_host

NAMED_MAX = 20
"""Ids that a message names."""

MEMBERSHIPS = ("memberships", "memberships_restored", "memberships_remaining")
"""The facts of an annotation about the memberships: integers, or null before the first is put back."""


def restore(arguments: RestoreArguments) -> int:
    """Restore what a run has deleted, or resume that. Returns the exit code; raises BulkdelError as `run` does."""
    settings = arguments.settings
    settings.check()
    told = replace(settings, notify=None, on_event=None) if settings.plan else settings  # a plan is no event
    with notifying(told, arguments.environ, "restore") as notices, Signals() as signals:
        return _restore(arguments, notices, signals)


def _restore(arguments: RestoreArguments, notices: Notices, signals: Signals) -> int:
    with signals.phase(lambda: "reading the log of the run"), locked(log_place(arguments.run)):
        found = _prepare(arguments, signals)
    if not found.derived.rows:
        return _nothing(arguments.run, found.job, found.derived)
    if arguments.settings.plan:
        return plan_command.plan(found.restoring)
    ended = run_command.settle(found.restoring, notices, None if found.which.begun else found.annotate_begun)
    with signals.phase(lambda: "ending the restore", ignore):
        _write_map(found, ended)
        _annotate_ended(found, ended)
    if found.copy is None or not ended.progress.complete or not ended.progress.counts["done"]:
        return ended.exit_code
    exit_code, put_back = _put_back(found, found.copy, notices, signals, ended)
    with signals.phase(lambda: "ending the restore", ignore):
        _annotate_ended(found, ended, put_back)
    return exit_code


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known before the restore.

    copy: of the memberships that are put back, where it is now; None when none are. restoring: the run of the undo.
    """

    which: WhichRestore
    progress: RunState
    job: Job
    derived: Derived
    copy: MembershipsSaved | None
    restoring: RunArguments

    @property
    def map(self) -> Path:
        return self.which.folder / NEW_IDS

    @property
    def run(self) -> Path:
        """The place of the run."""
        return self.which.run

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of its annotations."""
        derived, restoring = self.derived, self.restoring
        return {
            **process_facts(os.getpid()),
            "number": self.which.number,
            **({} if self.which.named is None else {"only": self.which.named.number}),
            "run": printable(restoring.run.absolute()),
            "to_go_on": restoring.line.without("--limit").words,
            "cwd": printable(Path.cwd()),
            "rows": derived.rows,
            "done": derived.done,
            "without_record": derived.missing,
        }

    def annotate_begun(self) -> None:
        """Note that the restore begins: from now on the run is not resumed. Raises NotAcceptable when it was.

        The same when another restore has begun since.
        """
        with annotating(log_place(self.run, WRITING)) as log:
            if log.progress.restores.keys() != self.progress.restores.keys():
                raise NotAcceptable(
                    f"{self.run}: another restore of this run has begun since the plan was made. Nothing was created. "
                    "Run the same command again."
                )
            if log.progress.counts["done"] != self.derived.done:
                raise NotAcceptable(
                    f"{self.run}: the run has gone on since the plan was made. Nothing was sent. Remove "
                    f"{self.restoring.run}, then run the same command again."
                )
            log.add("undo", {"state": "begun", **self.facts}, stamp(time.time()))


def _prepare(arguments: RestoreArguments, signals: Signals) -> _Found:
    """Check the run, and make the derived export unless the restore has begun. The lock of the log is held."""
    settings, run = arguments.settings, arguments.run
    progress = read_log(log_place(run)).progress
    which = WhichRestore.of(arguments, progress)
    begun, to, place = which.begun, which.folder / MADE_AGAIN, settings.run or which.folder
    check_not_handed_over(progress, run)
    job, undo = _checked_jobs(arguments, progress)
    kept = progress.memberships
    copy = None if kept is None or settings.without_memberships else _copy_of(arguments, progress, kept)
    _check_which(which, progress, place)
    if begun is None:
        derived = derive(arguments, progress, job, undo, which, signals=signals)
    else:
        derived = Derived(begun.facts["done"], begun.facts["without_record"], begun.facts["rows"])
    pinned = progress.header.pinned
    undoes = RunToUndo(
        run,
        job.name,
        pinned["pool"],
        which.line(arguments.line),
        done=derived.done,
        not_restorable=derived.missing,
        in_doubt=progress.in_doubt.size,
        memberships=None if kept is None else kept.members,
        put_back_by=_put_back_by(job, arguments) if copy is not None else None,
        coming=records_coming_back(arguments, job, progress, to) if to.exists() else Coming(),
        backups=names_of_backups(arguments, progress),
        settled_at=progress.settled_at,
        others=derived.others,
        only=None if which.named is None else len(which.named.texts),
        chosen=derived.chosen,
    )
    restoring = RunArguments(
        undo,
        str(to),
        replace(settings.for_run, host=settings.host or pinned["host"], run=place),
        arguments.config,
        arguments.environ,
        command="restore",
        parameters=arguments.parameters,
        undoes=undoes,
    )
    return _Found(which, progress, job, derived, copy, restoring)


def _check_which(which: WhichRestore, progress: RunState, place: Path) -> None:
    """Refuse a restore that has begun elsewhere, or beside one of all, and files that it would replace.

    place: of its run. Raises NotAcceptable.
    """
    run, begun, folder = which.run, which.begun, which.folder
    if which.named is not None and progress.undo is not None and not progress.undo.is_restored:
        raise NotAcceptable(
            f"{run}: a restore of all its rows has begun, and brings back these too. Nothing was created.\n"
            f"{how_to_restore(progress, progress.undo, run)}"
        )
    if begun is not None and is_fresh(log_place(place)):
        raise NotAcceptable(
            f"{run}: a restore of this run has begun, and it is not where this command looks for it. A second restore "
            "might create accounts twice, and refuses those that came back. Nothing was created. It was "
            f"{shown(begun.facts.get('run', 'not noted'))}. If it was moved, put it back. If it is in a store, name "
            f"the store (--run).\n{how_to_restore(progress, begun, run)}"
        )
    if begun is not None and not {"done", "without_record", "rows"} <= begun.facts.keys():
        raise NotAcceptable(f"{run}: what it notes of the restore has no number of rows. Nothing was sent.")
    for path in (folder / NEW_IDS, folder / KEEP, folder / PUTTING_BACK / PUT_BACK) if begun is None else ():
        if os.path.lexists(path):
            raise NotAcceptable(
                f"{path}: is there, and a restore would replace it. No such restore has begun, so it is not from one. "
                "Nothing was created. Move it away, then run the same command again."
            )


def _copy_of(arguments: RestoreArguments, progress: RunState, kept: MembershipsSaved) -> MembershipsSaved:
    """The copy of the memberships: where the log says, or where --from-backup says. It may have moved during the run.

    Raises NotAcceptable when it is in neither place, before anything is created.
    """
    given = [path for path in arguments.settings.from_backup or () if is_backup(path, kept.saved)]
    names = dict.fromkeys((progress.memberships_to or kept.path, kept.path))
    logged = [logged_file(name, arguments.run) for name in names]
    if not given:
        untyped = only_logged(logged, arguments.run, progress, arguments.environ)
        check_typed(arguments, arguments.run, untyped, "in another folder", RECORDS)
    path = given[0] if given else next((each for each in logged if each.exists()), logged[0])
    if not path.exists() or not is_backup(path, kept.saved):
        line = replace(arguments, settings=replace(arguments.settings, without_memberships=True)).line
        raise NotAcceptable(
            f"{path}: the copy of the memberships is not there, or has changed. Nothing was created. If it has moved, "
            "name it, and each backup that has moved: --from-backup FILE\nTo bring back the accounts without their "
            f"memberships:\n  {line}"
        )
    return replace(kept, path=str(path))


def _put_back_by(job: Job, arguments: RestoreArguments) -> Job:
    """The job that puts the memberships back."""
    assert job.memberships is not None  # a run with a copy of them has some
    found = load_job(job.memberships.restored_by)
    return found.configured(arguments.config.get(found.config_table, {}))


def _put_back(
    found: _Found, copy: MembershipsSaved, notices: Notices, signals: Signals, came_back: Summary
) -> tuple[int, Sequence[int]]:
    """Put back the memberships of the accounts that were restored, as one more run.

    came_back: the run of the accounts. Unless this user has confirmed it, its log says which accounts get memberships,
    and another person may have written it: the memberships are confirmed themselves.

    Returns the exit code of the restore, and the values of the facts MEMBERSHIPS.
    """
    memberships, accounts, confirmed = found.job.memberships, found.restoring, came_back.confirmed
    assert memberships is not None  # a run with a copy of them has some
    to = found.which.folder / PUTTING_BACK / PUT_BACK
    step = "reading the copy of the memberships"

    def read(lines: int) -> None:
        nonlocal step
        step = f"reading the copy of the memberships: {lines:,} so far"

    with signals.phase(lambda: step):
        make_place(to.parent)
        derived = write_memberships(copy, found.map, to, memberships, read)
    if derived.unclear:
        say(
            f"{counted(derived.unclear, 'membership', 'is', 'are')} not put back, because the API did not say when "
            f'they end. They have "endTime":"unknown" in {copy.path}: assign these roles by hand.'
        )
    if not derived.rows:
        say("None of these accounts has a membership to put back.")
        if derived.unclear and not came_back.exit_code:
            came_back = replace(came_back, exit_code=EXIT_REFUSED)
            run_command.print_summary(came_back, as_json=accounts.settings.json)  # the last one has the exit code
        return came_back.exit_code, (0, 0, 0)
    if not confirmed:
        say(
            "Only the log of the restore says which accounts get these memberships, and no session of it was begun by "
            "this user on this machine."
        )
    assert accounts.undoes is not None
    job = accounts.undoes.put_back_by
    assert job is not None  # there is a copy
    undoes = replace(accounts.undoes, not_restorable=derived.unclear, confirmed=confirmed)
    given = accounts.settings
    settings = replace(
        given,
        confirm=None if confirmed else given.confirm,
        pool=None if confirmed else given.pool,
        confirm_host=None if confirmed else given.confirm_host,
        id_pattern=None,
        run=accounts.run / PUTTING_BACK,
    )
    putting = replace(
        accounts, job=job, export=str(to), settings=settings, parameters=parameters_of(job, {}), undoes=undoes
    )
    ended = run_command.settle(putting, notices, exit_code=came_back.exit_code)
    counts = ended.progress.counts
    return ended.exit_code, (derived.rows, counts["done"] + counts["already"], ended.progress.remaining)


def undo_of(run: Path, progress: RunState, environ: Mapping[str, str]) -> Job:
    """The undo of the run with this log. Raises UsageError or NotAcceptable when it has none that takes records."""
    job = load_job(progress.header.pinned["job"])
    if job.undo is None:
        raise NotAcceptable(
            f"{run}: is a run of {job.name}, which cannot be undone. Nothing was changed. Which jobs can be:\n  "
            f"{CommandLine('jobs')}"
        )
    undo = load_job(job.undo)
    if not undo.takes_records:
        raise UsageError(_other_way(run, progress, job, undo, environ))
    return undo


def _checked_jobs(arguments: RestoreArguments, progress: RunState) -> tuple[Job, Job]:
    """The job of the run and its undo, as the config file describes them. Raises NotAcceptable or UsageError."""
    log, settings, pinned = arguments.run, arguments.settings, progress.header.pinned
    host = settings.host
    undo = undo_of(log, progress, arguments.environ)
    job = load_job(pinned["job"])
    job, undo = (each.configured(arguments.config.get(each.config_table, {})) for each in (job, undo))
    refuse_differences({"table": pinned.get("table", {})}, {"table": job.pinned}, log)
    if pinned["host"] == SANDBOX:
        raise NotAcceptable(
            f"{log}: is a run with --sandbox, whose {job.words.noun}s ended with it; there is nothing to restore"
        )
    if host is None:
        table = arguments.config.get(undo.config_table, {})
        options = TargetOptions(pinned["host"], table, arguments.environ, arguments.parameters)
        check_named_host(undo, options, log, arguments.typed)
    elif not same_host(host, pinned["host"]):
        raise NotAcceptable(
            f"--host {host}: the run was against {pinned['host']}, and its {job.words.noun}s come back there. Leave "
            "--host out."
        )
    if not progress.backups:
        raise NotAcceptable(
            f"{log}: this run kept no backup (--backup), so no record of its {job.words.noun}s is left. "
            f"{undo.words.nothing}."
        )
    for path, _ in backups_in_log(log, progress) if settings.from_backup is None else ():
        if (at := progress.forgotten.get(printable(path.name))) is not None and not path.exists():
            raise NotAcceptable(
                f"{log}: its backup {path} was removed by `bulkdel forget`, on {at}. "
                f"{undo.words.nothing}. If there is another copy of it: --from-backup FILE"
            )
    return job, undo


def _other_way(run: Path, progress: RunState, job: Job, undo: Job, environ: Mapping[str, str]) -> str:
    """The commands that undo a run whose undo takes ids."""
    ids, pinned, member = f"{local_place(run)}-done.jsonl", progress.header.pinned, "id"
    if job.target_state.created:  # its accounts have new ids
        member = next((name for name, source in job.words.columns.items() if source == MADE), MADE)
    results = CommandLine("results", (str(run),)).plus("--only", job.words.named_keys["done"])
    line = CommandLine("run", (undo.name, ids))
    own = pinned["host"] != SANDBOX and is_own_host(
        undo, TargetOptions(pinned["host"], parameters=parameters_of(undo, {}))
    )
    if own:
        line = line.plus("--host", pinned["host"])
    if pinned["id_type"] != undo.id_type_default:
        line = line.plus("--id-type", pinned["id_type"])
    line = line.plus_given({"--id-pattern": pinned.get("source", {}).get("id_pattern")})
    path, where = None if progress.backup is None else logged_file(progress.backup[0], run), ""
    backup = None if path is None else str(path)
    for option, value in job.undo_options(backup):
        if path is not None and value == backup and only_logged((path,), run, progress, environ):
            where = (
                f" Only the log names the backup {shown(value)}. If that is where you keep it, add {option} with it."
            )
        else:
            line = line.plus(option, value)
    if not own:
        where += (
            f" The run was against {shown_host(pinned['host'])}, which is not the host of {undo.name}: the command "
            "does not have it. If your key may go there, add it with --host."
        )
    return (
        f"{run}: is a run of {job.name}. Its undo is {undo.name}, which takes ids and no records.{where} To undo the "
        f"run:\n  {results} | jq .{member} > {quoted(ids)}\n  {line}"
    )


def _nothing(run: Path, job: Job, derived: Derived) -> int:
    """End a restore without a row. Raises NotAcceptable when there would be some with their records."""
    if derived.chosen is not None and derived.chosen.lost:
        lost = shown(", ".join([*derived.chosen.missing, *derived.chosen.not_done][:NAMED_MAX]))
        raise NotAcceptable(
            f"{run}: nothing was created. {counted(derived.chosen.lost, 'id')} of --only cannot be restored, because "
            f"the backup has no record of it, or the run has not {job.words.done} it: {lost}. "
            "Each --only is one id, or the name of a file of ids"
        )
    if derived.others:
        chosen = derived.chosen
        if chosen is not None and (open_ := sorted({nth for nth, is_back in chosen.others.values() if not is_back})):
            named = ", ".join(f"restore-{number}" for number in open_)
            raise NotAcceptable(
                f"{run}: nothing was created. {named} has them, and has not ended. How it goes on:\n"
                f"  {CommandLine('status', (str(run),))}"
            )
        say(f"{run}: nothing remains to restore. Other restores have {counted(derived.others, 'account')}.")
        return 0
    if derived.done:
        raise NotAcceptable(
            f"{run}: none of its {counted(derived.done, 'row')} that were {job.words.done} has a record in the backup. "
            "Nothing was created. If there are other backups of this run, name all of them: --from-backup FILE"
        )
    say(f"{run}: no row was {job.words.done}, so there is nothing to restore.")
    return 0


def _write_map(found: _Found, ended: Summary) -> None:
    """Write the map of old and new ids, and say what has none."""
    restoring, words = found.restoring, found.restoring.job.words
    if ended.progress.counts["done"]:
        keep = found.map.with_name(KEEP)
        held, lacking = write_map(restoring.run, found.map, keep, _ids_of_run(found))
        say(f"The new ids of {counted(held, words.noun)}, each beside the old one, are in {found.map}")
        again = f"A run on a list that still has them would {found.job.words.verb} them again"
        say(f"{again}. To keep them: --exclude {quoted(keep)}")
        if lacking:
            rows = CommandLine("results", (str(restoring.run),)).plus("--only", "done")
            say(
                f"The log has no new id of {counted(lacking, f'{words.done} {words.noun}')}, so their memberships are "
                f"not put back. They are the rows without a new id of:\n  {rows}"
            )
    undoes = restoring.undoes
    for part, count in undoes.coming.lacking if undoes is not None else ():
        say(f"{counted(count, 'record')} of the backup had no {part}, so it has not come back.")
    if found.derived.missing and found.which.named is not None:
        say(f"{counted(found.derived.missing, 'id')} that --only names cannot be {words.done}: the plan names each.")
    elif found.derived.missing:
        say(
            f"{counted(found.derived.missing, 'row', 'has', 'have')} no record in a backup and cannot be {words.done}. "
            f"Which rows have an outcome:\n  {CommandLine('results', (str(found.run),))}"
        )


def _ids_of_run(found: _Found) -> Callable[[Mapping[str, Any]], Sequence[str]] | None:
    """The ids by which the run has named the accounts, of a record; None where no other account can have them."""
    arguments, id_type = found.restoring, found.job.id_types[found.progress.header.pinned["id_type"]]
    if not id_type.reusable:
        return None
    target = target_of(found.job, found.progress, found.run, arguments.config, arguments.environ)
    look_ups = target.look_ups(id_type)
    return look_ups.ids_of


def _annotate_ended(found: _Found, ended: Summary, put_back: Sequence[int] | None = None) -> None:
    """Note in the log of the run what has come back, unless it says so already.

    put_back: the values of the facts MEMBERSHIPS; None before this session has put any back.
    """
    counts, noted = ended.progress.counts, found.which.begun.facts if found.which.begun else {}
    now = {"restored": counts["done"], "there": counts["already"], "remaining": ended.progress.remaining}
    now |= {kind: counts[kind] for kind in ("refused", "unknown")}
    if found.copy is not None and counts["done"]:
        before: Sequence[Any] = [noted.get(name) for name in MEMBERSHIPS]
        now |= dict(zip(MEMBERSHIPS, put_back or before, strict=True))
    if noted.get("state") == "ended" and all(noted.get(name) == value for name, value in now.items()):
        return
    try:
        annotate(log_place(found.run, WRITING), "undo", {"state": "ended", **found.facts, **now}, stamp(time.time()))
    except NotAcceptable as error:
        say(f"The log of the run does not say how far the restore is: {error}")
