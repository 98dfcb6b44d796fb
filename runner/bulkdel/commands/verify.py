"""`bulkdel verify`, from the checkpoint to the report. Owns the order of its steps and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.lock import is_locked, run_words
from bulkdel.command_line import CommandLine, going_on
from bulkdel.core.absence import COMMAS, comma_control
from bulkdel.core.summary import Ending, counts_of, name_of
from bulkdel.core.verification import CLAIMED, Tally, exit_code, status_of
from bulkdel.engine.shutdown import Interrupted, Signals, ignore, run_loop
from bulkdel.errors import FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export.spool import SPOOLED
from bulkdel.format import counted, printable, session_lines, stamp
from bulkdel.job import TargetOptions
from bulkdel.output import result, say
from bulkdel.settings import VerifySettings
from bulkdel.verify.reopen import Reopened
from bulkdel.verify.state import State
from bulkdel.verify.still_there import write_list
from bulkdel.verify.worker import Asking

STATE = ".verify.jsonl"
STILL_THERE = ".still-there.jsonl"
"""The two files of a verification: endings after the checkpoint's name."""

SANDBOX = "sandbox"
"""The host that a run with --sandbox pins."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command line."""

    checkpoint: Path
    settings: VerifySettings
    config: Mapping[str, Any]
    environ: Mapping[str, str]

    @property
    def line(self) -> CommandLine:
        """The command line to type again."""
        names = (str(self.checkpoint),)
        return CommandLine.of("verify", names, self.settings, environ=self.environ, config=self.config)


def verify(request: Request) -> int:
    """Verify, or resume a verification. Returns the exit code; raises BulkdelError before the first request."""
    settings, path = request.settings, request.checkpoint
    settings.check()
    with ExitStack() as stack, Signals() as signals, signals.phase(lambda: "reading the log and the export"):
        _refuse_running(path)
        size = _size(path)
        reopened = Reopened.open(path, _export(request), stack)
        pinned = reopened.log_index.progress.header.pinned
        if pinned["host"] == SANDBOX:
            raise NotAcceptable(
                f"{path}: was written by a run with --sandbox, whose users ended with it; there is no user to look up"
            )
        host = settings.host or pinned["host"]
        table = request.config.get(reopened.job.config_table, {})
        target = reopened.job.target(TargetOptions(host, table, request.environ))
        state = stack.enter_context(_open_state(request, reopened, target.pinned_host))
        report = Report(request, reopened, state)
        asking = Asking(reopened, target, settings, state)
        ending, began = Ending(), time.monotonic()
        if not report.tally.could_not_tell:
            if state.resumed:
                say("Everything was read back already; no id was looked up. --again starts over.")
        elif target.key is None:
            raise UsageError(f"no credentials for {target.pinned_host}: {target.key_hint}")
        else:
            try:
                stack.enter_context(signals.phase(on_first=ignore))  # when all is asked, the report is written
                run_loop(asking.run(), signals, asking.told)
            except Interrupted as error:
                ending = Ending(signal=error.signal)
            except Halted as error:
                ending = Ending(str(error), halted=True)
            except FileFailed as error:
                ending = Ending(str(error), file_failed=True)
        if not ending.why and ending.signal is None and _size(path) != size:
            # The rows that the run has settled since were not looked up.
            ending = Ending("the run has continued meanwhile: verify again when it has ended", halted=True)
        return report.tell(asking, ending, time.monotonic() - began)


def _refuse_running(path: Path) -> None:
    if is_locked(path):
        raise NotAcceptable(
            f"{path}: a {run_words(path)} is under way, so rows still change. Verify when it has ended."
        )


def _size(path: Path) -> int:
    """Bytes of the log, which only grows; -1 when it is not there."""
    return path.stat().st_size if path.exists() else -1


def _export(request: Request) -> str | None:
    """Where the export is: as told; else the copy of a piped one, where there is one; else where the log says."""
    spooled = Path(f"{request.checkpoint}{SPOOLED}")
    return str(spooled) if request.settings.export is None and spooled.exists() else request.settings.export


def _open_state(request: Request, reopened: Reopened, host: str) -> State:
    """Open the state. Only the same verification is resumed: the same log, byte for byte, the same host and sample."""
    header = reopened.log_index.progress.header
    path = request.settings.state or Path(f"{request.checkpoint}{STATE}")
    pinned = {
        "run_id": header.run_id,
        "log_sha256": reopened.log_index.sha256,
        "host": host,
        "pool": header.pinned["pool"],
        "sample": request.settings.sample,
    }
    tool, again = f"bulkdel {version('bulkdel')}", request.settings.again
    duplicates = reopened.log_index.progress.duplicates
    state = State(path, pinned, tool=tool, at=stamp(time.time()), again=again, duplicates=duplicates)
    if state.aside is not None:
        why = "as --again says" if again else "the run has continued since, or host or sample have changed"
        say(f"This verification starts over ({why}); the earlier state is kept in {state.aside}.")
    return state


class Report:
    """The report at the end."""

    def __init__(self, request: Request, reopened: Reopened, state: State) -> None:
        self._request = request
        self._reopened = reopened
        self._state = state
        self._progress = reopened.log_index.progress

    @property
    def tally(self) -> Tally:
        """The current numbers."""
        return Tally.of(self._progress, self._state.books, self._request.settings.sample)

    def tell(self, asking: Asking, ending: Ending, duration_s: float) -> int:
        """Write the list of ids that are still there, print the report, return the exit code."""
        still_there: Path | None = None
        if self._state.books.there.size and ending.signal is None and not ending.file_failed:
            try:
                still_there = write_list(
                    self._reopened, self._state.books.there, Path(f"{self._request.checkpoint}{STILL_THERE}")
                )
            except FileFailed as error:
                ending = Ending(str(error), file_failed=True)
            except Halted as error:  # the export changed between the look-ups and the list
                ending = Ending(str(error), halted=True)
        tally = self.tally
        told = {
            "gone": tally.gone,
            "still_there": tally.there,
            "could_not_tell": tally.could_not_tell,
            "in_doubt": tally.in_doubt,
            "recreated": tally.recreated,
            "checked": tally.checked,
            "claimed": tally.claimed,
            "not_claimed": tally.rows - tally.claimed,
            "rows": tally.rows,
            "requests": asking.requests,
            "retries": asking.figures.retries,
            "throttled": asking.figures.throttled,
            "resumed": self._state.resumed,
            "duration_s": round(duration_s, 3),
            "checkpoint": printable(self._request.checkpoint),
            "log_sha256": self._reopened.log_index.sha256,
            "still_there_path": None if still_there is None else printable(still_there),
            "status": status_of(tally, ending),
        }
        if self._request.settings.json:
            result(json.dumps(told))
        else:
            self._tell_people(tally, told)
        self._tell_what_next(tally, asking, ending, still_there)
        return exit_code(tally, ending)

    def _tell_people(self, tally: Tally, told: Mapping[str, Any]) -> None:
        sample = "" if tally.checked == tally.claimed else f", a sample of {tally.claimed:,},"
        result(f"{told['status']}: of {counted(tally.checked, 'id')}{sample} that the run says are gone")
        result(f"  gone           {tally.gone:>13,}")
        if tally.recreated:
            result(f"    re-created   {tally.recreated:>13,}   of these: a newer account has the id")
        result(f"  still there    {tally.there:>13,}")
        result(f"  could not tell {tally.could_not_tell:>13,}")
        counts = counts_of(self._progress)
        claimed = {name_of(self._progress, kind) for kind in CLAIMED}
        others = [f"{count:,} {name}" for name, count in counts.items() if count and name not in claimed]
        if others:
            result(f"not claimed to be gone, so not looked up: {', '.join(others)}")
        for line in session_lines(told):
            result(line)

    def _tell_what_next(self, tally: Tally, asking: Asking, ending: Ending, still_there: Path | None) -> None:
        if not tally.claimed:
            say("The run calls no id gone, so there is nothing to verify.")
        if tally.in_doubt:
            say(
                f"{counted(tally.in_doubt, 'id', 'is', 'are')} in doubt: sent, and no answer came; not looked up. Let "
                f"the run settle what is in doubt, then verify again.\n"
                f"{going_on(self._progress)}"
            )
        if ending.why:
            say(f"Stopped: {ending.why}")
        if asking.undated:
            say(
                f"{asking.undated:,} could not be told: an account is there, but not whether it is the one that was "
                "meant or a newer one under the same id."
            )
        if asking.unproven:
            what = comma_control(self._reopened.id_type.name)
            say(f"{asking.unproven:,} could not be told. {COMMAS}.\n- {what} Then verify again.")
        if asking.failed:
            say(f"The look-ups of {counted(asking.failed, 'id')} failed; the last failure: {asking.doubt or 'none'}")
        line = self._request.line.without("--again")
        if tally.could_not_tell:
            say(f"To go on:\n  {line}")
        if still_there is not None:
            say(
                f"Those still there are listed in {still_there}, which `run` takes as an export. To plan their "
                f"deletion:\n  {self._plan_command(still_there)}\n"
                f"To read everything back once more after it:\n  {line.plus('--again')}"
            )

    def _plan_command(self, still_there: Path) -> CommandLine:
        settings, pinned = self._request.settings, self._progress.header.pinned
        given = {
            "--id-type": pinned["id_type"],
            "--host": settings.host or pinned["host"],
            "--id-pattern": pinned["source"]["id_pattern"],
            "--config": settings.config,
            "--ca-file": settings.ca_file,
            "--proxy": settings.proxy,
        }
        return CommandLine("plan", (pinned["job"], str(still_there))).plus_given(given)
