"""Killed, starved and stalled at every kind of instant, and continued. The oracle is the server's own count per id.

Every campaign prints its seed; with it in CAMPAIGN_SEED it draws the same instants again (tests/README.md).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    Case,
    Ran,
    assert_in_time,
    case,
    environment,
    finish,
    kill,
    steady,
    strace,
    user_ids,
    wait_for_arrivals,
    write_objects,
)
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(1_200, seed=3)
CONCURRENCY = 4
CHUNK = 50
IN_FLIGHT = CONCURRENCY * CHUNK
OPTIONS = ("--rate", 0, "--concurrency", CONCURRENCY)
KILLS_A_ROUND = 10


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage in a process that is killed leaves nothing but a slower start."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def seeded(name: str) -> random.Random:
    """Chance for one campaign, from CAMPAIGN_SEED or fresh; the seed is shown where the campaign fails."""
    seed = os.environ.get("CAMPAIGN_SEED") or f"{time.time_ns():x}"
    print(f"{name}: CAMPAIGN_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    return random.Random(f"{seed} {name}")


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until it is so, or the process has ended; looked at every half a millisecond."""
    until = time.monotonic() + WAIT_MAX_S
    while not reached() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.0005)


@dataclass
class Tally:
    """What the server was sent, from one session of a run to the next.

    again: ids that a session sent although an earlier one had sent them, each session's added up.
    """

    it: Case
    ids: Sequence[str]
    again: int = 0
    before: list[int] = field(default_factory=list)

    def sent(self) -> list[int]:
        """How often each id was sent so far."""
        return [self.it.served.ledger.sent(id_) for id_ in self.ids]

    def close_session(self) -> None:
        """Count the session that has just ended, and what it left in the sockets."""
        wait_for_arrivals(self.it.served)
        now = self.sent()
        if self.before:
            self.again += sum(0 < old < new for old, new in zip(self.before, now, strict=True))
        self.before = now

    def assert_nothing_lost(self, ran: Ran, kills: int) -> None:
        """The last session ended: every id is gone, exactly once, and said to be deleted; few were sent again."""
        self.close_session()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(self.ids)}
        assert [self.it.served.ledger.effects(id_) for id_ in self.ids] == [1] * len(self.ids)
        assert self.again <= kills * IN_FLIGHT, (self.again, kills)


# --- killed at random instants ----------------------------------------------------------------------------------------


def instants(it: Case, rng: random.Random) -> dict[str, Callable[[], bool]]:
    """The stages of a run, each as a condition that becomes true when it is reached, at a point drawn now."""
    ledger, pool = it.served.ledger, it.served.pool
    began, requests, deleted = time.monotonic(), ledger.requests, pool.deleted
    size = it.log.stat().st_size if it.log.exists() else 0
    after_s, more_requests = rng.uniform(0.0, 0.8), rng.randint(1, 12)
    more_deleted, more_bytes = rng.randint(1, max(1, len(it.served.pool) // 2)), rng.randint(1, 4_000)

    def log_grew(by: int) -> bool:
        return it.log.exists() and it.log.stat().st_size >= size + by

    return {
        "time": lambda: time.monotonic() >= began + after_s,
        "request": lambda: ledger.requests >= requests + more_requests,
        "log created or resumed": lambda: log_grew(0),
        "log written": lambda: log_grew(more_bytes),
        "sending": lambda: pool.deleted >= deleted + more_deleted,
        "the end": lambda: len(pool) == 0,
    }


def killed_often(folder: Path, policy: str, kills: int, rng: random.Random) -> None:
    """Rounds of a few kills over one export each; at the end of a round the run is let finish."""
    stages: list[str] = []
    again = 0
    while kills > 0:
        in_round = min(kills, KILLS_A_ROUND)
        kills -= in_round
        place = folder / str(kills)
        place.mkdir()
        with case(place, IDS, options=OPTIONS, unknown_ids=policy, latency_s=0.004, jitter_s=0.02) as it:
            tally = Tally(it, IDS)
            killed = 0
            while killed < in_round and not (len(it.served.pool) == 0 and is_complete(it.log)):
                stage, reached = rng.choice(sorted(instants(it, rng).items()))
                pause_s = rng.choice([0.0, rng.uniform(0, 0.03)])
                process = it.start()
                wait_for(reached, process)
                time.sleep(pause_s)
                ran = kill(process)
                assert ran.code in (-signal.SIGKILL, 0), (stage, ran.code, ran.err)
                killed += ran.code != 0
                stages.append(stage)
                tally.close_session()
                assert tally.again <= killed * IN_FLIGHT, (stages, tally.again)
            kills += in_round - killed  # some runs ended before they were killed: the next round kills more
            ran = it.run()
            tally.assert_nothing_lost(ran, killed)
            again += tally.again
            assert it.run().summary == ran.summary, "a complete run started again repeats its summary"
        shutil.rmtree(place)
    print(f"{len(stages)} sessions, {again} ids sent again")  # noqa: T201 - with -rP


def is_complete(log: Path) -> bool:
    """Whether a run has ended there, so that nothing is left to kill."""
    return log.exists() and b'"event":"stop"' in log.read_bytes().splitlines()[-1]


@pytest.mark.parametrize("policy", [pytest.param("accept", marks=pytest.mark.soak), "refuse"])
def test_twenty_kills_lose_nothing(policy: str, tmp_path: Path) -> None:
    """SIGKILL of the real command, twenty times: nothing lost, little sent again."""
    killed_often(tmp_path, policy, 20, seeded(f"kills {policy}"))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
@pytest.mark.parametrize("policy", ["accept", "refuse"])
def test_ten_thousand_kills_lose_nothing(policy: str, part: int, tmp_path: Path) -> None:
    """The same 10,000 times; in parts, so that a failure names a short one."""
    killed_often(tmp_path, policy, 250, seeded(f"kills {policy} {part}"))


def test_killed_between_the_last_outcome_and_the_end(tmp_path: Path) -> None:
    """Every row has its outcome, and the log lacks the end of the run: the same command writes it, sends nothing."""
    with case(tmp_path, IDS[:200], options=OPTIONS) as it:
        assert it.run().code == 0
        lines = it.log.read_bytes().splitlines(keepends=True)
        assert b'"event":"stop"' in lines[-1]
        it.log.write_bytes(b"".join(lines[:-1]))
        requests = it.served.ledger.requests
        for how in ("killed", "said so now", "and again"):
            ran = it.run()
            assert ran.code == 0, (how, ran.err)
            assert ran.counts() == {"deleted": 200}
        assert it.served.ledger.requests == requests


# --- killed at the k-th system call -----------------------------------------------------------------------------------


def traced(it: Case, inject: str) -> tuple[Ran, str]:
    """Run the command under strace, which breaks calls on the log and on nothing else; and what the trace says.

    Calls are counted by thread: the first one of `create` and `resume` is the main thread's, the others the writer's.
    """
    trace = it.export.parent / "trace"
    fast = () if ":signal=" in inject else ("--seccomp-bpf",)  # strace 6.13 delivers no signal with it
    done = subprocess.run(
        [
            *strace("-qq", "-ttt", *fast, "-o", trace, "-P", it.log, "-e", "signal=none"),
            *("-e", "trace=write,fdatasync", "-e", f"inject={inject}", *COMMAND, *map(str, it.args)),
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode()), trace.read_text()


def killed_at(folder: Path, policy: str, call: str, counts: Sequence[int]) -> None:
    """One run, killed as it makes its k-th call on the log, for one k after the other; then let finish."""
    with case(folder, IDS, options=OPTIONS, unknown_ids=policy, latency_s=0.01, jitter_s=0.01) as it:
        tally = Tally(it, IDS)
        for kills, count in enumerate(counts, 1):
            ran, _ = traced(it, f"{call}:signal=KILL:when={count}")
            assert ran.code == -signal.SIGKILL, (count, ran.err)
            tally.close_session()
            assert tally.again <= kills * IN_FLIGHT, count
        tally.assert_nothing_lost(it.run(), len(counts))


@mutant(
    "a log that a kill has left without its header is refused",
    "LogFile.writable",
    swap("FileExistsError", "FileNotFoundError"),
    case="write-accept",
    strace=True,
)
@pytest.mark.parametrize(
    ("call", "policy"), [pytest.param("fdatasync", "refuse", marks=pytest.mark.soak), ("write", "accept")]
)
def test_killed_at_the_kth_call(call: str, policy: str, tmp_path: Path) -> None:
    """Before the header is there, before it is durable, before the first intent, …: nothing is lost."""
    killed_at(tmp_path, policy, call, (1, 2, 3, 1, 5))


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["accept", "refuse"])
@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_killed_at_each_of_many_calls(call: str, policy: str, tmp_path: Path) -> None:
    """Every k up to 12, twice over, in an order of chance; each k with an export of its own."""
    rng = seeded(f"calls {call} {policy}")
    for number, first in enumerate(rng.sample(range(1, 13), 12) * 2):
        place = tmp_path / str(number)
        place.mkdir()
        killed_at(place, policy, call, (first, rng.randint(1, 4)))


# --- a log that cannot be written -------------------------------------------------------------------------------------

FAILURES = {"ENOSPC": "No space left on device", "EIO": "Input/output error", "EROFS": "Read-only file system"}
LATE_S = 0.25
"""How long after the failure a request may still arrive that was on its way: generous, on two busy cores. At the rate
of the test a run that goes on would send for seconds."""


def failed_at(trace: str) -> float:
    """When the injected failure was, epoch seconds."""
    found = re.findall(r"(\d+\.\d+) (?:write|fdatasync|<\.\.\. ).*= -1 .*\(INJECTED\)", trace)
    assert len(found) == 1, found
    return float(found[0])


def failing_at(call: str, error: str, count: int, folder: Path) -> None:
    """The k-th call fails: exit 5, nothing more leaves, and the log goes on."""
    options = ("--rate", 40, "--concurrency", CONCURRENCY)
    with case(folder, IDS, options=options) as it:
        ran, trace = traced(it, f"{call}:error={error}:when={count}")
        monotonic = failed_at(trace) - time.time() + time.monotonic()
        ledger = it.served.ledger
        assert ran.code == 5, (ran.code, ran.err)
        assert FAILURES[error] in ran.err
        assert f"{it.place}: the log " in ran.err
        assert ledger.requests >= 5, "signed in, and looked the sample up"
        assert ledger.by_path[DELETE_PATH] < len(IDS) // CHUNK
        assert trace.splitlines()[-1].endswith("(INJECTED)"), "the log is not touched again"
        tally = Tally(it, IDS)
        tally.close_session()
        it.options = ["--rate", 0, "--concurrency", CONCURRENCY]
        last = max(ledger.arrivals)
        tally.assert_nothing_lost(it.run(), 1)
        assert_in_time(last <= monotonic + LATE_S, last, monotonic)


@mutant(
    "the rows of a run are dropped although a header may name them",
    "OpenLog.create",
    swap("kept if kept and log._has_no_header() else ()", "kept"),
    case="fdatasync-EIO-1",
)
@pytest.mark.parametrize(
    ("call", "error", "count"),
    one_in(
        3,
        [
            ("write", "ENOSPC", 1),
            ("write", "EIO", 2),
            ("write", "EROFS", 4),
            ("fdatasync", "EIO", 1),
            ("fdatasync", "ENOSPC", 2),
            ("fdatasync", "EIO", 5),
        ],
    ),
)
def test_the_first_failure_is_the_end(call: str, error: str, count: int, tmp_path: Path) -> None:
    """A full or broken disk under the log: no further request, exit 5, and it resumes to the right counts."""
    steady(partial(failing_at, call, error, count), tmp_path)


def _failing_each_in_turn(call: str, count: int, failed: list[int], folder: Path) -> None:
    """Three chunks one after the other, and the k-th call fails; `failed` gets k where there was a k-th."""
    # Whatever would leave after the failure would do so LATE_S later.
    with case(folder, IDS[:150], options=("--rate", 0, "--concurrency", 1), latency_s=LATE_S * 1.2) as it:
        ran, trace = traced(it, f"{call}:error=EIO:when={count}")
        if "(INJECTED)" not in trace:
            assert ran.code == 0, ran.err
            return
        monotonic = failed_at(trace) - time.time() + time.monotonic()
        assert ran.code == 5, (count, ran.code, ran.err)
        last = max(it.served.ledger.arrivals)
        assert trace.splitlines()[-1].endswith("(INJECTED)"), "the log is not touched again"
        it.served.switches = type(it.served.switches)()
        tally = Tally(it, IDS[:150])
        tally.close_session()
        tally.assert_nothing_lost(it.run(), 1)
        assert_in_time(last <= monotonic + LATE_S, count, last, monotonic)
        failed.append(count)


@pytest.mark.soak
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_every_call_of_a_short_run_fails_in_turn(call: str, tmp_path: Path) -> None:
    """From the header to the word that the run ended, each write, and each sync: exit 5, nothing leaves, it resumes."""
    failed: list[int] = []

    def fail(count: int) -> None:
        folder = tmp_path / str(count)
        folder.mkdir()
        steady(partial(_failing_each_in_turn, call, count, failed), folder)

    with ThreadPoolExecutor(4) as threads:  # most of it is waiting
        list(threads.map(fail, range(1, 9)))
    assert sorted(failed) == [*range(1, len(failed) + 1)]
    assert 5 <= len(failed) < 8, "header, start and intent, two outcomes with the next intent, outcome, end"


@pytest.mark.soak
@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_every_failure_is_the_end(call: str, error: str, count: int, tmp_path: Path) -> None:
    """The same for each of the first twelve calls."""
    steady(partial(failing_at, call, error, count), tmp_path)


def test_a_slow_disk_only_costs_time(tmp_path: Path) -> None:
    """Every sync takes 100 ms: the counts are right and the bound on the rate holds."""
    rate = 100
    with case(tmp_path, IDS, options=("--rate", rate, "--concurrency", CONCURRENCY)) as it:
        tally = Tally(it, IDS)
        ran, trace = traced(it, "fdatasync:delay_exit=100000")
        tally.assert_nothing_lost(ran, 0)
        assert trace.count("(DELAYED)") >= 4
        assert len(it.served.ledger.arrivals) >= len(IDS) // CHUNK
        for window_s in (0.1, 0.5, 1.0):
            assert it.served.ledger.busiest(window_s) <= rate * window_s + 1 + 0.02 * rate


# --- files that go away under the run ---------------------------------------------------------------------------------

SLOW: dict[str, Any] = {"latency_after_s": 1.0, "fault_paths": DELETIONS}


def moved(log: Path) -> Path:
    """The place of the run gets another name; where the log is now."""
    return log.parent.rename(log.parent.with_name("elsewhere")) / log.name


def removed(log: Path) -> None:
    """The place of the run goes with all that is in it."""
    shutil.rmtree(log.parent)


def replaced(log: Path) -> Path:
    """A copy takes the place of the log (an editor does that); it holds what was durable then."""
    copy = log.with_name("copy")
    shutil.copy2(log, copy)
    return copy.replace(log)


@pytest.mark.parametrize("lose", [moved, removed, replaced])
def test_a_log_that_is_not_where_it_was_ends_the_run(lose: Callable[[Path], Path | None], tmp_path: Path) -> None:
    """The next run would not find this log, so the run ends: exit 5, the rest is not sent. A moved log resumes."""
    log = tmp_path / "run" / "log.jsonl"
    options = (*OPTIONS, "--run", log.parent)
    with case(tmp_path, IDS, options=options, **SLOW) as it:
        tally = Tally(it, IDS)
        process = it.start()
        wait_for(lambda: it.served.pool.deleted >= 200, process)
        now = lose(log)
        ran = finish(process)
        it.switch(latency_after_s=0.0)
        assert ran.code == 5, (ran.code, ran.err)
        assert "no longer" in ran.err
        assert f"{log.parent}: the log " in ran.err
        assert it.served.pool.deleted <= 200 + 3 * IN_FLIGHT < len(IDS)
        tally.close_session()
        if now is not None:
            it.options = ["--rate", 0, "--run", now.parent]
            tally.assert_nothing_lost(it.run(), 1)


def test_a_folder_that_becomes_read_only_changes_nothing(tmp_path: Path) -> None:
    """The log is open: neither its mode nor its folder's is asked again."""
    log = tmp_path / "run" / "log.jsonl"
    with case(tmp_path, IDS, options=(*OPTIONS, "--run", log.parent), **SLOW) as it:
        tally = Tally(it, IDS)
        process = it.start()
        wait_for(lambda: it.served.pool.deleted > 0, process)
        log.chmod(0o400)
        log.parent.chmod(0o500)
        it.switch(latency_after_s=0.0)
        try:
            tally.assert_nothing_lost(finish(process), 0)
        finally:
            log.parent.chmod(0o700)


@pytest.mark.soak
def test_an_export_renamed_over_is_read_to_its_end(tmp_path: Path) -> None:
    """The run goes on with the file that it opened; nothing of the new one is sent, and a resume refuses it."""
    ids = user_ids(60_000, seed=4)
    others = user_ids(60_000, seed=5)
    new = write_objects(tmp_path / "new.jsonl", others)
    with case(tmp_path, ids, users=[*ids, *others], **SLOW) as it:
        process = it.start()
        wait_for(lambda: it.served.pool.deleted >= 800, process)
        new.replace(it.export)
        it.switch(latency_after_s=0.0)
        assert it.served.pool.deleted < 20_000, "the rest of the export is still to be read"
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert sum(it.served.ledger.effects(id_) for id_ in ids) == len(ids)
        assert it.served.ledger.sent_times() == {1: len(ids)}
        requests = it.served.ledger.requests
        assert it.run().code == 3
        assert it.served.ledger.requests == requests
