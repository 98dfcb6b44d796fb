"""`bulkdel verify`: the order of its steps, the list of the rows that are still there, and what is printed at the end.

open the log and the rows of the run → open the findings → sign in, look the rows up → list those still there → report
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from bulkdel.checkpoint.takeover import is_locked, writer_words
from bulkdel.checkpoint.writer import LogWriter
from bulkdel.command_line import CommandLine
from bulkdel.commands.notices import Notices, notifying
from bulkdel.core.log_entries import stamp
from bulkdel.core.ranges import positions_in
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import RowSet
from bulkdel.core.summary import Ending, exit_code, name_of, named_counts, status_of
from bulkdel.core.target_state import TargetState
from bulkdel.core.verification import CLAIMED, Counts, Findings
from bulkdel.durable import atomic_file
from bulkdel.engine.reporter import Reporter
from bulkdel.engine.signals import Interrupted, Signals, ignore, run_loop
from bulkdel.errors import FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export.reopen import Reopened
from bulkdel.format import counted, printable, session_lines
from bulkdel.going_on import how_to_go_on
from bulkdel.http.connecting import keeper_in
from bulkdel.job import SANDBOX, TargetOptions
from bulkdel.log_words import back_words
from bulkdel.output import result, say, say_values, stderr_log
from bulkdel.own_key import make_key, read_key
from bulkdel.parameters import target_options
from bulkdel.place.lease import Terms
from bulkdel.place.log_file import make_folder
from bulkdel.place.opening import log_place
from bulkdel.regular_file import open_regular
from bulkdel.run_place import STILL_THERE, own_file, restore_place
from bulkdel.safety.log_checks import refuse_differences
from bulkdel.safety.server_checks import check_named_host
from bulkdel.settings import VerifySettings
from bulkdel.verify.findings import findings_path
from bulkdel.verify.restored import Restored
from bulkdel.verify.session import VerifyResult, VerifySession, open_findings_log
from bulkdel.world import WORLD

CHANGED = {
    "run_id": "it was of another run",
    "pool": "the pool is another one",
    "log_sha256": "the log of the run has grown since",
    "host": "the host is another one",
    "sample": "--sample is another one",
}
"""Why a verification does not go on, by the pinned value that differs. Another run has another log, too."""


@dataclass(frozen=True, slots=True)
class VerifyArguments:
    """The arguments of one `bulkdel verify`."""

    run: Path
    settings: VerifySettings
    config: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    @property
    def line(self) -> CommandLine:
        """The command line to type again."""
        line = CommandLine("verify", (str(self.run),))
        return line.plus_settings(self.settings, environ=self.environ, config=self.config)


def verify(arguments: VerifyArguments) -> int:
    """Verify, or resume a verification. Returns the exit code; raises BulkdelError before the first look-up."""
    arguments.settings.check()
    with notifying(arguments.settings, arguments.environ, "verify") as notices:
        return _verify(arguments, notices)


def _verify(arguments: VerifyArguments, notices: Notices) -> int:
    settings, path = arguments.settings, arguments.run
    with ExitStack() as stack, Signals() as signals, signals.phase(lambda: "reading the log and the rows of the run"):
        place = log_place(path)
        if is_locked(place):
            raise NotAcceptable(
                f"{path}: a {writer_words(place)} is under way, so rows still change. Verify when it has ended."
            )
        end, began = place.end(), WORLD.steady()
        reopened = Reopened.open(path, settings.export, stack)
        progress = reopened.log_index.progress
        notices.reopened(progress)
        _name_the_run(progress)
        reopened, options = _find_target(arguments, reopened)
        target = reopened.job.target(options)
        log = _open_findings(arguments, reopened, target.pinned_host, stamp(WORLD.wall()))
        stack.callback(log.close)
        resumed = log.progress.known.size > 0
        ended = VerifyResult(Ending())
        if not Counts.of(progress, log.progress, settings.sample).could_not_tell:
            if resumed:
                say("Everything was read back already; no id was looked up. --again starts over.")
        elif not target.look_ups(reopened.id_type).possible:
            why = f"cannot be verified: the API of {reopened.job.name} has no look-ups"
            ended = VerifyResult(Ending(why, halted=True), possible=False)
        elif target.key is None:
            raise UsageError(f"no credentials for {target.pinned_host}: {target.key_hint}")
        else:
            restored = Restored.of(path, progress, reopened.job, target, read_key(arguments.environ))
            session = VerifySession(
                reopened, log, target, settings, keeper=keeper_in(arguments.environ), restored=restored
            )
            ended = _look_up(session, signals, notices, settings)
        stack.enter_context(signals.phase(lambda: "writing the report", ignore))
        ending, still_there = ended.ending, None
        if not ending.why and place.end() != end:
            # The rows that the run has settled since were not looked up.
            ending = Ending("the run has continued meanwhile: verify again when it has ended", halted=True)
        if log.progress.rows["there"].size and ending.signal is None and not ending.file_failed:
            try:
                still_there = _write_list(reopened, log.progress.rows["there"], own_file(path, STILL_THERE))
            except (FileFailed, Halted) as error:  # the rows may have been damaged since the look-ups
                file_failed = isinstance(error, FileFailed)
                ending = Ending(str(error), file_failed=file_failed, halted=not file_failed)
        counts = Counts.of(progress, log.progress, settings.sample)
        summary = {
            **asdict(counts),
            **ended.figures,
            "resumed": resumed,
            "duration_s": round(WORLD.steady() - began, 3),
            "run": printable(path),
            "log_sha256": reopened.log_index.sha256,
            "still_there_path": None if still_there is None else printable(still_there),
            "status": status_of(ending, complete=counts.complete(ending)),
        }
        _print_summary(progress, counts, summary, reopened.job.target_state, as_json=settings.json)
        ended = replace(ended, ending=ending)
        _print_what_next(arguments, reopened, counts, ended, still_there=still_there, parameters=options.parameters)
        code = exit_code(ending, complete=counts.complete(ending), refused=counts.still_there)
        notices.verified(summary, asdict(counts), code)
        return code


def _find_target(arguments: VerifyArguments, reopened: Reopened) -> tuple[Reopened, TargetOptions]:
    """The run with its job as the config has it, and the API where it is verified. Raises NotAcceptable."""
    path, progress, noun = arguments.run, reopened.log_index.progress, reopened.job.words.noun
    if progress.header.pinned["host"] == SANDBOX:
        raise NotAcceptable(
            f"{path}: is a run with --sandbox, whose {noun}s ended with it; there is no {noun} to look up"
        )
    job = reopened.job.configured(arguments.config.get(reopened.job.config_table, {}))
    refuse_differences({"table": progress.header.pinned.get("table", {})}, {"table": job.pinned}, path)
    options = target_options(job, progress, path, arguments.config, arguments.environ)
    if arguments.settings.host is None:
        check_named_host(job, options, path, arguments.line)
    else:
        options = replace(options, host=arguments.settings.host)
    return replace(reopened, job=job), options


def _name_the_run(progress: RunState) -> None:
    """Name the run in each JSON object from now on."""
    header = progress.header
    known = {"run_id": header.run_id, "job": header.pinned["job"], "pool": header.pinned["pool"]}
    stderr_log().know(lambda: known)


def _open_findings(arguments: VerifyArguments, reopened: Reopened, host: str, at: str) -> LogWriter[Findings]:
    """Open the findings.

    A verification resumes only by the user of its findings, and with the same log (byte for byte), host, pool and
    sample.
    """
    settings, header = arguments.settings, reopened.log_index.progress.header
    pinned = {
        "run_id": header.run_id,
        "log_sha256": reopened.log_index.sha256,
        "host": host,
        "pool": header.pinned["pool"],
        "sample": settings.sample,
    }
    key = make_key(arguments.environ)
    path, skipped = settings.state or findings_path(arguments.run), reopened.log_index.progress.skipped.rows
    terms = Terms(patience_s=settings.patience)
    log, earlier = open_findings_log(path, pinned, skipped, terms, at=at, again=settings.again, key=key)
    if earlier is not None:
        changed = CHANGED[earlier.differs[0]] if earlier.differs else "its findings are not this user's"
        why = "as --again says" if settings.again else changed
        say(f"This verification starts over: {why}. The earlier findings are kept in {earlier.path}.")
    return log


def _look_up(session: VerifySession, signals: Signals, notices: Notices, settings: VerifySettings) -> VerifyResult:
    """Run the session, with its progress. The first signal drains it."""
    reporter = Reporter(
        session.snapshot,
        level=settings.log_level,
        interval_s=settings.progress_every,
        log_format=settings.log_format,
    )

    def doing() -> str | None:
        """The current step; None while progress shows it."""
        return "signing in" if session.snapshot() is None else None if reporter.ask() else "writing the findings"

    try:
        with reporter.running(), notices.watching(session.snapshot, reporter.event):
            return run_loop(session.run(), signals, doing, session.drain)
    except Interrupted as error:
        return VerifyResult(Ending(signal=error.signal))
    except Halted as error:
        return VerifyResult(Ending(str(error), halted=True))


def _print_summary(
    progress: RunState, counts: Counts, summary: Mapping[str, Any], state: TargetState, *, as_json: bool
) -> None:
    say_values("verification.ended", summary)
    if as_json:
        result(json.dumps(summary))
        return
    sample = "" if counts.checked == counts.claimed else f", a sample of {counts.claimed:,},"
    reached = state.claimed if progress.counts["absent"] else state.reached
    result(f"{summary['status']}: looked up {counted(counts.checked, 'id')}{sample} that the run says are {reached}")
    lines = [(reached, counts.gone, "")]
    if counts.recreated:
        lines.append(("  re-created", counts.recreated, "   of these: a newer account has the id"))
    lines += [(state.not_reached, counts.still_there, ""), ("could not tell", counts.could_not_tell, "")]
    width = max(len(name) for name, _, _ in lines)
    for name, count, more in lines:
        result(f"  {name:<{width}} {count:>13,}{more}")
    claimed = {name_of(progress, kind) for kind in CLAIMED}
    others = [f"{count:,} {name}" for name, count in named_counts(progress).items() if count and name not in claimed]
    if progress.back:
        result(f"restored since: {back_words(progress)}")
    if others:
        result(f"not claimed to be {reached}, so not looked up: {', '.join(others)}")
    for line in session_lines(summary):
        result(line)


def _print_what_next(
    arguments: VerifyArguments,
    reopened: Reopened,
    counts: Counts,
    ended: VerifyResult,
    *,
    still_there: Path | None,
    parameters: Any,
) -> None:
    """Print why rows have no finding, and the commands that go on. parameters: those of the job."""
    settings, progress, left = arguments.settings, reopened.log_index.progress, ended.left
    key = read_key(arguments.environ)
    if not counts.claimed:
        say(f"The run calls no id {reopened.job.target_state.claimed}, so there is nothing to verify.")
    if counts.in_doubt:
        settle = "" if progress.undo else " Let the run settle what is in doubt, then verify again."
        say(
            f"{counted(counts.in_doubt, 'id', 'is', 'are')} in doubt: sent, and no response came; not looked up."
            f"{settle}\n{how_to_go_on(progress, arguments.run, key)}"
        )
    if ended.ending.why:
        say(f"Stopped: {ended.ending.why}", "stopped", level="warning")
    if left.undated:
        say(
            f"Could not tell {counted(left.undated, 'id')}: an account is there, and its age does not show whether it "
            "is the one that was meant or a newer one."
        )
        for number in progress.back:
            again = replace(arguments.line, names=(str(restore_place(arguments.run, number)),)).without("--again")
            say(f"To verify what restore-{number} has brought back:\n  {again}", "to_verify", command=again.words)
    if left.unproven:
        control = left.misread.control(reopened.id_type.name, reopened.job.words.noun)
        say(f"Could not tell {counted(left.unproven, 'id')}. {left.misread.text}.\n- {control} Then verify again.")
    if left.failed:
        say(f"The look-ups of {counted(left.failed, 'id')} failed; the last failure: {left.last_failure or 'none'}")
    line = arguments.line.without("--again")
    if counts.could_not_tell and ended.possible:
        say(f"To go on:\n  {line}", "to_go_on", command=line.words)
    if still_there is not None:
        pinned = progress.header.pinned
        given = {
            "--id-type": pinned["id_type"],
            **settings.connection,
            "--host": settings.host or pinned["host"],
            "--id-pattern": pinned["source"]["id_pattern"],
        }
        line_for = CommandLine("plan", (pinned["job"], str(still_there))).plus_variables(line.variables)
        plan = line_for.plus_parameters(parameters).plus_given(given)
        for option, values in progress.guards.options.items():
            plan = plan.plus(option, *values)
        plan = plan.plus("--backup") if progress.backups else plan
        left_over = reopened.job.target_state.not_reached
        say(
            f"Those {left_over} are listed in {still_there}, which `run` takes as an export. The plan for them:\n"
            f"  {plan}\nTo read everything back once more after that:\n  {line.plus('--again')}",
            "still_there",
            level="warning",
            command=plan.words,
        )


def _write_list(reopened: Reopened, there: RowSet, to: Path) -> Path:
    """Write the rows `there`, one object a line, mode 0600: their ids, or the whole records of a job that takes some.

    The list is an export for `run`. Returns the path. Raises FileFailed.

    The file appears under its name only when it is complete. An existing list is replaced only by one that has all of
    its rows. Any other list may be in use, or corrected by hand, so the new one gets a number.
    """
    names = (to if i == 1 else to.with_name(f"{to.stem}-{i}{to.suffix}") for i in itertools.count(1))
    while True:
        name = next(names)
        try:
            make_folder(name.parent)
            with atomic_file(name, may_replace=_has_all_of) as file:
                file.writelines(row + b"\n" for row in _rows_there(reopened, there))
        except FileExistsError:
            continue
        except OSError as error:
            raise FileFailed(f"{to}: {error.strerror}. The list of those still there could not be written.") from error
        return name


def _rows_there(reopened: Reopened, there: RowSet) -> Iterator[bytes]:
    skipped = reopened.log_index.progress.skipped.rows  # `there` also covers the skipped rows beside its rows
    for rows in reopened.source.rows():
        for position in positions_in(there.overlap(rows.at, rows.stop)):
            if position not in skipped:
                row = position - rows.at
                yield rows.records[row].encode() if rows.records else orjson.dumps({"id": rows.ids[row]})


def _has_all_of(new: Path, old: Path) -> bool:
    """Whether every line of `old` is in `new`, in the same order."""
    with new.open("rb") as lines, open_regular(old) as wanted:
        return all(any(line == want for line in lines) for want in wanted)
