"""The words of a batch: its plan and its summary, as lines for people and as values for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.batch import COMPLETE, Due, PlannedRun, ToConfirm
from bulkdel.core.batch_status import LEFT_OUT, rows_of
from bulkdel.core.outcome import REMAINING
from bulkdel.fleet.batch_child import RunEnd
from bulkdel.fleet.run_log import NOT_BEGUN, NOT_STARTED
from bulkdel.format import counted, span

WIDTH = 72
"""Characters of a reason in a line of a table."""


def shortened(text: str) -> str:
    """The beginning of a reason. All of it is in the log of the run, and in the JSON."""
    first = _first_line(text)
    return first if len(first) <= WIDTH else f"{first[: WIDTH - 1].rstrip()}…"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def due_words(due: Mapping[str, Due]) -> str:
    """Which runs have to be confirmed, and why."""
    reasons = Counter(due.values())
    return ", ".join(f"{counted(count, 'run', 'is', 'are')} {why}" for why, count in reasons.items())


def table_lines(planned: Sequence[PlannedRun], due: Mapping[str, Due]) -> list[str]:
    """The plan of a batch as lines."""
    head = ("run", "pool", "rows", "to do", "sample", "time", "")
    rows = [head, *(_table_row(run, due) for run in planned)]
    whole = [run for run in planned if not run.trouble]
    total_s = sum(run.values.get("estimated_s") or 0.0 for run in whole if not run.complete)
    rows.append(
        (
            "total",
            counted(len(planned), "run"),
            f"{sum(int(run.values.get('rows', 0)) for run in whole):,}",
            f"{sum(run.remaining for run in whole):,}",
            "",
            span(total_s) if total_s else "",
            f"{counted(len(planned) - len(whole), 'run')} cannot begin" if len(whole) < len(planned) else "",
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    aligned = ("<", "<", ">", ">", ">", ">")
    return [
        "  "
        + "  ".join(
            [*(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    ]


def _table_row(run: PlannedRun, due: Mapping[str, Due]) -> tuple[str, ...]:
    values, sample = run.values, run.values.get("sample")
    trouble = _first_line(run.trouble)  # not shortened: it may name a file
    why = trouble or ("complete" if run.complete else due.get(run.name, ""))
    return (
        run.name,
        str(values.get("pool") or "-"),
        f"{values['rows']:,}" if values else "-",
        f"{run.remaining:,}" if values else "-",
        f"{sample['found']} of {sample['asked']}" if sample else "-",
        span(values["estimated_s"]) if values.get("estimated_s") else "-",
        str(why),
    )


def plan_values(
    planned: Sequence[PlannedRun], due: Mapping[str, Due], to_confirm: ToConfirm, command: CommandLine | None = None
) -> dict[str, Any]:
    """The plan of a batch as values, without ids and texts of rows."""
    names = ("job", "host", "pool", "rows", "sample", "estimated_s", "digest")
    return {
        "runs": [
            {
                "name": run.name,
                **{name: run.values.get(name) for name in names},
                "ids": run.ids,
                "remaining": run.remaining,
                "complete": run.complete,
                "due": due.get(run.name),
                "trouble": run.trouble or None,
                "exit_code": run.exit,
            }
            for run in planned
        ],
        "ids": sum(run.ids for run in planned if not run.trouble),
        "to_confirm": {"ids": to_confirm.ids, "plan": to_confirm.digest, "runs": to_confirm.runs} if due else None,
        **({} if command is None else {"command": command.words}),
    }


def _with_rows(run: PlannedRun, ended: RunEnd) -> Mapping[str, Any]:
    """The summary of a run. Of one without a log, the rows are those of its plan."""
    begun = ended.result.get("status", NOT_STARTED) not in {NOT_STARTED, NOT_BEGUN}
    if begun or "rows" in ended.result or "rows" not in run.values:
        return ended.result
    return {**{name: run.values[name] for name in (*LEFT_OUT, REMAINING, "rows")}, **ended.result}


def _totals(summaries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The sums of the runs. As in the summary of a run, rows by outcome stand before `rows`."""
    names = dict.fromkeys(name for each in summaries for name in rows_of(each) if name != REMAINING)
    last = (REMAINING, "rows") if any("rows" in each for each in summaries) else ()
    totals = Counter[str](dict.fromkeys((*names, *last), 0))
    for each in summaries:
        counts = {name: count for name, count in each.items() if type(count) is int}
        totals.update({name: counts[name] for name in counts if name not in {"exit_code", "duration_s"}})
    return dict(totals)


def summary_values(runs: Sequence[tuple[PlannedRun, RunEnd]], code: int, duration_s: float) -> dict[str, Any]:
    """The summary of a batch as values."""
    summaries = [_with_rows(run, ended) for run, ended in runs]
    complete = code in COMPLETE and all(ended.result.get("status") == "complete" for _, ended in runs)
    return {
        "runs": [
            {
                **found,
                "name": run.name,
                "status": ended.result.get("status", NOT_STARTED),
                "exit_code": ended.exit,
                "why": ended.error or None,
            }
            for (run, ended), found in zip(runs, summaries, strict=True)
        ],
        "totals": _totals(summaries),
        "duration_s": round(duration_s, 1),
        "status": "complete" if complete else "incomplete",
        "exit_code": code,
    }


def summary_lines(values: Mapping[str, Any]) -> Iterator[str]:
    """The summary of a batch as lines."""
    runs, totals = values["runs"], values["totals"]
    width = max(len(run["name"]) for run in runs)
    code, lasted = values["exit_code"], span(values["duration_s"])
    yield f"{values['status']}: {counted(len(runs), 'run')} in {lasted}, exit code {code}"
    for run in runs:
        counts = ", ".join(f"{count:,} {name}" for name, count in rows_of(run).items())
        why = f"; {shortened(run['why'])}" if run["why"] else ""
        yield f"  {run['name']:<{width}}  {run['status']} ({run['exit_code']}){': ' if counts else ''}{counts}{why}"
    unknown = sum("rows" not in run for run in runs)
    rest = f"; of {counted(unknown, 'run')} the rows are not known" if unknown else ""
    yield "  total: " + (", ".join(f"{count:,} {name}" for name, count in rows_of(totals).items()) or "no row") + rest
