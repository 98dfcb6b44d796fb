"""`bulkdel batch`: its commands, options and exit codes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from bulkdel.cli.config import ARGUMENTS, OPTIONS, no_source, tables_of, tables_with
from bulkdel.core.option import ENV_PREFIX, variable_of
from bulkdel.errors import UsageError
from bulkdel.options import FROM_BATCH
from bulkdel.output import LogFormat
from bulkdel.settings import check_rate, count, per_second, seconds

if TYPE_CHECKING:
    from bulkdel.fleet.batch_file import Here

EPILOGUE = """Exit codes: the first that applies to one of the runs: 5, 129/130/143, 4, 3, 2, 6, 1, 0. They mean the
same as those of `bulkdel run`.
"""

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
File = Annotated[Path, Parameter(help="The file of the batch, such as night.toml.")]
Parallel = Annotated[
    int | None, count(1, 1_000), Parameter(help="So many runs at once. Default: `parallel` of the file, or 4.")
]
Rate = Annotated[
    float | None,
    Parameter(
        converter=per_second,
        validator=check_rate,
        help="Requests a second of all runs together; 0 is unlimited. Default: `rate_over_all` of the file.",
    ),
]
On = Annotated[
    Literal["local", "ray"],
    Parameter(help="Where the processes of the runs are: on this machine, or on the nodes of a Ray cluster."),
]
Hosts = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        metavar="URL",
        help="A host that the file names and that is not the job's own: no key goes to one that only a file names. "
        "Repeatable.",
    ),
]
Addresses = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        metavar="URL",
        help="An address that the file names, such as s3://bucket/night, or where it begins: none is asked that only a "
        "file names. Repeatable.",
    ),
]
Config = Annotated[
    Path | None,
    Parameter(
        help="TOML file with what belongs to this machine, for every run: on_event, ca_file and the like in [run]."
    ),
]
Only = Annotated[list[str] | None, Parameter(negative="", metavar="NAME", help="The name of a run. Repeatable.")]


def plan(
    file: File,
    /,
    *,
    host: Hosts = None,
    address: Addresses = None,
    config: Config = None,
    parallel: Parallel = None,
    rate_over_all: Rate = None,
    on: On = "local",
    json: Flag = False,
) -> int:
    """Plan every run of a batch, and show one table and the command that runs it. Send and confirm nothing.

    Parameters
    ----------
    json: bool
        Print the plan as one JSON object. It has no id and no text of a row.
    """
    from bulkdel.commands import batch as command

    here = _here(host, address, config)
    return command.plan(
        command.BatchArguments(file, here, parallel=parallel, rate_over_all=rate_over_all, on=on, json=json)
    )


def run(
    file: File,
    /,
    *,
    confirm: Annotated[int | None, count(0)] = None,
    plan: Annotated[str | None, Parameter(metavar="DIGEST")] = None,
    host: Hosts = None,
    address: Addresses = None,
    config: Config = None,
    parallel: Parallel = None,
    rate_over_all: Rate = None,
    not_after: str | None = None,
    stop_after_failures: Annotated[int | None, count(1)] = None,
    json: Flag = False,
    log_format: LogFormat | None = None,
    progress_every: Annotated[float, seconds(1, 3_600)] = 5.0,
    listen: Annotated[str | None, Parameter(metavar="ADDRESS")] = None,
    on: On = "local",
) -> int:
    """Run every run of a batch after one confirmation, or resume it. A run that halts stops no other.

    Each run is a process of its own, with its own log and its own credentials. Complete runs are not started again.

    Parameters
    ----------
    confirm: int
        Confirm the number of ids of all runs, as `batch plan` shows it. Together with --plan.
    plan: str
        Confirm the plan by its digest, as `batch plan` shows it. Together with --confirm.
    not_after: str
        Stop every run at this time, and begin no other: 06:00, 06:00Z, 06:00+02:00, or a date with it.
    stop_after_failures: int
        Begin no other run when so many have ended with exit code 2, 3, 4 or 5.
    json: bool
        Print the summary as one JSON object, the last line of stdout.
    log_format: str
        json: each line of stderr is one JSON object. text: plain lines. Default: a table on a terminal, and elsewhere
        the progress as JSON lines.
    progress_every: float
        How often a progress line is written (5s, 1m), where there is no table.
    listen: str
        Serve a live page of all runs at this address of this machine: 127.0.0.1:9400 or unix:/run/bulkdel.sock. It only
        shows; `bulkdel batch ctl` steers.
    """
    from bulkdel.commands import batch as command

    return command.run(
        command.BatchArguments(
            file,
            _here(host, address, config),
            parallel=parallel,
            rate_over_all=rate_over_all,
            not_after=not_after,
            stop_after_failures=stop_after_failures,
            confirm=confirm,
            plan=plan,
            json=json,
            log_format=log_format,
            progress_every=progress_every,
            listen=listen,
            on=on,
        )
    )


def status(
    file: File, /, *, only: Only = None, address: Addresses = None, json: Flag = False, watch: Flag = False
) -> int:
    """Show the state of every run of a batch, also while it is under way.

    Parameters
    ----------
    json: bool
        Print one JSON object.
    watch: bool
        Show it again and again until no run is under way.
    """
    from bulkdel.commands import batch_after as command

    if watch and json:
        raise UsageError("--watch shows lines until no run is under way. Leave --json out, or --watch")
    named = command.NamedRuns(file, only or (), address or ())
    return command.status(named, json_too=json, watch=watch, environ=os.environ)


def ctl(
    file: File,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    only: Only = None,
    address: Addresses = None,
    json: Flag = False,
) -> int:
    """Control every run that is under way: status, pause, resume, rate N, concurrency N, until 18:00, stop.

    Parameters
    ----------
    command: str
        As of `bulkdel ctl`. rate N: of each run, at most N requests a second.
    json: bool
        Print the answers as one JSON object, by the names of the runs.
    """
    from bulkdel.commands import batch_after

    named = batch_after.NamedRuns(file, only or (), address or ())
    return batch_after.ctl(named, list(command) or ["status"], json_too=json, environ=os.environ)


def verify(
    file: File,
    /,
    *,
    only: Only = None,
    host: Hosts = None,
    address: Addresses = None,
    config: Config = None,
    sample: Annotated[int | None, count(1)] = None,
    again: Flag = False,
    parallel: Parallel = None,
    rate_over_all: Rate = None,
    json: Flag = False,
) -> int:
    """Look up every id that a run of a batch says is gone, or in the target state. Changes nothing.

    Parameters
    ----------
    sample: int
        Read back so many ids of each run. Default: all.
    again: bool
        Start over instead of resuming.
    json: bool
        Print the result as one JSON object.
    """
    from bulkdel.commands import batch_after as command

    return command.verify(
        command.BatchVerifyArguments(
            file,
            _here(host, address, config),
            only or (),
            sample=sample,
            again=again,
            parallel=parallel,
            rate_over_all=rate_over_all,
            json=json,
        )
    )


def _here(host: Hosts, address: Addresses, config: Config) -> Here:
    """What was typed, and what this machine has. The environment names the config by its whole path.

    Refuses a variable that sets another option: the runs of a batch have theirs in its file. Raises UsageError.
    """
    from bulkdel.fleet.batch_file import CONFIG, Here
    from bulkdel.fleet.batch_origin import OF_THIS_MACHINE

    environ: Mapping[str, str] = os.environ
    options = {variable_of(name): name for name in OPTIONS}
    for name in sorted({name for name in environ if name.startswith(ENV_PREFIX)} - {CONFIG, *OF_THIS_MACHINE}):
        if name in ARGUMENTS or name in options or name.removesuffix("_FILE") in options:
            table = "[defaults] of the file" if options.get(name) in FROM_BATCH else "[run] of the file of --config"
            todo = f"write {options[name]} into {table}" if name in options else "unset it"
            raise UsageError(f"the environment sets {name}, which a batch does not read: {todo}")
    named, tables = environ.get(CONFIG) if config is None else str(config), tables_with({}, environ)
    if named is not None:
        environ, tables = {**environ, CONFIG: str(Path(named).absolute())}, tables_with(tables_of(named), environ)
    return Here(environ, host or (), address or (), tables)


def make_batch() -> App:
    """The command `bulkdel batch`."""
    app = App(name="batch", help="Many runs, such as one for each of many pools, as one.", help_epilogue=EPILOGUE)
    for command in (plan, run, status, ctl, verify):
        app.command(command, config=[no_source], help_epilogue=EPILOGUE)
    return app
