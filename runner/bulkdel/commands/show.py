"""`bulkdel show`: a plan for the approval by another user, as Markdown that reads well as plain text."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.address import address_of
from bulkdel.core.exclude_name import ExcludeName
from bulkdel.core.option import option_of
from bulkdel.core.plan_file import age_fault, leaves, valid_until
from bulkdel.errors import UsageError
from bulkdel.export.encoding import UTF_8
from bulkdel.format import amount, counted, printable
from bulkdel.job import TargetOptions, load_job
from bulkdel.log_words import user_words
from bulkdel.output import result_line
from bulkdel.parameters import parameters_of
from bulkdel.safety.plan_from_file import OTHER_USER, PlanFile
from bulkdel.safety.server_checks import is_own_host
from bulkdel.settings import Settings

_MARKDOWN = re.compile(r"[\\`*\[\]<>|#!~&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""What would be more than a text. A forge makes links of `https://…` and `www.…` too."""


NAME_MAX, LINE_MAX = 40, 2_000
"""Characters of a name and of a text of "What the plan showed"."""


def show(path: Path) -> int:
    """Print the plan. Raises UsageError when it is none, or was changed."""
    plan = PlanFile.read(path)
    try:
        lines = list(shown_lines(plan, time.time()))
    except (AttributeError, KeyError, TypeError, ValueError):  # it was forged with its seal, and lacks a member
        raise UsageError(
            f"{path}: is no plan that `bulkdel plan` wrote: a member is missing or of another type"
        ) from None
    for line in lines:
        result_line(line)
    return 0


def shown_lines(plan: PlanFile, now: float) -> Iterator[str]:
    """Yield the lines: first what, how many, where, by whom and until when; then everything else; then the command.

    Above "What the plan showed" is what a run compares, and what the job says of itself.
    """
    values, job = plan.values, load_job(plan.names[0])
    old = age_fault(values, now)
    number = ("up to " if values["guards"] else "") + counted(plan.ids, "id")
    yield f"# {_plain(values['job'])}: {number} in pool {_plain(values['pool'])}"
    yield ""
    yield from _facts(
        ("what", _plain(job.summary)),
        ("how many", f"{number} of {_rows(values['numbers'])}"),
        ("where", f"pool {_code(values['pool'])} on {_code(values['host'])}{_protected(values)}"),
        ("planned by", f"{_plain(user_words(values['planned_by']))}, at {values['planned_at']}"),
        ("run by", "another user only" if values[OTHER_USER] else "any user"),
        ("valid", f"until {valid_until(values)}" if old is None else f"no longer: {old}"),
        ("this file", f"SHA-256 {_code(plan.sha256)}, digest {_code(values['digest'])}"),
        *_foreign_host(plan),
    )
    yield ""
    yield "## What is approved"
    yield ""
    yield from _facts(*_approved(values))
    yield ""
    yield "## What the plan showed"
    yield ""
    yield "Only to be read: they are texts of this file, and no run compares them."
    yield ""
    yield from _as_shown(values["shown"])
    yield ""
    if old is not None:
        yield "The plan cannot be run any more. Make it anew with `bulkdel plan`, and have it approved."
        return
    yield "To run it, where the export and the exclude files are the same:"
    yield ""
    yield f"    {_line(plan)}"
    if values["config"] is not None:
        yield ""
        yield f"It was planned with the config file {_code(values['config'])}. Where the run needs one: --config FILE"


def _line(plan: PlanFile) -> CommandLine:
    """The command that runs it, with what no plan gives to a run: addresses, and that a backup is kept."""
    files, line = plan.values["exclude"], plan.line({"--host": plan.values["host"]})
    elsewhere = any(address_of(file["path"]) is not None for file in files)
    return line.plus("--exclude", *map(_exclude_name, files)) if elsewhere else line


def _exclude_name(file: Mapping[str, Any]) -> ExcludeName:
    return ExcludeName(file["path"], file["column"], file["id_type"] if file["looked_up"] else None)


def _facts(*facts: tuple[str, str]) -> Iterator[str]:
    width = max(len(name) for name, _ in facts)
    yield from (f"- {name + ':':<{width + 1}} {text}" for name, text in facts)


def _as_shown(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield lines of a plan as `plan` printed them. A line that is indented so is code in Markdown."""
    shown = [(_one_line(name, NAME_MAX), _one_line(text, LINE_MAX)) for name, text in lines]
    width = max((len(name) for name, _ in shown), default=0)
    yield from (f"    {name:<{width}}  {text}" for name, text in shown)


def _rows(numbers: Mapping[str, Any]) -> str:
    left_out = [f"{numbers[name]:,} {name}" for name in ("duplicate", "excluded", "invalid") if numbers.get(name)]
    return counted(numbers["rows"], "row") + (f" (left out: {', '.join(left_out)})" if left_out else "")


def _protected(values: Mapping[str, Any]) -> str:
    return "" if values["confirm_host"] is None else ", which the config protects: this plan confirms it by name"


def _foreign_host(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Yield a warning where the job does not have the host of the plan."""
    host, job = str(plan.values["host"]), load_job(plan.names[0])
    try:
        own = is_own_host(job, TargetOptions(host, parameters=parameters_of(job, {})))
    except UsageError:  # what it names is no host, or the job needs parameters
        own = False
    if not own:
        text = f"goes to {_code(host)}, which is not the usual host of {_plain(job.name)}: look whether it is"
        yield "the key", f"{text} the right one"


def _approved(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield everything that a run must have too."""
    export = values["export"]
    sheet = "" if export.get("sheet") is None else f", sheet {_code(export['sheet'])}"
    hidden = f", hidden and not read: {_code(export['sheets_hidden'])}" if export.get("sheets_hidden") else ""
    bytes_ = f"{amount(export['bytes'])}, SHA-256 {_plain(export['sha256'])}"
    yield "export", f"{_code(export['name'])}{sheet}{hidden}, {bytes_}"
    yield "read as", f"{_plain(values['id_type'])}: {', '.join(_how_it_is_read(export))}"
    for name, value in values["parameters"].items():
        if value not in (None, []):
            yield "parameter", f"{_plain(option_of(name))} {_code(value)}"
    for name, value in leaves(values["table"]) if values.get("table") else ():
        yield "table", f"{_plain(name)} {_code(value)}"
    for file in values["exclude"]:
        ids = f"{counted(file['ids'], 'id')} in " if isinstance(file.get("ids"), int) else ""
        named = (("sheet", "sheet_read"), ("column", "column"), ("hidden and not read:", "sheets_hidden"))
        which = "".join(f", {word} {_code(file[name])}" for word, name in named if file.get(name) is not None)
        which += f", each {_plain(file['id_type'])} looked up" if file.get("looked_up") else ""
        yield "never sent", f"{ids}{_code(file['path'])}{which}, SHA-256 {_plain(file['sha256'])}"
    for name, value in values["guards"].items():
        yield "spared", f"accounts by {_plain(option_of(name))} {_code(value)}"
    usual = {one.name: one.default for one in fields(Settings)}
    options = {_plain(option_of(name)): value for name, value in values["options"].items() if value != usual.get(name)}
    given = (name if value is True else f"{name} {_code(value)}" for name, value in options.items())
    yield "options", ", ".join(given) or "as by default"
    yield "backup", "a copy of every record is kept" if values["backup"] else "none"
    if values["not_after"] is not None:
        yield "not after", str(values["not_after"])
    given = (shlex.join([option, *each]) for option, each in values["command"]["options"].items())
    yield "it sets", ", ".join(map(_code, given)) or "no option"


def _how_it_is_read(export: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the rows are taken from the export, and what becomes of a bad one."""
    if export["format"] == "lines":
        yield "one id a line"
    elif export["format"] == "jsonl":
        member = export["id_field"]
        yield "JSON Lines, bare ids" if member is None else f"JSON Lines, member {_code(member)}"
    else:
        number = f"column {(export['id_column'] or 0) + 1}, no header"
        column = f"column {_code(export['id_field'])}" if export["header"] else number
        between = "" if export["delimiter"] is None else f" with {_code(export['delimiter'])} between the columns"
        yield f"{_plain(export['format'].upper())}{between}, {column}"
    if export["compression"] != "none":
        yield _plain(export["compression"])
    if export.get("encoding", UTF_8) != UTF_8:
        yield _code(export["encoding"])
    if export["id_pattern"] is not None:
        yield f"each id matches {_code(export['id_pattern'])}"
    if export["trim"]:
        yield "spaces around an id are taken off"
    yield "a bad row refuses it" if not export["skip_invalid"] else "bad rows are left out"


def _one_line(text: object, most: int) -> str:
    """A text of the file as one line of at most so many characters: runs of blanks could look like other lines."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= most else f"{line[:most]}…"


def _plain(text: object) -> str:
    """A text that is no Markdown: a name cannot become a heading, a link or a picture."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(str(text)))


def _code(value: object) -> str:
    """A value between backticks."""
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{printable(words).replace('`', chr(39))}`"
