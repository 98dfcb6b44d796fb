"""The places of options that were not typed: the config file, the environment variables, the plan of `run --plan`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from cyclopts import App, ArgumentCollection, Token
from cyclopts.config import Dict

from bulkdel.command_line import TO_TYPE, CommandLine, quoted
from bulkdel.conditions import joined
from bulkdel.core.address import address_of
from bulkdel.core.option import ENV_PREFIX, INSTEAD, field_of, file_variable_of, option_of, variable_of
from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.job import Job, loadable_jobs
from bulkdel.notify.message import VARIABLE as EVENT
from bulkdel.safety.plan_from_file import OTHER_USER, PlanFile
from bulkdel.secret_file import text_named
from bulkdel.settings import (
    PlanSettings,
    RestoreSettings,
    RunSettings,
    Settings,
    VerifySettings,
    names_in_variable,
    words_in_variable,
)
from bulkdel.variables import BETWEEN, merged, table_of, toml_in

S = TypeVar("S", bound=Settings)

OPTIONS = frozenset(
    one.name.rstrip("_")
    for settings in (RunSettings, PlanSettings, RestoreSettings, VerifySettings)
    for one in fields(settings)
)
"""Every option of `run`, `plan`, `restore` and `verify`."""

IN_FILES = ("notify",)
"""Secret options that may be in a file: BULKDEL_NOTIFY_FILE."""

JOB = variable_of("job")
ARGUMENTS = frozenset({JOB, variable_of("export")})
"""The variables of the two arguments of `run` and `plan`."""

Source = Callable[[App, tuple[str, ...], ArgumentCollection], None]
"""What gives a command its values, as cyclopts calls it."""

EXPORT = "EXPORT"
"""The argument of `run` with the export, as cyclopts names it."""

KUBERNETES = re.compile(
    r"BULKDEL_(PORT|PORT_.*|SERVICE_.*)"
    r"|BULKDEL_[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?)"
)
"""Variables that Kubernetes sets in every pod of a namespace which has a Service called `bulkdel` or `bulkdel-…`."""


class ConfigFile:
    """The TOML file that --config names: a table [run] of options, and a table for each job.

    It is a source of values for cyclopts, which calls it with the values of the command line and the environment.

    tables: the whole file; empty without --config.
    """

    def __init__(self) -> None:
        self.tables: Mapping[str, Any] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Read the file and give the command those options of [run] that it has. Raises UsageError."""
        path = next((one.tokens[0].value for one in arguments if one.name == "--config" and one.tokens), None)
        if path is None:
            return
        if not path:  # an unset variable of a script
            raise UsageError("--config is empty: name a file, or leave it out")
        self.tables = tables_of(path)
        if "on_event" in self.run and Path(path).stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(
                f"--config {path}: names a command (on_event), and others may write it. Fix: chmod go-w {quoted(path)}"
            )
        for name in self.run:
            if (now := INSTEAD.get(name.replace("-", "_"))) is not None:
                raise UsageError(f"--config {path}: [run] {name} is gone. In its place: {now}")
        known = {field_of(one.name) for one in arguments}
        if own := sorted(known & self.run.keys() - OPTIONS):
            raise UsageError(f"--config {path}: [run] {own[0]}: a parameter of the job; give it on the command line")
        # An option of another command is left out. A name that no command knows is left in, and cyclopts refuses it.
        run = {name: value for name, value in self.run.items() if name in known or name not in OPTIONS}
        _give(run, path, app, commands, arguments)

    @property
    def run(self) -> Mapping[str, Any]:
        """The table [run]."""
        table: Mapping[str, Any] = self.tables.get("run", {})
        return table


def secrets_in_files(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the command those secret options that are in a file (`IN_FILES`), as containers mount secrets.

    It is a source of values for cyclopts, like `ConfigFile`. Raises UsageError as `text_named`.
    """
    known = {one.name for one in arguments}
    for name in IN_FILES:
        variable, path = variable_of(name), os.environ.get(file_variable_of(name))
        if path is not None and option_of(name) in known:
            words = text_named(variable, path, "value", given=variable in os.environ).split()
            _give({name: words}, file_variable_of(name), app, commands, arguments)


def _give(
    values: Mapping[str, Any], source: str, app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Give a command these values of options, unless an earlier source has given it others."""
    # Below the names of the command: at the root, cyclopts leaves out a key that is also the name of a command.
    for command in reversed(commands):
        values = {command: values}
    Dict(dict(values), source=source)(app, commands, arguments)


def tables_of(path: str) -> dict[str, Any]:
    """Read a config file. Raises UsageError."""
    try:
        with Path(path).open("rb") as file:
            tables = toml_in(file.read())
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--config {path}: not TOML: {shown(error)}") from error
    if not isinstance(tables.get("run", {}), dict):
        raise UsageError(f"--config {path}: 'run' is not a table. Write [run], and below it a line for each option")
    return tables


def with_all_kept(settings: S, environ: Mapping[str, str], table: Mapping[str, Any]) -> S:
    """Add up what is to be kept, of the command line, the environment and the config's table [run].

    These are the exclude files, each file once, and the conditions of --spare, of each guard that of the first place.
    Any other option is taken from the first place that has it. What is to be kept must not replace something else.
    """
    named, conditions = (environ.get(variable_of(name)) for name in ("exclude", "spare"))
    listed = [] if named is None else names_in_variable(list, named)
    files = [*(settings.exclude or ()), *listed, *_texts(table, "exclude", '["keep.jsonl"]')]
    words = [] if conditions is None else words_in_variable(list, conditions)
    spare = joined([settings.spare or (), words, _texts(table, "spare", '["active-since=90d"]')])
    return replace(
        settings,
        exclude=list({_which(name): name for name in reversed(files)}.values())[::-1] or None,
        spare=spare or settings.spare,
    )


def _texts(table: Mapping[str, Any], name: str, example: str) -> list[str]:
    """The list of this name in the table [run]."""
    value = table.get(name, [])
    value = [value] if isinstance(value, str) else value
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise UsageError(f"config, [run] {name}: write a list of texts: {example}")
    return value


def _which(name: str | Path) -> str | Path:
    """What is the same for two names of one file."""
    return str(name) if address_of(str(name)) else Path(os.path.realpath(name))


def tables_with(tables: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The tables of the config file, and above them those that the environment sets.

    In [protect] the guards of both hold: one must not replace another. Raises UsageError for a variable
    that no option and no table reads, because a misspelt guard guards nothing.
    """
    own = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX) and not _of_event(name)}
    options = {*map(variable_of, OPTIONS), *map(file_variable_of, IN_FILES), *ARGUMENTS}
    if not own.keys() - options:
        return tables
    # Only here: they take their time to load, and `loadable_jobs` loads every job.
    from bulkdel.safety.argument_checks import LISTEN, TOKENS
    from bulkdel.safety.protect import NUMBERS, PROTECT, PROTECTED, guard_of, stricter

    keys = {PROTECT: (*PROTECTED, *NUMBERS, OTHER_USER), LISTEN: TOKENS}
    known = {f"{variable_of(table)}{BETWEEN}{key.upper()}" for table, names in keys.items() for key in names}
    jobs = {job.config_table for job in loadable_jobs()}
    nested = {name: value for name, value in own.items() if name in known or _table_of(name) in jobs}
    for name in sorted(own.keys() - options - nested.keys()):
        if (now := {variable_of(old): new for old, new in INSTEAD.items()}.get(name)) is not None:
            raise UsageError(f"the environment sets {name}, which is gone. In its place: {now}")
        close = _close(name, options | known, {*keys, *jobs})
        raise UsageError(
            f"the environment sets {name}, which is no option." + (f" Did you mean {close}?" if close else "")
        )
    found = table_of(nested, ENV_PREFIX)
    if (guards := found.pop(PROTECT, None)) is None:
        return merged(tables, found)
    typed, of_file = {key: guard_of(key, value) for key, value in guards.items()}, tables.get(PROTECT, {})
    return {**merged(tables, found), PROTECT: stricter(of_file, typed) if isinstance(of_file, dict) else of_file}


def _of_event(name: str) -> bool:
    """Whether a variable is one that --on-event sets: its command may call this program."""
    return name == EVENT or name.startswith(f"{EVENT}_")


def _table_of(name: str) -> str:
    """The table that a variable belongs to; empty when it names none."""
    table, mark, _ = name.removeprefix(ENV_PREFIX).partition(BETWEEN)
    return table.lower() if mark else ""


def _close(name: str, known: Collection[str], tables: Collection[str]) -> str:
    """The name that was perhaps meant: one underscore where a table needs two, or a misspelt name."""
    starts = [variable_of(table) for table in sorted(tables)]
    for start in starts:
        if name.startswith(f"{start}_") and not name.startswith(f"{start}{BETWEEN}"):
            return f"{start}{BETWEEN}{name.removeprefix(start)[1:]}"
    start, mark, key = name.partition(BETWEEN)
    if start == variable_of("run"):  # the options are a table in the file only
        return variable_of(key)
    if mark and start not in starts:
        return f"{each[0]}{BETWEEN}{key}" if (each := get_close_matches(start, starts, 1)) else ""
    return next(iter(get_close_matches(name, known, 1)), "")


def log_format(words: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The value of --log-format before the words are parsed, because an error of the parsing has this format too."""
    found = value_of("log_format", words, environ)
    if found is None and (path := value_of("config", words, environ)):
        with suppress(UsageError):  # raised again when the options are read
            table = tables_of(path).get("run", {})
            found = table.get("log_format", table.get("log-format"))
    return found


def value_of(name: str, words: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The value of an option before the words are parsed: as it was typed last, or of its variable."""
    option = option_of(name)
    found = environ.get(variable_of(name))
    for word, following in zip_longest(words, words[1:]):
        if word.startswith(f"{option}="):
            found = word.partition("=")[2]
        elif word == option and following is not None:
            found = following
    return found


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


def forget_kubernetes() -> None:
    """Remove the variables that Kubernetes sets: `bulkdel sandbox` would read BULKDEL_PORT as its --port."""
    for name in list(os.environ):
        if KUBERNETES.fullmatch(name):
            del os.environ[name]


def no_source(*_: object) -> None:
    """The source of a command whose options are typed only; an empty list would mean the sources of the app.

    The variables are those of a run: BULKDEL_FORMAT is the format of an export, BULKDEL_CONFIRM confirms a run, and a
    container sets BULKDEL_JSON for it.
    """
