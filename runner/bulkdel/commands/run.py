"""`bulkdel run`: the order of the steps, the question, and the summary. A client of `bulkdel.library`.

read the export → sign in, look a sample up → plan → checks → confirm → create the log → send → summary
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from bulkdel.command_line import CommandLine, is_set_elsewhere
from bulkdel.commands.notices import Notices, end_words, notifying
from bulkdel.commands.steps import showing
from bulkdel.core.bad_rows import with_article
from bulkdel.core.option import variable_of
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import count_lines, name_of
from bulkdel.core.verification import CLAIMED
from bulkdel.engine.reporter import Reporter
from bulkdel.engine.signals import Signals, run_loop
from bulkdel.errors import NotConfirmed
from bulkdel.export.invalid_file import REASONS
from bulkdel.fleet.find_engine import engine_of_run
from bulkdel.fleet.placing import SHARD, Engine
from bulkdel.fleet.shard import shard_file, work
from bulkdel.fleet.sharded_session import session_of
from bulkdel.format import counted, session_lines
from bulkdel.going_on import blind, how_to_settle_doubts, without_reading
from bulkdel.input.run_input import is_forgotten
from bulkdel.job import loadable_jobs
from bulkdel.library import Run, Summary
from bulkdel.live.page.run_on_page import RUN, FollowUp, on_page
from bulkdel.live.sources import steerable
from bulkdel.live.status import LiveStatus
from bulkdel.live.steering import Steering
from bulkdel.output import columns, say, say_values, stderr_log
from bulkdel.output import summary as say_summary
from bulkdel.place.opening import log_place
from bulkdel.safety.as_planned import run_otherwise
from bulkdel.safety.confirmation import CONFIRMED_PLAN, How, check_digest, confirmation_due, of_all_ids
from bulkdel.safety.plan_facts import In, plan_lines, values_in
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.safety.server_checks import check_sample
from bulkdel.store_path import in_store


def run(arguments: RunArguments) -> int:
    """Run or resume. Returns the exit code; raises BulkdelError for a failure before the first request."""
    if (descriptor := arguments.environ.get(SHARD)) is not None:
        return work(arguments, descriptor)
    notified = notifying(arguments.settings, arguments.environ, "run", arguments.job.name)
    with engine_of_run(arguments) as engine, notified as notices:
        return settle(arguments, notices, engine=engine).exit_code


def settle(
    arguments: RunArguments,
    notices: Notices,
    before_sending: Callable[[], None] | None = None,
    *,
    exit_code: int = 0,
    engine: Engine | None = None,
) -> Summary:
    """Do the same, and return the summary. before_sending: a blocking step before the first request.

    exit_code: of an earlier run of this command, with which the command ends when this run ends with 0. engine: of the
    shards; None means this machine.
    """
    events = arguments.settings.log_level == "debug"

    def begin() -> None:
        if before_sending is not None:
            before_sending()
        notices.started(opened.run_id)

    session = partial(session_of, engine=engine)
    opened = Run(arguments, chunk_events=events, before_sending=begin, make_session=session)
    words = arguments.job.words
    names = {words.named_keys[kind]: name for kind, name in words.names.items()}
    settings = arguments.settings
    reporter = Reporter(
        opened.snapshot,
        level=settings.log_level,
        names=names,
        interval_s=settings.progress_every,
        log_format=settings.log_format,
    )
    stderr_log().know(lambda: {"run_id": opened.run_id, "job": arguments.job.name, "pool": opened.pool})

    def drain(signum: int) -> bool:
        """While requests may be under way, the first signal drains. Before that, it ends the command."""
        if opened.sending:
            opened.drain(signum)
        return opened.sending

    with Signals() as signals:
        return run_loop(
            _run(opened, arguments, reporter, notices, exit_code),
            signals,
            lambda: None if reporter.ask() else opened.doing,
            drain,
        )


async def _run(opened: Run, arguments: RunArguments, reporter: Reporter, notices: Notices, exit_code: int) -> Summary:
    async with opened, on_page(opened, arguments, end_words) as page:
        try:
            async with showing(lambda: opened.doing, arguments.settings):
                plan = await opened.run_plan()
        finally:
            if opened.recovered is not None:
                say(f"The log ended in a torn line; it is cut off and kept in {opened.recovered}.", "log_recovered")
        notices.planned(plan)
        status, steering = LiveStatus(opened, plan, wall=time.time), Steering(opened, plan)
        page.planned(plan, status, steering)
        already = plan.complete and plan.progress is not None and plan.progress.stop is not None
        if already:
            how = run_otherwise(plan)
            text = "" if how is None else f" It was run {how}; what the log has of it is as in the plan given now."
            if not (plan.begun_by_me_or_new or plan.arguments.settings.sandbox):
                text += (
                    " Nothing shows that this user has run it on this machine: the counts are what its log says. "
                    "`verify` looks the ids up."
                )
            say(f"This run is complete already; nothing was sent.{text}", "complete_already")
        else:
            if not plan.complete:
                say("\n".join(plan_lines(plan, columns())), "plan", private=True, plan=values_in(plan, In.JSON))
            if plan.ids == 0:
                say(f"There is nothing to {plan.words.verb}.", "nothing_to_do")
            await _confirm(opened, plan)
        async with steerable(opened, plan, status, steering):
            with reporter.running(), notices.watching(opened.snapshot, reporter.event):
                async for event in opened.start():
                    reporter.event(event)
        ended = await opened.finished()
        ended = replace(ended, exit_code=ended.exit_code or exit_code)
        notices.ended(ended)
        status.end(ended)
        page.ended(steps := [*_next_steps(plan, ended)])
        _print_end(plan, ended, steps, which="last session" if already else "this session")
        return ended


async def _confirm(opened: Run, plan: RunPlan) -> None:
    """Compare the options with the plan, or ask on the terminal. Raises NotConfirmed."""
    settings, word = plan.arguments.settings, plan.host_word
    if plan.complete or settings.sandbox or plan.ids == 0:
        return  # no request will be sent, or only to the sandbox
    if (digest := plan.arguments.environ.get(CONFIRMED_PLAN)) is not None:
        check_digest(plan, digest)
        await opened.confirm(ids=settings.confirm, pool=settings.pool, host=settings.confirm_host, how=How.BATCH)
        return
    approved = plan.arguments.approved
    if approved is not None and plan.begun_by_me_or_new:  # what is typed beside it has to agree
        await opened.confirm(
            ids=approved.ids if settings.confirm is None else settings.confirm,
            pool=approved.values["pool"] if settings.pool is None else settings.pool,
            host=approved.values["confirm_host"] if settings.confirm_host is None else settings.confirm_host,
            how=How.PLAN,
        )
        say(f"Confirmed by {approved.path}, so nothing is asked.", "confirmed")
        return
    if settings.confirm is not None or settings.pool is not None:
        await opened.confirm(ids=settings.confirm, pool=settings.pool, host=settings.confirm_host, how=How.OPTIONS)
        return
    due, undoes = confirmation_due(plan, time.time()), plan.arguments.undoes
    if due is not None and undoes is not None and undoes.confirmed:
        await opened.confirm(ids=plan.ids, pool=plan.pool, host=word, how=How.RESTORE)
        return
    if due is None and plan.progress is not None:
        say(f"Confirmed on {plan.progress.confirmed_at}, so nothing is asked.", "confirmed")
    if due is None or sys.stdin is None or not sys.stdin.isatty():
        return  # `start` refuses a run that has to be confirmed
    check_sample(plan)
    say(f"\nNothing is {plan.words.done} before you confirm this plan: {due}.", "question")
    asked = {
        f"number of ids to {plan.words.verb}": str(plan.remaining),
        "name of the host, which the config protects,": word,
    }
    for noun, wanted in asked.items():
        if wanted is not None and (typed := await line_typed(noun)) != wanted:
            raise NotConfirmed(
                f"not confirmed: {typed!r} is not {wanted}. {plan.words.nothing}. To confirm without a question"
                f"{of_all_ids(plan)}:\n  {plan.confirming_line}"
            )
    await opened.confirm(ids=plan.ids, pool=plan.pool, host=word, how=How.TYPED)


async def line_typed(noun: str) -> str:
    """Ask for a line on the terminal. The wait does not block the loop, so a signal ends it."""
    say(f"Type the {noun} to go on, anything else to stop:", "question")
    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    readable = asyncio.Event()
    loop.add_reader(terminal, readable.set)
    try:
        await readable.wait()
        return os.read(terminal, 4_096).decode(errors="replace").strip().replace(",", "")
    except OSError:  # the terminal is gone
        return ""
    finally:
        loop.remove_reader(terminal)


def _unproven_text(plan: RunPlan, rows: int) -> str:
    """Why rows remain when a server may read their ids otherwise, and how to settle them."""
    look_ups = plan.target.look_ups(plan.id_type)
    misread = look_ups.misread
    ways = [f"{misread.control(plan.id_type.name, plan.words.noun)} Then run the same command again."]
    found_only = plan.arguments.settings.keeps_backup or plan.guards or plan.arguments.job.target_state.created
    if found_only or not look_ups.splits_commas:
        pass  # no other way: an id is sent only after a look-up, or the request may be misread as well
    elif plan.look_first:
        ways.append("Leave out --look-first: then these ids are sent without being looked up.")
    elif plan.arguments.settings.in_doubt != "resend":
        resend = plan.line.plus("--in-doubt", "resend")
        newer = f"{with_article(plan.words.noun)} that was given the id meanwhile is {plan.words.done}"
        ways.append(f"Send them again without a look-up; {newer}:\n  {resend}")
    remaining = f"{counted(rows, 'row', 'remains', 'remain')}. {misread.text}. Ways to settle them:"
    return "\n".join([remaining, *(f"- {way}" for way in ways)])


def _can_be_restored(plan: RunPlan, ended: Summary) -> bool:
    """Whether the backup of this run has records that its undo takes."""
    undo, progress = plan.arguments.job.undo, ended.progress
    if undo is None or plan.arguments.settings.sandbox or not (progress.backups and progress.counts["done"]):
        return False
    return any(job.name == undo and job.takes_records for job in loadable_jobs())


def _own_stores(plan: RunPlan, progress: RunState) -> list[str]:
    """The backups of the run, where this command has named all of them and they are in another store than the run.

    Only then a restore wants each. Where an earlier session has named another place, the person types it.
    """
    backup, shards = plan.arguments.backup, range(1, len(plan.shards) + 2)
    begun = [name for name, known in progress.backups if known.size]
    if not in_store(backup) or backup.parent == plan.run:
        return []
    named = {str(backup), *(str(shard_file(backup, number)) for number in shards)}
    return begun if {*begun} <= named else []


def print_summary(ended: Summary, *, as_json: bool, which: str = "this session") -> None:
    """Print the summary of a run. which: the session whose requests it counts."""
    values = ended.to_json()
    if as_json:
        say_summary(json.dumps(values))  # ASCII only, so that any encoding of stdout has it
    else:
        begin = f"{ended.status}: {counted(ended.rows, 'row')}"
        say_summary("\n".join((begin, *count_lines(ended.progress), *session_lines(values, which))))
    say_values("run.ended", values)


def _print_end(plan: RunPlan, ended: Summary, steps: Sequence[FollowUp], *, which: str) -> None:
    """Print the rows that the session could not settle, the summary, and the next commands.

    which: as of `print_summary`.
    """
    if unrecorded := {kind: count for kind, count in ended.session.unrecorded.items() if count}:
        lost = ", ".join(f"{count} {name_of(ended.progress, kind)}" for kind, count in unrecorded.items())
        text = f"Responses that could not be written to the log: {lost}. The next run looks these ids up first."
        say(text, "responses_lost", level="warning")
    if ended.session.protected:
        say(
            f"{counted(ended.session.protected, 'row', 'was kept and counts', 'were kept and count')} as "
            "excluded: the record that a look-up found carries an id of an exclude file, or is the key's own user.",
            "rows_kept",
        )
    if ended.session.unproven:
        say(_unproven_text(plan, ended.session.unproven), "rows_unproven")
    print_summary(ended, as_json=plan.arguments.settings.json, which=which)
    if ended.why:
        say(f"Stopped: {ended.why}", "stopped", level="warning", why=ended.why)
    _print_next_commands(plan, ended, steps)


def _next_steps(plan: RunPlan, ended: Summary) -> Iterator[FollowUp]:
    """Yield the commands that may follow: what was refused, the verification, the report, the resume, the undo."""
    environ, given = plan.arguments.environ, plan.arguments.settings.connection

    def step(event: str, text: str, seen: CommandLine, *, asks: bool = False) -> FollowUp:
        line = replace(seen, names=(str(plan.run),))
        return FollowUp(event, text, line.plus_variables(environ).plus_given(given) if asks else line, seen)

    complete, of_run = ended.progress.complete, (RUN,)
    readable = not is_forgotten(log_place(plan.run), ended.progress)
    if readable and (ended.progress.counts["refused"] or ended.progress.counts["unknown"]):
        which = CommandLine("results", of_run).plus("--only", "refused,unknown")
        yield step("to_see_refused", "Which were refused or are unknown, and why", which)
    if (
        readable
        and any(ended.progress.counts[kind] for kind in CLAIMED)
        and not plan.arguments.settings.sandbox
        and plan.has_look_ups
        and (complete or ended.session.ending.limit_reached)
    ):
        done, reached = plan.words.done, plan.arguments.job.target_state.reached
        what = "the result" if done == reached else f"that what was {done} is {reached}"
        yield step("to_verify", f"To verify {what}", CommandLine("verify", of_run), asks=True)
    if complete:
        yield step("to_report", "To write a report", CommandLine("report", of_run))
    else:
        yield _going_on(plan, ended)
    if readable and _can_be_restored(plan, ended):
        undo = CommandLine("restore", of_run).plus_given(dict(plan.arguments.job.undo_options(None)))
        text = f"To see what a restore brings back of what was {plan.words.done}, and how to begin it"
        found = step("to_restore", text, undo, asks=True)
        line = found.line
        if stores := _own_stores(plan, ended.progress):
            line = line.plus("--from-backup", *stores)
        yield found._replace(line=line.plus("--plan"), seen=undo.plus("--plan"))


def _going_on(plan: RunPlan, ended: Summary) -> FollowUp:
    """The command that resumes the run. A restore is not resumed by its place alone."""
    now, stop = datetime.now(UTC), ended.progress.stop
    again = ", with a new confirmation" if stop is not None and stop.facts.get("not_after") else ""
    approved = plan.arguments.approved
    of_plan = approved is not None and approved.values["options"].get("limit") is not None
    lifted = ended.session.ending.limit_reached and not of_plan
    begin = "--limit is reached. To go on without it" if lifted else "To go on"
    line = without_reading(plan.line_after(ended.session.ending, now), ended.progress.header)
    by_place = plan.arguments.undoes is None and not blind(ended.progress)
    return FollowUp("to_go_on", f"{begin}{again}", line, CommandLine("resume", (RUN,)) if by_place else None)


def _print_next_commands(plan: RunPlan, ended: Summary, steps: Sequence[FollowUp]) -> None:
    """Print where the bad rows are, and the commands that may follow."""
    given, left_out = plan.arguments, plan.export.invalid_to
    lacks_notify = given.settings.notify and not is_set_elsewhere("notify", given.environ, given.config)
    if left_out is not None and left_out.exists():
        say(f"The bad rows that were left out are in {left_out}, the reasons in {left_out}{REASONS}", "bad_rows")
    for step in steps:
        text = f"{step.text}:\n  {step.line}"
        if step.event == "to_go_on" and blind(ended.progress):
            text = how_to_settle_doubts(ended.progress, step.line.words)
        say(text, step.event, command=step.line.words)
        if step.event == "to_go_on" and lacks_notify:
            say(f"Its --notify is left out, because a URL is a secret: add it, or set {variable_of('notify')}.")
