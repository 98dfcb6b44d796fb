"""Signals that do not end a run: stopped and continued (SIGSTOP, Ctrl-Z, `fg`), asked how it goes (SIGUSR1).

And one that comes too late to stop anything.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH, TOKEN_PATH
from tests.e2e.test_signals import Running, breaker_open, confirming, draining, paused, preflight, sending, signing_in
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    Case,
    Ran,
    assert_in_time,
    case,
    entries,
    environment,
    finish,
    start,
    steady,
    told_after,
    user_ids,
    wait_until,
)
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(1_000, seed=11)
PATIENCE_S = 4
STOPPED_S = 5.5
"""Longer than the patience, and than the time-outs of requests on the wire."""


def state_of(pid: int) -> str:
    """Of a process: R, S, T (stopped), …"""
    told = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout[:1]


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGSTOP, for STOPPED_S at least, then SIGCONT."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(process.pid) == "T")
    began = time.monotonic()
    yield
    time.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
    process.send_signal(signal.SIGCONT)


def run_of(it: Case, *options: object) -> subprocess.Popen[bytes]:
    """Start the case's run with little patience."""
    return it.start("--patience", f"{PATIENCE_S}s", "--timeout", 2, *options)


def assert_whole(it: Case, ran: Ran) -> None:
    """Everything was deleted, once, and the run says so."""
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": it.ids}
    assert it.effects(IDS[: it.ids]) == [1] * it.ids


@mutant(
    "a time-out ends while the process is stopped",
    "SteadyLoop.time",
    swap("self._uptime()", "self._uptime() + self._uptime.stopped_s"),
)
def test_while_requests_are_on_the_wire(tmp_path: Path) -> None:
    """The server is not blamed for the silence. The lock is held, and the rate is kept afterwards."""

    def scenario(folder: Path) -> None:
        with case(folder, IDS, latency_s=0.6, options=("--rate", 20, "--chunk-size", 10)) as it:
            process = run_of(it)
            it.wait_until_deleted(1)
            with stopped(process):
                second = it.run()
                assert second.code == 3, second.err
                assert f"another run (pid {process.pid})" in second.err
            before = it.served.ledger.requests
            ran = finish(process)
            assert_whole(it, ran)
            assert it.served.ledger.by_path[DELETE_PATH] == 100, "what was answered meanwhile is not sent again"
            after = it.served.ledger.arrivals[before:]
            assert after[16] - after[0] < 4, "no probe of a breaker, one in 5 s: the server has not failed"
            seconds = [sum(at <= other < at + 1 for other in after) for at in after]
            assert_in_time(max(seconds) <= 20 + 1 + 2, "a burst", seconds)

    steady(scenario, tmp_path)


def test_while_a_429_is_waited_for(tmp_path: Path) -> None:
    with case(tmp_path, IDS, retry_after="seconds", retry_after_s=1.5) as it:
        it.served.script("429")
        process = run_of(it)
        wait_until(lambda: it.served.ledger.answers["429"] == 1)
        with stopped(process):
            pass
        assert_whole(it, finish(process))


@pytest.mark.soak
def test_while_the_breaker_is_open(tmp_path: Path) -> None:
    with case(tmp_path, IDS, share_503=1.0, fault_style="http", fault_paths=DELETIONS) as it:
        process = it.start("--patience", "9s")
        wait_until(lambda: it.served.ledger.answers["503"] >= 10)
        with stopped(process):
            time.sleep(4.5)
            it.served.switches = type(it.served.switches)()
        assert_whole(it, finish(process))


def test_while_it_signs_in(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        it.served.script("503", path=TOKEN_PATH)
        process = run_of(it)
        wait_until(lambda: it.served.ledger.by_path[TOKEN_PATH] >= 1)
        with stopped(process):
            pass
        assert_whole(it, finish(process))


def test_while_the_export_is_read(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        lines = it.export.read_bytes()
        it.export.unlink()
        os.mkfifo(it.export)
        process = run_of(it)
        with it.export.open("wb", buffering=0) as pipe:
            pipe.write(lines[:1_000])
            with stopped(process):
                assert not it.log.exists()
            pipe.write(lines[1_000:])
        assert_whole(it, finish(process))


def test_while_it_drains(tmp_path: Path) -> None:
    """The drain ends as it would have; the next run goes on."""
    with case(tmp_path, IDS, latency_after_s=1.0, fault_paths=DELETIONS) as it:
        process = run_of(it, "--chunk-size", 5)
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 16, process)
        process.send_signal(signal.SIGTERM)
        with stopped(process):
            pass
        ran = finish(process)
        assert ran.code == 128 + signal.SIGTERM, ran.err
        assert ran.summary["status"] == "interrupted"
        it.served.switches = type(it.served.switches)()
        assert_whole(it, it.run())


@pytest.mark.soak
def test_while_verify_asks(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:400], users=IDS) as it:
        assert it.run().code == 0
        it.switch(latency_s=1.0)
        args = ("verify", it.log, "--host", it.served.url, "--json", "--concurrency", 1)
        before = it.served.ledger.by_path[LOOKUP_PATH]
        process = start(*args, "--patience", f"{PATIENCE_S}s", "--timeout", 2)
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > before, process)
        with stopped(process):
            it.switch(latency_s=0.0)
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert ran.summary["gone"] == 400


class Shell:
    """An interactive shell on a terminal of its own, as a person has it."""

    def __init__(self) -> None:
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("Ctrl-Z was not typed, because bash is not installed: apt-get install bash")
        pid, self._terminal = pty.fork()
        if pid == 0:
            env = environment() | {"PS1": "", "TERM": "xterm", "COLUMNS": "200"}
            os.execve(bash, [bash, "--norc", "--noprofile", "-i"], env)
        self.pid = pid
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for it in what the terminal shows, after what was waited for before."""
        until = time.monotonic() + WAIT_MAX_S
        while (found := re.search(pattern, self.said)) is None:
            assert time.monotonic() < until, self.said
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.said += os.read(self._terminal, 65536).decode(errors="replace")
        self.said = self.said[found.end() :]
        return found

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture
def shell() -> Iterator[Shell]:
    opened = Shell()
    yield opened
    opened.close()


@pytest.mark.soak
def test_ctrl_z_and_fg_at_the_question_and_while_sending(shell: Shell, tmp_path: Path) -> None:
    """Typed on a terminal. The token ends meanwhile and is renewed; a second run is refused all the while."""
    switches: dict[str, Any] = {"latency_after_s": 0.5, "fault_paths": DELETIONS, "token_lifetime_s": 2.0}
    with case(tmp_path, IDS, **switches) as it:
        args = ("run", "delete-users", it.export, "--host", it.served.url, "--rate", 20, "--chunk-size", 20)
        more = ("--concurrency", 1, "--patience", f"{PATIENCE_S}s")
        shell.type(shlex.join([*COMMAND, *map(str, (*args, *more))]) + "; echo code=$?\n")
        shell.wait_for("Type the number")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        assert it.served.pool.deleted == 0
        shell.type("fg\n")
        shell.wait_for("bulkdel|bulkdel.cli")
        shell.type(f"{it.ids}\n")
        it.wait_until_deleted(1)
        shell.type("\x1a")
        shell.wait_for("Stopped")
        wait_until(lambda: time.monotonic() - it.served.ledger.arrivals[-1] > 2.5)
        signed_in = it.served.ledger.by_path[TOKEN_PATH]
        second = it.run()
        assert second.code == 3, second.err
        assert "another run (pid " in second.err
        it.switch(latency_after_s=0.0)
        shell.type("fg\n")
        shell.wait_for(r"complete: 1,000 rows")
        shell.type("echo code=$?\n")
        assert shell.wait_for(r"code=(\d+)").group(1) == "0"
        assert it.effects(IDS) == [1] * len(IDS)
        assert it.served.ledger.by_path[TOKEN_PATH] > signed_in


# SIGUSR1


@pytest.mark.parametrize(
    ("state", "told"),
    one_in(
        3,
        [
            (preflight, r"bulkdel: copying the export from a pipe: \d[\d,]* bytes so far"),
            (signing_in, "bulkdel: signing in and looking up 200 of the ids as a sample"),
            (confirming, "bulkdel: waiting for the confirmation; nothing was deleted by this session"),
            (sending, '"settled": .*"event": "progress"'),
            (paused, '"waiting": "the server asks to wait \\(429\\), .*"event": "progress"'),
            (breaker_open, '"waiting": "the server fails, .*"event": "progress"'),
        ],
    ),
)
def test_sigusr1_tells_how_it_goes_and_the_run_goes_on(
    state: Callable[[Path], AbstractContextManager[Running]], told: str, tmp_path: Path
) -> None:
    """A second one is answered as well."""
    with state(tmp_path) as running:
        for _ in range(2):
            told_after(running.process, told)
        running.process.send_signal(signal.SIGTERM)
        ran = finish(running.process)
        assert ran.code == 128 + signal.SIGTERM, ran.err


def test_sigusr1_while_it_drains(tmp_path: Path) -> None:
    with draining(tmp_path) as running:
        running.process.send_signal(signal.SIGTERM)
        told_after(running.process, '"waiting": "draining')
        assert finish(running.process).code == 128 + signal.SIGTERM


def test_sigusr1_tells_what_limits_an_unlimited_run(tmp_path: Path) -> None:
    """It is slow after a 429, and says why."""
    with case(
        tmp_path, IDS[:400], options=("--rate", 0, "--chunk-size", 1), retry_after="seconds", retry_after_s=0
    ) as it:
        it.served.script("429")
        process = it.start()
        it.wait_until_deleted(1)
        told_after(process, '"limited_by": "earlier_429"')
        process.send_signal(signal.SIGTERM)
        assert finish(process).code == 128 + signal.SIGTERM


def test_sigusr1_while_verify_asks(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:400], users=IDS) as it:
        assert it.run().code == 0
        it.switch(latency_s=1.5)
        before = it.served.ledger.by_path[LOOKUP_PATH]
        args = ("verify", it.log, "--host", it.served.url, "--json", "--concurrency", 1)
        process = start(*args)
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > before, process)
        told_after(process, '"settled": .*"event": "progress"')
        it.switch(latency_s=0.0)
        ran = finish(process)
        assert ran.code == 0, ran.err


@mutant(
    "SIGUSR1 ends a command",
    "main",
    swap("signal.SIG_IGN", "signal.SIG_DFL"),
)
def test_sigusr1_does_not_end_other_commands(tmp_path: Path) -> None:
    """Here `results`, in the middle of its output."""
    with case(tmp_path, user_ids(5_000)) as it:
        assert it.run().code == 0
        process = start("results", it.log)
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)  # more than the pipe holds is to come
        process.send_signal(signal.SIGUSR1)
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert len((first.decode() + ran.out).splitlines()) == 5_000


def test_sigusr1_above_the_bar(shell: Shell, tmp_path: Path) -> None:
    options = ("--rate", 20, "--chunk-size", 20, "--concurrency", 1)
    with case(tmp_path, IDS, latency_after_s=0.5, fault_paths=DELETIONS, options=options) as it:
        shell.type(shlex.join([*COMMAND, *map(str, it.args)]) + " &\n")
        it.wait_until_deleted(1)
        shell.type("kill -USR1 %1\n")
        shell.wait_for(r"\d+ of 1,000 rows \(\d+%\) · ")
        it.switch(latency_after_s=0.0)
        shell.type("wait %1; echo code=$?\n")
        assert shell.wait_for(r"code=(\d+)").group(1) == "0"
        assert it.served.pool.deleted == len(IDS)


# Too late to stop anything


@mutant(
    "a signal that came too late is told as the reason to stop",
    "ending_of",
    swap("stop.signal is not None or stop.drained", "stop.drained"),
)
@pytest.mark.parametrize("options", [(), ("--limit", 50)])
def test_a_signal_after_the_last_request_changes_nothing(options: tuple[object, ...], tmp_path: Path) -> None:
    """Everything is settled, so the run ends as it would have without the signal."""
    ids = IDS[: 100 if options else 50]
    with case(tmp_path, ids, latency_after_s=2.0, fault_paths=DELETIONS) as it:
        process = it.start(*options)
        it.wait_until_deleted(50)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert ran.summary["deleted"] == 50
        assert (ran.summary["status"] == "complete") is not bool(options)
        assert "Stopped" not in ran.err
        assert (entries(it.log)[-1]["why"], entries(it.log)[-1]["exit"]) == ("done", 0)
