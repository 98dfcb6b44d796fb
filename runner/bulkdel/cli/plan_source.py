"""The plan that `run --plan` names, as a source of arguments and options that were not typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, ArgumentCollection, Token

from bulkdel.cli.config import JOB, value_of
from bulkdel.command_line import TO_TYPE, CommandLine
from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.safety.plan_from_file import PlanFile

if TYPE_CHECKING:
    from bulkdel.job import Job

Source = Callable[[App, tuple[str, ...], ArgumentCollection], None]
"""What gives a command its values, as cyclopts calls it."""

EXPORT = "EXPORT"
"""The argument of `run` with the export, as cyclopts names it."""


def plan_named(words: Sequence[str], environ: Mapping[str, str]) -> PlanFile | None:
    """The plan of a `run --plan`; None for any other command. Raises UsageError when it cannot be used."""
    command = next((word for word in words if not word.startswith("-")), "")
    path = value_of("plan", words, environ) if command == "run" else None
    if path is None:
        return None
    if not path:  # an unset variable of a script
        raise UsageError("--plan is empty: name a file, or leave it out")
    return PlanFile.read(Path(path))


def check_job(plan: PlanFile | None, job: Job | None, environ: Mapping[str, str]) -> None:
    """Refuse another job than that of the plan: it has other options. Raises UsageError."""
    if plan is not None and (named := environ.get(JOB, plan.names[0])) != plan.names[0]:
        raise UsageError(
            f"{plan.path}: its job is {shown(plan.names[0])}, and {JOB} is {shown(named)}. Nothing was sent. Unset "
            f"{JOB}, or name the plan of that job"
        )
    if plan is not None and job is not None and job.name != plan.names[0]:
        raise UsageError(
            f"{plan.path}: this run is not the one that was planned. Nothing was sent.\n  job: the plan has "
            f"{shown(plan.names[0])}, now {job.name}\nLeave the job out, or make another plan: `bulkdel plan "
            f"{job.name} … --out FILE`"
        )


def source_of(plan: PlanFile | None) -> Source:
    """A source of values for cyclopts: what is neither typed nor set here is as in the plan.

    What is set here and must not differ from the plan is compared with it later, and refused. An export at an address
    is not given: no address is asked that only a file names. Raises UsageError then.
    """

    def give(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        if plan is None:
            return
        given = {**plan.options, EXPORT: plan.names[1:2]}
        for one in arguments:
            if one.tokens:
                continue
            if one.name == EXPORT and plan.export_elsewhere:
                line = CommandLine("run", (plan.names[0], TO_TYPE)).plus("--plan", plan.path)
                raise UsageError(
                    f"{plan.path}: its export is at the address {shown(plan.names[1])}. Nothing was asked there. If it "
                    f"is meant, type it for {TO_TYPE}:\n  {line}"
                )
            off = f"--no-{one.name.removeprefix('--')}"
            for option, word in ((one.name, "true"), (off, "false")):
                for number, value in enumerate(given.get(option, ()) or ((word,) if option in given else ())):
                    one.append(Token(keyword=option, value=value, source=str(plan.path), index=number))

    return give
