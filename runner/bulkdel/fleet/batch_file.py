"""The file of a batch, night.toml: it lists the runs. Owns its keys; plans and starts nothing.

Every path in it is relative to its folder. The processes of a run get whole paths (`BatchRun.placed`), because they
begin in the folder of the user: paths in the config and the variables of the user are relative to that folder.
`fleet.batch_origin` says what the file may name.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, get_type_hints

from bulkdel.command_line import TO_TYPE, CommandLine, table_variables
from bulkdel.conditions import has_age, joined
from bulkdel.core.address import BUCKETS, address_of
from bulkdel.core.option import INSTEAD, option_of, variable_of
from bulkdel.core.pace import may_be_set
from bulkdel.core.plan_digest import digest_of
from bulkdel.errors import UsageError
from bulkdel.fleet.batch_origin import (
    KEPT,
    KEPT_BEGINNINGS,
    OF_BUCKETS,
    RUN_KEYS,
    check_addresses,
    check_inside,
    check_options,
    check_source,
    check_variable,
)
from bulkdel.fleet.placing import Environment, secrets_in
from bulkdel.format import did_you_mean, shown, shown_host
from bulkdel.http.transport import check_host
from bulkdel.job import Job, TargetOptions, load_job
from bulkdel.options import LIMITING, LISTS, WRITTEN_BY_BATCH
from bulkdel.parameters import check_type, options_of, parameters_of
from bulkdel.regular_file import open_regular
from bulkdel.safety.server_checks import host_of, is_own_host
from bulkdel.settings import CommonSettings, Settings
from bulkdel.store_path import in_store, is_store_url, store_path
from bulkdel.variables import BETWEEN, toml_in

NOT_DEFAULT = ("name", "export")
"""The keys of a run that cannot be a default: they are of one run."""

TEXTS = ("job", "export", "credentials_file", "rate_group")
"""The keys of a run that are texts, besides its name and the options of `run`."""

TABLES = ("credentials", "parameters")
"""The keys of a run that are tables."""

CONFIG = variable_of("config")
"""The variable that names the config of this machine for the processes of a batch."""

BETWEEN_ITEMS = ";"
"""Separates the items of a list in a cell of a CSV file."""

NAME_HERE = "{name}"
"""Stands for the name of the run in a text of a run or of the defaults."""

OWN_BRACES = ("id_pattern", "note")
"""Options whose texts may have words in braces of their own. So may the texts of a table."""

_IN_BRACES = re.compile(r"\{[A-Za-z_]\w*\}")

RUNS_MAX = 10_000
"""The most runs of a batch: one entry of its log has all runs that were confirmed at once."""

PARALLEL = 4
"""So many runs are under way at once by default."""

NAME_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")

COMMON = frozenset(one.name for one in fields(CommonSettings))
"""The options that `verify` has too."""

RATE = Settings().rate

_FLAGS = frozenset(name for name, hint in get_type_hints(Settings).items() if hint is bool)

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One run of a batch, as its file describes it.

    job, export: the arguments of `run`. options: of `run`, by the name of the field. parameters: of the job.
    credentials: for each variable of the child process the name of the variable of this process.
    folder: of the run, relative to the folder of the file. table: the config table of the job.
    """

    name: str
    job: str
    export: str = field(repr=False)
    folder: Path
    table: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    credentials_file: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    rate_group: str | None = None

    @property
    def place(self) -> str:
        """Where it is: a path relative to the folder of the file, or the URL of a store."""
        return str(self.options.get("run", self.folder))

    def place_in(self, base: Path) -> Path:
        """The place as a path. base: the folder of the file. Raises UsageError for a URL that is not of a store."""
        return store_path(self.place) if is_store_url(self.place) else base / self.place

    @property
    def files_of_job(self) -> list[str]:
        """The names of its parameters that name files."""
        of_job = options_of(load_job(self.job))
        return [name for name in self.parameters if of_job.get(option_of(name))]

    @property
    def rate(self) -> float:
        """Its own --rate, requests a second; 0 is unlimited."""
        return float(self.options.get("rate", RATE))

    def marks(self, pool: str | None) -> list[Hashable]:
        """Its marks, known before the sign-in. Two runs with one mark have one pool: `core.batch.plan_groups`.

        pool: the confirmed pool; None without one.
        """
        if self.rate_group is not None:
            return [self.rate_group]
        host = self.options.get("host")
        pools = {self.options.get("pool"), pool} - {None}
        key = (self.table, self.credentials_file, frozenset(self.credentials.items()))
        return [(host, *key), *((host, each) for each in pools)]

    @property
    def spec(self) -> str:
        """The digest of its description in the file."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return digest_of({**named, "folder": str(self.folder)})

    def placed(self, base: Path) -> Self:
        """The same run with whole paths, for its processes. base: the folder of the file."""
        whole = partial(_whole, Path(os.path.realpath(base)))
        named, paths = ("exclude", *WRITTEN_BY_BATCH), self.files_of_job
        return replace(
            self,
            export=whole(self.export),
            folder=Path(whole(self.folder)),
            options={name: whole(value) if name in named else value for name, value in self.options.items()},
            parameters={name: whole(value) if name in paths else value for name, value in self.parameters.items()},
            credentials_file=None if self.credentials_file is None else whole(self.credentials_file),
        )

    def words(self, command: str, more: Mapping[str, Any] = NOTHING) -> list[str]:
        """The command line of `run` or `plan`, without the program. No secret is in it. more: options of the batch."""
        hidden = self._hidden
        line = CommandLine(command, (self.job,) if "export" in hidden else (self.job, self.export))
        given = {**self.options, "run": self.place, **more, **self.parameters}
        return _words(line, {name: value for name, value in given.items() if name not in hidden})

    def verify_words(self) -> list[str]:
        """The command line of `verify`."""
        shared = {name: value for name, value in self.options.items() if name in COMMON}
        return _words(CommandLine("verify", (self.place,)), shared)

    def environment(self, environ: Mapping[str, str] = NOTHING) -> Environment:
        """The environment of its processes: with its own credentials, and none of another run.

        environ: of this process. Its config, and the variables that set a table of the config, are passed on: they hold
        on each machine where the processes start.
        """
        in_buckets = any(place.partition("://")[0] in BUCKETS for place in self.places)
        values = table_variables(environ)
        values |= {CONFIG: environ[CONFIG]} if CONFIG in environ else {}
        secrets = {variable_of(name): value for name, value in self._hidden.items()}
        if self.credentials_file is not None:
            values[f"{variable_of(self.table)}{BETWEEN}CREDENTIALS_FILE"] = self.credentials_file
        return Environment(
            KEPT, (*KEPT_BEGINNINGS, *(OF_BUCKETS if in_buckets else ())), values, self.credentials, secrets
        )

    @property
    def places(self) -> list[str]:
        """Its export, its exclude files, its place and its backup: paths and addresses."""
        named = [self.options[name] for name in ("run", "backup_to") if name in self.options]
        return [self.export, *map(str, (*self.options.get("exclude", ()), *named))]

    @property
    def _hidden(self) -> dict[str, str]:
        """Arguments with a signature in them. A child process gets them in its environment too."""
        return secrets_in({"export": [self.export], "exclude": list(map(str, self.options.get("exclude", ())))})


@dataclass(frozen=True, slots=True)
class Here:
    """What the user has typed for a batch, and what this machine has for it.

    environ: of this process. It names the config. hosts, addresses: the hosts and addresses that the file may name,
    besides the host of each job. config: the tables of the config, with those that `environ` sets.
    """

    environ: Mapping[str, str] = field(repr=False)
    hosts: Sequence[str] = ()
    addresses: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> Any:
        """The host that the config has for every run; None without one."""
        return self.config.get("run", {}).get("host")

    def plus_options(self, line: CommandLine) -> CommandLine:
        """A line of `bulkdel batch` with the options of this machine."""
        line = line.plus_given({"--config": self.environ.get(CONFIG)})
        for option, values in (("--host", self.hosts), ("--address", self.addresses)):
            line = line.plus(option, *values) if values else line
        return line


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, as its file describes it.

    path: of the file. runs: in its order. parallel: how many runs are under way at once, at most.
    rate_over_all: of all runs together, requests a second; 0 is unlimited. rate_groups: the rates of named groups.
    not_after: as of `run`. window: the same, as the file has it. stop_after_failures: after so many failed runs no
    other begins; None for never.
    """

    path: Path
    runs: tuple[BatchRun, ...]
    parallel: int = PARALLEL
    rate_over_all: float = 0.0
    rate_groups: Mapping[str, float] = field(default_factory=dict)
    not_after: str | None = None
    window: str | None = None
    stop_after_failures: int | None = None

    @property
    def base(self) -> Path:
        """The folder of the file: every path is relative to it."""
        return self.path.absolute().parent

    @property
    def places(self) -> list[Path]:
        """Where its runs are, as a command takes them: their folder, or each of them where they are in several."""
        places = [run.place_in(self.base) for run in self.runs]
        folders = {place.parent for place in places}
        return [*folders] if len(folders) == 1 and not any(map(in_store, places)) else places

    @property
    def log(self) -> Path:
        """The log of the batch."""
        return Path(f"{self.path}.batch.jsonl")

    def rate_of(self, run: BatchRun) -> float:
        """The rate of the group of this run, requests a second. Without a rate of the group: the rate of this run."""
        return run.rate if run.rate_group is None else self.rate_groups.get(run.rate_group, run.rate)

    def check_for_nodes(self) -> None:
        """Refuse a log or backup that could be lost with a node, and secrets that no node has. Raises UsageError."""
        for run in self.runs:
            where = f"{self.path} ({run.name}), --on ray"
            log = f'Give the run a store, such as run = "s3://bucket/{NAME_HERE}" in [defaults]'
            backup = f'Give the URL of a store, such as backup_to = "s3://bucket/{NAME_HERE}.jsonl.gz"'
            places = (("log", run.place, log), ("backup", run.options.get("backup_to"), backup))
            for what, place, todo in places:
                if place is not None and not is_store_url(str(place)):
                    raise UsageError(f"{where}: a {what} in a file would be lost with its node. {todo}")
            if hidden := sorted(run.environment().secrets):
                raise UsageError(
                    f"{where}: a secret stands in the file for {hidden[0]}, and no secret travels through Ray. Set a "
                    f'variable on every node, and name it: credentials = {{ {hidden[0]} = "OTHER_{hidden[0]}" }}'
                )

    def check_typed(self, here: Here, line: CommandLine) -> None:
        """Refuse hosts and addresses that only this file names, before any is asked. Raises UsageError.

        line: the command.
        """
        self._check_hosts(here, line)
        self.check_addresses(here.addresses, line)

    def check_addresses(self, typed: Sequence[str], line: CommandLine) -> None:
        """Refuse addresses that only this file names, before any is asked. Raises UsageError."""
        check_addresses(self.path, (place for run in self.runs for place in run.places), typed, line)

    def check_limits(self, here: Here) -> None:
        """Refuse options of `LIMITING` for which the user has set another value. Raises UsageError."""
        own = _with_underscores(here.config.get("run", {}))
        # A typed --not-after replaces the one in the file.
        of_all = {} if self.window is None or self.not_after != self.window else {"not_after": self.window}
        places = [(str(self.path), of_all), *((f"{self.path} ({run.name})", run.options) for run in self.runs)]
        for place, options in places:
            for name in sorted(LIMITING & options.keys() & own.keys()):
                if str(options[name]) != str(own[name]):
                    raise UsageError(
                        f"{place}, {name}: your config has another value in [run], which no file of a "
                        "batch may change. Nothing was sent. Leave the option out of one of the two files"
                    )

    def _check_hosts(self, here: Here, line: CommandLine) -> None:
        known = {check_host(host) for host in (*here.hosts, here.host) if host}
        others: dict[str, dict[str, None]] = {}
        for run in self.runs:
            if (host := run.options.get("host")) is None or check_host(str(host)) in known:
                continue
            if not is_own_host(load_job(run.job), self._target(run, str(host), here)):
                keys = [*run.credentials.values(), *([run.credentials_file] if run.credentials_file else [])]
                others.setdefault(str(host), {}).update(dict.fromkeys(keys))
        if others:
            told = ", ".join(
                f"{shown_host(host)} ({shown(', '.join(keys)) or 'no key'})" for host, keys in others.items()
            )
            raise UsageError(
                f"{self.path}: names hosts, and the keys that go there: {told}. No key goes to a host that only a file "
                f"names. Nothing was sent. If they are meant, type each for {TO_TYPE}:\n"
                f"  {line.plus('--host', *here.hosts, *[TO_TYPE] * len(others))}"
            )

    def _target(self, run: BatchRun, host: str | None, here: Here) -> TargetOptions:
        """The target of a run at this host. Raises UsageError for a file of its job that is not regular."""
        job, values = load_job(run.job), dict(run.parameters)
        for name in run.files_of_job:
            values[name] = path = self.base / str(values[name])
            if path.exists() and not path.is_file():
                raise UsageError(
                    f"{self.path} ({run.name}), {name}: {shown(run.parameters[name])} is not a regular file"
                )
        return TargetOptions(host, here.config.get(job.config_table, {}), here.environ, parameters_of(job, values))

    def renamed(self, here: Here) -> dict[str, str]:
        """For each run, in words, which variables this file has picked for it, and the host that gets them.

        A run is left out when its variables have the names that its job reads.
        """
        found = {}
        for run in self.runs:
            names = [source for name, source in run.credentials.items() if source != name]
            if names and not run.options.get("sandbox"):
                target = self._target(run, run.options.get("host", here.host), here)
                found[run.name] = f"{', '.join(names)} to {host_of(load_job(run.job), target)}"
        return found

    def only(self, names: Collection[str]) -> Sequence[BatchRun]:
        """The runs with these names; all without names. Raises UsageError for a name that no run has."""
        known = [run.name for run in self.runs]
        for name in names:
            if name not in known:
                raise UsageError(f"--only {name}: {self.path} has no run with this name.{did_you_mean(name, known)}")
        return [run for run in self.runs if not names or run.name in names]


def read_batch(path: Path) -> Batch:
    """Read the file of a batch. Raises UsageError that names the run and the key."""
    try:
        with path.open("rb") as file:
            tables = toml_in(file.read())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. Name the file of the batch, such as night.toml") from error
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {shown(error)}") from error
    _check_keys(f"{path}", tables, BATCH_KEYS)
    defaults = _with_underscores(_table(tables.get("defaults", {}), f"{path}, [defaults]"))
    for name in NOT_DEFAULT:
        if name in defaults:
            raise UsageError(f"{path}, [defaults] {name}: every run has its own. Write it into each [[run]]")
    base, named = path.absolute().parent, _text(tables.get("folder", path.stem), f"{path}, folder")
    check_inside(base, named, f"{path}, folder")
    folder = Path(named)
    rows = [(f"{path}, [[run]] number {number}", run) for number, run in enumerate(_runs(path, tables), 1)]
    if "from" in tables:
        more = _text(tables["from"], f"{path}, from")
        check_inside(base, more, f"{path}, from")
        rows += _rows(base / more)
    if not rows:
        raise UsageError(f'{path}: has no run. Write a table [[run]] for each, or name a CSV file: from = "pools.csv"')
    runs = tuple(_run(where, _merged(defaults, run), folder, base) for where, run in rows)
    if len(rows) > RUNS_MAX:
        raise UsageError(f"{path}: has {len(rows):,} runs; a batch takes {RUNS_MAX:,}. Make two of it")
    _check_apart(path, runs)
    rates = _table(tables.get("rate_groups", {}), f"{path}, [rate_groups]")
    groups = {name: _rate(rate, f"{path}, [rate_groups] {shown(name)}") for name, rate in rates.items()}
    given = {name: read(tables[name], f"{path}, {name}") for name, read in ALSO_TYPED.items() if name in tables}
    return Batch(path, runs, rate_groups=groups, window=given.get("not_after"), **given)


def _with_underscores(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in table.items()}


def _runs(path: Path, tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    runs = tables.get("run", [])
    if not (isinstance(runs, list) and all(isinstance(run, dict) for run in runs)):
        raise UsageError(f"{path}: 'run' is not a list of tables. Begin each run with a line [[run]]")
    return [*map(_with_underscores, runs)]


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The runs of a CSV file, one a row, each with its place in the file. The header has the keys, dots for tables."""
    found = []
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [column.strip().replace("-", "_") for column in next(reader, [])]
            if "name" not in columns:  # it may be a file of secrets: quote nothing of it
                raise UsageError(f"{path}: its first line has no column 'name', so it is no CSV file of runs")
            if (twice := next((each for each in columns if columns.count(each) > 1), None)) is not None:
                raise UsageError(f"{path}: two columns are {twice!r}. Leave one of them out")
            for cells in filter(None, reader):
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(columns):
                    raise UsageError(f"{where}: has another number of cells than the header")
                run: dict[str, Any] = {}
                for column, cell in zip(columns, map(str.strip, cells), strict=True):
                    table, dot, name = column.partition(".")
                    if not cell:
                        continue
                    if table in run and not (dot and isinstance(run[table], dict)):
                        raise UsageError(f"{where}: has {table!r}, and a key of it besides. Leave one of them empty")
                    if dot:
                        run.setdefault(table, {})[name] = _value_of(name, cell)
                    else:
                        run[table] = _value_of(table, cell)
                found.append((where, run))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. The key 'from' names it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not CSV: {shown(error)}") from error
    return found


def _value_of(name: str, cell: str) -> Any:
    """The text of a cell as a value of the type of its key."""
    if name in LISTS:
        return [item.strip() for item in cell.split(BETWEEN_ITEMS) if item.strip()]
    if name in _FLAGS and cell.lower() in {"true", "false"}:
        return cell.lower() == "true"
    return cell


def _merged(defaults: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with the keys of a run in their place. Guards add up: a guard must not replace another one."""
    both = {**defaults, **run}
    for name in TABLES:
        if isinstance(defaults.get(name), dict) and isinstance(run.get(name), dict):
            both[name] = {**defaults[name], **run[name]}
    if "exclude" in defaults and "exclude" in run:
        both["exclude"] = [*_listed(defaults["exclude"]), *_listed(run["exclude"])]
    if "spare" in defaults and "spare" in run:
        both["spare"] = joined([map(str, _listed(run["spare"])), map(str, _listed(defaults["spare"]))])
    return both


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _named(value: Any, name: str) -> Any:
    """The value with the name of the run in the place of `{name}`, also in a list or a table."""
    if isinstance(value, str):
        return value.replace(NAME_HERE, name)
    if isinstance(value, dict):
        return {key: _named(item, name) for key, item in value.items()}
    return [_named(item, name) for item in value] if isinstance(value, list) else value


def _whole(base: Path, name: Any) -> Any:
    """The name of a file, or each name of a list, as a whole path; an address as it is."""
    if isinstance(name, list):
        return [_whole(base, each) for each in name]
    # No Path: the text may have a column after its name.
    return name if address_of(str(name)) is not None else os.path.join(base, str(name))  # noqa: PTH118


def _check_words(value: Any, where: str) -> None:
    """Refuse another word in braces than `{name}`."""
    for text in _listed(value):
        if isinstance(text, str) and (found := _IN_BRACES.search(text.replace(NAME_HERE, ""))) is not None:
            raise UsageError(f"{where}: {found[0]} stands for nothing. {NAME_HERE} stands for the name of the run")


def _run(where: str, keys: Mapping[str, Any], folder: Path, base: Path) -> BatchRun:
    check_options(where, keys)
    _check_keys(where, keys, ("name", *TEXTS, *TABLES, *RUN_KEYS))
    for name in ("name", "job", "export"):
        if name not in keys:
            raise UsageError(f'{where}: has no {name}. Write {name} = "…"')
    name = _text(keys["name"], f"{where}, name")
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise UsageError(
            f"{where}, name {name!r}: is also the name of a folder. Write letters, digits, dots, hyphens and "
            f"underscores, at most {NAME_MAX}, the first a letter or a digit"
        )
    for key, value in keys.items():
        if key not in OWN_BRACES:
            _check_words(value, f"{where} ({name}), {key}")
    where, keys = f"{where} ({name})", {key: _named(value, name) for key, value in keys.items()}
    texts = {key: _text(keys[key], f"{where}, {key}") for key in TEXTS if key in keys}
    job = load_job(texts["job"])
    check_type(job)
    if texts["export"] == "-":
        raise UsageError(f"{where}, export: a batch has no standard input. Name a file")
    options = {
        name: _option(value, f"{where}, {name}", is_list=name in LISTS, is_flag=name in _FLAGS)
        for name, value in keys.items()
        if name in RUN_KEYS
    }
    if "exclude" in options:
        options["exclude"] = _listed(options["exclude"])
    if "rate" in options:
        options["rate"] = _rate(options["rate"], f"{where}, rate")
    if has_age(options.get("spare", ())):
        raise UsageError(
            f"{where}, spare: an age would be another date in each process of a batch that runs over midnight. Write a "
            "date, such as active-since=2026-01-31"
        )
    made = BatchRun(
        name,
        folder=folder / name,
        table=job.config_table,
        options=options,
        parameters=_parameters(where, job, keys.get("parameters", {})),
        credentials=_credentials(where, keys.get("credentials", {})),
        **texts,
    )
    _check_files(where, made, base)
    try:
        made.spec  # noqa: B018 - to see whether JSON can hold what the file says
    except TypeError as error:
        raise UsageError(f"{where}: a value cannot be used: {error}") from error
    return made


def _check_files(where: str, run: BatchRun, base: Path) -> None:
    """Refuse what is written, or sent to a server, outside the folder of the file. Raises UsageError."""
    written = {name: run.options[name] for name in WRITTEN_BY_BATCH if name in run.options}
    files: dict[str, Any] = {"folder": run.folder}
    files |= {name: value for name, value in written.items() if not is_store_url(str(value))}
    files |= {name: run.parameters[name] for name in run.files_of_job}
    files |= {} if run.credentials_file is None else {"credentials_file": run.credentials_file}
    for name, value in files.items():
        for item in _listed(value):
            check_inside(base, str(item), f"{where}, {name}")


def _parameters(where: str, job: Job, table: Any) -> dict[str, Any]:
    table = _table(table, f"{where}, parameters")
    known = {one.name for one in fields(job.parameters)} if job.parameters is not None else set[str]()
    found = _with_underscores(table)
    _check_keys(f"{where}, parameters of {job.name}", found, sorted(known))
    return {name: _option(value, f"{where}, parameters.{name}", is_list=True) for name, value in found.items()}


def _credentials(where: str, table: Any) -> dict[str, str]:
    """For each variable that the job reads, the variable that has its value here. The file holds no secret."""
    found = {name: _text(value, f"{where}, credentials.{shown(name)}") for name, value in _table(table, where).items()}
    for name, source in found.items():
        check_variable(name, f"{where}, credentials.{shown(name)}")
        check_source(source, name, f"{where}, credentials.{name}")
    return found


def _check_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            if (now := INSTEAD.get(name.replace("-", "_"))) is not None:
                raise UsageError(f"{where}: {name} is gone. In its place: {now}")
            few = f" It has {', '.join(known) or 'none'}" if len(known) < len(BATCH_KEYS) else ""
            raise UsageError(f"{where}: unknown key {name!r}.{did_you_mean(name, known) or few}")


def _check_apart(path: Path, runs: Sequence[BatchRun]) -> None:
    """Refuse two runs with one name, place or backup. Case does not count: some file systems ignore it."""
    base = path.absolute().parent
    marks: dict[str, list[Hashable]] = {
        "name": [run.name.lower() for run in runs],
        "place": [run.place_in(base).resolve() for run in runs],
        "backup": [_backup_of(base, run) for run in runs],
    }
    for what, each in marks.items():
        counts = Counter(each)
        twice = [run.name for run, mark in zip(runs, each, strict=True) if counts[mark] > 1 and mark is not None]
        if twice:
            raise UsageError(f"{path}: the runs {twice[0]!r} and {twice[1]!r} have one {what}. Give each its own")


def _backup_of(base: Path, run: BatchRun) -> Path | str | None:
    """Where a run writes its backup; None without one."""
    value = run.options.get("backup_to")
    return value if value is None or is_store_url(str(value)) else (base / str(value)).resolve()


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: is not a table")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UsageError(f"{where}: write a text")
    return value


def _option(value: Any, where: str, *, is_list: bool, is_flag: bool = False) -> Any:
    if is_flag and not isinstance(value, bool):
        raise UsageError(f"{where}: write true or false")
    items = value if isinstance(value, list) and is_list else [value]
    for item in items:
        if not isinstance(item, str | int | float) or (isinstance(item, str) and not item.isprintable()):
            raise UsageError(f"{where}: write a text, a number, true or false, or a list of texts")
    return value


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{where}: write a whole number, at least 1")
    return value


def _rate(value: Any, where: str) -> float:
    try:
        rate = float(value.removesuffix("/s") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        rate = -1.0
    if isinstance(value, bool) or not may_be_set(rate):
        raise UsageError(f"{where}: write requests a second, such as 50, or 0 for no limit")
    return rate


ALSO_TYPED: Mapping[str, Callable[[Any, str], Any]] = MappingProxyType(
    {"parallel": _count, "rate_over_all": _rate, "not_after": _text, "stop_after_failures": _count}
)
"""The keys of the file that are options of `bulkdel batch` too, each with the function that reads it."""

BATCH_KEYS = ("defaults", "run", "from", "folder", "rate_groups", *ALSO_TYPED)
"""The keys at the top level of the file."""


def _words(line: CommandLine, given: Mapping[str, Any]) -> list[str]:
    """The words of a line with these options, without the program. A flag of `run` that is off is left out."""
    for name, value in given.items():
        option = option_of(name)
        if value is True:
            line = line.plus(option)
        elif value is not False:
            line = line.plus(option, *_listed(value))
        elif name not in _FLAGS:
            line = line.plus(f"--no-{option[2:]}")
    return line.words[1:]
