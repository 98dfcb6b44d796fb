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

from bulkdel.engine.signals import Interrupted, Signals
from bulkdel.errors import BulkdelError, FileFailed, NotAcceptable, UsageError
from bulkdel.output import result
from bulkdel.parent import for_child, from_here
from bulkdel_jobs.genauth.access_key import KEY_ID, KEY_SECRET
from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, Switches, serve_in_thread

UNKNOWN, POISONOUS, DUPLICATE = 50, 3, 20
"""Ids that do not exist, users that the sandbox refuses to delete (422), and rows that repeat an id."""

HEAD = 100
"""The unknown ids are among so many rows at the beginning: two chunks, which are finished before the interruption.

An id that is in doubt and does not exist would count as deleted: the resumed run cannot know that it never existed."""

LATENCY_S = 0.02
"""Of the sandbox: about what a service on the same continent takes."""

LOOK_S = 0.005
"""Pause between two looks at how far the run is."""

EXPORT = "users.jsonl"

KEYS = {KEY_ID: SANDBOX_KEY_ID, KEY_SECRET: SANDBOX_KEY_SECRET}


class Unexpected(BulkdelError):
    """The demonstration did not go as it says it does."""

    exit_code = 1


def _empty_place(folder: Path | None) -> Path:
    """The folder, made where it is not there; None: a temporary one. Raises UsageError."""
    try:
        place = Path(folder or tempfile.mkdtemp(prefix="bulkdel-demo-")).absolute()
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"--dir {folder}: is not an empty directory; name one, or a new one")
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--dir {folder or tempfile.gettempdir()}: {error.strerror}") from error
    return place


def show(folder: Path | None, story: Callable[[Path], None]) -> int:
    """Tell a story in a folder; None: in a temporary one. Returns 0. Raises Unexpected where it goes another way."""
    with Signals():
        place = _empty_place(folder)
        try:
            story(place)
        except OSError as error:
            raise FileFailed(f"{place}: {error.strerror}") from error
        except Interrupted as interrupted:
            result(f"\nThe demo was interrupted. What it wrote is in {place}.")
            return interrupted.exit_code
    return 0


def make_up(users: int, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Make up (the users, those of them that are refused, the rows of the export).

    The refused ones are in the last quarter, behind the interruption. A chunk that is interrupted while it is split is
    in doubt, and the resumed run would wait seven seconds for look-ups that may lag.
    """
    ids = [f"{rng.getrandbits(96):024x}" for _ in range(users + UNKNOWN)]
    head, others = ids[:HEAD], ids[HEAD:]
    twice = [*others, *rng.sample(others, DUPLICATE)]
    rows = rng.sample(head, HEAD) + rng.sample(twice, len(twice))
    return ids[UNKNOWN:], rng.sample(sorted({*rows[-len(rows) // 4 :]}), POISONOUS), rows


def whole_run(folder: Path, *, count: int, rate: float) -> None:
    """Show a whole run. count: of the users to delete. rate: requests/s. Raises Unexpected where the counts differ."""
    users, poisonous, rows = make_up(count, random.Random())  # noqa: S311 - made-up ids
    (folder / EXPORT).write_bytes(b"".join(orjson.dumps({"userId": id_}) + b"\n" for id_ in rows))
    result(
        f"A sandbox that looks like GenAuth has {count:,} users. {folder / EXPORT} lists them all,\n"
        f"and with them {UNKNOWN} ids that do not exist and {DUPLICATE} rows that repeat an id. The sandbox refuses\n"
        f"every request with an unknown id in it, and {POISONOUS} of the users it refuses to delete.\n\n"
        f"$ cd {shlex.quote(str(folder))}\n$ export {' '.join(f'{name}={key}' for name, key in KEYS.items())}"
    )
    pool, head = Pool.from_ids(users), users[: HEAD - UNKNOWN]

    def is_half_way() -> bool:
        return pool.deleted >= len(pool) and all(pool.find_alive("user_id", id_) is None for id_ in head)

    refusals = dict.fromkeys(poisonous, (422, None))
    switches = Switches(unknown_ids="refuse", latency_s=LATENCY_S, jitter_s=LATENCY_S, poisonous=refusals)
    with serve_in_thread(pool, switches) as sandbox:
        caption = "1. What would be done? A plan reads and checks everything, and deletes nothing."
        plan = step(folder, caption, "plan", "delete-users", EXPORT, "--host", sandbox.url, "--rate", f"{rate:g}")
        run = shlex.split(plan.splitlines()[-1])[1:]
        caption = "2. The command that the plan ends with. Half-way it gets what Ctrl-C sends, SIGINT."
        step(folder, caption, *run, code=128 + signal.SIGINT, interrupt=is_half_way)
        step(folder, "3. How far is it?", "status", EXPORT)
        step(folder, "4. The same command again goes on. Refused ids make it exit with 1.", *run, code=1)
        results = step(folder, "5. Which ids were refused, and why?", "results", EXPORT, "--only", "refused")
        before = sandbox.ledger.requests
        caption = "6. Once more, for a program to read: a finished run repeats its summary and sends nothing."
        summary = orjson.loads(step(folder, caption, *run, "--json", code=1).splitlines()[-1])
        if sandbox.ledger.requests != before:
            raise Unexpected(f"it did send something: {sandbox.ledger.requests - before} requests")
    refused = {orjson.loads(line)["id"] for line in results.splitlines()}
    lines, agree = compare(summary, refused, rows, pool)
    result(
        "\nbulkdel's summary, and what the sandbox itself saw:\n\n" + "\n".join(lines) + "\n\n"
        f"  {sandbox.ledger.requests:,} requests reached the sandbox, plan and look-ups included;\n"
        f"  {sandbox.ledger.busiest()} of them in its busiest second.\n\n"
        f"Every row of the export and everything that happened is in {folder}.\n"
        f"Delete it when you have seen enough: rm -r {shlex.quote(str(folder))}\n"
    )
    if not agree:
        raise Unexpected("the counts differ: this is a bug of bulkdel or of its sandbox")
    result("The counts agree exactly: every row of the export is accounted for.")


def step(folder: Path, caption: str, *words: str, code: int = 0, interrupt: Callable[[], bool] | None = None) -> str:
    """Show a caption and a command line, run it to its end, show and return its stdout; of a refusal, its stderr.

    interrupt: the command gets SIGINT as soon as this is true. Raises Unexpected for another exit code than `code`.
    If the demo itself ends, so does the command. No setting and no real key of the user reaches it.
    """
    result(f"\n{caption}\n\n$ {shlex.join(['bulkdel', *words])}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKDEL_", "GENAUTH_"))}
    environ = {**from_here(kept), **KEYS, **for_child()}
    command = [sys.executable, "-P", "-m", "bulkdel", *words]
    stderr = subprocess.STDOUT if code == NotAcceptable.exit_code else None
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        try:
            if interrupt is not None:
                while process.poll() is None and not interrupt():
                    time.sleep(LOOK_S)
                process.send_signal(signal.SIGINT)
            written = process.communicate()[0].decode()
        except BaseException:
            process.terminate()
            raise
    result(f"{written}[exit code {process.returncode}]")
    if process.returncode != code:
        advice = "" if interrupt is None else "; try a lower --rate"
        raise Unexpected(f"the demo expected exit code {code} here, not {process.returncode}{advice}")
    return written


def compare(summary: Mapping[str, Any], refused: set[str], rows: Sequence[str], pool: Pool) -> tuple[list[str], bool]:
    """Compare a summary with the state of the users. Returns a table, line by line, and whether all of it agrees.

    refused: the ids that the results name as refused.
    """
    distinct = set(rows)
    left = {id_ for id_ in distinct if pool.find_alive("user_id", id_) is not None}
    facts = [
        ("deleted", summary["deleted"], pool.deleted),
        ("absent", summary["absent"], sum(pool.find("user_id", id_) is None for id_ in distinct)),
        ("refused", summary["refused"], len(left)),
        ("  named", len(left & refused), len(left)),
        ("duplicate", summary["duplicate"], len(rows) - len(distinct)),
        *((name, summary[name], 0) for name in ("unknown", "excluded", "invalid", "remaining")),
        ("rows", summary["rows"], len(rows)),
    ]
    lines = [f"  {'':<10} {'bulkdel':>9} {'sandbox':>12}"]
    for name, ours, theirs in facts:
        lines.append(f"  {name:<10} {ours:>9,} {theirs:>12,}" + ("" if ours == theirs else "   <-- differs"))
    return lines, all(ours == theirs for _, ours, theirs in facts)
