"""The status of a running job, and its answers, as lines for people. Another program may have answered."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import BY_HAND, OPTION
from bulkdel.engine.snapshot import LIMITS
from bulkdel.format import counted, shown, span, until_words
from bulkdel.log_words import SOURCES
from bulkdel.options import CONFIRMING

BOUNDS: Mapping[str, str] = {
    OPTION: "--rate",
    ChangedBy.SCHEDULE: "--schedule",
    **{source: f"a change ({SOURCES[source]})" for source in BY_HAND},
    **LIMITS,
}
"""The bounds of the rate, in words."""


def status_lines(run: Path, status: Mapping[str, Any]) -> list[str]:
    """The lines. status: as `LiveStatus.to_json` makes it. run: its place."""
    head = f"{run}: {status['state']} (pid {status['pid']})"
    lines = [head, f"  job        {status['job']} on {status['host']}, pool {status['pool']}"]
    if "rows" in status:
        share = 100 * status["settled"] / status["rows"] if status["rows"] else 100.0
        lines.append(f"  rows       {status['settled']:,} of {status['rows']:,} ({share:.1f} %)")
        names = status["names"]
        lines += [f"  {names.get(name, name):<10} {count:>13,}" for name, count in status["counts"].items() if count]
        lines += [f"  left out   {count:>13,} {names.get(name, name)}" for name, count in status["left_out_by"].items()]
    return [*map(shown, lines), *now_lines(run, status)]


def now_lines(run: Path, status: Mapping[str, Any]) -> list[str]:
    """The lines with facts that the log lacks: the rate, its bound, and why the run waits."""
    if "rate" not in status:
        return [shown(f"  now        {status['doing']}")]
    rate, lines = status["rate"], []
    left = "" if status["left_s"] is None else f"; {span(status['left_s'])} left"
    allowed = "no limit" if not rate["allowed"] else f"{rate['allowed']:g} requests/s allowed"
    binds = rate["binding"] if rate["allowed"] or rate["binding"] in LIMITS else None
    bound = f"; limited by {BOUNDS.get(binds, binds)}" if binds else ""
    lines.append(f"  rate       {rate['used']:g} requests/s; {allowed}{bound}{left}")
    in_flight = f"{status['in_flight']} of {status['concurrency']} in flight"
    lines.append(
        f"  requests   {status['requests']:,} sent, {counted(status['retries'], 'retry')}, "
        f"{status['throttled']:,} answered 429; {in_flight}"
    )
    if status["waiting"] or status["doing"]:
        lines.append(f"  waiting    {status['waiting'] or status['doing']}")
    if status["until"]:
        lines.append(f"  until      {until_words(datetime.fromisoformat(status['until']))}")
    lines += [f"  refused    {count:,} with code {code}" for code, count in status["refused"].items()]
    lines = [*map(shown, lines)]
    if status["confirm"]:
        lines.append(answer_text(run, f"  to resume, the run has to be confirmed:\n  {status['confirm']}"))
    return lines


def answer_text(run: Path, text: str) -> str:
    """The text of an answer on one line, and below it the command that it ends with, if that resumes this run.

    run: its place, as the command names it.
    """
    above, _, last = text.rpartition("\n  ")
    line = _resuming(run, last)
    return shown(text) if line is None else f"{shown(above)}\n  {line}"


def _resuming(run: Path, text: str) -> CommandLine | None:
    """This `ctl … resume`, of this log; None for any other text."""
    try:
        line = CommandLine.read(shlex.split(text))
    except ValueError:
        return None
    is_one = line.command == "ctl" and line.names[1:] == ("resume",) and line.options.keys() <= {*CONFIRMING}
    return replace(line, names=(str(run), "resume"), variables={}) if is_one else None
