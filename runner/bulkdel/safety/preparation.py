"""Everything before the first request, and the sample check: reads the export, finds the target, signs in.

Nothing here can delete.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial

from bulkdel.conditions import has_age
from bulkdel.core.account_match import Instant, Sampled
from bulkdel.core.apart import cut_apart
from bulkdel.core.guards import NO_GUARDS
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import stamp
from bulkdel.core.run_state import RunState
from bulkdel.errors import Halted
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.rows import ReadOptions
from bulkdel.format import located
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.connecting import connect, keeper_in
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup
from bulkdel.http.membership_reader import MembershipReader
from bulkdel.http.own_accounts import administrator_of, owner_of
from bulkdel.http.positive_control import SeenBefore
from bulkdel.job import Account, LookUps, Target, TargetOptions
from bulkdel.own_key import read_key
from bulkdel.parameters import pinned
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_place
from bulkdel.safety.argument_checks import checked_id_type
from bulkdel.safety.as_planned import check_as_planned, check_files_of_job, naming_differences
from bulkdel.safety.backup_checks import durable_backup, memberships_of
from bulkdel.safety.checks import AFTER_READING, AFTER_SIGN_IN, BEFORE_OPENING, BEFORE_READING
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
    read_options,
)
from bulkdel.safety.log_checks import check_excluded, kept_by_restores
from bulkdel.safety.place_checks import say_open_folder
from bulkdel.safety.protect import host_word, with_logged
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan, SampleCheck
from bulkdel.safety.server_checks import check_excluded_types
from bulkdel.world import WORLD, World


def check_arguments(arguments: RunArguments) -> None:
    """Refuse arguments that cannot work, before a file is opened. Raises UsageError or NotAcceptable."""
    for check in BEFORE_OPENING:
        check(arguments)


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
    log: RunState | None,
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
    ages, opened = has_age(arguments.settings.spare or ()), _opened(arguments, target, log, now)
    arguments, settings, id_type = opened.arguments, opened.arguments.settings, opened.id_type
    if log is None:
        say_open_folder(arguments.run)
    with naming_differences(arguments, target):
        for check in BEFORE_READING:
            check(opened)
        options, packing = read_options(arguments, id_type), ExcludedWriter()
        read = _read_excluded(opened, options, reading, packing)
        more_excluded = check_excluded(log, read.files, arguments.run) if log else False
        how = Reading.ANEW if not opened.log_trusted else Reading.ROWS if more_excluded else Reading.LOGGED
        export_reading = ExportReading(arguments, options, reading, stack, target, read, rng)
        export = export_reading.of_new_run() if log is None else export_reading.of_log(log, how)
        if target is None:
            target = stack.enter_context(arguments.job.sandbox(export.ids(), id_type, arguments.parameters))
        plan = RunPlan(
            arguments,
            id_type,
            target,
            export,
            log,
            read.files,
            read.ids,
            more_excluded=more_excluded,
            more_guards=log is not None and settings.guards.tightened(log.guards),
            ages=ages,
            host_word=host_word(arguments.config, target.host),
            backup_known=durable_backup(arguments, log),
            memberships=memberships_of(opened),
            until=opened.until,
            parameters=pinned(arguments.parameters),
            to_look_up=read.to_look_up,
            rows_known=not read.to_look_up,
            read_anew=log is not None and how is Reading.ANEW,
            own_key=opened.own_key,
            excluded_file=packing.finish(),
        )
        for check_plan in AFTER_READING:
            check_plan(plan)
    return plan


def _opened(arguments: RunArguments, target: Target | None, log: RunState | None, now: datetime) -> OpenedRun:
    """What is known before anything is read. An age of --spare becomes a date: that of the log, if there is one."""
    settings = arguments.settings.with_instants(now, NO_GUARDS if log is None else log.guards)
    id_type = checked_id_type(arguments.job, settings.id_type)
    if log is not None:
        given = {located(str(name)) for name in settings.exclude or ()}
        kept = [path for path in kept_by_restores(log, arguments.run, id_type) if located(str(path)) not in given]
        settings = replace(settings, exclude=[*(settings.exclude or ()), *kept] or None)
    arguments = replace(arguments, settings=settings, config=with_logged(arguments.config, log))
    own_key = None if log is None or settings.sandbox else read_key(arguments.environ)
    return OpenedRun(arguments, target, id_type, log, now, own_key)


def _read_excluded(
    opened: OpenedRun, options: ReadOptions, reading: ReadingProgress, packing: ExcludedWriter
) -> Excluded:
    """Read the exclude files, and what the place has of them. packing: takes those of a new run.

    When one is refused, the export is looked at too: the same options may mend both.
    """
    if opened.complete:
        return Excluded((), IdSet(opened.id_type))
    arguments, log = opened.arguments, opened.log
    names, folder = arguments.settings.exclude or (), arguments.folder
    fetching = fetching_of(arguments.settings, reading)
    try:
        if log is None:
            read = read_excluded(names, options, fetching, folder, write=packing.add)
        else:
            place, header = log_place(arguments.run, Terms(patience_s=arguments.settings.patience)), log.header
            names, stored = without_kept(names, header, options.id_types), partial(kept_in, place, header)
            read = read_excluded(names, options, fetching, folder, stored=stored)
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
    check_excluded_types(read, opened)
    return read


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


async def with_sample_check(plan: RunPlan, asking: Asking, world: World = WORLD) -> RunPlan:
    """Sign in, look up the sample, and add the result.

    From now on the ids of the key's own user are protected, and those of an administrator that the pool keeps.
    A resume has no sample: it was looked up before the first id was sent. An API that does not respond is asked again
    for --patience. Raises Halted after that, and when a sign-in or a look-up is refused; NotAcceptable for a protected
    pool or another pool than that of the log.
    """
    target, chance, keeper = plan.target, world.chance, keeper_in(plan.arguments.environ)
    async with connect(target, plan.arguments.settings, pool=None, world=world, keeper=keeper) as client:
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
            await lookup.control.prove_once(WorkerStatus())
        now, control = Instant(stamp(world.wall()), client.transport.ahead_s), lookup.control
        server = SampleCheck(
            auth.pool,
            len(sample),
            found,
            client.transport.requests,
            bool(owner),
            unproven,
            Sampled.of((account.created_at for account in found.values()), now),
            now,
            cost,
            administrator,
            seen=SeenBefore(
                control.proven or bool(found),
                fullest=lookup.fullest,
                may_list=control.may_list,
                lists_some=control.lists_some,
            ),
            owner_unknown=bool(auth.users) and not owner,
            blind=0 if control.proven else control.listed,
        )
    own_ids = (*auth.users, *owner, *administrator, *(looked_up.ids if looked_up is not None else ()))
    protected = plan.protected.plus(own_ids)
    newly = plan.progress is None or plan.more_excluded
    rows_known = not (newly and looked_up is not None and looked_up.ids)
    plan = replace(
        plan, server=server, protected=protected, own_ids=own_ids, looked_up=looked_up, rows_known=rows_known
    )
    for check in AFTER_SIGN_IN:
        check(plan)
    return plan


async def _sampled(plan: RunPlan, lookup: AccountLookup, sample: Sequence[str]) -> tuple[dict[str, Account], int]:
    """Look the sample up: its accounts by id, and how many ids nothing can be proven of. Raises Halted."""
    found, unproven, host = dict[str, Account](), 0, plan.target.pinned_host
    for some in cut_apart(sample, IDS_AT_ONCE, plan.id_type, str):
        looked = await lookup.find(some, WorkerStatus())
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
    if sample and not await lookup.control.list_and_prove(WorkerStatus()):  # else the first doubt would tell
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


def exclude_looked_up(plan: RunPlan, reading: ReadingProgress) -> RunPlan:
    """Find the rows of the accounts that were looked up for the exclude files. Blocks.

    So the number to confirm is exact. The sample stays, and so do the duplicates. Raises NotAcceptable.
    """
    assert plan.looked_up is not None, "accounts were looked up"
    plan = replace(plan, export=excluding(plan.export, plan.looked_up.protected, reading), rows_known=True)
    check_as_planned(plan)
    return plan
