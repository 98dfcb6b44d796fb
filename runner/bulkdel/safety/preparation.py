"""Everything before the first request, and the sample check: reads the export, finds the target, signs in.

Nothing here can delete.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from pathlib import Path

from bulkdel.command_line import CommandLine, how_to_resume, quoted
from bulkdel.conditions import has_age
from bulkdel.core.account_match import Instant, Sampled
from bulkdel.core.address import address_of
from bulkdel.core.bad_rows import MAX_INVALID, MaxInvalid
from bulkdel.core.guards import NO_GUARDS
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import stamp
from bulkdel.core.mac import mac_holds
from bulkdel.core.retry import SAMPLE_SIZE
from bulkdel.core.run_state import Progress
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.errors import Drained, Halted, NotAcceptable, UsageError
from bulkdel.export import RESUME_ROWS, Export, ReadOptions, fingerprint, open_export, preflight
from bulkdel.export.advice import Way, Words, advise, left_words
from bulkdel.export.converting import (
    Rows,
    Table,
    all_columns,
    csv_options,
    kept_rows,
    open_rows,
    rows_of_copy,
    table_of,
)
from bulkdel.export.download import Fetching, Source, open_far_export
from bulkdel.export.encoding import encoding_named
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.sniff import recognise
from bulkdel.export.stored_copy import fetch_copy
from bulkdel.format import counted, shown
from bulkdel.http.client import Client, Connect, WorkerStatus, connect
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup
from bulkdel.http.memberships import MembershipReader
from bulkdel.job import Account, Job, LookUps, Target, TargetOptions
from bulkdel.own_key import make_key, read_key
from bulkdel.parameters import options_of_run, pinned
from bulkdel.safety.as_planned import (
    check_as_planned,
    check_export,
    check_files,
    check_files_of_job,
    check_planned_host,
    naming_differences,
)
from bulkdel.safety.checks import (
    OTHERWISE,
    check_ages,
    check_backup,
    check_excluded,
    check_folder,
    check_folders,
    check_guards,
    check_log_user,
    check_look_ups,
    check_max,
    check_memberships,
    check_not_handed_over,
    check_not_undone,
    check_pool,
    check_shards,
    checked_id_type,
    checked_until,
    host_word,
    refuse_differences,
)
from bulkdel.safety.exclude import Excluded, read_excluded
from bulkdel.safety.exclude_look_up import LookedUp, look_up_excluded
from bulkdel.safety.plan_facts import header_values
from bulkdel.safety.plan_file import check_age
from bulkdel.safety.run_plan import CheckedExport, RunArguments, RunPlan, SampleCheck, Undone
from bulkdel.settings import LOG, SPOOLED, Settings
from bulkdel.store.far_object import Reach
from bulkdel.store_path import beside, in_store

INVALID = ".invalid"
"""The ending, after the export's name, of the file with the rows that --skip-invalid leaves out."""


SILENCE_S = 30.0
"""How long nothing may come from the place of an export before it is asked again; --timeout may be shorter."""


class Reading(Enum):
    """What is read of the export.

    ANEW: every row, for a new run; and for a log that this user has not begun, because it may say anything.
    ROWS: every row, for more exclude files. The sample was looked up, and the duplicates are those of the log: rows
    with the same id are excluded together, so the first row of each other id stays the same.
    HASH: its bytes, because the log has what is needed of the rows.
    """

    ANEW = auto()
    ROWS = auto()
    HASH = auto()


class ReadingProgress:
    """The progress of reading the export. Another thread may stop the reading.

    text: the current step in words.
    """

    def __init__(self) -> None:
        self.text = "opening the export"
        self._stopped = threading.Event()

    def copied(self, done: int) -> None:
        """Note the number of bytes copied from a pipe so far. Raises Drained."""
        self.text = f"copying the export from a pipe: {done:,} bytes so far"
        self.check()

    def fetched(self, text: str) -> None:
        """Note how far the copying of an export is that lies elsewhere, in words. Raises Drained."""
        self.text = text
        self.check()

    def read(self, done: int, total: int) -> None:
        """Note the number of bytes read so far. Raises Drained."""
        self.text = f"reading the export: {done:,} of {total:,} bytes"
        self.check()

    def stop(self) -> None:
        """End the reading at its next block."""
        self._stopped.set()

    def check(self) -> None:
        """Raise Drained when the reading was stopped."""
        if self._stopped.is_set():
            raise Drained


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

    target: the API; None for the sandbox, which is filled from the export. log: of the checkpoint; None for a new run.
    stack: closes the export and the sandbox. now: the time, for --not-after and for the ages of --spare. rng: draws the
    sample.
    """
    guards = NO_GUARDS if log is None else log.guards
    ages = has_age(arguments.settings.spare or ())
    arguments = replace(arguments, settings=arguments.settings.with_instants(now, guards))
    path, settings, job = arguments.checkpoint, arguments.settings, arguments.job
    complete = log is not None and log.complete
    with naming_differences(arguments, target):
        id_type = _check_first(arguments, target, log, now)
        options = read_options(arguments, id_type)
        check_shards(arguments, log)
        until = None if complete else checked_until(arguments, now)
        read = (
            Excluded((), IdSet(id_type)) if complete else _read_excluded(arguments, options, reading, new=log is None)
        )
        _check_can_look_up(read, target, job, id_type)
        more_excluded = check_excluded(log, read.files, path) if log else False
        own_key = None if log is None or settings.sandbox else read_key(arguments.environ)
        proven = log is None or complete or settings.sandbox or mac_holds(log.start, own_key)
        backup_known = check_backup(arguments, log, proven=proven)
        memberships = check_memberships(arguments, log, proven=proven)
        how = Reading.ANEW if log is None or not proven else Reading.ROWS if more_excluded else Reading.HASH
        export = _read_export(arguments, options, target, stack, reading, protected=read.ids, rng=rng, log=log, how=how)
        if arguments.approved is not None:
            check_folders(arguments)
        if arguments.undoes is None and not complete:  # a restore brings accounts back
            check_max(arguments.config, export.counts["ids"], export.file.path, job.words.verb)
        if export.preflight is not None and export.invalid_to is not None:
            check_folder(export.invalid_to, "--skip-invalid")
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
            look_first=settings.look_first or bool(settings.backup or settings.guards) or job.target_state.created,
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
        )
        if log is not None:
            _check_pinned(plan, log)
            if how is Reading.ANEW:
                _check_as_logged(plan, log)
    check_as_planned(plan, rows_known=not plan.to_look_up)
    return plan


def _check_first(arguments: RunArguments, target: Target | None, log: Progress | None, now: datetime) -> IdType:
    """Refuse what needs no file to be read. Returns the type of the ids."""
    path, complete = arguments.checkpoint, log is not None and log.complete
    id_type = checked_id_type(arguments.job, arguments.settings)
    check_not_handed_over(log, path)
    check_not_undone(log, path)
    if not complete:
        check_log_user(arguments, log, path)
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
        if target is not None and target.look_ups(job.id_types[name]) is None:
            raise UsageError(
                f"--exclude: the API of {job.name} has no look-ups, so ids of another type than "
                f"{id_type.name} protect nothing. Write the exclude files in {id_type.name}"
            )


def _check_pinned(plan: RunPlan, log: Progress) -> None:
    """Refuse a resume that differs from the run, and fewer guards."""
    arguments = plan.arguments
    before = {**log.header.pinned, "parameters": log.header.parameters}
    now_pinned = {**header_values(plan), "parameters": plan.parameters}
    otherwise = _begun_otherwise(arguments.undoes) if arguments.undoes is not None else _anew(plan, log)
    refuse_differences(before, now_pinned, arguments.checkpoint, leave_out={"pool"}, otherwise=otherwise)
    check_guards(plan)


def _check_as_logged(plan: RunPlan, log: Progress) -> None:
    """Refuse a log that says of the export what is not so: other rows would be sent. Raises NotAcceptable.

    A log may leave out more rows than the export and the exclude files do, because guards have spared some.
    """
    found, header = plan.export.preflight, log.header
    assert found is not None, "every row was parsed"
    newly = {"excluded"} if plan.more_excluded else set()
    skipped = (rows for reason, rows in found.skipped.by_reason.items() if reason not in newly)
    points = {*header.resume_points, *header.shards}
    if (
        found.rows != header.counts["rows"]
        or not points <= {*found.resume_points}
        or any(log.untouched(rows).size for rows in skipped)
    ):
        raise NotAcceptable(
            f"{plan.checkpoint}: what it says of the rows of the export is not so, and no session of it was begun by "
            "this user on this machine. Nothing was sent. Ask for the log that the run has written; a run with another "
            "--checkpoint begins anew."
        )


def _read_excluded(arguments: RunArguments, options: ReadOptions, reading: ReadingProgress, *, new: bool) -> Excluded:
    """Read the exclude files. When one is refused, the export is looked at too: the same options may mend both.

    new: whether there is no log, so that options may still be found.
    """
    names, fetching = arguments.settings.exclude or (), fetching_of(arguments.settings, reading)
    folder = beside(arguments.checkpoint, "").absolute().parent
    try:
        return read_excluded(names, options, fetching, folder)
    except ExportRefused as error:
        if not (new and arguments.approved is None and os.path.isfile(arguments.export)):  # noqa: PTH113 - as given
            raise
        of_export = _export_refusal(arguments, options, reading)
        if of_export is None:
            raise
        refused, ways = of_export
        try:
            read_excluded(names, ways[0].options if ways else options, fetching, folder)
        except ExportRefused as still:
            raise refused.plus(str(still), still.public) from error
        raise refused from error


def _export_refusal(
    arguments: RunArguments, options: ReadOptions, reading: ReadingProgress
) -> tuple[ExportRefused, tuple[Way, ...]] | None:
    """The refusal of the export with its advice; None when it is acceptable."""
    folder = beside(arguments.checkpoint, "").absolute().parent
    with ExitStack() as stack:
        file = rows = stack.enter_context(open_export(arguments.export))
        if (table := table_of(file, options, reading.fetched)) is not None:
            rows = stack.enter_context(all_columns(table, folder, for_advice=True)[0])
        own = options if table is None else csv_options(options)
        try:
            rng = random.Random(0)  # noqa: S311 - nothing is drawn
            preflight(rows, own, rng=rng, sample_size=0, known=PositionSet(), on_progress=reading.read)
        except ExportRefused as error:
            return _with_advice(arguments, file, options, error, reading)
    return None


def fetching_of(settings: Settings, reading: ReadingProgress) -> Fetching:
    """How what lies elsewhere is fetched."""
    reach = Reach(settings.ca_file, settings.proxy, min(SILENCE_S, settings.timeout))
    return Fetching(reach, settings.patience, reading.fetched)


def read_options(arguments: RunArguments, id_type: IdType) -> ReadOptions:
    """How the export is read."""
    settings, job = arguments.settings, arguments.job
    return ReadOptions(
        id_type=id_type,
        id_types=job.id_types,
        format=settings.format,
        id_field=settings.id_field,
        trim=settings.trim,
        on_invalid="stop" if settings.skip_invalid is None else "skip",
        max_invalid=MAX_INVALID if settings.skip_invalid is None else MaxInvalid.parse(settings.skip_invalid),
        id_pattern=settings.id_pattern,
        whole=job.takes_records,
        encoding=None if settings.encoding is None else encoding_named(settings.encoding),
        sheet=settings.sheet,
    )


def _anew(plan: RunPlan, log: Progress) -> str:
    """What to do about a run that differs from that of the log. Without any outcome it may be begun anew.

    But not where a row in doubt may be gone, and another account may have its id by now. With any other row in doubt
    the resume comes first.
    """
    path, doubts = plan.checkpoint, log.in_doubt.size
    if log.outcomes or (doubts and plan.id_type.reusable) or in_store(path):
        return OTHERWISE
    names = (path.with_name(f"{path.name.removesuffix(LOG)}.anew{number}{LOG}") for number in ("", *range(2, 100)))
    line = plan.line.plus("--checkpoint", next((name for name in names if not os.path.lexists(name)), path))
    anew = f"may be begun anew, with a log of its own:\n  {line}"
    if not doubts:
        return f"{OTHERWISE} No row of that run has an outcome, so it {anew}"
    resume = how_to_resume(log, path, options_of_run(log.header.pinned["job"]), plan.own_key)
    return (
        f"{counted(doubts, 'row', 'is', 'are')} in doubt there: sent, and no response came. A resume of "
        "that run, with its options and its config, looks them up first. A new run knows nothing of them, and may call "
        f"absent what that run has {plan.words.done}.\n{resume}\nOnly where its request was wrong, it {anew}"
    )


def _begun_otherwise(undoes: Undone) -> str:
    return (
        f"Give the options that the restore was begun with, and leave {undoes.log}.restore.jsonl as it is: a run has "
        "one restore."
    )


def _rows_of_lost_table(arguments: RunArguments, options: ReadOptions, copy: Path, log: Progress | None) -> Rows | None:
    """The rows of a table that is not there any more: they were copied when the run began. None for anything else."""
    export = arguments.export
    if log is None or export == "-" or address_of(export) is not None or os.path.lexists(export):
        return None
    return kept_rows(export, options, copy)


def _rows_of_table(
    arguments: RunArguments, table: Table, copy: Path, source: Source | None, reading: ReadingProgress, *, resumed: bool
) -> Rows:
    """The rows of a workbook or a Parquet file. source: what the file is a copy of."""
    try:
        return open_rows(table, copy, source, resumed=resumed, key=make_key(arguments.environ))
    except ExportRefused as error:
        raise _with_advice(arguments, table.export, table.options, error, reading)[0] from error


def _open_export(
    arguments: RunArguments, copy: Path, reading: ReadingProgress, log: Progress | None
) -> tuple[Export, Source | None]:
    """Open the export. A pipe, or what lies elsewhere, is copied beside the checkpoint first."""
    if (address := address_of(arguments.export)) is None:
        if in_store(arguments.checkpoint) and arguments.export == str(copy) and not copy.exists():
            fetch_copy(copy, arguments.checkpoint)  # the pipe was copied on another machine
        file = open_export(arguments.export, spool_to=copy, on_progress=reading.copied)
        return file, _source_of_named(arguments, file, copy, log)
    if log is not None and log.complete and not copy.exists():
        raise NotAcceptable(
            f"{arguments.checkpoint}: this run is complete, and its copy of {address.shown} was removed. It is not "
            f"read again. `bulkdel status {quoted(arguments.checkpoint)}` shows the run; another one needs another "
            "--checkpoint."
        )
    fetching = replace(fetching_of(arguments.settings, reading), key=make_key(arguments.environ))
    return open_far_export(address, copy, fetching, resumed=log is not None)


def _source_of_named(arguments: RunArguments, file: Export, copy: Path, log: Progress | None) -> Source | None:
    """What the export is a copy of, when the copy itself is named as the export; None for any other file.

    Of a table it says the column too. Neither a log nor a plan pins that of a new run: it has to be by this user.
    """
    source = Source.read(copy) if file.spooled is None and file.is_file(copy) else None
    if source is None or source.table is None or log is not None or arguments.approved is not None:
        return source
    return source if source.is_whole(file.descriptor, read_key(arguments.environ)) else None


def _read_export(
    arguments: RunArguments,
    options: ReadOptions,
    target: Target | None,
    stack: ExitStack,
    reading: ReadingProgress,
    *,
    protected: IdSet,
    rng: random.Random,
    log: Progress | None,
    how: Reading,
) -> CheckedExport:
    """Open the export and read it."""
    copy = beside(arguments.checkpoint, SPOOLED)
    if (rows := _rows_of_lost_table(arguments, options, copy, log)) is None:
        original, source = _open_export(arguments, copy, reading, log)
        stack.enter_context(original)
        if source is not None and source.table is not None:
            rows = rows_of_copy(original, options, copy, source)
        elif (table := table_of(original, options, reading.fetched)) is not None:
            if arguments.approved is not None and (log is None or not os.path.lexists(copy)):  # it is converted now
                check_export(arguments, target, fingerprint(original, reading.read), is_table=True)
            rows = _rows_of_table(arguments, table, copy, source, reading, resumed=log is not None)
    else:
        original, source = rows.file, rows.source
    file, dialect = original, None
    if rows is not None:
        file, source, dialect = stack.enter_context(rows.file), rows.source, rows.dialect
    if arguments.approved is not None:  # before any row of another export is refused, or shown
        check_export(arguments, target, fingerprint(file, reading.read))
    piped = file.spooled is not None or file.is_file(copy)
    invalid_to = beside(arguments.checkpoint if piped else Path(arguments.export), INVALID)
    if log is not None and how is Reading.HASH:
        dialect, read = dialect or recognise(file, options), fingerprint(file, reading.read)
        left_out = invalid_to if log.asked["invalid"] else None
        return CheckedExport(file, options, dialect, read, log.asked, log.skipped, left_out, source=source)
    known = log.skipped.by_reason["duplicate"] if log is not None and how is Reading.ROWS else None
    try:
        found = preflight(
            file,
            options,
            protected=protected,
            rng=rng,
            sample_size=SAMPLE_SIZE if known is None else 0,
            on_progress=reading.read,
            known=known,
            temporary=beside(arguments.checkpoint, "").absolute().parent,
            # Shards are cut at them, and those of a log have to be among them.
            resume_rows=1 if arguments.settings.shards or log is not None else RESUME_ROWS,
            dialect=dialect,
        )
    except ExportRefused as error:
        raise _with_advice(arguments, original, options, error, reading)[0] from error
    left_out = invalid_to if found.counts["invalid"] else None
    return CheckedExport(
        file, options, found.dialect, found.fingerprint, found.counts, found.skipped, left_out, found, source
    )


def _with_advice(
    arguments: RunArguments, file: Export, options: ReadOptions, error: ExportRefused, reading: ReadingProgress
) -> tuple[ExportRefused, tuple[Way, ...]]:
    """Add to the refusal of an export the commands with which it can be read, where options may mend it."""
    if error.fault is None or arguments.undoes is not None:
        return error, ()
    asked = arguments.settings.id_type is not None
    with ExitStack() as stack:
        if (table := table_of(file, options, reading.fetched)) is not None:
            folder = beside(arguments.checkpoint, "").absolute().parent
            file = stack.enter_context(all_columns(table, folder, for_advice=True)[0])
            options = csv_options(options)
        ways = advise(file, options, error, asked=asked, on_progress=reading.read).ways
    said: list[Words] = []
    for way in ways:
        said += [words for words in way.why if words.text and words not in said]
        names, left = " ".join(f"{option} {shown(value)}" for option, value in way.given.items()), left_words(way)
        said.append(_command(f"To read it with {names}:", arguments.line.plus_given(way.given)))
        if left is not None:
            said += [left, _command("To leave them out:", arguments.line.plus_given({**way.given, **way.skipping}))]
    for words in said:
        error = error.plus(words.text, words.public)
    return error, ways


def _command(why: str, line: CommandLine) -> Words:
    """A command to paste. A heading may be the text of a row, so it is not public."""
    return Words(f"{why}\n  {line}", "")


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
        full = plan.arguments.settings.backup is not None
        lookup = AccountLookup(client, target.look_ups(plan.id_type, full=full), chance, patient=True)
        owner = await _ids_of_owner(plan, lookup, auth.users)
        administrator = await _ids_of_administrator(plan, lookup)
        sample = plan.sample if lookup.possible else []
        found, unproven = await _sampled(plan, lookup, sample)
        looked_up = await _looked_up_excluded(plan, client, chance)
        cost = None
        if plan.copies_memberships and (memberships := plan.arguments.job.memberships) is not None:
            cost = await MembershipReader(client, memberships, chance).cost(WorkerStatus())
        if plan.shards and not plan.complete:  # before a shard deletes the accounts that a control of another one lists
            await lookup.prove(WorkerStatus())
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
            found_before=lookup.proven,
            owner_unknown=bool(auth.users) and not owner,
            lists=lookup.lists,
            shows=lookup.shows,
            blind=0 if lookup.proven else lookup.listed,
        )
    own_ids = (*auth.users, *owner, *administrator, *(looked_up.ids if looked_up is not None else ()))
    protected = plan.protected.plus(own_ids)
    plan = replace(plan, server=server, protected=protected, own_ids=own_ids, looked_up=looked_up)
    check_pool(plan)
    check_ages(plan, client.transport.ahead_s)
    check_as_planned(plan, rows_known=not reads_again(plan))
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
    if sample and not await lookup.check_control(WorkerStatus()):  # else the first doubt would tell
        raise Halted(
            f"{host}: signed in, but the list of {plan.words.noun}s that shows what look-ups can see could not be read "
            f"({lookup.failed}). {plan.words.nothing}. Run the same command again."
        )
    return found, unproven


async def _ids_of_owner(plan: RunPlan, lookup: AccountLookup, users: Sequence[str]) -> list[str]:
    """The ids of the run's type of the key's own user. users: the accounts that the sign-in names. Raises Halted."""
    owner: list[str] = []
    for user in users:
        known = await lookup.owner(user, WorkerStatus())
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
    administrator = await lookup.administrator(WorkerStatus())
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

    def look_ups(name: str) -> LookUps | None:
        # In full: a record may hold the ids of some types, such as identities, only when it is asked for them.
        return target.look_ups(types[name], full=True)

    return await look_up_excluded(client, look_ups, plan.to_look_up, plan.protected, chance)


def reads_again(plan: RunPlan) -> bool:
    """Whether the export has to be read once more, because look-ups have found further ids to protect."""
    found, looked_up = plan.export.preflight, plan.looked_up
    return found is not None and looked_up is not None and bool(looked_up.ids)


def read_again(plan: RunPlan, reading: ReadingProgress) -> RunPlan:
    """Find the rows of the accounts that were looked up for the exclude files. Blocks.

    So the number to confirm is exact. The sample stays, and so do the duplicates. Raises NotAcceptable.
    """
    export = plan.export
    found, looked_up = export.preflight, plan.looked_up
    assert found is not None, "a resume without more exclude files does not parse the rows"
    assert looked_up is not None, "accounts were looked up"
    again = preflight(
        export.file,
        export.options,
        protected=looked_up.protected,
        rng=random.Random(0),  # noqa: S311 - nothing is drawn
        sample_size=0,
        on_progress=reading.read,
        known=found.skipped.by_reason["duplicate"],
        resume_rows=1 if plan.arguments.settings.shards else RESUME_ROWS,
        dialect=found.dialect,
    )
    if again.fingerprint != found.fingerprint:
        raise NotAcceptable(f"{export.file.path}: was changed while it was read. Nothing was sent. Start again.")
    again = replace(again, sample=found.sample)
    checked = replace(export, counts=again.counts, skipped=again.skipped, preflight=again)
    plan = replace(plan, export=checked)
    check_as_planned(plan)
    return plan
