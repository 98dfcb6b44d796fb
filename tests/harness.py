"""What the end-to-end tests share: the real command as a process, exports on disk, the sandbox as the oracle."""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from bulkdel_jobs.sandbox import (
    DELETE_PATH,
    SANDBOX_KEY_ID,
    SANDBOX_KEY_SECRET,
    SANDBOX_POOL_ID,
    Pool,
    Sandbox,
    Switches,
    serve_in_thread,
)
from tests import forked, messages, printed, second_reader
from tests.places import log_of
from tests.waits import WAIT_MAX_S

POOL = SANDBOX_POOL_ID
DELETIONS = frozenset({DELETE_PATH})
"""For `fault_paths`: faults and latencies of deletions only."""

PROGRAM = (sys.executable, "-m", "bulkdel")
COMMAND = [*PROGRAM]
"""What `start` runs. A test that changes a limit of the program puts its own command in this place."""
KEYS = {"GENAUTH_ACCESS_KEY_ID": SANDBOX_KEY_ID, "GENAUTH_ACCESS_KEY_SECRET": SANDBOX_KEY_SECRET}
COUNTS = ("deleted", "absent", "refused", "unknown", "excluded", "duplicate", "invalid", "remaining")


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        messages.keep(self.out, self.err)

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of `--json`: the last line of stdout."""
        lines = self.out.splitlines()
        assert lines, self
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def counts(self) -> dict[str, int]:
        """The counts that are not zero; they must add up to the rows. `done` and `already` are those of other jobs."""
        summary = self.summary
        counts = {name: summary[name] for name in ("done", "already", *COUNTS) if summary.get(name)}
        assert sum(counts.values()) == summary["rows"], summary
        return counts

    def found(self) -> tuple[int, int, int]:
        """What a verification found: gone, still there, could not tell. They add up."""
        summary = self.summary
        found = summary["gone"], summary["still_there"], summary["could_not_tell"]
        assert sum(found) == summary["checked"], summary
        assert summary["claimed"] + summary["not_claimed"] == summary["rows"], summary
        return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's environment with nothing of the user's settings, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKDEL_", "GENAUTH_"))}
    return {**kept, "XDG_STATE_HOME": state_home(), **(KEYS if extra is None else extra)}


def importing_from(folder: Path) -> dict[str, str]:
    """The variable by which Python finds modules in a folder before any other: a job, or a `sitecustomize`."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


@cache
def _state_home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bulkdel-state-")


def state_home() -> str:
    """Where the commands of this process keep the key of this user: not in the developer's home."""
    return _state_home().name


def bulkdel(
    *args: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = WAIT_MAX_S,
    input: bytes | None = None,  # noqa: A002 - as subprocess.run has it
    **popen: Any,
) -> Ran:
    """Run the real command to its end. env: credentials; the sandbox's by default, {} for none."""
    if input is not None:
        popen["stdin"] = subprocess.PIPE
    with start(*args, env=env, cwd=cwd, **popen) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    ran = Ran(process.returncode, (out or b"").decode(), (err or b"").decode())
    _check_printed(ran, env, cwd)
    return ran


def _check_printed(ran: Ran, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Parse each command that was printed, and with `make messages` run those that only read."""
    for words in printed.new_commands(ran.out, ran.err):
        printed.parse(words)
        if messages.are_kept() and printed.can_be_read(words, cwd):
            with (
                tempfile.TemporaryDirectory() as folder,
                start(*printed.typed(words[1:]), env=env, cwd=cwd or folder) as read,
            ):
                said = read.communicate(timeout=WAIT_MAX_S)
            assert read.returncode == 0, (words, said)


def start(*args: object, env: Mapping[str, str] | None = None, **popen: Any) -> subprocess.Popen[bytes]:
    """Start the real command; the caller waits, signals, kills."""
    words, whole, popen = [str(each) for each in args], environment(env), {**forked.PIPED, **popen}
    if tuple(COMMAND) == PROGRAM and forked.usable(whole, popen):
        return cast("subprocess.Popen[bytes]", forked.Forked(words, whole, popen))
    if "preexec_fn" in popen:  # with a limit on files, Python would cut the modules that it compiles
        whole["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.Popen([*COMMAND, *words], env=whole, **popen)


def run_with_streams(redirected: str, *args: object) -> subprocess.CompletedProcess[bytes]:
    """Run the real command by a shell that closes or redirects some of its streams, such as `<&- 2>/dev/full`."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *COMMAND, *map(str, args)],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=WAIT_MAX_S,
    )


def run_on(export: Path | str, served: Sandbox, *options: object, ids: int = 0, command: str = "run") -> Ran:
    """Run or plan the deletion of an export. ids: the confirmed number."""
    confirmed = ("--json", "--confirm", ids, "--pool", POOL) if command == "run" else ()
    return bulkdel(command, "delete-users", export, "--host", served.url, "--rate", 0, *confirmed, *options)


def finish(process: subprocess.Popen[bytes], timeout: float = WAIT_MAX_S) -> Ran:
    """Wait for a started command."""
    out, err = process.communicate(timeout=timeout)
    ran = Ran(process.returncode, out.decode(), err.decode())
    _check_printed(ran)
    return ran


def processes_of_shards(pid: int) -> list[int]:
    """The processes of the shards of a run. pid: of the run."""
    return processes_of(pid, b"_BULKDEL_SHARD=")


def processes_of(pid: int, variable: bytes = b"_BULKDEL_PARENT=") -> list[int]:
    """The processes of this program that a process has started. variable: in their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (each / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and variable in (each / "environ").read_bytes():
                found.append(int(each.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    told = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout[:1] not in {"", "Z"}


def kill(process: subprocess.Popen[bytes]) -> Ran:
    """SIGKILL, and wait."""
    process.send_signal(signal.SIGKILL)
    return finish(process)


def wait_until(
    reached: Callable[[], bool],
    process: subprocess.Popen[bytes] | None = None,
    timeout_s: float = WAIT_MAX_S,
    every_s: float = 0.003,
) -> None:
    """Wait for a state; `process` must not end before. every_s: how often `reached` is asked."""
    until = time.monotonic() + timeout_s
    while not reached():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(every_s)


def told_after(process: subprocess.Popen[bytes], pattern: str, signum: int | None = signal.SIGUSR1) -> str:
    """Send a signal, and return the next line of stderr with `pattern`. signum: None only waits for the line."""
    assert process.stderr is not None
    if signum is not None:
        process.send_signal(signum)
    said, until = "", time.monotonic() + WAIT_MAX_S
    while (found := re.search(f"(?m)^.*{pattern}.*$", said)) is None:
        assert time.monotonic() < until, said
        if select.select([process.stderr], [], [], 0.1)[0]:
            more = os.read(process.stderr.fileno(), 65536)
            assert more, f"it has ended: {said}"
            said += more.decode()
    return found.group()


def wait_until_told(process: subprocess.Popen[bytes], words: str) -> None:
    """Ask for the progress with SIGUSR1 until it contains `words`."""
    while words not in told_after(process, '"event": "progress"'):
        time.sleep(0.01)


def wait_for_arrivals(served: Sandbox) -> None:
    """Wait until everything that was sent so far has arrived: the server answers two requests that came after it."""
    for _ in range(2):
        with urllib.request.urlopen(f"{served.url}/sandbox/switches", timeout=WAIT_MAX_S) as answer:
            answer.read()


TRIES = 3


class Late(AssertionError):
    """A bound on time was not held. The cause may be a busy machine, so `steady` tries again."""


def assert_in_time(held: bool, *told: object) -> None:
    """Raise Late unless a bound on time was held."""
    if not held:
        raise Late(*told)


def steady(scenario: Callable[[Path], None], folder: Path) -> None:
    """Play a scenario, up to TRIES times while it raises Late. A program that is too slow is Late every time."""
    for number in range(TRIES):
        place = folder / str(number)
        place.mkdir()
        try:
            scenario(place)
        except Late:
            if number == TRIES - 1:
                raise
        else:
            return


def names_in(folder: Path) -> list[str]:
    """The names of what is in a folder, sorted, but for the rows of a run, their index and its skipped rows."""
    rows = re.compile(r"input\.jsonl\.zst|input\.index\.jsonl|skipped(\.[0-9]+)?\.zst")
    return sorted(path.name for path in folder.iterdir() if rows.fullmatch(path.name) is None)


def user_ids(count: int, seed: int = 0) -> list[str]:
    """Distinct well-formed user ids."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[f"{rng.getrandbits(96):024x}"] = None
    return list(found)


def write_objects(path: Path, ids: Sequence[str], field_name: str = "id") -> Path:
    """Write JSON Lines of objects."""
    path.write_text("".join(json.dumps({field_name: id_}) + "\n" for id_ in ids))
    return path


@contextmanager
def sandbox(ids: Sequence[str], id_type: str = "user_id", **switches: Any) -> Iterator[Sandbox]:
    """Run the sandbox with a user for each of `ids`."""
    with serve_in_thread(Pool.from_ids(ids, id_type), Switches(**switches)) as served:
        yield served


def strace(*options: object) -> tuple[str, ...]:
    """The beginning of a command line that runs the rest under strace, threads and children too.

    A fresh machine may lack it. Then the tests that use it are skipped, and the report says so.
    """
    program = shutil.which("strace")
    if program is None:
        pytest.skip("no system call was watched or broken, because strace is not installed: apt-get install strace")
    assert_permitted(program, "-f", "-o", "/dev/null")
    return (program, "-f", *map(str, options))


ALLOW = {
    "strace": "docker run --cap-add SYS_PTRACE, or sysctl kernel.yama.ptrace_scope=1",
    "unshare": "docker run --cap-add SYS_ADMIN, or sysctl kernel.unprivileged_userns_clone=1",
}


@cache
def assert_permitted(program: str, *options: str) -> None:
    """Fail with what to allow where `program` is there and may not do its work."""
    done = subprocess.run([program, *options, "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        name = Path(program).name
        pytest.fail(f"{name} is not permitted here; allow it ({ALLOW[name]}). It said: {done.stderr}")


def descriptors_of(path: Path) -> list[int]:
    """The open file descriptors of this process that are of this file."""
    found = []
    for number in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the one that listed them is closed
            if os.path.samestat(os.fstat(int(number.name)), path.stat()):
                found.append(int(number.name))
    return found


@dataclass
class Case:
    """One export against one sandbox, and the command line that deletes it."""

    export: Path
    served: Sandbox
    ids: int
    options: list[object] = field(default_factory=lambda: ["--rate", 0])

    @property
    def args(self) -> list[object]:
        """What `run` needs: confirmed, JSON summary."""
        return [
            *("run", "delete-users", self.export, "--host", self.served.url, "--json"),
            *("--confirm", self.ids, "--pool", POOL, *self.options),
        ]

    @property
    def log(self) -> Path:
        """Its log."""
        return log_of(self.export)

    @property
    def place(self) -> Path:
        """The place of the run."""
        return self.log.parent

    def run(self, *more: object, **kwargs: Any) -> Ran:
        """Run it to its end. When it has sent something, the second reader must agree with its summary."""
        ran = bulkdel(*self.args, *more, **kwargs)
        last = ran.out.splitlines()[-1:]
        if last and last[0].startswith('{"deleted":') and self.log.exists():
            check_second_reader(self.log, json.loads(last[0]))
        return ran

    def start(self, *more: object, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start it."""
        return start(*self.args, *more, **kwargs)

    def switch(self, **changes: Any) -> None:
        """Change what the sandbox does from now on."""
        self.served.switches = self.served.switches.changed(changes)

    def wait_until_deleted(self, count: int) -> None:
        """Wait until the server has deleted so many."""
        wait_until(lambda: self.served.pool.deleted >= count)

    def effects(self, ids: Iterable[str], id_type: str = "user_id") -> list[int]:
        """How often each id was really deleted, by the server's own count."""
        return [self.served.ledger.effects(id_, id_type) for id_ in ids]


@contextmanager
def case(
    folder: Path,
    ids: Sequence[str],
    *,
    users: Sequence[str] | None = None,
    id_type: str = "user_id",
    options: Sequence[object] = ("--rate", 0),
    **switches: Any,
) -> Iterator[Case]:
    """An export of `ids` and a sandbox that holds `users` (the same by default)."""
    export = write_objects(folder / "export.jsonl", ids)
    with sandbox(ids if users is None else users, id_type, **switches) as served:
        yield Case(export, served, len(set(ids)), list(options))


def with_time_enough(scenario: Callable[[Path, float], bool], folder: Path) -> None:
    """Play a scenario with more and more seconds, until it returns that they were enough for this machine."""
    for seconds in (3, 6, 12, 24):
        place = folder / str(seconds)
        place.mkdir()
        if scenario(place, seconds):
            return
    raise AssertionError("the machine was too busy for every time")


@contextmanager
def stopped_as_planned(folder: Path, ids: Sequence[str], form: str) -> Iterator[tuple[Case, datetime, Ran]]:
    """A run that --not-after has stopped while it sent: its case, the time of --not-after, and the finished command.

    form: the format of the time, for strftime. When the machine is too slow for a time, a later one is tried.
    """
    for after_s in (4, 8, 16):
        place = folder / str(after_s)
        place.mkdir()
        with case(place, ids, options=("--rate", 10, "--chunk-size", 2)) as it:
            at = datetime.now(UTC) + timedelta(seconds=after_s)
            ran = it.run("--not-after", at.strftime(form))
            if 0 < it.served.ledger.deleted < len(ids):  # a time of day that has passed is one of tomorrow
                yield it, at, ran
                return
    raise AssertionError(f"it was not stopped while it sent: {ran}")


def check_second_reader(log: Path, told: Mapping[str, Any]) -> None:
    """Compare the counts of a summary with those that the second reader finds in the log."""
    try:
        second = second_reader.read(log)
        second_reader.input_of(second, log)
    except second_reader.Refused as error:
        raise AssertionError(f"the second reader refuses {log}: {error}") from error
    if second.sha256 == told["log_sha256"]:  # else the log has changed since
        counts = second.counts()
        assert {name: told[name] for name in counts} == counts
        assert told.get("in_doubt", second.in_doubt) == second.in_doubt
        assert told["spared"] == second.spared


def entries(log: Path) -> list[dict[str, Any]]:
    """Every entry of a log, as jq would see them."""
    return [entry for line in log.read_bytes().splitlines() for entry in json.loads(line)["entries"]]
