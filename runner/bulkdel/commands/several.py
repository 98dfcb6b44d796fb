"""What a command does with several runs: shows them in one table, controls, verifies, and writes their results."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.takeover import holder
from bulkdel.command_line import CommandLine
from bulkdel.commands import watching
from bulkdel.commands.batch_words import shortened
from bulkdel.commands.results import UNREAD, print_results
from bulkdel.commands.verify import VerifyArguments
from bulkdel.commands.verify import verify as verify_run
from bulkdel.core.batch import first_that_applies
from bulkdel.core.handover import free_name
from bulkdel.core.summary import EXIT_FILE, KILLED, counts_of, state_of
from bulkdel.errors import BulkdelError, FileFailed, NotAcceptable, UsageError
from bulkdel.fleet.run_log import NOT_BEGUN, RUNNING
from bulkdel.format import shown
from bulkdel.live.ask import ask, live_status
from bulkdel.live.status_lines import answer_text, status_lines
from bulkdel.output import result, say, say_error
from bulkdel.place.opening import log_place
from bulkdel.run_place import short_name
from bulkdel.threads import in_thread

LOOKS_AT_ONCE = 32
"""So many runs are looked at at the same time: whether a process writes a log in a store shows after up to 11 s."""

UNREADABLE = "unreadable"
"""The state of a run with a log that cannot be read."""

SIGNALLED = 128
"""An exit code above it is that of a signal."""

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StateOfRun:
    """Where one of several runs is, from its log and from its process.

    counts: rows by outcome, in the words of its job. exit: of its last process in the batch; None without one.
    why: of a log that cannot be read.
    live: the status of its process; None when none can be asked.
    """

    name: str
    state: str
    rows: int = 0
    settled: int = 0
    counts: Mapping[str, int] | None = None
    exit: int | None = None
    live: Mapping[str, Any] | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **(self.counts or {}),
            "name": self.name,
            "status": self.state,
            "rows": self.rows,
            "settled": self.settled,
            "exit_code": self.exit,
            "live": self.live,
            **({"why": self.why} if self.why else {}),
        }


def show_states(
    look: Callable[[], tuple[Sequence[StateOfRun], Mapping[str, Any]]],
    *,
    as_json: bool,
    watch: bool,
) -> int:
    """Show the states of several runs; with `watch`, until none is under way, or nothing reads them.

    look: reads the states, and what is shown besides, by name; each value is a text, or None.
    Returns the exit code: 3 where a log could not be read.
    """

    def text_now() -> str | None:
        states, more = look()
        said = any(text is not None for text in more.values())
        return _text_of(states, more) if said or any(state.state == RUNNING for state in states) else None

    if watch and not as_json and not watching.watch(text_now):
        return UNREAD
    states, more = look()
    if as_json:
        result(json.dumps({"runs": [state.to_json() for state in states], "totals": totals_of(states), **more}))
    else:
        result(_text_of(states, more))
    return NotAcceptable.exit_code if any(state.state == UNREADABLE for state in states) else 0


def _text_of(states: Sequence[StateOfRun], more: Mapping[str, Any]) -> str:
    said = (f"The {name} is under way, {text}" for name, text in more.items() if text is not None)
    return "\n".join((*table_lines(states), *said))


def look_at_all(runs: Sequence[R], look: Callable[[R], T]) -> list[T]:
    """Look at these runs at the same time, and return what was found, in their order."""

    async def all_of_them() -> list[T]:
        places = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look_at(run: R) -> T:
            async with places:
                return await in_thread(lambda: look(run), lambda: None, stop_s=0)

        return await asyncio.gather(*map(look_at, runs))

    return asyncio.run(all_of_them())


def state_in(run: Path, before: StateOfRun, environ: Mapping[str, str]) -> StateOfRun:
    """Read the log of a run. One that cannot be read is told of, and does not hide the other runs.

    run: its place. before: its name, and its state without a log.
    """
    try:
        if is_fresh(place := log_place(run)):
            return before
        progress = read_log(place).progress
        live = None if progress.under_way is None else live_status(run, environ)
        running = live is not None or holder(place, progress) is not None
    except BulkdelError as error:  # a store may need a package that is not installed
        return replace(before, state=UNREADABLE, why=shortened(str(error)))
    counts, rows = counts_of(progress), progress.rows
    settled = rows - progress.remaining if live is None else live.get("settled", rows - progress.remaining)
    state = RUNNING if running else state_of(progress)
    if state == KILLED and before.exit == EXIT_FILE:  # the batch knows what the log could not be told
        state = "halted"
    return StateOfRun(before.name, state, rows, settled, counts, None if running else before.exit, live)


def table_lines(states: Sequence[StateOfRun]) -> Iterator[str]:
    """One line for each run, and the totals."""
    width = max(len(state.name) for state in states)
    for state in states:
        share = f"{state.settled:>13,} of {state.rows:,} rows" if state.rows else ""
        doing = ""
        if state.live is not None:
            waits = state.live.get("waiting") or state.live.get("doing")
            doing = f", {shown(waits)}" if waits else f", {state.live.get('per_s', 0):,.0f} ids/s"
        doing += f": {state.why}" if state.why else ""
        yield f"  {state.name:<{width}}  {state.state:<11} {share}{doing}".rstrip()
    totals, phases = totals_of(states), Counter(state.state for state in states)
    rows = f"{totals['settled']:,} of {totals['rows']:,} rows"
    yield f"{rows}; runs: " + ", ".join(f"{count:,} {name}" for name, count in phases.items())


def totals_of(states: Sequence[StateOfRun]) -> dict[str, int]:
    """Rows by outcome, all rows and those that are settled, of all runs."""
    totals = Counter[str]()
    for state in states:
        totals.update({**(state.counts or {}), "rows": state.rows, "settled": state.settled})
    return dict(totals)


def status(runs: Sequence[Path], *, as_json: bool, watch: bool, environ: Mapping[str, str]) -> int:
    """Show the states of these runs. Returns the exit code of `show_states`."""

    def look() -> tuple[list[StateOfRun], Mapping[str, Any]]:
        return look_at_all(runs, lambda run: state_in(run, StateOfRun(str(run), NOT_BEGUN), environ)), {}

    code = show_states(look, as_json=as_json, watch=watch)
    if not (as_json or watch):
        result(f"What one of them did, and how it goes on:\n  {CommandLine('status', (str(runs[0]),))}")
    return code


def ctl(runs: Sequence[Path], command: str, *, as_json: bool, environ: Mapping[str, str]) -> int:
    """Send a command to each of these runs that is under way, and print the answers. Returns 2 when one refused.

    Raises NotAcceptable when none is under way, and UsageError when one run alone has refused it.
    """
    if len(runs) == 1:
        return _ctl_one(runs[0], command, as_json=as_json, environ=environ)
    places = {str(run): run for run in runs}
    answers = answers_of(places, command, environ, all_alive=False)
    if not answers:
        raise NotAcceptable(f"{', '.join(places)}: none of these runs is under way")
    return print_answers(answers, places, as_json=as_json)


def _ctl_one(run: Path, command: str, *, as_json: bool, environ: Mapping[str, str]) -> int:
    answer = ask(run, command, environ)
    if as_json:
        result(json.dumps(answer))
    elif answer["ok"]:
        result(answer_text(run, answer["text"]) or "\n".join(status_lines(run, answer["status"])))
    if not answer["ok"]:
        raise UsageError(f"{run}: {answer_text(run, answer['text'])}")
    return 0


def answers_of(
    places: Mapping[str, Path], command: str, environ: Mapping[str, str], *, all_alive: bool
) -> dict[str, Mapping[str, Any]]:
    """Send a command to the runs that are under way; returns their answers by name.

    all_alive: raise NotAcceptable for a run that is not under way.
    """

    def answer_of(run: Path) -> Mapping[str, Any] | None:
        try:
            return ask(run, command, environ)
        except NotAcceptable as error:
            if all_alive:
                raise
            refused = {"ok": False, "text": str(error), "status": None}
        place = log_place(run)
        try:
            return None if is_fresh(place) or holder(place, read_log(place).progress) is None else refused
        except NotAcceptable as error:  # the other runs are asked all the same
            return {**refused, "text": str(error)}

    found = zip(places, look_at_all(list(places.values()), answer_of), strict=True)
    return {name: answer for name, answer in found if answer is not None}


def print_answers(answers: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path], *, as_json: bool) -> int:
    """Print the answers of runs. Returns 2 when one refused."""
    if as_json:
        result(json.dumps(answers))
    width = max(map(len, answers))
    for name, answer in answers.items() if not as_json else ():
        text = answer["text"] or f"{answer['status']['state']}, {answer['status'].get('settled', 0):,} rows settled"
        text = answer_text(places[name], text)
        result(f"  {name:<{width}}  {'' if answer['ok'] else 'refused: '}{text}")
    return 0 if all(answer["ok"] for answer in answers.values()) else UsageError.exit_code


def write_results(
    places: Mapping[str, Path], of: str, out: Path, *, only: str | None, format_: str, hash_ids: Path | None
) -> int:
    """Write the outcomes of every run to a file of its own in the folder `out`. Returns the first code that applies.

    places: of the runs, by name. of: what they belong to, for a message. The others: as of `print_results`.
    """
    begun: dict[str, Path] = {}
    codes = []
    for name, run in places.items():
        try:
            if is_fresh(log_place(run)):
                say(f"{name}: has not begun, so it has no results.")
            else:
                begun[name] = run
        except NotAcceptable as error:
            codes.append(_say_failure(name, error))
    if not begun and not codes:
        raise NotAcceptable(f"{of}: no run has begun, so there are no results. Nothing was written")
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileFailed(f"--out {out}: {error.strerror}. Nothing was written") from error
    for name, run in begun.items():
        file = out / f"{name}.{format_}"
        try:
            codes.append(print_results(run, only=only, format_=format_, out=file, export=None, hash_ids=hash_ids))
        except BulkdelError as error:  # the results of the other runs are written all the same
            codes.append(_say_failure(name, error))
    return first_that_applies(codes)


def short_names(runs: Sequence[Path]) -> dict[str, Path]:
    """The runs by names for their files. Where two have one name, the later one gets a number."""
    names: dict[str, Path] = {}
    for run in runs:
        names[free_name(short_name(run), names)] = run
    return names


def verify(arguments: Sequence[VerifyArguments]) -> int:
    """Verify one run after the other. A signal ends all. Returns the first exit code that applies.

    arguments: those of each run, with the same settings. Raises UsageError.
    """
    if len(arguments) == 1:
        return verify_run(arguments[0])
    settings = arguments[0].settings
    for option, value in (("--state", settings.state), ("--export", settings.export)):
        if value is not None:
            raise UsageError(f"{option}: is of one run. Leave it out, or verify one of several runs at a time")
    codes: list[int] = []
    for each in arguments:
        try:
            codes.append(verify_run(each))
        except BulkdelError as error:  # the other runs are verified all the same
            codes.append(_say_failure(str(each.run), error))
        if codes[-1] > SIGNALLED:
            break
    return first_that_applies(codes)


def _say_failure(name: str, error: BulkdelError) -> int:
    """Say why a command has failed for this run. Returns the exit code."""
    say(f"{name}:")
    say_error(error)
    return error.exit_code
