"""`bulkdel run`, from the plan to the summary. Owns the order of the steps after `preparing`, and how a run ends.

prepare → survey (pool, sample) → confirm → create the checkpoint → send → summary
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint, is_fresh
from bulkdel.command_line import CommandLine
from bulkdel.commands.next_command import blind, ways_out
from bulkdel.commands.plan import (
    command_to_go_on,
    confirmation_due,
    confirming_command,
    meant_for_the_day_before,
    plan_lines,
    plan_values,
    sample_trouble,
)
from bulkdel.commands.setup import Prepared, Request, prepare
from bulkdel.core.absence import COMMAS, comma_control
from bulkdel.core.duplicates import digest_of, entries_of
from bulkdel.core.log_entries import Header, Skipped
from bulkdel.core.summary import Ending, count_lines, exit_code, name_of, status_of, summary_of
from bulkdel.engine.event_loop import run_loop, run_loop_draining
from bulkdel.engine.session import Sending
from bulkdel.engine.shutdown import Signals
from bulkdel.errors import Halted, NotAcceptable, UsageError
from bulkdel.export import REASONS, write_invalid
from bulkdel.format import counted, printable, session_lines, stamp
from bulkdel.output import result, say
from bulkdel.output import summary as tell
from bulkdel.safety.sample import sample_check


def run(request: Request) -> int:
    """Run or resume. Returns the exit code; raises BulkdelError for what ends it before the sending."""
    with ExitStack() as stack, Signals() as signals, signals.doing(lambda: "preparing"):
        prepared = prepare(request, stack, signals, resume=True)
        progress = prepared.checkpoint.progress if prepared.checkpoint else None
        if prepared.checkpoint and progress and progress.complete and progress.stop:
            say("This run is complete already; nothing was sent.")
            return _tell_end(prepared, prepared.checkpoint, progress.stop.facts, Ending())
        if prepared.ids == 0:
            say("\n".join(plan_lines(prepared)))
            say("There is nothing to delete.")
        elif not (progress and progress.complete):
            _sample_check(prepared, signals)
            say("\n".join(plan_lines(prepared)))
            if trouble := sample_trouble(prepared):
                raise Halted(trouble)
        with signals.doing(lambda: "waiting for the confirmation; nothing was deleted by this session"):
            confirmed = _confirmed(prepared)
        checkpoint = prepared.checkpoint or _create(prepared, confirmed, stack)
        return _send(prepared, checkpoint, confirmed, signals)


def plan(request: Request) -> int:
    """Preflight and plan only. Nothing that could delete is made on this path."""
    with ExitStack() as stack, Signals() as signals, signals.doing(lambda: "preparing"):
        prepared = prepare(request, stack, signals, resume=False)
        if prepared.target.key is not None and prepared.ids:
            _sample_check(prepared, signals)
        if request.settings.json:
            result(json.dumps(plan_values(prepared)))
            return 0
        for line in plan_lines(prepared):
            result(line)
        if prepared.ids == 0:
            result("There is nothing to delete.")
        elif prepared.sample_check.pool is None:
            result("Not signed in: without credentials neither the pool nor the ids could be checked.")
        elif not is_fresh(prepared.checkpoint_path):
            status = CommandLine("status", (str(prepared.checkpoint_path),))
            result(f"A checkpoint is there already, so `run` goes on with it: {status}")
        elif trouble := sample_trouble(prepared):
            result(f"This plan will be refused: {trouble}")
        if prepared.ids and not request.settings.sandbox:
            result(f"Nothing was deleted. To run this plan:\n  {confirming_command(prepared)}")
        return 0


def _sample_check(prepared: Prepared, signals: Signals) -> None:
    """Learn the pool and look the sample up. A resume has no sample: it was looked up before the first deletion."""
    sample = [record.id for record in prepared.reading.sample]
    settings, group = prepared.request.settings, prepared.job.chunk_max
    with signals.doing(lambda: f"signing in and looking up {len(sample):,} of the ids as a sample"):
        prepared.sample_check = run_loop(
            sample_check(prepared.target, prepared.id_type, settings, sample, group), signals
        )
    prepared.protection.check_pool(prepared.sample_check.pool)
    if prepared.sample_check.owner:
        prepared.protected.update(prepared.sample_check.owner)
    if prepared.checkpoint is not None:
        pool, now = prepared.checkpoint.progress.header.pinned["pool"], prepared.sample_check.pool
        if now != pool:
            raise NotAcceptable(
                f"{prepared.checkpoint_path}: was written for pool {pool}, but this key signs in to pool {now}. "
                "Nothing was deleted. Use the key of that pool, or another --checkpoint for a new run."
            )


def _confirmed(prepared: Prepared) -> dict[str, Any] | None:
    """Ask, or compare the options; None when nothing had to be confirmed. Raises UsageError."""
    settings, ids, pool = prepared.request.settings, prepared.ids, prepared.sample_check.pool
    if prepared.checkpoint is not None and prepared.checkpoint.progress.complete:
        return None  # only its last word is missing: nothing will be sent
    if settings.sandbox:
        return {"ids": ids, "pool": pool, "how": "sandbox"}
    if ids == 0:
        return {"ids": 0, "pool": pool, "how": "nothing to delete"}
    due = confirmation_due(prepared, time.time())
    word = prepared.protection.word(prepared.target.host)
    host = {"host": word} if word is not None else {}
    if settings.confirm is None and settings.pool is None:
        if due is None:
            return None
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(
                f"not confirmed: {due}. Nothing was deleted. To confirm:\n  {confirming_command(prepared)}"
            )
        say(f"\n{counted(ids, 'id')} will be deleted from pool {pool}: {due}.")
        _ask(prepared, "number of ids", str(ids))
        if word is not None:
            _ask(prepared, "name of the host, which the config protects", word)
        return {"ids": ids, "pool": pool, "how": "typed", **host}
    if too_soon := meant_for_the_day_before(prepared, time.time()):
        raise UsageError(
            f"not confirmed: {too_soon}. Nothing was deleted. If that is what you want:\n"
            f"  {confirming_command(prepared)}"
        )
    wanted = {"--confirm": ids, "--pool": pool, **({"--confirm-host": word} if word is not None else {})}
    given = {"--confirm": settings.confirm, "--pool": settings.pool, "--confirm-host": settings.confirm_host}
    if missing := [name for name in wanted if given[name] is None]:
        raise UsageError(
            f"not confirmed: {' and '.join(missing)} missing; {' and '.join(wanted)} confirm together. "
            f"Nothing was deleted. To confirm:\n  {confirming_command(prepared)}"
        )
    if any(given[name] != value for name, value in wanted.items()):
        said = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        host_too = f" on the protected host {word}" if word is not None else ""
        raise UsageError(
            f"not confirmed: {said} was given, but it is {counted(ids, 'id')} in pool {pool}{host_too}. "
            f"Nothing was deleted. If that is what you want:\n  {confirming_command(prepared)}"
        )
    return {"ids": ids, "pool": pool, "how": "options", **host}


def _ask(prepared: Prepared, what: str, wanted: str) -> None:
    """Have it typed. Raises UsageError for anything else."""
    say(f"Type the {what} ({wanted}) to go on, anything else to stop:")
    typed = sys.stdin.readline().strip().replace(",", "")
    if typed != wanted:
        raise UsageError(
            f"not confirmed: {typed!r} is not {wanted}. Nothing was deleted. To confirm without a question:\n"
            f"  {confirming_command(prepared)}"
        )


def _create(prepared: Prepared, confirmed: Mapping[str, Any] | None, stack: ExitStack) -> Checkpoint:
    duplicates = prepared.reading.duplicates
    header = Header(
        tool=f"bulkdel {version('bulkdel')}",
        run_id=str(uuid.uuid4()),
        at=stamp(time.time()),
        pinned=prepared.pinned(),
        export_path=printable(Path(prepared.reading.export.path).absolute()),
        excluded=prepared.reading.excluded.to_json(),
        counts=prepared.reading.counts,
        sample=prepared.sample_check.to_json() if prepared.sample_check.asked else None,
        confirmed=confirmed or {},
        names=prepared.job.words.names,
        marks=prepared.reading.marks,
        duplicates_sha256=digest_of(duplicates),
    )
    reading = prepared.reading
    if reading.invalid_to is not None:
        write_invalid(reading.export, reading.dialect, reading.options, reading.fingerprint, reading.invalid_to)
    entries = (Skipped("duplicate", ranges) for ranges in entries_of(duplicates))
    checkpoint = Checkpoint.create(prepared.checkpoint_path, header, entries)
    stack.callback(checkpoint.close)
    return checkpoint


def _send(prepared: Prepared, checkpoint: Checkpoint, confirmed: Mapping[str, Any] | None, signals: Signals) -> int:
    """One session and what it says at its end."""
    sending = Sending(prepared, checkpoint, confirmed)
    with signals.doing(sending.told):
        figures = run_loop_draining(sending.run, signals, after=signals.ignore)
    if unrecorded := {kind: count for kind, count in sending.unrecorded.items() if count}:
        told = ", ".join(f"{count} {name_of(checkpoint.progress, kind)}" for kind, count in unrecorded.items())
        say(f"Answers that came in but could not be written down: {told}. The next run looks these ids up first.")
    if sending.kept:
        say(
            f"{counted(sending.kept, 'row', 'was kept and counts', 'were kept and count')} as "
            "excluded: the record that a look-up found carries an id of an exclude file, or is the key's own user."
        )
    if sending.unproven:
        say(_comma_text(prepared, sending.unproven))
    with signals.doing(lambda: "writing the summary"):
        return _tell_end(prepared, checkpoint, figures, sending.ending())


def _comma_text(prepared: Prepared, rows: int) -> str:
    """Why rows with a comma in their id are left, and what to do."""
    ways = [f"{comma_control(prepared.id_type.name)} Then run the same command again."]
    if prepared.request.settings.backup:
        pass  # without a look-up there is no copy, and without a copy nothing is sent
    elif prepared.look_first:
        ways.append("Leave out --look-first: then these ids are sent without being looked up.")
    else:
        resend = prepared.line.instead("--in-doubt", "resend")
        ways.append(f"Send them again without a look-up; a user who was given the id meanwhile is deleted:\n  {resend}")
    remaining = f"{counted(rows, 'row', 'remains', 'remain')}. {COMMAS}. To settle them:"
    return "\n".join([remaining, *(f"- {way}" for way in ways)])


def _tell_end(prepared: Prepared, checkpoint: Checkpoint, figures: Mapping[str, Any], ending: Ending) -> int:
    progress, settings = checkpoint.progress, prepared.request.settings
    status = status_of(progress, ending)
    summary = summary_of(
        progress, status, figures, checkpoint=printable(prepared.checkpoint_path), log_sha256=checkpoint.sha256
    )
    if settings.json:
        tell(json.dumps(summary))  # ASCII only, whatever stdout's encoding can say
    else:
        tell(f"{status}: {counted(progress.rows, 'row')}")
        for line in count_lines(progress):
            tell(line)
        for line in session_lines(summary):
            tell(line)
    if ending.why:
        say(f"Stopped: {ending.why}")
    log = (str(prepared.checkpoint_path),)
    if progress.counts["refused"] or progress.counts["unknown"]:
        which = CommandLine("results", log).plus("--only", "refused,unknown")
        say(f"Which were refused or are unknown, and why:\n  {which}")
    left_out = prepared.reading.invalid_to
    if left_out is not None and left_out.exists():
        say(f"The bad rows that were left out are in {left_out}, the reasons in {left_out}{REASONS}")
    if not settings.sandbox and (progress.complete or ending.limit_reached):
        say(f"To verify that what was deleted is gone:\n  {_verify_command(prepared)}")
    if not progress.complete:
        now = datetime.now(UTC)
        again = ", with a new confirmation" if prepared.until and prepared.until <= now else ""
        going = command_to_go_on(prepared, ending, now)
        say(ways_out(progress, going.words) if blind(progress) else f"To go on{again}:\n  {going}")
    return exit_code(progress, ending)


def _verify_command(prepared: Prepared) -> CommandLine:
    """Word the command that reads the pool back, with what it needs to reach the server and to sign in."""
    settings = prepared.request.settings
    given = {"--config": settings.config, "--ca-file": settings.ca_file, "--proxy": settings.proxy}
    line = CommandLine("verify", (str(prepared.checkpoint_path),))
    for option, value in given.items():
        line = line if value is None else line.plus(option, str(value))
    return line
