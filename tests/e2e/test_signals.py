"""One signal and two, in every state of a run that tests/e2e/test_resume.py leaves out, and under nohup."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH, TOKEN_PATH
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    Case,
    assert_in_time,
    case,
    environment,
    finish,
    start,
    steady,
    told_after,
    user_ids,
    wait_until,
)
from tests.mutants import mutant
from tests.syntax import before, swap

IDS = user_ids(2_000, seed=8)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GONE_S = 1.0
"""After the second signal (the promise); after the first one where there is nothing to drain, much the same."""


@dataclass
class Running:
    """A command in the state that was wanted. it: against what; sent: whether deletions may have been sent."""

    process: subprocess.Popen[bytes]
    it: Case
    sent: bool = True


def has_quiet(it: Case, path: str, at_least: int, quiet_s: float = 0.1) -> Callable[[], bool]:
    """Whether so many requests went to `path`, and then none for a while: every worker waits."""

    def quiet() -> bool:
        ledger = it.served.ledger
        return ledger.by_path[path] >= at_least and time.monotonic() - ledger.arrivals[-1] > quiet_s

    return quiet


@contextmanager
def preflight(folder: Path) -> Iterator[Running]:
    """A named pipe whose writer takes its time: the export is being copied and read."""
    with case(folder, IDS) as it:
        it.export.unlink()
        os.mkfifo(it.export)
        process = it.start()
        with it.export.open("wb", buffering=0) as pipe:  # opens when the command has
            pipe.write(b"".join(f'{{"id": "{id_}"}}\n'.encode() for id_ in user_ids(5_000)))  # more than a pipe holds
            time.sleep(0.1)
            yield Running(process, it, sent=False)


@contextmanager
def unanswered(folder: Path, path: str) -> Iterator[Running]:
    """The first request to `path` gets no answer."""
    with case(folder, IDS, latency_after_s=30.0, fault_paths=frozenset({path})) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[path] >= 1, process)
        yield Running(process, it, sent=False)


def signing_in(folder: Path) -> AbstractContextManager[Running]:
    """The first sign-in gets no answer."""
    return unanswered(folder, TOKEN_PATH)


def sampling(folder: Path) -> AbstractContextManager[Running]:
    """The look-up of the sample gets no answer."""
    return unanswered(folder, LOOKUP_PATH)


@contextmanager
def confirming(folder: Path) -> Iterator[Running]:
    """The number is asked for on a terminal, and is not typed."""
    with case(folder, IDS) as it:
        ours, theirs = pty.openpty()
        args = [arg for arg in it.args if arg not in {"--confirm", it.ids, "--pool"}]
        args = [arg for arg in args if arg != it.args[it.args.index("--pool") + 1]]
        process = start(*args, stdin=theirs)
        os.close(theirs)
        told_after(process, "Type the number", None)
        yield Running(process, it, sent=False)
        os.close(ours)


@contextmanager
def backing_off(folder: Path) -> Iterator[Running]:
    """Every deletion fails; too few for the breaker, so each chunk waits for its next attempt."""
    with case(folder, IDS, share_500=1.0, fault_paths=DELETIONS, options=("--rate", 0, "--concurrency", 3)) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 6, process)
        wait_until(lambda: time.monotonic() - it.served.ledger.arrivals[-1] > 0.02, process)
        yield Running(process, it)


@contextmanager
def breaker_open(folder: Path) -> Iterator[Running]:
    """The server answers 503 and nothing else."""
    with case(folder, IDS, share_503=1.0, fault_style="http", fault_paths=DELETIONS) as it:
        process = it.start()
        # Ten failures open it. How many of sixteen were on their way by then is chance, and probes are 5 s apart.
        wait_until(has_quiet(it, DELETE_PATH, 10, 0.4), process)
        yield Running(process, it)


@contextmanager
def refreshing(folder: Path) -> Iterator[Running]:
    """The token ends, and the sign-in for the next one gets no answer."""
    with case(folder, IDS, token_lifetime_s=1.5, options=("--rate", 20, "--chunk-size", 5)) as it:
        process = it.start()
        wait_until(lambda: it.served.pool.deleted > 0, process)
        before = it.served.ledger.by_path[TOKEN_PATH]
        it.switch(latency_after_s=30.0, fault_paths=frozenset({TOKEN_PATH}))
        wait_until(has_quiet(it, TOKEN_PATH, before + 1), process)
        yield Running(process, it)


@contextmanager
def draining(folder: Path) -> Iterator[Running]:
    """The requests on the wire get no response, so the first signal begins a drain that lasts."""
    options = ("--rate", 0, "--drain", 4)
    with case(folder, IDS, latency_after_s=30.0, fault_paths=DELETIONS, options=options) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 16, process)
        yield Running(process, it)


@contextmanager
def sending(folder: Path) -> Iterator[Running]:
    """Some are deleted, and more are on the wire."""
    with case(folder, IDS, latency_s=0.3, options=("--rate", 20, "--chunk-size", 5)) as it:
        process = it.start()
        wait_until(lambda: it.served.pool.deleted > 0, process)
        yield Running(process, it)


@contextmanager
def paused(folder: Path) -> Iterator[Running]:
    """The server has asked every request to wait for a minute."""
    with case(folder, IDS, share_429=1.0, retry_after="seconds", retry_after_s=60.0, fault_paths=DELETIONS) as it:
        process = it.start()
        wait_until(has_quiet(it, DELETE_PATH, 1), process)
        yield Running(process, it)


WAITING = (preflight, signing_in, sampling, confirming, backing_off, breaker_open, refreshing)
STATES = (*WAITING, sending, paused)
"""The last two are tests/e2e/test_resume.py's, but for the pairs of the soak."""

State = Callable[[Path], AbstractContextManager[Running]]
ONE_SIGNAL_EACH = [
    pytest.param(state, signum, id=f"{state.__name__}-{signum.name}")
    for state, signum in zip((*WAITING, draining), cycle(SIGNALS), strict=False)
]


def assert_nothing_lost(running: Running) -> None:
    """Nothing was sent where nothing may have been; else the same command goes on to the end."""
    it = running.it
    if not running.sent:
        assert it.served.ledger.by_path[DELETE_PATH] == 0
        assert it.served.pool.deleted == 0
        assert not it.log.exists()
        return
    it.served.switches = type(it.served.switches)()
    it.options = ["--rate", 0]
    ran = it.run()
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": len(IDS)}
    assert it.effects(IDS) == [1] * len(IDS)


@pytest.mark.parametrize(("state", "signum"), one_in(5, ONE_SIGNAL_EACH[:-1]))
def test_a_first_signal_ends_every_wait(state: State, signum: signal.Signals, tmp_path: Path) -> None:
    """Nothing is on the wire that would have to be waited for: 128 + n, almost at once, resumable."""

    def scenario(folder: Path) -> None:
        with state(folder) as running:
            running.process.send_signal(signum)
            began = time.monotonic()
            ran = finish(running.process)
            took_s = time.monotonic() - began
            assert ran.code == 128 + signum, ran.err
            assert "Traceback" not in ran.err
            assert_nothing_lost(running)
            assert_in_time(took_s < 2 * GONE_S, took_s)

    steady(scenario, tmp_path)


@mutant(
    "second signal ignored",
    "Signals._handle",
    swap("os._exit(128 + signum)", "os.getpid()\nreturn"),
    case="draining-SIGTERM",
)
@pytest.mark.parametrize(("state", "signum"), one_in(6, ONE_SIGNAL_EACH))
def test_a_second_signal_leaves_at_once(state: State, signum: signal.Signals, tmp_path: Path) -> None:
    """Two signals, whatever the state: gone within a second of the second; nothing is lost by it."""

    def scenario(folder: Path) -> None:
        with state(folder) as running:
            if state is draining:  # two signals that wait together would be one
                told_after(running.process, "run.draining", signum)
            else:
                running.process.send_signal(signum)
                time.sleep(0.05)
            running.process.send_signal(signum)  # to a process that is gone already, it does nothing
            began = time.monotonic()
            ran = finish(running.process)
            took_s = time.monotonic() - began
            # A shell calls both 128 + n: the second may come when the interpreter has taken its handlers down already.
            assert ran.code in (128 + signum, -signum), ran.err
            assert_nothing_lost(running)
            assert_in_time(took_s < GONE_S, took_s)

    steady(scenario, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("state", STATES)
def test_every_signal_in_every_state(state: State, signum: signal.Signals, tmp_path: Path) -> None:
    """All the pairs of state and signal, of which only some are tried above."""
    test_a_first_signal_ends_every_wait(state, signum, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("state", [*STATES, draining])
def test_every_signal_twice_in_every_state(state: State, signum: signal.Signals, tmp_path: Path) -> None:
    """The same, with a second signal."""
    test_a_second_signal_leaves_at_once(state, signum, tmp_path)


@mutant(
    "a SIGUSR1 that comes before the line of the last one ends the run",
    "Signals._print_steps",
    before(
        "if (text := self._doing()) is not None:\n    note(text)",
        "if not self._asked.empty():\n    os._exit(128 + signal.SIGUSR1)",
    ),
    case="preflight-bulkdel: ",
)
@pytest.mark.parametrize(("state", "told"), [(preflight, "bulkdel: "), (sending, '"event": "progress"')])
def test_thousands_of_questions_do_not_end_a_run(state: State, told: str, tmp_path: Path) -> None:
    """SIGUSR1 as fast as a program can send it, while the export is read, and while ids are deleted."""
    with state(tmp_path) as running:
        for _ in range(20_000):
            os.kill(running.process.pid, signal.SIGUSR1)
        assert told_after(running.process, told)
        running.process.send_signal(signal.SIGTERM)
        ran = finish(running.process)
        assert (ran.code, "Traceback" in ran.err) == (128 + signal.SIGTERM, False), ran.err


def test_nohup_stays_nohup(tmp_path: Path) -> None:
    """SIGHUP was ignored when the run was started, so the terminal may go; SIGTERM still drains."""
    program = shutil.which("nohup")
    assert program, "install coreutils: this test needs nohup"
    with case(tmp_path, IDS, latency_s=0.05, options=("--rate", 20, "--chunk-size", 5)) as it:
        process = subprocess.Popen(
            [program, *COMMAND, *map(str, it.args)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: it.served.pool.deleted > 0, process)
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
        before = it.served.pool.deleted
        wait_until(lambda: it.served.pool.deleted >= before + 50, process)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        assert ran.code == 128 + signal.SIGTERM, ran.err
        assert ran.summary["deleted"] == it.served.pool.deleted


@mutant(
    "a signal that Ray blocks does not reach a run on its node",
    "main",
    swap("{signal.SIGINT, signal.SIGTERM, signal.SIGHUP}", "{signal.SIGTERM, signal.SIGHUP}"),
)
def test_a_signal_that_was_blocked_where_the_run_was_started_drains_it(tmp_path: Path) -> None:
    """Ray blocks SIGINT in every process of a node, and a process inherits it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with case(tmp_path, IDS, options=("--rate", 20, "--chunk-size", 5)) as it:
            process = subprocess.Popen(
                [*COMMAND, *map(str, it.args)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            it.wait_until_deleted(10)
            process.send_signal(signal.SIGINT)
            ended = finish(process)
            assert ended.code == 128 + signal.SIGINT, ended
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
