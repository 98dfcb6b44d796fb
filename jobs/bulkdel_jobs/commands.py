"""The commands `bulkdel sandbox`, `bulkdel demo` and `bulkdel job`, found by the entry point `bulkdel.commands`.

`bulkdel --help` loads this module, so it loads a web server only when a command runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from bulkdel.errors import UsageError
from bulkdel_jobs.sandbox_switches import Switches

sandbox = App(name="sandbox", help_epilogue=" ")
demo = App(name="demo", help_epilogue=" ")
job = App(
    name="job",
    help="For the authors of jobs: start a new one, check one.",
    help_epilogue=" ",
    config=[lambda *_: None],  # not from the environment: BULKDEL_HOST is the host of a run
)

DEMO_USERS, DEMO_RATE = 5_000, 50.0
"""How many users `bulkdel demo` deletes, and its requests a second."""

SERVING = Group("Which users it has, and where it listens", sort_key=1)


@Parameter(name="*", group=SERVING)
@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """The options of `bulkdel sandbox` that are no switches."""

    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 0
    """Port on 127.0.0.1; 0 takes a free one."""

    users: str = "5000"
    """The users: a number of made-up ones, or a file of ids as `bulkdel run` reads it (JSON Lines or CSV)."""

    plain: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """All users are alike: Activated, and signed in years ago. Default: last sign-ins up to today, some users created
    lately, some suspended, and some in groups and with roles."""

    id_type: str = "user_id"
    """What kind of id --users FILE holds, and --write-ids writes. `bulkdel jobs` lists the kinds."""

    id_field: str | None = None
    """Where the id stands in --users FILE, as for `bulkdel run`."""

    write_ids: Path | None = None
    """Write the ids of all users to this new file: an export to practise with."""

    write_csv: Path | None = None
    """Write most of the users to this new file as a CRM exports them: CSV with names, emails, duplicates, bad rows."""

    write_vips: Path | None = None
    """Write a few users, to be kept, to this new file: a workbook (.xlsx), else CSV."""

    groups: Annotated[tuple[str, ...], Parameter(name="--group", negative="", show_default=False)] = ()
    """CODE of a group that all these users are in. May be repeated."""

    roles: Annotated[tuple[str, ...], Parameter(name="--role", negative="", show_default=False)] = ()
    """CODE of a role that all these users have. May be repeated."""

    namespace: str = "default"
    """Namespace of the roles of --role."""

    public_accounts: str = "0"
    """The public accounts, in the same form as --users. Made-up ones have the ids of as many made-up users."""

    seed: int = 0
    """Seed of the faults by chance: the same seed and the same requests give the same faults."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `bulkdel job check`: how a job is checked."""

    host: str | None = None
    """Base URL of an API to sign in at and to look ids up. At a loopback address the ids of --id are acted on."""

    id_type: str | None = None
    """What kind of id is checked. Default: the job's default."""

    ids: Annotated[tuple[str, ...], Parameter(name="--id", negative="", show_default=False)] = ()
    """An id of that kind, for a kind that no made-up id fits. May be repeated. At a loopback --host it is acted on."""

    parameters: Annotated[tuple[str, ...], Parameter(name="--parameter", negative="", show_default=False)] = ()
    """NAME=VALUE: a parameter of the job. May be repeated. Default: the job's own, or a made-up value."""

    config: Path | None = None
    """TOML file with the job's table."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print one JSON object."""


@sandbox.default
def serve_sandbox(*, options: SandboxOptions | None = None, switches: Switches | None = None) -> int:
    """Serve a look-alike of the GenAuth API to practise on, until Ctrl-C. It deletes, but only its own users.

    Prints one JSON line on stdout (url, pool, key_id, key_secret, users), and on stderr how to point bulkdel at it.
    While it runs, GET /sandbox/ledger shows what it saw and did, and POST /sandbox/switches changes the rules. With the
    options as they are nothing goes wrong.
    """
    from bulkdel_jobs.sandbox.command import run_sandbox  # noqa: PLC0415 - loads a web server

    return run_sandbox(options or SandboxOptions(), switches or Switches())


@demo.default
def show_demo(
    *,
    full: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    dir: Path | None = None,  # noqa: A002 - the option is called so
    users: Annotated[int, Parameter(validator=Number(gte=1_000, lte=1_000_000))] = DEMO_USERS,
    rate: Annotated[float, Parameter(validator=Number(gt=0, lte=10_000))] = DEMO_RATE,
) -> int:
    """Show a whole run on a sandbox: plan, run, interrupt, status, resume, and a count against the sandbox's own.

    Needs no credentials and no network. Exits with 0 only if the counts of bulkdel and of the sandbox agree exactly.

    Parameters
    ----------
    full: bool
        Walk the recipe of README.md instead: the export of a CRM, VIPs, a backup, a stop, and three users back.
    dir: Path
        Where the export and its run are written: an empty directory, or a new one. Default: a new temporary one.
    users: int
        How many users to delete.
    rate: float
        Requests a second.
    """
    from bulkdel_jobs.demo import show, whole_run  # noqa: PLC0415 - loads a web server
    from bulkdel_jobs.recipe import recipe  # noqa: PLC0415 - the same

    if full and (users, rate) != (DEMO_USERS, DEMO_RATE):
        raise UsageError("--full: the recipe has users and a rate of its own; leave out --users and --rate")
    return show(dir, recipe if full else partial(whole_run, count=users, rate=rate))


@job.command
def new(name: str, /) -> int:
    """Write a package with a new job, its test and a look-alike of its API, into a new folder of this name.

    The job deletes one id a request with a bearer key. It prints the commands that install and try it.

    Parameters
    ----------
    name: str
        Name of the job: lower-case words with - between them, such as delete-members.
    """
    from bulkdel_jobs.kit.new import write_job  # noqa: PLC0415 - a run has no use for it

    return write_job(name)


@job.command
def check(name: str, /, *, options: CheckOptions | None = None) -> int:
    """Play the fault catalogue against an installed job, and say what the job gets wrong.

    Everything happens on this machine, at the job's own look-alike, so no API is called. With --host the sign-in and
    the look-ups go to that host. No deletion is ever sent to it, unless it is a loopback address and --id names ids.

    Exit codes: 0 nothing is wrong; 1 something is; 2 usage.

    Parameters
    ----------
    name: str
        The job; `bulkdel jobs` lists them.
    """
    from bulkdel_jobs.kit.check import run_check  # noqa: PLC0415 - loads the network stack

    return run_check(name, options or CheckOptions())
