"""The commands, their options and exit codes. Owns the command line. `commands/` has the work of each command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env
from rich.console import Console

from bulkdel.cli.batch import make_batch
from bulkdel.cli.config import (
    JOB,
    ConfigFile,
    check_job,
    forget_kubernetes,
    log_format,
    no_source,
    plan_named,
    secrets_in_files,
    source_of,
    tables_of,
    tables_with,
    value_of,
    with_all_kept,
)
from bulkdel.cli.job_options import HELP_ALL, HELP_FLAGS, described, find_job, for_completion, with_job, with_options_of
from bulkdel.cli.wrong_words import refusal_of
from bulkdel.command_line import is_option
from bulkdel.core.option import ENV_PREFIX, INSTEAD, option_of
from bulkdel.errors import BulkdelError, FileFailed, UsageError, of_the_machine, trace_of
from bulkdel.format import printable, shown, steers
from bulkdel.job import Job, installed, job_names, load_job
from bulkdel.output import Stdout, detach_stdio, open_log, result, say, say_error, stderr_log
from bulkdel.parameters import options_of
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.settings import (
    EVERYDAY,
    NotifySettings,
    PlanSettings,
    RestoreSettings,
    RunSettings,
    VerifySettings,
    count,
    path_or_store,
)

if TYPE_CHECKING:
    from bulkdel.safety.run_plan import RunArguments

HELP = """Do a job for every id of a large export through an API, such as delete users, and keep track of each id.

Start with `bulkdel plan JOB EXPORT`: it reads and checks everything and changes nothing.
`bulkdel run JOB EXPORT` does it; the same command again resumes it.
`bulkdel demo` shows all of it on a sandbox in ten seconds. `bulkdel help guide` explains it, without a network.
"""

EPILOGUE = """Exit codes, and what a scheduler should do:

- 0 complete, or --limit reached: nothing
- 1 complete, some ids refused or unknown: alarm
- 2 usage, settings, or not confirmed: alarm
- 3 export, log or pool not acceptable, nothing sent: alarm
- 4 halted, or ids remaining: alarm; fix the cause, run again
- 5 a file could not be written: alarm; make room, run again
- 6 stopped as planned (--not-after, ctl stop) with ids remaining: run again in the next window
- 129, 130, 143 interrupted: run again
"""

VERIFY_EPILOGUE = """Exit codes, and what a scheduler should do:

- 0 all are gone: nothing
- 1 some are still there: alarm
- 2 usage or settings: alarm
- 3 log, export or pool not acceptable, nothing looked up: alarm
- 4 some could not be checked, some are in doubt, or halted: alarm; fix the cause, run again
- 5 a file could not be written: alarm; make room, run again
- 129, 130, 143 interrupted: run again
"""

EXAMPLES = {
    "run": (
        "`bulkdel run delete-users crm.csv --id-type email --exclude vips.csv --backup`",
        "`bulkdel resume crm.csv`: goes on with it; so does the same command",
    ),
    "plan": (
        "`bulkdel plan delete-users crm.csv --exclude vips.csv`",
        "`bulkdel plan delete-users crm.csv --out plan.json`: to be approved",
    ),
    "restore": (
        "`bulkdel restore crm.csv --only anna@example.com`",
        "`bulkdel restore crm.csv --plan`: shows what would come back of all",
    ),
    "verify": (
        "`bulkdel verify crm.csv`",
        "`bulkdel verify crm.csv --sample 10,000`",
    ),
}
"""Two of each command whose help is short."""

SHOW_EPILOGUE = """Exit codes: 0 shown; 2 no plan, or changed after it was written; 5 the output could not be
written; 141 the reader of stdout has left.
"""

STATUS_EPILOGUE = """Exit codes: 0 in every state of the run; 2 usage; 3 no run that can be read, or the
audit failed; 5 the output could not be written; 141 with --watch, the reader of stdout has left.
"""

FORGET_EPILOGUE = """Exit codes: 0 all is removed; 1 files were left: links, or not what the run wrote; 2 usage, or not
confirmed; 3 no run that can be read, a run is under way, or rows remain; 5 a file could not be removed.
"""

PACK_EPILOGUE = """Exit codes: 0 packed; 2 usage; 3 no run that can be read, a run is under way, or a file of it
is missing; 5 the archive could not be written.
"""

UNPACK_EPILOGUE = """Exit codes: 0 unpacked; 2 usage; 3 the archive is not accepted; 5 the folder could not be written.
"""

REPORT_EPILOGUE = """Exit codes: 0 written; 2 usage, or a title that holds an id; 3 no run that can be read, or
written and an audit failed; 5 it could not be written; 141 the reader of stdout has left.
"""

NOTIFY_EPILOGUE = """Exit codes: 0 every place was told; 1 one or more were not; 2 usage or settings.
"""

CTL_EPILOGUE = """Exit codes: 0 done; 2 the command is wrong or was refused, and nothing has changed; 3 no run is under
way in this log, or it cannot be reached.
"""

RESULTS_EPILOGUE = """Exit codes: 0 all is written; 2 usage; 3 log or export not acceptable; 5 not all could be
written; 141 the reader of stdout has left (`| head`).
"""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the program. words: the arguments as they were typed. plan: that of `run --plan`."""

    words: Sequence[str]
    config: ConfigFile
    plan: PlanFile | None = None


Given = Annotated[Invocation, Parameter(parse=False)]
OfTheJob = Annotated[Any, Parameter(parse=False)]
"""The parameters of a job that has some: `with_options_of` gives the command their options."""


RunPath = Annotated[Path, Parameter(converter=path_or_store, show=True)]
"""The place of a run: a folder, or the URL of a store; or the export beside it."""
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
JobName = Annotated[str, EVERYDAY]
Topic = Annotated[str, Parameter(allow_leading_hyphen=True, show=True)]
Export = Annotated[str | Path, Parameter(allow_leading_hyphen=True, show=True)]
"""A path, or `-`. Always read as text, because a Path would change `./x` and `s3://…`. The type
has `Path` so that the shell completes file names."""


def run(
    job: JobName, export: Export, /, *, settings: RunSettings | None = None, parameters: OfTheJob = None, given: Given
) -> int:
    """Do a job for every id of an export, or go on with an earlier run.

    It reads and checks the export, signs in, looks up a sample, shows the plan, asks for confirmation, and only then
    begins.

    Parameters
    ----------
    job: str
        What to do with the ids: `bulkdel jobs` lists the jobs and their options.
    export: str
        The ids: JSON Lines, CSV, one id a line (also gzip, zstd), a workbook or Parquet. Or an address (s3://, gs://,
        az://, https://), or `-` for standard input, which needs --run.
    """
    from bulkdel.commands import run as command

    return command.run(_arguments("run", job, str(export), settings or RunSettings(), given, parameters=parameters))


def plan(
    job: JobName, export: Export, /, *, settings: PlanSettings | None = None, parameters: OfTheJob = None, given: Given
) -> int:
    """Read and check an export, show what `run` would do, and change nothing. Works without credentials too.

    Parameters
    ----------
    job: str
        What would be done with the ids.
    export: str
        The ids, as of `run`: a file, an address or `-`.
    """
    from bulkdel.commands import plan as command

    return command.plan(_arguments("plan", job, str(export), settings or PlanSettings(), given, parameters=parameters))


def show(plan: Path, /) -> int:
    """Show a plan that `plan --out` wrote, for approval: what, how many, where, until when, by which user.

    It is Markdown, so that it can be pasted into a pull request. It holds no id and no text of a row.

    Parameters
    ----------
    plan: Path
        The file of the plan.
    """
    from bulkdel.commands import show as command

    return command.show(plan)


def restore(
    run: RunPath, /, *, settings: RestoreSettings | None = None, parameters: OfTheJob = None, given: Given
) -> int:
    """Create the accounts again that a run has deleted, from its backup. The same command again resumes.

    Makes an export of their records, in the place of that run, and goes the way of `run` with the job that undoes that
    run: plan, confirmation, log, summary. The plan says what does not come back.

    Parameters
    ----------
    run: Path
        The place of the run, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside it.
    """
    from bulkdel.commands import restore as command
    from bulkdel.commands.restore_records import RestoreArguments
    from bulkdel.place.finding import find_run

    tables = tables_with(given.config.tables, os.environ)
    _check_folder()
    place = find_run(run)
    return command.restore(RestoreArguments(place, settings or RestoreSettings(), tables, os.environ, parameters))


def _arguments(
    command: str, job: str, export: str, settings: RunSettings | PlanSettings, given: Invocation, *, parameters: Any
) -> RunArguments:
    from bulkdel.parameters import parameters_of
    from bulkdel.safety.run_plan import RunArguments

    tables = tables_with(given.config.tables, os.environ)
    _check_folder()
    if is_option(export) and "--" not in given.words:
        raise UsageError(f"unknown option {export}. `bulkdel {command} --help` lists them")
    if isinstance(settings, RunSettings) and settings.plan is not None and given.plan is None:
        raise UsageError("--plan: is given on the command line or in BULKDEL_PLAN, and not in the config file")
    if given.plan is not None and export not in given.words and settings.run is None:
        from bulkdel.safety.plan_from_file import check_folder_of

        check_folder_of(export, given.plan)
    settings = with_all_kept(settings, os.environ, given.config.run)
    found = load_job(job)
    found = found.configured(tables.get(found.config_table, {}))
    if parameters is None:  # no option of the job was given
        parameters = parameters_of(found, {})
    return RunArguments(
        found,
        export,
        settings,
        tables,
        os.environ,
        command,
        parameters,
        approved=given.plan,
        claimed=settings.as_,
    )


def resume(
    run: RunPath,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True)],
    without: Annotated[list[str] | None, Parameter(negative="", metavar="NAME")] = None,
) -> int:
    """Go on with a run, by its place alone: on this machine or another one, with the export or without it.

    The job, the rows, the guards and the pace are those of its last session. Credentials, config, host, proxy and what
    is notified are those of this machine: what is lacking of them is refused and named. Options of `run` that are typed
    here take the place of earlier ones.

    Parameters
    ----------
    run: Path
        The place of the run, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside it.
    options: str
        Options of `run`, such as --rate 20 --confirm 1200 --pool POOL.
    without: str
        An option or a variable that the last session had and that this one does not need, such as proxy. Repeatable.
    """
    from bulkdel.commands import resume as command
    from bulkdel.place.finding import find_run

    named = value_of("config", options, os.environ)
    tables = tables_with(tables_of(named) if named else {}, os.environ)
    arguments = command.ResumeArguments(find_run(run), options, tuple(without or ()), tables, os.environ)
    line = command.line_to_resume(arguments)
    open_log(json=log_format(line.arguments, os.environ) == "json")
    return _call(line.arguments)


def status(
    *runs: RunPath,
    json: Flag = False,
    audit: Flag = False,
    expect: Annotated[str | None, Parameter(metavar="SHA256")] = None,
    watch: Flag = False,
) -> int:
    """Show the progress of a run from its log, also while it is under way. Of several runs it is a table.

    Parameters
    ----------
    runs: Path
        The places of the runs, EXPORT.runs/JOB by default or what --run named. An export or a folder means every run of
        it.
    json: bool
        Print one JSON object.
    audit: bool
        Check every line, the hash that each session took of the log before it, and that the counts add up; show the
        user, the command and the confirmation of each session. Exit code 3 when a check fails.
    expect: str
        With --audit: the SHA-256 of the log, as a summary, a report or a notification had it. Another one fails.
    watch: bool
        Show it again and again until the run ends.
    """
    from bulkdel.commands import several
    from bulkdel.commands.status import print_audit, print_status, watch_run
    from bulkdel.place.finding import find_runs

    if watch and (audit or json):
        raise UsageError("--watch shows lines until the run ends. Leave --audit and --json out, or --watch")
    if expect is not None and not audit:
        raise UsageError("--expect: needs --audit, which takes the SHA-256 of the log")
    if len(found := find_runs(runs)) > 1:
        if audit:
            raise UsageError(f"--audit: one run at a time. Name one of {', '.join(map(str, found))}")
        return several.status(found, as_json=json, watch=watch, environ=os.environ)
    (run,) = found
    if watch:
        return watch_run(run, os.environ)
    if audit:
        return print_audit(run, json=json, expect=expect)
    return print_status(run, json=json, environ=os.environ)


def ctl(run: RunPath, /, *command: Annotated[str, Parameter(allow_leading_hyphen=True)], json: Flag = False) -> int:
    """Control a run that is under way: status, pause, resume, rate N, concurrency N, until 18:00, stop.

    The change holds until the run stops, and is kept in its log with your name. It works wherever the run's files are:
    over ssh and in `kubectl exec` too. An export or a folder means every run of it that is under way.

    Parameters
    ----------
    run: Path
        The place of the run, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside it.
    command: str
        status: what it does, and why it waits. pause, resume. rate N: at most N requests a second. concurrency N: at
        most N in flight. until TIME: stop then. stop: finish what is on the wire, then stop (exit code 6).
    json: bool
        Print the answer as one JSON object: ok, text and status.
    """
    from bulkdel.commands import several
    from bulkdel.place.finding import find_runs

    return several.ctl(find_runs([run]), " ".join(command or ["status"]), as_json=json, environ=os.environ)


def results(
    *runs: RunPath,
    only: str | None = None,
    format: Literal["jsonl", "csv"] | None = None,  # noqa: A002 - the option's name
    out: Path | None = None,
    export: str | None = None,
    hash_ids: Path | None = None,
) -> int:
    """Write the outcome of every row of the export, in its order: JSON Lines or CSV, to stdout or a file.

    Parameters
    ----------
    runs: Path
        The places of the runs, EXPORT.runs/JOB by default or what --run named. An export or a folder means every run of
        it.
    only: str
        Outcomes to write, separated by commas: done (deleted for delete-users), already, absent, refused, unknown,
        excluded, duplicate, invalid and remaining. The output of `--only refused,unknown` can be given to `run` as
        it is.
    format: str
        Default: by the ending of --out: .jsonl, .csv, .csv.gz, .xlsx or .parquet; JSON Lines for no ending, and for
        stdout.
    out: Path
        Write to a new file that only you can read (mode 0600), instead of stdout. Of several runs: a folder, which gets
        a file for each.
    export: str
        Where the export is, if it has moved.
    hash_ids: Path
        A file with a secret key: write a keyed hash (HMAC-SHA256) in place of each id, and no messages.
    """
    from bulkdel.commands import several
    from bulkdel.commands.results import print_results
    from bulkdel.place.finding import find_runs

    if len(found := find_runs(runs)) > 1:
        if out is None or export is not None:
            raise UsageError(
                "results: each of several runs is written to a file of its own. Name a folder (--out) and no --export, "
                f"or one of {', '.join(map(str, found))}"
            )
        return several.write_results(
            several.short_names(found),
            ", ".join(map(str, runs)),
            out,
            only=only,
            format_=format or "jsonl",
            hash_ids=hash_ids,
        )
    return print_results(found[0], only=only, format_=format, out=out, export=export, hash_ids=hash_ids)


def report(
    *runs: RunPath,
    out: Path | None = None,
    title: str | None = None,
    ticket: str | None = None,
    no_names: Flag = False,
) -> int:
    """Write a report of one or several runs, for a manager and an auditor: what is gone, what is not, and the proof.

    One HTML page without a script, which prints on A4. It holds no id, no row and no message of a server.

    Parameters
    ----------
    runs: Path
        The places of the runs, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside each.
    out: Path
        Write to a new file that only you can read: .html for the page, .json for the same facts. Default: the page, to
        stdout; on a terminal to report.html in the place of the first run.
    title: str
        The heading of the report.
    ticket: str
        The number of a change request, or the like.
    no_names: bool
        Leave out the names of users and machines.
    """
    from bulkdel.commands import report as command

    return command.report(command.ReportArguments(runs, out, title, ticket, no_names))


def verify(*runs: RunPath, settings: VerifySettings | None = None, given: Given) -> int:
    """Look up every id that a run says is gone, or in the target state, and report those that are not. Changes nothing.

    Run again, it resumes where it stopped. Several runs are verified one after the other. An empty response counts only
    while a control, an existing account, is found by the same kind of look-up.

    Parameters
    ----------
    runs: Path
        The places of the runs, EXPORT.runs/JOB by default or what --run named. An export or a folder means every run of
        it.
    """
    from bulkdel.commands import several
    from bulkdel.commands.verify import VerifyArguments
    from bulkdel.place.finding import find_runs

    tables, own = tables_with(given.config.tables, os.environ), settings or VerifySettings()
    return several.verify([VerifyArguments(place, own, tables, os.environ) for place in find_runs(runs)])


def forget(run: RunPath, /, *, confirm: Annotated[int | None, count(0)] = None, abandon: Flag = False) -> int:
    """Remove the files of a run that hold personal data: copies, backups, lists. The log stays, and says so.

    Lists every file first. Your own export, links, and files that are not what the run wrote are left.

    Parameters
    ----------
    run: Path
        The place of the run, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside it.
    confirm: int
        Confirm the number of files, as this command lists them without it.
    abandon: bool
        Remove them although rows or memberships remain that could not be resumed without them.
    """
    from bulkdel.commands import forget as command

    return command.forget(run, confirm=confirm, abandon=abandon)


def pack(
    run: RunPath,
    /,
    *,
    out: Path,
    moved: Annotated[list[Path] | None, Parameter(negative="")] = None,
    config: Path | None = None,
    again: Flag = False,
) -> int:
    """Hand a run over: pack its log and all that belongs to it for another machine or user. `unpack` is the other end.

    Takes the export or its copy, exclude files, backups, bad rows, findings and settings, and no secret. A run that is
    under way is refused. From then on the run goes on where the archive is unpacked, and not from this log.

    Parameters
    ----------
    run: Path
        The place of the run, EXPORT.runs/JOB by default or what --run named; or the EXPORT beside it.
    out: Path
        The archive: a new file that only you can read. .tar.zst or .tar.gz.
    moved: Path
        A file of the run that is not where the log says, such as an exclude file; which one it is, its bytes say.
        Repeatable.
    config: Path
        Where the config file of the run is, if it has moved.
    again: bool
        Pack a run once more that was handed over, because the archive is lost.
    """
    from bulkdel.commands import pack as command

    return command.pack(command.PackArguments(run, out, tuple(moved or ()), config, again))


def unpack(archive: Path, /, *, to: Path | None = None) -> int:
    """Unpack a run that was handed over, in a new folder, and print the command that goes on with it.

    Everything is checked before the folder gets its name. Only you can read it.

    Parameters
    ----------
    archive: Path
        What `bulkdel pack` has made.
    to: Path
        The new folder. Default: the name of the archive without its ending, in the current folder.
    """
    from bulkdel.commands import unpack as command

    return command.unpack(archive, to, os.environ)


def jobs() -> int:
    """List the installed jobs: what they do, whether it can be undone, the id types they know, their own options."""
    from bulkdel.parameters import check_type

    for name in job_names():
        try:
            job = load_job(name)
            check_type(job)
        except UsageError as error:  # the other jobs can be used
            result(f"{name}  {error}")
            continue
        result(f"{job.name}  {job.summary}")
        result(f"  {_how_it_is_undone(job)}")
        for id_type in job.id_types.values():
            default = ", the default" if id_type.name == job.id_type_default else ""
            result(f"  --id-type {id_type.name:<14} {id_type.shape_text}{default}")
        for option, text in described(plan, job):
            result(f"  {option:<24} {text}".rstrip())
    return 0


def _how_it_is_undone(job: Job) -> str:
    if job.undo is None:
        return "cannot be undone"
    if job.target_state.absence_reaches:
        return f"cannot be undone; {job.undo} makes new accounts from what --backup has kept (`bulkdel restore`)"
    return f"can be undone by {job.undo}"


def notify_test(*, settings: NotifySettings | None = None) -> int:
    """Tell every place of --notify and --on-event once, and print what each answered."""
    from bulkdel.commands.notices import notify_test as command

    tables_with({}, os.environ)  # refuses a misspelt variable
    return command(settings or NotifySettings(), os.environ)


def config_example() -> int:
    """Print a config file with every setting, its default and what it does."""
    from importlib.resources import files

    result(files("bulkdel").joinpath("config.example.toml").read_text(encoding="utf-8").rstrip("\n"))
    return 0


def guides(topic: Topic | None = None, /) -> int:
    """Read the guides without a network: the list, one of them, or the lines with a word.

    Parameters
    ----------
    topic: str
        The name of a guide or of a command, or a word such as an option or a name of the vendor's.
    """
    from bulkdel.commands.guides import guide_names, show_guide

    if topic in set(make_app(ConfigFile())) - guide_names():
        return run_app([topic, "--help"])
    return show_guide(topic)


def install_completion(*, shell: Literal["bash", "zsh", "fish"] | None = None) -> int:
    """Install completion of commands, options and file names for your shell.

    Parameters
    ----------
    shell: str
        Default: the shell that this command is typed in.
    """
    from cyclopts.completion import ShellDetectionError, detect_shell

    try:
        found = shell or detect_shell()
        path = make_app(ConfigFile(), listed=True, for_shell=True, all_options=True).install_completion(shell=found)
    except ShellDetectionError:
        raise UsageError("the shell could not be detected. Name it: --shell bash, zsh or fish") from None
    except OSError as error:
        raise FileFailed(f"{error.filename}: {error.strerror}. Completion is not installed.") from error
    result(f"Completion is installed: {path}. It works in the next shell that you open.")
    if found == "zsh":
        result("zsh also needs `autoload -Uz compinit && compinit` in ~/.zshrc, which most set-ups have.")
    return 0


def make_app(
    config: ConfigFile,
    *,
    listed: bool = False,
    job: Job | None = None,
    for_shell: bool = False,
    approved: PlanFile | None = None,
    all_options: bool = False,
) -> App:
    """Build the commands.

    listed: the texts of all commands will be shown, so those of the jobs are loaded too. job: `run`, `plan` and
    `restore` have the options of this job. for_shell: the commands are not called, but completed by a shell.
    approved: the plan that `run` goes by. all_options: the help of a command shows every option.
    """
    app = App(
        name="bulkdel",
        help=HELP,
        help_epilogue=EPILOGUE,
        version=f"bulkdel {version('bulkdel')}",
        default_parameter=Parameter(allow_repeating=True),
        config=[Env(ENV_PREFIX, command=False, show=False)],
        console=Console(file=Stdout()),  # type: ignore[arg-type]  # it needs no more than a text stream
        error_console=Console(file=stderr_log()),  # type: ignore[arg-type]
    )
    sources = [*app.config, secrets_in_files, config]
    for command, its_sources in ((run, [*sources, source_of(approved)]), (plan, sources)):
        if for_shell:
            app.command(for_completion(command))
        else:
            app.command(with_options_of(job, command), config=its_sources, **_helped(command, all_options=all_options))
    app.command(show, config=[no_source], help_epilogue=SHOW_EPILOGUE)
    app.command(with_options_of(job, restore), config=sources, **_helped(restore, all_options=all_options))
    app.command(resume, config=[no_source], help_epilogue=EPILOGUE)
    app.command(status, config=[no_source], help_epilogue=STATUS_EPILOGUE)
    app.command(ctl, config=[no_source], help_epilogue=CTL_EPILOGUE)
    app.command(results, config=[no_source], help_epilogue=RESULTS_EPILOGUE)
    app.command(report, config=[no_source], help_epilogue=REPORT_EPILOGUE)
    app.command(verify, config=sources, **_helped(verify, all_options=all_options))
    app.command(forget, config=[no_source], help_epilogue=FORGET_EPILOGUE)
    app.command(pack, config=[no_source], help_epilogue=PACK_EPILOGUE)
    app.command(unpack, config=[no_source], help_epilogue=UNPACK_EPILOGUE)
    app.command(make_batch())
    app.command(jobs, help_epilogue=" ")
    settings_file = App(name="config", help="Settings in a file.", help_epilogue=" ")
    settings_file.command(config_example, name="example")
    app.command(settings_file)
    app.command(guides, name="help", config=[no_source], help_epilogue=" ")
    notifications = App(name="notify", help="Notifications about a run.", help_epilogue=NOTIFY_EPILOGUE)
    notifications.command(notify_test, name="test", config=sources, help_epilogue=NOTIFY_EPILOGUE)
    app.command(notifications)
    app.command(install_completion, name="--install-completion", help_epilogue=" ")
    _add_job_commands(app, listed=listed)
    return app


def _helped(command: Callable[..., int], *, all_options: bool) -> dict[str, Any]:
    """How the help of a command with many options is shown: the everyday options and examples, or everything."""
    name = command.__name__
    ends = VERIFY_EPILOGUE if command is verify else EPILOGUE
    return {
        "help_flags": sorted(HELP_FLAGS),
        "help_prologue": "  \n".join(("Examples:", *EXAMPLES[name])),
        "help_epilogue": ends if all_options else f"The other options, and the exit codes: `bulkdel {name} {HELP_ALL}`",
        "default_parameter": None if all_options else Parameter(show=False),
    }


def _add_job_commands(app: App, *, listed: bool) -> None:
    """Add the commands that come with the jobs (`sandbox`, `demo`, `job`). The engine knows only their entry points.

    Each is a cyclopts App with an epilogue of its own: the exit codes above are those of a run. It is loaded when it is
    called: a run has no use for the sandbox's web server.
    """
    taken = set(app)
    for point in sorted(installed("bulkdel.commands"), key=lambda point: point.name):
        if point.name not in taken:  # a package cannot replace `run`
            command = point.load() if listed else f"{point.module}:{point.attr}"
            app.command(command, name=point.name)
            taken.add(point.name)


def _check_text(words: Sequence[str]) -> None:
    """Refuse a name that cannot be written to the log, or printed in a command to type.

    Only typed words are checked for what steers a terminal: a name may come from a folder of others, a variable does
    not.
    """
    options = [value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)]
    for word in words:
        if steers(word):
            raise UsageError(
                f"{printable(word)!r}: write it as one line of printable characters. A file with such a name: rename "
                "it, or make a link to it (ln -s) and name that"
            )
    for word in (*words, *options):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{printable(word)}: is not UTF-8, so it could not be typed again. Rename the file, or make a link to "
                "it (ln -s) and name that"
            ) from None


def _check_gone(words: Sequence[str], job: Job | None) -> None:
    """Refuse an option that is gone, and name what takes its place. A job may have an option of that name."""
    if not (words and words[0] in EXAMPLES):
        return
    typed = {word.partition("=")[0] for word in words} - (options_of(job).keys() if job is not None else set())
    for old, instead in INSTEAD.items():
        if option_of(old) in typed:
            raise UsageError(f"{option_of(old)} is gone. In its place: {instead}")


def _check_folder() -> None:
    """Refuse to start in a folder with a name that cannot be written to the log."""
    try:
        folder = os.fsencode(Path.cwd())
    except OSError as error:
        raise UsageError(f"the current folder: {error.strerror}. Change to a folder that exists") from error
    name = folder.decode(errors="replace")
    if name.encode() != folder or steers(name):
        why = "is not one line of printable characters" if steers(name) else "is not UTF-8"
        raise UsageError(f"{shown(name)}: the name of the current folder {why}. Start from another folder")


def run_app(words: list[str]) -> int:
    """Run one command line; returns the exit code. Every error becomes a message."""
    forget_kubernetes()
    open_log(json=log_format(words, os.environ) == "json")
    try:
        code = _call(words)
    except BulkdelError as error:
        say_error(error)
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - a bug in this program or in a job; the log has the state of the run
        from bulkdel.job import job_failed

        code = BulkdelError.exit_code
        if failed := job_failed(error) or of_the_machine(error):
            say_error(failed)
            code = failed.exit_code
        else:
            say(
                f"{trace_of(error)}\nbulkdel: this is a bug in this program; please report it. The log is "
                "intact: the same command resumes the run.",
                "bug",
                level="error",
                exit_code=code,
            )
    detach_stdio()
    return code if isinstance(code, int) else 0


def _call(words: list[str]) -> int:
    """Call the command of these words; returns the exit code. Raises what the command raises."""
    config, job = ConfigFile(), None
    try:
        _check_text(words)
        approved = plan_named(words, os.environ)
        name = approved.names[0] if approved is not None else os.environ.get(JOB)
        words = with_job(words, name, lambda job: make_app(ConfigFile(), job=job))
        job = find_job(words, lambda job: make_app(ConfigFile(), job=job))
        _check_gone(words, job)
        if job is not None:
            named = {"job": job.name}
            stderr_log().know(lambda: named)
        check_job(approved, job, os.environ)
        listed, all_options = not words or words[0].startswith("-"), HELP_ALL in words
        app = make_app(config, listed=listed, job=job, approved=approved, all_options=all_options)
        command, bound, injected = app.parse_args(words, exit_on_error=False, print_error=False, verbose=False)
    except CycloptsError as error:
        raise refusal_of(error, words, job, make_app(config, job=job)) from error
    given = {"given": Invocation(words, config, approved)} if "given" in injected else {}
    code: object = command(*bound.args, **bound.kwargs, **given)
    return code if isinstance(code, int) else 0
