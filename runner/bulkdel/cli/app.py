"""Commands, options and exit codes. Owns what is typed; every command's work is done elsewhere."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict, Env
from rich.console import Console

from bulkdel.errors import BulkdelError, UsageError, trace_of
from bulkdel.format import CommandLine, is_option, printable
from bulkdel.job import job_names, load_job
from bulkdel.output import SafeStream, Stdout, detach_stdio, result, say
from bulkdel.settings import ENV_PREFIX, Settings, flags_of, with_all_excluded
from bulkdel.verify.settings import VerifySettings, known_to_verify

HELP = """Delete a large export of ids through an API that cannot undo it, and keep track of every one of them.

Start with `bulkdel plan JOB EXPORT`: it reads and checks everything and deletes nothing.
`bulkdel run JOB EXPORT` does it; the same command again goes on where it stopped.
`bulkdel demo` shows all of it on a sandbox in a minute.
"""

EPILOGUE = """Exit codes, and what a scheduler should do:

- 0 complete, or --limit reached: nothing
- 1 complete, some ids refused or unknown: alarm
- 2 usage, settings, or not confirmed: alarm
- 3 export, checkpoint or pool not acceptable, nothing sent: alarm
- 4 halted, or ids remaining: alarm; run again when the cause is mended
- 5 a file could not be written: alarm; make room, run again
- 6 stopped at --not-after with ids remaining: run again in the next window
- 129, 130, 143 interrupted: run again
"""

VERIFY_EPILOGUE = """Exit codes, and what a scheduler should do:

- 0 all are gone: nothing
- 1 some are still there: alarm
- 2 usage or settings: alarm
- 3 checkpoint, export or pool not acceptable, nothing looked up: alarm
- 4 could not tell of some, some in doubt, or halted: alarm; mend it, run again
- 5 a file could not be written: alarm; make room, run again
- 129, 130, 143 interrupted: run again
"""

STATUS_EPILOGUE = """Exit codes: 0 whatever the state of the run is; 2 usage; 3 no checkpoint that can be read, or the
audit failed; 5 the output could not be written.
"""

RESULTS_EPILOGUE = """Exit codes: 0 all is written; 2 usage; 3 checkpoint or export not acceptable; 5 not all could be
written; 141 the reader of stdout has left (`| head`).
"""


ENV_ELSEWHERE = ("BULKDEL_SEED", "BULKDEL_SAMPLE", "BULKDEL_AGAIN", "BULKDEL_STATE", "BULKDEL_EXPORT")
"""Read by other commands and the tests."""

Export = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A path, or `-`."""


def make_app(config: Mapping[str, Any], argv: Sequence[str]) -> App:
    """Build the commands. config: what the config file says; argv: the words typed, to be printed back."""
    app = App(
        name="bulkdel",
        help=HELP,
        help_epilogue=EPILOGUE,
        version=f"bulkdel {version('bulkdel')}",
        config=[Env(ENV_PREFIX, command=False, show=False)],
        console=Console(file=Stdout()),  # type: ignore[arg-type]  # a text stream is what it writes to
        error_console=Console(file=SafeStream(sys.stderr)),  # type: ignore[arg-type]
        result_action="return_value",
    )
    settings_config = [
        Env(ENV_PREFIX, command=False, show=False),
        Dict(config.get("run", {}), source=_config_path(argv), use_commands_as_keys=False),
    ]

    def request(job: str, export: str, settings: Settings | None) -> Any:
        from bulkdel.commands.setup import Request  # noqa: PLC0415 - `--help` need not load the network stack

        _check_environment()
        _check_folder()
        if is_option(export) and export not in CommandLine.parse(argv, flags_of(Settings)).names:
            raise UsageError(f"unknown option {export}. `bulkdel run --help` lists them")
        settings = with_all_excluded(settings or Settings(), os.environ, config.get("run", {}))
        return Request(job, export, settings, config, os.environ, argv)

    @app.command(config=settings_config)
    def run(job: str, export: Export, /, *, settings: Settings | None = None) -> int:
        """Delete every id of an export, or go on where an earlier run of the same command stopped.

        Reads and checks the whole export, signs in, looks up a sample, shows the plan, asks for confirmation, and only
        then deletes. Everything that happens to an id is written to the checkpoint first.

        Parameters
        ----------
        job: str
            What to do with the ids; `bulkdel jobs` lists what there is.
        export: str
            The ids: JSON Lines, CSV or one id a line; plain, gzip or zstd. `-` is standard input, and needs
            --checkpoint.
        """
        from bulkdel.commands import run as running  # noqa: PLC0415

        return running.run(request(job, export, settings))

    @app.command(config=settings_config)
    def plan(job: str, export: Export, /, *, settings: Settings | None = None) -> int:
        """Read and check an export, say what `run` would do, and delete nothing. Works without credentials too.

        Parameters
        ----------
        job: str
            What would be done with the ids.
        export: str
            The ids: JSON Lines, CSV or one id a line; plain, gzip or zstd.
        """
        from bulkdel.commands import run as running  # noqa: PLC0415

        return running.plan(request(job, export, settings))

    @app.command(name="status", help_epilogue=STATUS_EPILOGUE)
    def status_command(
        checkpoint: Path,
        /,
        *,
        json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
        audit: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    ) -> int:
        """Say how far a run is, from its checkpoint; also while it is under way.

        Parameters
        ----------
        checkpoint: Path
            The log that `run` keeps, EXPORT.checkpoint.jsonl by default; or the EXPORT, beside which it lies.
        json: bool
            Print one JSON object.
        audit: bool
            Check every line, the hash that each session took of the log before it, and that the counts add up; say who
            ran what, and what was confirmed. Exit code 3 when something does not hold.
        """
        if audit:
            from bulkdel.cli.auditing import audited  # noqa: PLC0415

            return audited(checkpoint, json=json)
        from bulkdel.cli.looking import status  # noqa: PLC0415

        return status(checkpoint, json=json)

    # Not from BULKDEL_…: what is meant there for `run` (BULKDEL_FORMAT) means something else here.
    @app.command(name="results", config=[_no_config], help_epilogue=RESULTS_EPILOGUE)
    def results_command(
        checkpoint: Path,
        /,
        *,
        only: str | None = None,
        format: Literal["jsonl", "csv"] | None = None,  # noqa: A002 - the option's name
        out: Path | None = None,
        export: str | None = None,
        hash_ids: Path | None = None,
    ) -> int:
        """Write what became of every row of the export, in its order: JSON Lines or CSV, to stdout or a file.

        Parameters
        ----------
        checkpoint: Path
            The log that `run` keeps, EXPORT.checkpoint.jsonl by default; or the EXPORT, beside which it lies.
        only: str
            Outcomes to write, separated by commas, of deleted, absent, refused, unknown, excluded, duplicate, invalid
            and remaining. What `--only refused,unknown` writes can be given to `run` as it is.
        format: str
            Without it CSV for an --out that ends in .csv; JSON Lines for .jsonl, no ending, or stdout.
        out: Path
            Write to a new file, for your eyes only (mode 0600), instead of stdout.
        export: str
            Where the export is, if it has moved.
        hash_ids: Path
            A file with a secret key: write a keyed hash (HMAC-SHA256) in place of each id, and no messages.
        """
        from bulkdel.cli.reporting import results  # noqa: PLC0415

        return results(checkpoint, only=only, format_=format, out=out, export=export, hash_ids=hash_ids)

    verify_config = [
        Env(ENV_PREFIX, command=False, show=False),
        Dict(known_to_verify(config.get("run", {})), source=_config_path(argv), use_commands_as_keys=False),
    ]

    @app.command(name="verify", config=verify_config, help_epilogue=VERIFY_EPILOGUE)
    def verify_command(checkpoint: Path, /, *, settings: VerifySettings | None = None) -> int:
        """Look up every id that a run says is gone, and say whether it is. Deletes nothing.

        Goes on where it stopped when it is run again. An empty answer counts only while a control, somebody who exists,
        is found by the same kind of look-up.

        Parameters
        ----------
        checkpoint: Path
            The log of the run, EXPORT.checkpoint.jsonl by default; or the EXPORT, beside which it lies.
        """
        from bulkdel.checkpoint.reader import find_log  # noqa: PLC0415
        from bulkdel.commands import verify as command  # noqa: PLC0415

        settings = settings or VerifySettings()
        return command.verify(command.Request(find_log(checkpoint), settings, config, os.environ, argv))

    @app.command
    def jobs() -> int:
        """List the installed jobs and the id types they know."""
        from bulkdel.cli.looking import jobs_text  # noqa: PLC0415

        result(jobs_text([load_job(name) for name in job_names()]))
        return 0

    _add_job_commands(app, argv)
    return app


def _add_job_commands(app: App, argv: Sequence[str]) -> None:
    """`sandbox` and `demo` come with the jobs: the engine has never heard of what they imitate.

    They are named, not loaded: a web server is of no use to a real run. Only the list of all commands needs their text.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415

    listed = not argv or argv[0] in app.help_flags
    taken = set(app)
    for point in sorted(entry_points(group="bulkdel.commands"), key=lambda point: point.name):
        if point.name not in taken:  # nobody's package may put itself in the place of `run`
            command = point.load() if listed else f"{point.module}:{point.attr}"
            app.command(command, name=point.name, help_epilogue=" ")  # the exit codes above are those of a run
            taken.add(point.name)


def _no_config(*_: Any) -> None:
    """Let the command line alone decide. An empty list of configurations would mean those of the whole program."""


KUBERNETES = re.compile(r"BULKDEL_(PORT|PORT_.*|SERVICE_.*)")
"""Variables that Kubernetes sets in every pod of a namespace which has a Service called `bulkdel`."""


def _forget_kubernetes() -> None:
    """Take those variables out of the environment: `bulkdel sandbox` would take BULKDEL_PORT for its --port."""
    for name in list(os.environ):
        if KUBERNETES.fullmatch(name):
            del os.environ[name]


def _check_text(words: Sequence[str]) -> None:
    """Refuse a name that is not UTF-8: neither the log nor the command that goes on could hold it."""
    options = [value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)]
    for word in (*words, *options):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{printable(word)}: is not UTF-8, so it could not be typed again. Rename the file, or make a link to "
                "it (ln -s) and name that"
            ) from None


def _check_folder() -> None:
    """Refuse to start in a folder that could not be named in the log."""
    try:
        folder = os.fsencode(Path.cwd())
    except OSError as error:
        raise UsageError(f"the current folder: {error.strerror}. Change to a folder that exists") from error
    try:
        folder.decode()
    except UnicodeDecodeError:
        raise UsageError(
            f"{folder.decode(errors='replace')}: the name of the current folder is not UTF-8. Start from another folder"
        ) from None


def _check_environment() -> None:
    """Refuse a variable that no option reads: a guard that is misspelt guards nothing. As a config file does."""
    known = {f"{ENV_PREFIX}{one.name.upper()}" for one in fields(Settings)} | set(ENV_ELSEWHERE)
    for name in sorted(os.environ):
        if name.startswith(ENV_PREFIX) and name not in known:
            close = get_close_matches(name, known, 1)
            raise UsageError(f"the environment sets {name}, which is no option" + (f"; {close[0]}?" if close else ""))


def _config_path(argv: Sequence[str]) -> str | None:
    """Find --config before anything is parsed: it says what the defaults of everything else are."""
    for i, word in enumerate(argv):
        if word == "--":
            break
        if word == "--config":
            if i + 1 == len(argv):
                raise UsageError("--config needs a path")
            return argv[i + 1]
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return os.environ.get(f"{ENV_PREFIX}CONFIG") or None


def read_config(path: str | None) -> dict[str, Any]:
    """Read the config file: a table `[run]` of options, and a table for each job. Raises UsageError."""
    if path is None:
        return {}
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from error


def run_app(words: list[str]) -> int:
    """Run one command line; returns the exit code. Whatever goes wrong is told in words."""
    _forget_kubernetes()
    try:
        _check_text(words)
        app = make_app(read_config(_config_path(words)), words)
        code = app(words, exit_on_error=False, print_error=True)
    except CycloptsError:
        code = UsageError.exit_code
    except BulkdelError as error:
        say(f"bulkdel: {error}")
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - a bug of ours or of a job's; the log knows how far the run came
        from bulkdel.job_faults import job_failed  # noqa: PLC0415 - only now is it needed

        if failed := job_failed(error):
            say(f"bulkdel: {failed}")
        else:
            say(trace_of(error))
            say(
                "bulkdel: that was a mistake of this program; please report it. What is in the checkpoint holds: the "
                "same command goes on from there."
            )
        code = BulkdelError.exit_code
    detach_stdio()
    return code if isinstance(code, int) else 0
