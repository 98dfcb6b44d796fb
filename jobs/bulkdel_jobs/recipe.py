"""`bulkdel demo --full`: the recipe of README.md, from the export of a CRM to three users that come back.

Each command is the real one. What it begins with is what the command before it has printed.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from bulkdel.errors import NotAcceptable
from bulkdel.output import result
from bulkdel_jobs.demo import KEYS, Unexpected, step
from bulkdel_jobs.sandbox import SANDBOX_POOL_ID, People, Pool, serve_in_thread
from bulkdel_jobs.sandbox.command import VIP, crm_rows, vip_rows, write_rows
from bulkdel_jobs.sandbox.people import give_access
from bulkdel_jobs.sandbox.users import iso

USERS, FIRST, BACK = 5_000, "1000", 3
"""Users of the sandbox; how many the first session deletes; how many come back."""

CRM, RUN = "crm.csv", "crm.csv.runs/delete-users"


def recipe(folder: Path) -> None:
    """Walk the recipe in this folder. Raises Unexpected where a command or the sandbox says something else."""
    pool = Pool.generated(USERS, People())
    give_access(pool)
    # Both libraries come with the extra `excel`.
    vips = "vips.xlsx" if find_spec("xlsxwriter") and find_spec("python_calamine") else "vips.csv"
    write_rows("--dir", folder / CRM, crm_rows(pool))
    write_rows("--dir", folder / vips, vip_rows(pool))
    result(
        f"A sandbox that looks like GenAuth has {USERS:,} users. {CRM} is what a CRM exports: most of them by email,\n"
        f"with duplicates and rows without an address. {vips} lists users to keep.\n\n"
        f"$ cd {shlex.quote(str(folder))}\n$ export {' '.join(f'{name}={key}' for name, key in KEYS.items())}"
    )
    since = iso(datetime.now(UTC) - timedelta(days=90))
    kept = [n for n in pool.alive() if n % VIP == 0 or (pool.user(n)["lastLogin"] or "") >= since]
    with serve_in_thread(pool) as sandbox:
        _walk(folder, vips, sandbox.url, pool)
    left = sum(map(pool.is_alive, kept))
    result(
        f"\nThe sandbox itself counts {pool.deleted:,} users deleted and {pool.users_ever - USERS} created since.\n"
        f"Of the {len(kept):,} VIPs and users of the last 90 days it still has {left:,}.\n\n"
        f"Everything is in {folder}: the report is report.html, the run {RUN}.\n"
        f"Delete it when you have seen enough: rm -r {shlex.quote(str(folder))}"
    )
    if left < len(kept):
        raise Unexpected("a user that was to be kept is gone: this is a bug of bulkdel or of its sandbox")


def _walk(folder: Path, vips: str, url: str, pool: Pool) -> None:
    host, confirm = ("--host", url), ("--pool", SANDBOX_POOL_ID)
    caption = "1. A plan of the file as it came. It is refused, and says how to read the file."
    refused = step(folder, caption, "plan", "delete-users", CRM, *host, code=NotAcceptable.exit_code)
    words = [*shlex.split(refused.splitlines()[-1])[1:], "--exclude", vips, "--spare", "active-since=90d", "--backup"]
    caption = "2. The command that it prints, which now spares VIPs and users of the last 90 days, and keeps a backup."
    plan = step(folder, caption, *words)
    run = shlex.split(plan.splitlines()[-1])[1:]
    caption = f"3. The command that the plan prints. --limit {FIRST} stops it, as --not-after 18:00 does at six."
    step(folder, caption, *run, "--limit", FIRST)
    ids = run[run.index("--confirm") + 1]
    step(folder, "4. It goes on where it stopped.", "resume", RUN, *host, "--confirm", ids, *confirm)
    gone = [str(pool.user(number)["email"]) for number in range(USERS) if not pool.is_alive(number)]
    step(folder, "5. Are they gone? Each is looked up.", "verify", RUN, *host)
    step(folder, "6. The report, for the manager.", "report", RUN, "--out", "report.html")
    only = [word for email in gone[:BACK] for word in ("--only", email)]
    caption = "7. Three of them have to come back."
    step(folder, caption, "restore", RUN, *host, "--passwords", "none", *only, "--confirm", str(BACK), *confirm)
    step(folder, "8. Are they there?", "verify", f"{RUN}/restore-1", *host)
