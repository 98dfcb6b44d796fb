"""Everything before the first request, and the sample check: reads the export, finds the target, signs in.

Nothing here can delete.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from bulkdel.checkpoint.reader import original_of, read_log
from bulkdel.command_line import AS_CONFIRMED, RUN_AGAIN, CommandLine, how_to_resume, next_command
from bulkdel.conditions import has_age
from bulkdel.core.account_match import Instant, Sampled
from bulkdel.core.guards import NO_GUARDS
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import stamp
from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import Progress
from bulkdel.errors import Halted, NotAcceptable, UsageError
from bulkdel.export import ReadOptions
from bulkdel.export.refusal import ExportRefused
from bulkdel.format import counted
from bulkdel.http.client import Client, Connect, WorkerStatus, connect
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup
from bulkdel.http.membership_reader import MembershipReader
from bulkdel.http.own_accounts import administrator_of, owner_of
from bulkdel.job import Account, Job, LookUps, Target, TargetOptions
from bulkdel.own_key import read_key
from bulkdel.parameters import options_of_run, pinned
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_place
from bulkdel.run_place import home_of, local_place, undone_by
from bulkdel.safety.argument_checks import check_max, check_shards, checked_id_type, checked_until
from bulkdel.safety.as_planned import (
    check_age,
    check_as_planned,
    check_files,
    check_files_of_job,
    check_log_user,
    check_other_user,
    check_planned_host,
    naming_differences,
)
from bulkdel.safety.backup_checks import check_backup, check_memberships
from bulkdel.safety.exclude import Excluded, read_excluded
from bulkdel.safety.exclude_look_up import LookedUp, look_up_excluded
from bulkdel.safety.excluded_ids import ExcludedWriter, kept_in, without_kept
from bulkdel.safety.export_reading import (
    ExportReading,
    Reading,
    ReadingProgress,
    excluding,
    export_refusal,
    fetching_of,
    other_rows,
    read_options,
)
from bulkdel.safety.log_checks import (
    OTHERWISE,
    check_excluded,
    check_guards,
    check_not_handed_over,
    check_not_undone,
    refuse_differences,
)
from bulkdel.safety.place_checks import check_folder, check_folders, say_open_folder
from bulkdel.safety.plan_facts import header_values
from bulkdel.safety.protect import host_word, with_logged
from bulkdel.safety.run_plan import CheckedExport, RunArguments, RunPlan, SampleCheck
from bulkdel.safety.server_checks import check_ages, check_look_ups, check_pool
from bulkdel.store_path import in_store


def find_target(arguments: RunArguments) -> Target | None:
    """Find host and credentials; None for the sandbox, which is started when the export has been read.

    Of a run by a plan, no file that is a parameter is read before its bytes are those of the plan.
    """
    check_files_of_job(arguments)
    if arguments.settings.sandbox:
        return None
    table = arguments.config.get(arguments.job.config_table, {})
    return arguments.job.target(TargetOptions(arguments.settings.host, table, arguments.environ, arguments.parameters))


def prepare(
    arguments: RunArguments,
    target: Target | None,
    log: Progress | None,
    stack: ExitStack,
    reading: ReadingProgress,
    *,
    now: datetime,
    rng: random.Random,
) -> RunPlan:
    """Read the export and make the plan, without the sample check. Blocks.

    target: the API; None for the sandbox, which is filled from the export. log: of the run; None for a new one.
    stack: closes the export and the sandbox. now: the time, for --not-after and for the ages of --spare. rng: draws the
    sample.
    """
    guards = NO_GUARDS if log is None else log.guards
    ages = has_age(arguments.settings.spare or ())
    settings = arguments.settings.with_instants(now, guards)
    arguments = replace(arguments, settings=settings, config=with_logged(arguments.config, log))
    path, settings, job = arguments.run, arguments.settings, arguments.job
    complete = log is not None and log.complete
    if log is None:
        say_open_folder(path)
    with naming_differences(arguments, target):
        id_type = _check_first(arguments, target, log, now)
        options = read_options(arguments, id_type)
        check_shards(arguments, log)
        until = None if complete else checked_until(arguments, now)
        packing = ExcludedWriter()
        read = Excluded((), IdSet(id_type)) if complete else _read_excluded(arguments, options, reading, log, packing)
        _check_can_look_up(read, target, job, id_type)
        more_excluded = check_excluded(log, read.files, path) if log else False
        own_key = None if log is None or settings.sandbox else read_key(arguments.environ)
        proven = log is None or complete or settings.sandbox or mac_holds(log.start, own_key)
        if log is not None and proven and not complete:
            _check_no_copy(path, log)
        backup_known = check_backup(arguments, log, proven=proven)
        memberships = check_memberships(arguments, log, proven=proven)
        how = Reading.ANEW if log is None or not proven else Reading.ROWS if more_excluded else Reading.LOGGED
        export_reading = ExportReading(arguments, options, reading, stack, target=target, read=read, rng=rng)
        export = export_reading.of_new_run() if log is None else export_reading.of_log(log, how)
        _check_export(arguments, log, export)
        if target is None:
            target = stack.enter_context(job.sandbox(export.ids(), id_type, arguments.parameters))
            check_look_ups(arguments, target, id_type)
        plan = RunPlan(
            arguments,
            id_type,
            target,
            export,
            log,
            read.files,
            read.ids,
            chunk_size=settings.chunk_size or job.chunk_max,
            look_first=settings.look_first
            or settings.keeps_backup
            or bool(settings.guards)
            or job.target_state.created,
            more_excluded=more_excluded,
            guards=settings.guards,
            more_guards=log is not None and settings.guards.tightened(log.guards),
            ages=ages,
            host_word=host_word(arguments.config, target.host),
            backup_known=backup_known,
            memberships=memberships,
            until=until,
            parameters=pinned(arguments.parameters),
            to_look_up=read.to_look_up,
            own_key=own_key,
            excluded_file=packing.finish(),
        )
        if log is not None:
            _check_pinned(plan, log)
            if how is Reading.ANEW:
                _check_as_logged(plan, log)
    check_as_planned(plan, rows_known=not plan.to_look_up)
    return plan


def _check_no_copy(run: Path, log: Progress) -> None:
    """Refuse a copy of a run that is still there: each would send what the other one has sent. Raises NotAcceptable.

    One that was handed over goes on in its copy. The hand-over of a restore is in the log of its run.
    """
    original = original_of(run, log)
    first = original if original is None else undone_by(original) or original
    if first is not None and read_log(log_place(first)).progress.handed_over is None:
        raise NotAcceptable(
            f"{run}: is a copy of the run in {original}, which is still there, and ids would be sent twice. Nothing "
            "was sent. Go on with that one; or, if this one is to go on, move the other one away."
        )


def _check_export(arguments: RunArguments, log: Progress | None, export: CheckedExport) -> None:
    """Refuse what the export shows: too many ids, or a folder in which what the run writes has no room."""
    if arguments.approved is not None:
        check_folders(arguments)
    if arguments.undoes is None and not (log is not None and log.complete):  # a restore brings accounts back
        check_max(arguments.config, export.counts["ids"], export.path, arguments.job.words.verb)
    if log is None and export.invalid_to is not None and in_store(arguments.run):  # else it is in the place of the run
        check_folder(local_place(arguments.run), "--skip-invalid")


def _check_first(arguments: RunArguments, target: Target | None, log: Progress | None, now: datetime) -> IdType:
    """Refuse what needs no file to be read. Returns the type of the ids."""
    path, complete = arguments.run, log is not None and log.complete
    id_type = checked_id_type(arguments.job, arguments.settings)
    check_not_handed_over(log, path)
    check_not_undone(log, path)
    if not complete:
        check_log_user(arguments, log, path)
        check_other_user(arguments)  # by [protect] of the last session too
    if arguments.approved is not None and not complete:
        check_age(arguments.approved, log, now.timestamp(), arguments.planning_line)
        check_planned_host(arguments, target)
        check_files(arguments, target)
    if target is not None:
        check_look_ups(arguments, target, id_type)
    return id_type


def _check_can_look_up(read: Excluded, target: Target | None, job: Job, id_type: IdType) -> None:
    """Refuse exclude files of another id type where nothing can be looked up. Raises UsageError."""
    for name in read.to_look_up:
        if target is not None and not target.look_ups(job.id_types[name]).possible:
            raise UsageError(
                f"--exclude: the API of {job.name} has no look-ups, so ids of another type than "
                f"{id_type.name} protect nothing. Write the exclude files in {id_type.name}"
            )


def _check_pinned(plan: RunPlan, log: Progress) -> None:
    """Refuse a resume that differs from the run, and fewer guards."""
    arguments = plan.arguments
    before = {**log.header.pinned, "parameters": log.header.parameters}
    now_pinned = {**header_values(plan), "parameters": plan.parameters}
    otherwise = _begun_otherwise(arguments.run) if arguments.undoes is not None else _anew(plan, log)
    if before["sha256"] != now_pinned["sha256"] and arguments.undoes is None:
        resume = CommandLine("resume", (str(arguments.run),)).plus_given(arguments.settings.connection)
        resume = resume.plus(AS_CONFIRMED)
        otherwise += f"\nTo go on with the rows that were confirmed, whatever the export has now:\n  {resume}"
    refuse_differences(before, now_pinned, arguments.run, leave_out={"pool"}, otherwise=otherwise)
    check_guards(plan)


def _check_as_logged(plan: RunPlan, log: Progress) -> None:
    """Refuse a log that says of the export what is not so: other rows would be sent. Raises NotAcceptable.

    A log may leave out more rows than the export and the exclude files do, because guards have spared some.
    """
    newly = {"excluded"} if plan.more_excluded else set()
    skipped = (rows for reason, rows in plan.export.skipped.by_reason.items() if reason not in newly)
    if any(log.untouched(rows).size for rows in skipped):
        raise other_rows(plan.run)


def _read_excluded(
    arguments: RunArguments,
    options: ReadOptions,
    reading: ReadingProgress,
    log: Progress | None,
    packing: ExcludedWriter,
) -> Excluded:
    """Read the exclude files, and what the place has of them. packing: takes those of a new run.

    When one is refused, the export is looked at too: the same options may mend both.
    """
    names, fetching = arguments.settings.exclude or (), fetching_of(arguments.settings, reading)
    folder = home_of(arguments.run).absolute()
    try:
        if log is None:
            return read_excluded(names, options, fetching, folder, write=packing.add)
        place, header = log_place(arguments.run, Terms(patience_s=arguments.settings.patience)), log.header
        names, stored = without_kept(names, header, options.id_types), partial(kept_in, place, header)
        return read_excluded(names, options, fetching, folder, stored=stored)
    except ExportRefused as error:
        if not (log is None and arguments.approved is None and os.path.isfile(arguments.export)):  # noqa: PTH113 - as given
            raise
        of_export = export_refusal(arguments, options, reading)
        if of_export is None:
            raise
        refused, ways = of_export
        try:
            read_excluded(names, ways[0].options if ways else options, fetching, folder)
        except ExportRefused as still:
            raise refused.plus(str(still), still.public) from error
        raise refused from error


def _anew(plan: RunPlan, log: Progress) -> str:
    """What to do about a run that differs from that of the log. Without any outcome it may be begun anew.

    But not where a row in doubt may be gone, and another account may have its id by now. With any other row in doubt
    the resume comes first.
    """
    path, doubts = plan.run, log.in_doubt.size
    if log.outcomes or (doubts and plan.id_type.reusable) or in_store(path):
        return OTHERWISE
    names = (path.with_name(f"{path.name}.anew{number}") for number in ("", *range(2, 100)))
    line = plan.line.plus("--run", next((name for name in names if not os.path.lexists(name)), path))
    anew = f"may be begun anew, in a place of its own:\n  {line}"
    if not doubts:
        return f"{OTHERWISE} No row of that run has an outcome, so it {anew}"
    try:
        found = next_command(log, path, options_of_run(log.header.pinned["job"]), plan.own_key)
        resume = how_to_resume(log, found)
    except ValueError:
        resume = RUN_AGAIN
    return (
        f"{counted(doubts, 'row', 'is', 'are')} in doubt there: sent, and no response came. A resume of "
        "that run, with its options and its config, looks them up first. A new run knows nothing of them, and may call "
        f"absent what that run has {plan.words.done}.\n{resume}\nOnly where its request was wrong, it {anew}"
    )


def _begun_otherwise(restore: Path) -> str:
    return f"Give the options that the restore was begun with, and leave {restore} as it is: a run has one restore."


class Asking:
    """The progress of `with_sample_check`. Another thread may read it."""

    def __init__(self, plan: RunPlan) -> None:
        self._step = f"signing in and looking up {len(plan.sample):,} of the ids as a sample"
        self._client: Client | None = None

    def begin(self, client: Client) -> None:
        """Take the way to the server, once it is open."""
        self._client = client

    @property
    def text(self) -> str:
        """The current step in words, and whether it waits for the API."""
        unanswered = self._client.unanswered if self._client is not None else ""
        return f"{self._step}; {unanswered}" if unanswered else self._step


async def with_sample_check(
    plan: RunPlan,
    asking: Asking,
    *,
    connect: Connect = connect,
    wall: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> RunPlan:
    """Sign in, look up the sample, and add the result.

    From now on the ids of the key's own user are protected, and those of an administrator that the pool keeps.
    A resume has no sample: it was looked up before the first id was sent. An API that does not respond is asked again
    for --patience. Raises Halted after that, and when a sign-in or a look-up is refused; NotAcceptable for a protected
    pool or another pool than that of the log.
    """
    target = plan.target
    async with connect(target, plan.arguments.settings, pool=None) as client:
        asking.begin(client)
        auth = client.auth
        await auth.ensure()
        # As complete as the copies will be: what the API leaves out of them is seen before anything is deleted.
        full = plan.arguments.settings.keeps_backup
        lookup = AccountLookup(client, target.look_ups(plan.id_type, full=full), chance, patient=True)
        owner = await _ids_of_owner(plan, lookup, auth.users)
        administrator = await _ids_of_administrator(plan, lookup)
        sample = plan.sample if lookup.look_ups.possible else []
        found, unproven = await _sampled(plan, lookup, sample)
        looked_up = await _looked_up_excluded(plan, client, chance)
        cost = None
        if plan.copies_memberships and (memberships := plan.arguments.job.memberships) is not None:
            cost = await MembershipReader(client, memberships, chance).cost(WorkerStatus())
        if plan.shards and not plan.complete:  # before a shard deletes the accounts that a control of another one lists
            await lookup.control.prove(WorkerStatus())
        now = Instant(stamp(wall()), client.transport.ahead_s)
        server = SampleCheck(
            auth.pool,
            len(sample),
            found,
            client.transport.requests,
            bool(owner),
            unproven,
            lookup.fullest,
            Sampled.of((account.created_at for account in found.values()), now),
            now,
            cost,
            administrator,
            found_before=lookup.control.proven,
            owner_unknown=bool(auth.users) and not owner,
            lists=lookup.control.lists,
            shows=lookup.control.shows,
            blind=0 if lookup.control.proven else lookup.control.listed,
        )
    own_ids = (*auth.users, *owner, *administrator, *(looked_up.ids if looked_up is not None else ()))
    protected = plan.protected.plus(own_ids)
    plan = replace(plan, server=server, protected=protected, own_ids=own_ids, looked_up=looked_up)
    check_pool(plan)
    check_ages(plan, client.transport.ahead_s)
    check_as_planned(plan, rows_known=not excludes_more(plan))
    return plan


async def _sampled(plan: RunPlan, lookup: AccountLookup, sample: Sequence[str]) -> tuple[dict[str, Account], int]:
    """Look the sample up: its accounts by id, and how many ids nothing can be proven of. Raises Halted."""
    found, unproven, host = dict[str, Account](), 0, plan.target.pinned_host
    for start in range(0, len(sample), IDS_AT_ONCE):
        some = sample[start : start + IDS_AT_ONCE]
        looked = await lookup.find(some, WorkerStatus(), with_states=False)
        if looked is None:
            raise Halted(
                f"{host}: signed in, but looking up a sample of the ids failed ({lookup.failed}). Does the key have "
                f"the permission to read {plan.words.noun}s? Nothing was {plan.words.done}."
            )
        if await lookup.shows_few(some, looked, WorkerStatus()):
            raise Halted(
                f"{host}: a look-up of {len(some)} ids returned {len(looked.accounts)}, and a second one for the "
                f"others failed or found more: it may show too few {plan.words.noun}s, so an id that it lacks may "
                "exist. A job whose table has a chunk_size can ask for fewer ids at once. Nothing was "
                f"{plan.words.done}."
            )
        found.update(looked.accounts)
        unproven += len(looked.unproven)
    if sample and not await lookup.control.check(WorkerStatus()):  # else the first doubt would tell
        raise Halted(
            f"{host}: signed in, but the list of {plan.words.noun}s that shows what look-ups can see could not be read "
            f"({lookup.failed}). {plan.words.nothing}. Run the same command again."
        )
    return found, unproven


async def _ids_of_owner(plan: RunPlan, lookup: AccountLookup, users: Sequence[str]) -> list[str]:
    """The ids of the run's type of the key's own user. users: the accounts that the sign-in names. Raises Halted."""
    owner: list[str] = []
    for user in users:
        known = await owner_of(lookup, user, WorkerStatus())
        if known is None:
            raise Halted(
                f"{plan.target.pinned_host}: signed in, but the look-up of the key's own user failed "
                f"({lookup.failed}). That user must not be {plan.words.done}. {plan.words.nothing}. Run the same "
                "command again."
            )
        owner += known
    return owner


async def _ids_of_administrator(plan: RunPlan, lookup: AccountLookup) -> list[str]:
    """The ids of the administrator that the pool keeps; none where the API lists none. Raises Halted."""
    administrator = await administrator_of(lookup, WorkerStatus())
    if administrator is None:
        raise Halted(
            f"{plan.target.pinned_host}: signed in, but the look-up of an administrator failed ({lookup.failed}). One "
            f"administrator must not be {plan.words.done}. {plan.words.nothing}. Run the same command again."
        )
    return administrator


async def _looked_up_excluded(plan: RunPlan, client: Client, chance: Callable[[], float]) -> LookedUp | None:
    """Look up the ids of exclude files of another id type; None where there are none. Raises as `look_up_excluded`."""
    if not plan.to_look_up or plan.complete:
        return None
    target, types = plan.target, plan.arguments.job.id_types

    def look_ups(name: str) -> LookUps:
        # In full: a record may hold the ids of some types, such as identities, only when it is asked for them.
        return target.look_ups(types[name], full=True)

    return await look_up_excluded(client, look_ups, plan.to_look_up, plan.protected, chance)


def excludes_more(plan: RunPlan) -> bool:
    """Whether the export has to be read once more, because look-ups have found further ids to protect."""
    new = plan.progress is None or plan.more_excluded
    return new and plan.looked_up is not None and bool(plan.looked_up.ids)


def exclude_looked_up(plan: RunPlan, reading: ReadingProgress) -> RunPlan:
    """Find the rows of the accounts that were looked up for the exclude files. Blocks.

    So the number to confirm is exact. The sample stays, and so do the duplicates. Raises NotAcceptable.
    """
    looked_up, duplicates = plan.looked_up, plan.export.skipped.by_reason["duplicate"]
    assert looked_up is not None, "accounts were looked up"
    plan = replace(plan, export=excluding(plan.export, looked_up.protected, duplicates, reading))
    check_as_planned(plan)
    return plan
