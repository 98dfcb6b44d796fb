"""The options of `run`, `plan` and `restore` that are parameters of a job: found by the words of the command line."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Annotated, Any

from cyclopts import App, Argument, CycloptsError, Group, Parameter, UnknownOptionError

from bulkdel.checkpoint.reader import read_log
from bulkdel.errors import UsageError
from bulkdel.job import Job, job_names, load_job
from bulkdel.parameters import check_type, default_of
from bulkdel.place.finding import find_run, run_of
from bulkdel.place.opening import log_place
from bulkdel.store_path import path_or_url

COMMANDS = frozenset({"run", "plan"})
RESTORE = "restore"
HELP_ALL = "--help-all"
HELP_FLAGS = frozenset({"--help", "-h", HELP_ALL})


def find_job(words: Sequence[str], app_with: Callable[[Job], App]) -> Job | None:
    """The job of a `run`, `plan` or `restore`; None when no word names one. app_with: builds the commands for a job.

    Its place among the words is not known before its options are. Where several words name a job, one of them may be
    the value of an option, such as `--note delete-users`. Raises UsageError or NotAcceptable for a run that no job
    undoes.
    """
    command, *others = [word for word in words if not word.startswith("-")] or [""]
    if command == RESTORE:
        after = [word for before, word in pairwise(words) if word in others and not before.startswith("-")]
        found = _undo_of_any(after or others, words)
        return _only_undo() if found is None and HELP_FLAGS & set(words) else found
    if command not in COMMANDS:
        return None
    installed = set(job_names())
    jobs = [load_job(name) for name in dict.fromkeys(words) if name in installed]
    for job in jobs:
        check_type(job)
    if len(jobs) > 1:
        jobs = [job for job in jobs if not _is_of_another(job, words, app_with(job))] or jobs
    return jobs[0] if jobs else None


def with_job(words: list[str], name: str | None, app_with: Callable[[Job], App]) -> list[str]:
    """The words of a `run` or `plan`, with the job `name` of the environment where they have none of their own.

    Raises UsageError for an empty name.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    if name is None or command not in COMMANDS:
        return words
    if not name:  # an unset variable of a script
        raise UsageError("BULKDEL_JOB is empty: name a job, or leave it out")
    installed = set(job_names())
    for job in (load_job(word) for word in dict.fromkeys(words) if word in installed):
        check_type(job)
        # With two more words, a job is read also where the words name none.
        if not _is_of_another(job, [*words, "x", "x"], app_with(job)):
            return words
    after = words.index(command) + 1
    return [*words[:after], name, *words[after:]]


def _undo_of_any(words: Sequence[str], line: Sequence[str]) -> Job | None:
    """The undo of the run with the log that one of these words names; None without words. line: all words."""
    for word in words:
        if (log := run_of(path_or_url(word))) is None:
            continue
        from bulkdel.commands.restore import undo_of  # only `restore` needs all that it imports

        undo = undo_of(log, read_log(log_place(log)).progress, os.environ)
        check_type(undo)
        return undo
    if "-" in line:  # it is among no words, so the value of an option would be taken for the log
        raise UsageError(f"unknown option -. `bulkdel {RESTORE} --help` lists them")
    for word in words[:1]:
        read_log(log_place(find_run(path_or_url(word))))  # raises NotAcceptable: it is no log
    return None


def _only_undo() -> Job | None:
    """The undo that takes records, for the help of a `restore` that names no log; None where there are several."""
    jobs = list(usable_jobs())
    undos = [job for job in jobs if job.takes_records and job.name in {each.undo for each in jobs}]
    return undos[0] if len(undos) == 1 else None


def _is_of_another(job: Job, words: Sequence[str], app: App) -> bool:
    """Whether these words, read with the options of `job`, name another job, or have an option of another one."""
    try:
        _, bound, _, _ = app.parse_known_args(words)
    except UnknownOptionError:
        return True
    except CycloptsError:
        return False
    name: str = bound.arguments.get("job", job.name)  # for --help no argument is bound
    return name != job.name


def with_options_of(job: Job | None, command: Callable[..., int], *, named: bool = False) -> Callable[..., int]:
    """The command, with an option for each parameter of the job in place of its argument `parameters`.

    named: the job was named already, so the command has no argument `job`.
    """
    if job is None:
        return command
    arguments = dict(inspect.signature(command, eval_str=True).parameters)
    if named:
        del arguments["job"]
    if job.parameters is not None:
        group = Group(f"What {job.name} needs to know", sort_key=0)
        hint: Any = Annotated[job.parameters, Parameter(name="*", group=group, negative_iterable=(), show=True)]
        needed = any(default_of(one) is MISSING for one in fields(job.parameters))
        default = inspect.Parameter.empty if needed else job.parameters()
        arguments["parameters"] = arguments["parameters"].replace(annotation=hint, default=default)

    @functools.wraps(command)
    def typed(*args: Any, **kwargs: Any) -> int:
        return command(*args, **kwargs)

    typed.__signature__ = inspect.Signature(list(arguments.values()))  # type: ignore[attr-defined]
    typed.__annotations__ = {name: argument.annotation for name, argument in arguments.items()}
    return typed


def for_completion(command: Callable[..., int]) -> App:
    """The command with each job as a command below it: so a completion script knows the jobs and their options."""
    app = App(name=command.__name__)
    app.default(command)
    for job in usable_jobs():
        app.command(with_options_of(job, command, named=True), name=job.name)
    return app


def usable_jobs() -> Iterator[Job]:
    """Yield the installed jobs that this version can use."""
    for name in job_names():
        with suppress(UsageError):
            job = load_job(name)
            check_type(job)
            yield job


def is_of(job: Job, argument: Argument) -> bool:
    """Whether an argument of a command is a parameter of the job."""
    return job.parameters is not None and not {one.name for one in fields(job.parameters)}.isdisjoint(
        argument.keys[-1:]
    )


def described(command: Callable[..., int], job: Job) -> Iterator[tuple[str, str]]:
    """Yield each option of the job with its help."""
    app = App()
    app.default(with_options_of(job, command))
    for argument in app.assemble_argument_collection(parse_docstring=True):
        if is_of(job, argument):
            needed = " (needed)" if argument.required else ""
            yield argument.name, f"{argument.parameter.help or ''}{needed}".strip()
