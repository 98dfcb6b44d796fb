"""Commands that come with the jobs: `bulkdel sandbox` and `bulkdel demo`, found by the entry point `bulkdel.commands`.

`bulkdel_jobs.sandbox` has the sandbox and its options, `bulkdel_jobs.demo` the demo; the engine knows neither.
`bulkdel --help` imports this module, so it imports nothing that is slow to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from bulkdel_jobs.sandbox.options import Options, switches_of


def sandbox(*, options: Options | None = None) -> int:
    """Serve a look-alike of the GenAuth API to practise on, until Ctrl-C. It deletes, but only its own users.

    Prints one JSON line on stdout (url, pool, key_id, key_secret, users), and on stderr how to point bulkdel at it.
    While it runs, GET /sandbox/ledger tells what it saw and did, and POST /sandbox/switches changes the rules. With the
    options as they are nothing goes wrong.
    """
    from bulkdel_jobs.sandbox.command import stand  # noqa: PLC0415 - a web server is of no use to the list of commands

    options = options or Options()
    return stand(options, switches_of(options))


def demo(
    *,
    dir: Path | None = None,  # noqa: A002 - the option is called so
    users: Annotated[int, Parameter(validator=Number(gte=1_000, lte=1_000_000))] = 5_000,
    rate: Annotated[float, Parameter(validator=Number(gt=0, lte=10_000))] = 50.0,
) -> int:
    """Show a whole run on a sandbox: plan, run, interrupt, status, resume, and a count against the sandbox's own.

    Needs no credentials and no network. Exits with 0 only if what bulkdel says and what the sandbox saw agree exactly.

    Parameters
    ----------
    dir: Path
        Where export and checkpoint are written: an empty directory, or a new one. Default: a new temporary one.
    users: int
        How many users to delete.
    rate: float
        Requests a second.
    """
    from bulkdel_jobs.demo import show  # noqa: PLC0415 - only this command needs it

    return show(dir, users, rate)
