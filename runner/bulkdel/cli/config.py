"""The config file and the environment variables: the places of options that were not typed."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from bulkdel.command_line import ENV_PREFIX, variable_of
from bulkdel.errors import UsageError
from bulkdel.settings import RestoreSettings, Settings, VerifySettings

OPTIONS = frozenset(one.name for settings in (Settings, RestoreSettings, VerifySettings) for one in fields(settings))
"""Every option of `run`, `plan`, `restore` and `verify`."""

KUBERNETES = re.compile(r"BULKDEL_(PORT|PORT_.*|SERVICE_.*)")
"""Variables that Kubernetes sets in every pod of a namespace which has a Service called `bulkdel`."""


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
        known = {one.name.removeprefix("--").replace("-", "_") for one in arguments}
        if own := sorted(known & self.run.keys() - OPTIONS):
            raise UsageError(f"--config {path}: [run] {own[0]}: a parameter of the job; give it on the command line")
        # An option of another command is left out. A name that no command knows is left in, and cyclopts refuses it.
        run = {name: value for name, value in self.run.items() if name in known or name not in OPTIONS}
        Dict(run, source=path, use_commands_as_keys=False)(app, commands, arguments)

    @property
    def run(self) -> Mapping[str, Any]:
        """The table [run]."""
        table: Mapping[str, Any] = self.tables.get("run", {})
        return table


def tables_of(path: str) -> dict[str, Any]:
    """Read a config file. Raises UsageError."""
    try:
        with Path(path).open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from error
    if not isinstance(tables.get("run", {}), dict):
        raise UsageError(f"--config {path}: 'run' is not a table. Write [run], and below it a line for each option")
    return tables


def with_all_excluded(settings: Settings, environ: Mapping[str, str], table: Mapping[str, Any]) -> Settings:
    """Add up the exclude files of the command line, the environment and the config's table [run], each file once.

    Any other option is taken from the first place that has it. A list of ids to keep must not replace another one.
    """
    configured = table.get("exclude", [])
    configured = [configured] if isinstance(configured, str) else configured
    if not (isinstance(configured, list) and all(isinstance(name, str) for name in configured)):
        raise UsageError('config, [run] exclude: write a list of file names: ["keep.jsonl"]')
    named = environ.get(variable_of("exclude"))
    listed = [] if named is None else named.split(os.pathsep)
    files = [*(settings.exclude or ()), *map(Path, listed), *map(Path, configured)]
    return replace(settings, exclude=list({path.resolve(): path for path in reversed(files)}.values())[::-1] or None)


def check_environment(environ: Mapping[str, str]) -> None:
    """Refuse a variable that no option reads, because a misspelt guard guards nothing. Raises UsageError."""
    known = set(map(variable_of, OPTIONS))
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name not in known:
            close = get_close_matches(name, known, 1)
            raise UsageError(f"the environment sets {name}, which is no option" + (f"; {close[0]}?" if close else ""))


def forget_kubernetes() -> None:
    """Remove the variables that Kubernetes sets: `bulkdel sandbox` would read BULKDEL_PORT as its --port."""
    for name in list(os.environ):
        if KUBERNETES.fullmatch(name):
            del os.environ[name]
