"""`bulkdel demo`: the real command against a sandbox, as a user would type it, and a count of everything at the end.

Plan → run, interrupted half-way → status → the same run again → results → its summary compared with what the sandbox
saw. Every number that it prints comes from the command or from the sandbox. The command runs as a process of its own,
the sandbox on a thread of this one.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bulkdel.engine.shutdown import Interrupted, Signals
from bulkdel.errors import BulkdelError, FileFailed, UsageError
from bulkdel.output import result
from bulkdel_jobs.genauth.credentials import KEY_ID, KEY_SECRET
from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, Sandbox, Switches, serve_in_thread

UNKNOWN, POISONOUS, DUPLICATE = 50, 3, 20
"""Ids that do not exist, users that the sandbox refuses to delete (422), and rows that repeat an id."""

HEAD = 100
"""The unknown ids are among so many rows at the beginning: two chunks, which are finished before the interruption.

An id that is in doubt and does not exist would count as deleted: the resumed run cannot tell since when it is gone."""

LATENCY_S = 0.02
"""Of the sandbox: about what a service on the same continent takes."""

LOOK_S = 0.005
"""How often the demo looks how far the sandbox is."""

EXPORT = "users.jsonl"
LOG = f"{EXPORT}.checkpoint.jsonl"

KEYS = {KEY_ID: SANDBOX_KEY_ID, KEY_SECRET: SANDBOX_KEY_SECRET}


class Unexpected(BulkdelError):
    """The demonstration did not go as it says it does."""

    exit_code = 1


def make_up(users: int, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Make up (the users, those of them that are refused, the rows of the export)."""
    ids = [f"{rng.getrandbits(96):024x}" for _ in range(users + UNKNOWN)]
    head, others = ids[:HEAD], ids[HEAD:]
    rows = [*others, *rng.sample(others, DUPLICATE)]
    return ids[UNKNOWN:], rng.sample(others, POISONOUS), rng.sample(head, HEAD) + rng.sample(rows, len(rows))


def show(folder: Path | None, users: int, rate: float) -> int:
    """Show everything. Returns 0 if the counts agree; raises Unexpected when they do not, or anything else differs."""
    with Signals():
        place = _folder(folder)
        try:
            _show(place, users, rate)
        except Interrupted as interrupted:
            result(f"\nThe demo was interrupted. What it wrote is in {place}.")
            return interrupted.exit_code
    return 0


def _folder(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="bulkdel-demo-"))
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if any(wanted.iterdir()):
            raise UsageError(f"--dir {wanted}: is not empty; name an empty directory or a new one")
    except OSError as error:
        raise UsageError(f"--dir {wanted}: {error.strerror}") from error
    return wanted.absolute()


def _show(folder: Path, count: int, rate: float) -> None:
    users, poisonous, rows = make_up(count, random.Random())  # noqa: S311 - made-up ids
    try:
        (folder / EXPORT).write_bytes(b"".join(orjson.dumps({"userId": id_}) + b"\n" for id_ in rows))
    except OSError as error:
        raise FileFailed(f"{folder / EXPORT}: {error.strerror}") from error
    result(
        f"A sandbox that looks like GenAuth has {count:,} users. {folder / EXPORT} lists them all,\n"
        f"and with them {UNKNOWN} ids that do not exist and {DUPLICATE} rows that repeat an id. The sandbox refuses\n"
        f"every request with an unknown id in it, and {POISONOUS} of the users it refuses to delete."
    )
    refusals = dict.fromkeys(poisonous, (422, None))
    switches = Switches(unknown_ids="refuse", latency_s=LATENCY_S, jitter_s=LATENCY_S, poisonous=refusals)
    with serve_in_thread(Pool.from_ids(users), switches) as sandbox:
        result(f"\n$ cd {shlex.quote(str(folder))}\n$ export {' '.join(f'{name}={key}' for name, key in KEYS.items())}")
        summary, refused = _run_commands(folder, sandbox, users[: HEAD - UNKNOWN], rate)
        lines, agree = compare(summary, refused, rows, sandbox)
    result("\nbulkdel's summary, and what the sandbox itself saw:\n")
    result("\n".join(lines))
    result(
        f"\nEvery row of the export and everything that happened is in {folder}.\n"
        f"Delete it when you have seen enough: rm -r {shlex.quote(str(folder))}\n"
    )
    if not agree:
        raise Unexpected("the counts differ: this is a bug of bulkdel or of its sandbox")
    result("The counts agree exactly: every row of the export is accounted for.")


def _run_commands(folder: Path, sandbox: Sandbox, head: Sequence[str], rate: float) -> tuple[dict[str, Any], list[str]]:
    """Run the commands. Returns the summary of the run, and the ids that it says were refused.

    head: the users at the beginning of the export. The run is interrupted when they and half of all are deleted.
    """

    def is_half_way() -> bool:
        pool = sandbox.pool
        return pool.deleted >= len(pool) and all(pool.find_alive("user_id", id_) is None for id_ in head)

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None and not is_half_way():
            time.sleep(LOOK_S)
        if process.poll() is not None:
            raise Unexpected(f"it ended with code {process.returncode} before it was interrupted; try a lower --rate")
        process.send_signal(signal.SIGINT)

    result("\n1. What would be done? A plan reads and checks everything, and deletes nothing.")
    plan = _bulkdel(folder, ["plan", "delete-users", EXPORT, "--host", sandbox.url, "--rate", f"{rate:g}"])
    run = confirmed(plan)
    result("\n2. The command that the plan ends with. Half-way it gets what Ctrl-C sends, SIGINT.")
    _bulkdel(folder, run, 128 + signal.SIGINT, interrupt)
    result("\n3. How far is it?")
    _bulkdel(folder, ["status", LOG])
    result("\n4. The same command again goes on where it stopped. Refused ids make it exit with 1.")
    _bulkdel(folder, run, 1)
    result("\n5. Which ids were refused, and why?")
    refused = _bulkdel(folder, ["results", LOG, "--only", "refused"])
    result("\n6. Once more, for a program to read: a finished run repeats its summary and sends nothing.")
    before = sandbox.ledger.requests
    summary = _bulkdel(folder, [*run, "--json"], 1)
    if sandbox.ledger.requests != before:
        raise Unexpected(f"it did send something: {sandbox.ledger.requests - before} requests")
    return orjson.loads(summary.splitlines()[-1]), [orjson.loads(line)["id"] for line in refused.splitlines()]


def _bulkdel(
    folder: Path,
    words: Sequence[str],
    expected: int = 0,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> str:
    """Show a command line, run it to its end, show and return its stdout. Raises Unexpected for another exit code.

    If the demo itself is stopped, so is the command. No setting and no real key of the user reaches it.
    """
    result(f"\n$ {shlex.join(['bulkdel', *words])}")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BULKDEL_", "GENAUTH_"))}
    command = [sys.executable, "-P", "-m", "bulkdel", *words]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=folder, env=environ | KEYS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            meanwhile(process)
            written = process.communicate()[0].decode()
        except BaseException:
            process.terminate()
            raise
    result(f"{written}[exit code {process.returncode}]")
    if process.returncode != expected:
        raise Unexpected(f"the demo expected exit code {expected} here, not {process.returncode}")
    return written


def confirmed(plan: str) -> list[str]:
    """Find the confirmed command that a plan ends with, without the program's name."""
    words = shlex.split(plan.rstrip().rpartition("\n")[2])
    if words[:2] != ["bulkdel", "run"]:
        raise Unexpected("the plan does not end with the command that runs it")
    return words[1:]


def compare(
    summary: Mapping[str, Any], refused: Sequence[str], rows: Sequence[str], sandbox: Sandbox
) -> tuple[list[str], bool]:
    """Compare a summary with the sandbox's state. Returns the table, line by line, and whether all of it agrees."""
    distinct = set(rows)
    left = {id_ for id_ in distinct if sandbox.pool.find_alive("user_id", id_) is not None}
    never = {id_ for id_ in distinct if sandbox.pool.find("user_id", id_) is None}
    facts = [
        ("deleted", summary["deleted"], sandbox.ledger.deleted, "users that it deleted"),
        ("absent", summary["absent"], len(never), "ids of the export that it never had"),
        ("refused", summary["refused"], len(left), "users of the export that still exist"),
        ("", len(left & set(refused)), len(left), "of them named in the results with the reason"),
        ("duplicate", summary["duplicate"], len(rows) - len(distinct), "rows that repeat an id"),
        *((name, summary[name], 0, "") for name in ("unknown", "excluded", "invalid", "remaining")),
        ("rows", summary["rows"], len(rows), "rows in the export"),
    ]
    lines = [f"  {'':<10} {'bulkdel':>9} {'sandbox':>12}"]
    for name, ours, theirs, words in facts:
        differs = "" if ours == theirs else "   <-- differs"
        lines.append(f"  {name:<10} {ours:>9,} {theirs:>12,}   {words}{differs}".rstrip())
    lines.append(f"\n  {sandbox.ledger.requests:,} requests reached the sandbox, plan and look-ups included;")
    lines.append(f"  {sandbox.ledger.busiest()} of them in its busiest second.")
    return lines, all(ours == theirs for _, ours, theirs, _ in facts)
