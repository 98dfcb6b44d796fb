"""`bulkdel report`: the order of its steps. It reads logs and exports, and sends nothing.

read the logs → collect their texts → compare them with the exports → write the page, or the JSON
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import orjson

from bulkdel.commands.results import UNREAD, output
from bulkdel.core.log_entries import stamp
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.output import say
from bulkdel.place.finding import find_runs
from bulkdel.place.log_file import make_folder
from bulkdel.report import words
from bulkdel.report.export_values import compare
from bulkdel.report.facts import HIDDEN, LEFT_OUT, LIKE_AN_ADDRESS, NOT_COMPARED, Light, Report, RunFacts, Texts
from bulkdel.report.html import page
from bulkdel.report.read_run import ReadRun
from bulkdel.report.run_facts import facts_of
from bulkdel.report.texts import TextCheck
from bulkdel.run_place import REPORT, own_file
from bulkdel.settings import NOTE_MAX

ENDINGS = (".html", ".json")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.\w+")
"""Looks like an e-mail address, which a name of a file may have without being in the export."""


@dataclass(frozen=True, slots=True)
class ReportArguments:
    """The arguments of one `bulkdel report`."""

    runs: Sequence[Path]
    out: Path | None = None
    title: str | None = None
    ticket: str | None = None
    no_names: bool = False

    @property
    def typed(self) -> dict[str, str]:
        """The texts that were given, by option."""
        given = {"--title": self.title, "--ticket": self.ticket}
        return {option: text for option, text in given.items() if text is not None}


def report(arguments: ReportArguments) -> int:
    """Write the report. Returns the exit code.

    Raises UsageError for a title or ticket that holds a value of an export, NotAcceptable for a log that cannot be
    read, and after the report is written for one whose audit has failed.
    """
    _check(arguments)
    runs = [ReadRun.read(run) for run in find_runs(arguments.runs)]
    _check_different(runs)
    out = arguments.out
    if out is None and sys.stdout is not None and sys.stdout.isatty():
        out = own_file(runs[0].path, REPORT)
        _check_new(out)
        make_folder(out.parent)
    check = _check_of_texts(runs, arguments)
    compared = [compare(run.path, run.progress, check) for run in runs]
    for run in runs:
        run.see_made(check)
    arguments = _with_what_may_be_shown(arguments, check, compared=all(compared))
    facts = [
        facts_of(run, _texts(check, compared=one, no_names=arguments.no_names), compared=one)
        for run, one in zip(runs, compared, strict=True)
    ]
    found = _report_of(facts, arguments)
    is_json = out is not None and out.suffix.lower() == ".json"
    data = orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n" if is_json else page(found).encode()
    code = 0
    try:
        with output(out) as write:
            write(data)
    except BrokenPipeError:
        code = UNREAD
    if out is not None:
        say(f"The report is {out}.", "report_written", path=str(out))
    if faults := [run.audit.fault for run in runs if run.audit.fault is not None]:
        raise NotAcceptable(f"the report is written, and says that the audit failed: {faults[0]}")
    return code


def _check(arguments: ReportArguments) -> None:
    if not arguments.runs:
        raise UsageError("report: name a run, or its export: bulkdel report RUN")
    out = arguments.out
    if out is not None:
        if out.suffix.lower() not in ENDINGS:
            raise UsageError(f"--out {out}: no format has this ending. Name a file that ends in {' or '.join(ENDINGS)}")
        _check_new(out)
    for option, text in arguments.typed.items():
        if not (text.strip() and text.isprintable() and len(text) <= NOTE_MAX):
            raise UsageError(f"{option} {text[:80]!r}: one line of at most {NOTE_MAX} printable characters")


def _check_new(out: Path) -> None:
    if os.path.lexists(out):  # checked before the work, and again at its end
        raise UsageError(f"--out {out}: is there already, and is not overwritten. Name another file with --out")


def _check_different(runs: Sequence[ReadRun]) -> None:
    """Raise UsageError when two logs are of one run: a copy, perhaps of an earlier state."""
    known: dict[str, Path] = {}
    for run in runs:
        run_id = run.progress.header.run_id
        if run_id in known:
            both = f"{run.path}: is of the same run as {known[run_id]}"
            raise UsageError(f"{both}, so its rows would count twice. Name one of them")
        known[run_id] = run.path


def _check_of_texts(runs: Sequence[ReadRun], arguments: ReportArguments) -> TextCheck:
    """Collect every text that the report would show: the facts are made once, and each text is noted."""
    free, names = set(arguments.typed.values()), set[str]()

    def text(value: str) -> str:
        free.add(value)
        return value

    def name(value: str) -> str:
        names.add(value)
        return value

    for run in runs:
        facts_of(run, Texts(text=text, file=text, name=name, person=name), compared=False)
    return TextCheck(free, names)


def _with_what_may_be_shown(arguments: ReportArguments, check: TextCheck, *, compared: bool) -> ReportArguments:
    """Leave out title and ticket when they could not be compared with every export.

    Raises UsageError for one that holds a value of an export.
    """
    for option, text in arguments.typed.items():
        if check.holds(text):
            raise UsageError(f"{option}: holds an id or another value of the export, and a report has none. Reword it")
    if compared or not arguments.typed:
        return arguments
    say(
        "An export could not be read, so title and ticket could not be compared with it. They are left out.",
        "title_left_out",
        level="warning",
    )
    return replace(arguments, title=None, ticket=None)


def _texts(check: TextCheck, *, compared: bool, no_names: bool) -> Texts:
    """What is shown of the texts of one run. compared: whether its export could be read."""

    def name(value: str) -> str:
        return LEFT_OUT if check.holds(value) else value

    def text(value: str) -> str:
        return name(value) if compared else NOT_COMPARED

    def file(value: str) -> str:
        shown = text(value)
        return LIKE_AN_ADDRESS if _ADDRESS.search(shown) else shown

    return Texts(text=text, file=file, name=name, person=(lambda _: HIDDEN) if no_names else name)


def _report_of(facts: Sequence[RunFacts], arguments: ReportArguments) -> Report:
    """Put the runs together."""
    counts, lights = Counter[str](), Counter[Light]()
    for each in facts:
        counts.update({outcome.name: outcome.count for outcome in each.outcomes})
        lights[each.light] += 1
    rows = sum(each.rows for each in facts)
    practice = sum(each.rows for each in facts if each.sandbox)
    return Report(
        title=arguments.title or words.title(facts),
        ticket=arguments.ticket or "",
        made_at=stamp(datetime.now(UTC).timestamp()),
        tool=f"bulkdel {version('bulkdel')}",
        light=next(light for light in (Light.NOT_FINISHED, Light.LOOK, Light.FINE) if lights[light]),
        sentence=facts[0].sentence if len(facts) == 1 else words.of_all(lights, counts, rows, practice),
        counts=counts,
        rows=rows,
        runs=tuple(facts),
    )
