"""`bulkdel demo`: the real command against a sandbox, as a user would type it, and an honest count at the end.

Owns the story: plan → run, interrupted half-way → status → the same run again → its summary held against what the
sandbox saw. Every number that it prints comes from the command or from the sandbox. The command runs as a process of
its own, and the sandbox on a thread of this one, so that its state can be read without asking anybody.
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
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bulkdel.checkpoint.writer import read_entries, read_log
from bulkdel.core.log_entries import Outcome
from bulkdel.engine.shutdown import Interrupted, Signals
from bulkdel.errors import BulkdelError, FileFailed, UsageError
from bulkdel.output import result
from bulkdel_jobs.genauth.credentials import KEY_ID, KEY_SECRET
from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, Sandbox, Switches, serve_in_thread

UNKNOWN = 50
POISONOUS = 3
DUPLICATE = 20

REFUSAL = (422, None)
"""What the sandbox answers to a request with a poisonous id: a business rule refuses."""

LATENCY_S = 0.02
"""Of the sandbox: about what a service on the same continent takes."""

LOOK_S = 0.005
"""Between two looks at how far the sandbox is: a fraction of the time of one request."""

EXPORT = "users.jsonl"
LOG = f"{EXPORT}.checkpoint.jsonl"
COMMAND = (sys.executable, "-P", "-m", "bulkdel")
"""The `bulkdel` of this interpreter, whatever is on PATH or in the folder."""


class Unexpected(BulkdelError):
    """The demonstration did not go as it says it does."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is in the export. users: all who exist, the poisonous ones among them. rows: the export, row by row."""

    users: Sequence[str]
    poisonous: Sequence[str]
    rows: Sequence[str]


def cast_of(users: int, rng: random.Random) -> Cast:
    """Make up everybody: ids that exist, ids that do not, and some rows that repeat an earlier one."""
    made: dict[str, None] = {}
    while len(made) < users + UNKNOWN:
        made[f"{rng.getrandbits(96):024x}"] = None
    ids = list(made)
    there, unknown = ids[:users], ids[users:]
    rows = [*there, *unknown, *rng.sample(there, DUPLICATE)]
    rng.shuffle(rows)
    return Cast(there, rng.sample(there, POISONOUS), rows)


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `bulkdel` in one folder, and shows what is typed."""

    folder: Path
    environ: Mapping[str, str]

    @contextmanager
    def running(self, words: Sequence[str], **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Show the command line and run it; wait for its end. If the demo itself is stopped, so is the command."""
        result(f"\n$ {shlex.join(['bulkdel', *words])}")
        with subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *words], cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, **popen
        ) as process:
            try:
                yield process
            except BaseException:
                process.terminate()
                raise

    def output(self, words: Sequence[str], code: int) -> str:
        """Run it to its end; show and return what it writes to stdout. Raises Unexpected for another exit code."""
        with self.running(words, stdout=subprocess.PIPE) as process:
            written = process.communicate()[0].decode()
        result(written.rstrip("\n"))
        _check(process.returncode, code)
        return written


def _check(code: int, expected: int) -> None:
    result(f"[exit code {code}]")
    if code != expected:
        raise Unexpected(f"the demo expected exit code {expected} here, not {code}")


def show(folder: Path | None, users: int, rate: float) -> int:
    """Show everything. Returns 0 if the counts agree; raises Unexpected when they do not, or something else is off."""
    with Signals():
        place = _folder(folder)
        try:
            return _show(place, users, rate)
        except Interrupted as interrupted:
            result(f"\nThe demo was interrupted. What it wrote is in {place}.")
            return interrupted.exit_code


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


def _show(folder: Path, users: int, rate: float) -> int:
    cast = cast_of(users, random.Random())  # noqa: S311 - made-up ids
    try:
        (folder / EXPORT).write_bytes(b"".join(orjson.dumps({"userId": id_}) + b"\n" for id_ in cast.rows))
    except OSError as error:
        raise FileFailed(f"{folder / EXPORT}: {error.strerror}") from error
    result(
        f"A sandbox that looks like GenAuth has {users:,} users. {folder / EXPORT} lists them all,\n"
        f"and with them {UNKNOWN} ids that do not exist and {DUPLICATE} rows that repeat an id. The sandbox refuses\n"
        f"every request with an unknown id in it, and {POISONOUS} of the users it refuses to delete."
    )
    switches = Switches(
        unknown_ids="refuse", latency_s=LATENCY_S, jitter_s=LATENCY_S, poisonous=dict.fromkeys(cast.poisonous, REFUSAL)
    )
    with serve_in_thread(Pool.from_ids(cast.users), switches) as sandbox:
        result(f"\n$ cd {shlex.quote(str(folder))}")
        result(f"$ export {KEY_ID}={SANDBOX_KEY_ID} {KEY_SECRET}={SANDBOX_KEY_SECRET}")
        summary, doubtful = _play(Shell(folder, _environ()), sandbox, rate)
        lines, agree = compare(summary, cast.rows, sandbox, folder / LOG, doubtful)
    result("\nbulkdel's summary, and what the sandbox itself saw:\n")
    for line in lines:
        result(line)
    result(
        f"\nEvery row of the export and everything that happened is in {folder}.\n"
        f"Delete it when you have seen enough: rm -r {shlex.quote(str(folder))}\n"
    )
    if not agree:
        raise Unexpected("the counts differ: this is a bug of bulkdel or of its sandbox")
    result("The counts agree exactly: every row of the export is accounted for.")
    return 0


def _environ() -> dict[str, str]:
    """The user's environment without settings for bulkdel or a real key: nothing may lead anywhere but here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKDEL_", "GENAUTH_"))}
    return {**kept, KEY_ID: SANDBOX_KEY_ID, KEY_SECRET: SANDBOX_KEY_SECRET}


def _play(shell: Shell, sandbox: Sandbox, rate: float) -> tuple[dict[str, Any], list[int]]:
    """Go through the commands. Returns the summary of the last, and which rows the interruption left in doubt."""
    result("\n1. What would be done? A plan reads and checks everything, and deletes nothing.")
    words = ["plan", "delete-users", EXPORT, "--host", sandbox.url, "--rate", f"{rate:g}"]
    run = confirmed(shell.output(words, 0))

    result("\n2. The command that the plan ends with. Half-way it gets what Ctrl-C sends, SIGINT.")
    with shell.running(run) as process:
        _interrupt(process, sandbox, sandbox.pool.users_ever // 2)
    _check(process.returncode, 128 + signal.SIGINT)

    result("\n3. How far is it?")
    shell.output(["status", LOG], 0)
    ranges = read_log(shell.folder / LOG).progress.in_doubt.ranges

    result("\n4. The same command again goes on where it stopped. Refused ids make it exit with 1.")
    with shell.running(run) as process:
        process.wait()
    _check(process.returncode, 1)

    result("\n5. Once more, for a program to read: a finished run repeats its summary and sends nothing.")
    before = sandbox.ledger.requests
    summary: dict[str, Any] = orjson.loads(shell.output([*run, "--json"], 1).splitlines()[-1])
    if sandbox.ledger.requests != before:
        raise Unexpected(f"it did send something: {sandbox.ledger.requests - before} requests")
    return summary, [position for start, stop in ranges for position in range(start, stop)]


def confirmed(plan: str) -> list[str]:
    """Find the confirmed command that a plan ends with, without the program's name."""
    words = shlex.split(plan.rstrip().rpartition("\n")[2])
    if words[:2] != ["bulkdel", "run"]:
        raise Unexpected("the plan does not end with the command that runs it")
    return words[1:]


def _interrupt(process: subprocess.Popen[bytes], sandbox: Sandbox, half: int) -> None:
    """Send a real SIGINT once the sandbox has deleted `half`, and wait for the end."""
    while process.poll() is None and sandbox.ledger.deleted < half:
        time.sleep(LOOK_S)
    if process.poll() is not None:
        raise Unexpected(f"it ended with exit code {process.returncode} before it was interrupted; try a lower --rate")
    process.send_signal(signal.SIGINT)
    process.wait()


def compare(
    summary: Mapping[str, Any], rows: Sequence[str], sandbox: Sandbox, log: Path, doubtful: Collection[int] = ()
) -> tuple[list[str], bool]:
    """Hold a summary against the sandbox's own state. Returns the table, line by line, and whether all of it agrees.

    doubtful: positions that were in doubt after the interruption. One of these that never existed is found gone by the
    resumed run, which cannot know that it was gone before, and says `deleted`.
    """
    distinct = dict.fromkeys(rows)
    there = {id_ for id_ in distinct if sandbox.pool.find_alive("user_id", id_) is not None}
    never = {id_ for id_ in distinct if sandbox.pool.find("user_id", id_) is None}
    unseen = len(never & {rows[position] for position in doubtful})
    outcomes = (entry for entry in read_entries(log) if isinstance(entry, Outcome))
    named = {exception["id"] for outcome in outcomes for exception in outcome.exceptions}
    facts: list[tuple[str, int, tuple[int, ...], str]] = [
        (
            "deleted",
            summary["deleted"],
            (sandbox.ledger.deleted, *([unseen] if unseen else [])),
            "users that it deleted",
        ),
        ("absent", summary["absent"], (len(never) - unseen,), "ids of the export that it never had"),
        ("refused", summary["refused"], (len(there),), "users of the export that still exist"),
        ("", len(named & there), (len(there),), "of them named in the checkpoint with the reason"),
        ("duplicate", summary["duplicate"], (len(rows) - len(distinct),), "rows that repeat an id"),
        *((name, summary[name], (0,), "") for name in ("unknown", "excluded", "invalid", "remaining")),
        ("rows", summary["rows"], (len(rows),), "rows in the export"),
    ]
    lines = [f"  {'':<10} {'bulkdel':>9} {'sandbox':>12}"]
    for name, ours, theirs, words in facts:
        mark = "" if ours == sum(theirs) else "   <-- differs"
        told = " + ".join(f"{count:,}" for count in theirs)
        lines.append(f"  {name:<10} {ours:>9,} {told:>12}   {words}{mark}".rstrip())
    if unseen:
        lines.append(
            f"\n  The + {unseen} are ids that never existed. They were under way when the run was interrupted; the"
        )
        lines.append("  resumed run found them gone, like the users sent with them, and nobody can tell since when.")
    lines.append(f"\n  {sandbox.ledger.requests:,} requests reached the sandbox, plan and look-ups included;")
    lines.append(f"  {sandbox.ledger.busiest()} of them in its busiest second.")
    return lines, all(ours == sum(theirs) for _, ours, theirs, _ in facts)
