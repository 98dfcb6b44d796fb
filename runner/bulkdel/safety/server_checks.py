"""The checks of the server: its host, the credentials, its look-ups, the pool, its clock, the sample.

UsageError is exit 2, NotAcceptable 3, Halted 4.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bulkdel.command_line import TO_TYPE, CommandLine
from bulkdel.core.account_match import lag_is_over
from bulkdel.core.halt_limits import sample_suffices
from bulkdel.core.id_type import IdType
from bulkdel.core.look_up_lag import LAG_MAX_S
from bulkdel.core.run_state import RunState
from bulkdel.errors import BulkdelError, Halted, NotAcceptable, UsageError
from bulkdel.format import counted, shown_host, span
from bulkdel.http.transport import host_in
from bulkdel.job import FindsCreated, Job, LookUps, Target, TargetOptions
from bulkdel.safety.exclude import Excluded
from bulkdel.safety.protect import PROTECT, protects_pool, protects_pools
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan, SampleCheck

AGES_APART_S = 6 * 3_600.0
"""The most seconds that the clocks of server and machine may differ where an age counts in days."""


def check_named_host(job: Job, options: TargetOptions, file: Path, line: CommandLine) -> None:
    """Refuse, before the first sign-in, a host that only a file names. Raises UsageError with the command to complete.

    options: with the host of the file. Its table and its environment are this machine's. line: without --host.
    """
    if options.host is None or is_own_host(job, options):
        return
    raise UsageError(
        f"{file}: names the host {shown_host(options.host)}, which is neither the usual host of {job.name} nor in your "
        f"config. Your key would go there. Nothing was sent. If this host is meant, type it for {TO_TYPE}:\n"
        f"  {line.plus('--host', TO_TYPE)}"
    )


def is_own_host(job: Job, options: TargetOptions) -> bool:
    """Whether the job has this host without the file that names it."""
    try:
        job = job.configured(options.config)
        own = job.target(replace(options, host=None))
    except UsageError:  # it has no host of its own
        return False
    return own.pinned_host == job.target(options).pinned_host


def host_of(job: Job, options: TargetOptions) -> str:
    """The host where the credentials of this job go, for people. A job that cannot be used has no run."""
    try:
        return job.configured(options.config).target(options).pinned_host
    except BulkdelError:
        return options.host or f"the host of {job.name}"


def same_host(one: str, other: str) -> bool:
    """Whether two base URLs name one host and port."""
    with suppress(ValueError):
        (name, _, port), (other_name, _, other_port) = host_in(one), host_in(other)
        return (name, port) == (other_name, other_port)
    return False


def check_credentials(target: Target | None, log: RunState | None) -> None:
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


def check_can_look_up(opened: OpenedRun) -> None:
    """See `check_look_ups`. The sandbox is not started yet."""
    if opened.target is not None:
        check_look_ups(opened.arguments, opened.target, opened.id_type)


def check_sandbox(plan: RunPlan) -> None:
    """See `check_look_ups`. The sandbox was started since."""
    if plan.arguments.settings.sandbox:
        check_look_ups(plan.arguments, plan.target, plan.id_type)


def check_excluded_types(read: Excluded, opened: OpenedRun) -> None:
    """Refuse exclude files of another id type where nothing can be looked up. Raises UsageError."""
    target, job = opened.target, opened.arguments.job
    for name in read.to_look_up:
        if target is not None and not target.look_ups(job.id_types[name]).possible:
            raise UsageError(
                f"--exclude: the API of {job.name} has no look-ups, so ids of another type than "
                f"{opened.id_type.name} protect nothing. Write the exclude files in {opened.id_type.name}"
            )


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


def check_ages(plan: RunPlan) -> None:
    """Refuse an age of --spare that was counted from a wrong clock: it would spare other accounts.

    Raises NotAcceptable.
    """
    ahead_s = None if plan.server.moment is None else plan.server.moment.ahead_s
    if plan.ages and ahead_s is not None and abs(ahead_s) > AGES_APART_S:
        raise NotAcceptable(
            f"--spare: an age counts from the clock of this machine, which differs by {span(abs(ahead_s))} from that "
            f"of the server. {plan.words.nothing}. Set the clock, or write a date such as active-since=2026-01-31."
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
        field_name = plan.look_ups.fields.get(guard.fact, guard.fact)
        return (
            f"{len(missing)} of {counted(len(judged), 'sampled account')} have no {guard.words} that can be read "
            f"({field_name}), and {guard.option} needs it. {plan.words.nothing}. Leave {guard.option} out, or use a "
            "key that may read that field"
        )
    # `bulkdel restore` has made the export for this pool and type. A missing group costs only its memberships.
    made = plan.arguments.undoes is not None
    if made or plan.arguments.settings.allow_absent or sample_suffices(server.asked, len(server.found)):
        return None
    unproven = ""
    if server.unproven:
        unproven = f"{server.unproven} others are not proven absent. {plan.look_ups.misread.text}. "
    return (
        f"{len(server.found)} of {server.asked} sampled ids exist as {plan.id_type.name} in pool {server.pool}. "
        f"{unproven}{plan.words.nothing}. Check first: the export, its column (--id-field), the id type (--id-type), "
        "and whether the key is one of the pool that you mean. Look for one of these ids in that pool. Only when they "
        "are meant to be gone already, add --allow-absent"
    )
