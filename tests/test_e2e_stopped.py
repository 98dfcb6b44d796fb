"""A run that is stopped and continued by job control: SIGSTOP, Ctrl-Z, `fg`. Nothing is lost and nobody is blamed."""

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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.sandbox import DELETE_PATH
from jobs.sandbox.server import LOOKUP_PATH, TOKEN_PATH
from tests.harness import COMMAND, Case, Ran, case, environment, finish, user_ids

IDS = user_ids(1_000, seed=11)
DELETIONS = frozenset({DELETE_PATH})
PATIENCE_S = 4
STOPPED_S = 5.5
"""Longer than the patience, and than the time-outs of requests on the wire."""


def wait_until(reached: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait for a state."""
    until = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.005)


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
    return it.start("--patience", f"{PATIENCE_S}s", "--timeout-s", 2, *options)


def assert_whole(it: Case, ran: Ran) -> None:
    """Everything was deleted, once, and the run says so."""
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": it.ids}
    assert [it.served.ledger.effects(id_) for id_ in IDS[: it.ids]] == [1] * it.ids


def test_while_requests_are_on_the_wire(tmp_path: Path) -> None:
    """Finding C5: it halted with "no useful answer". The lock is held, and the rate is kept afterwards."""
    with case(tmp_path, IDS, latency_s=0.6, options=("--rate", 20, "--chunk-size", 20)) as it:
        process = run_of(it)
        wait_until(lambda: it.served.pool.deleted > 0)
        with stopped(process):
            second = it.run()
            assert second.code == 3, second.err
            assert f"another run (pid {process.pid})" in second.err
        before = it.served.ledger.requests
        ran = finish(process)
        assert_whole(it, ran)
        assert it.served.ledger.by_path[DELETE_PATH] > 50, "what timed out meanwhile was sent again"
        after = it.served.ledger.arrivals[before:]
        seconds = [sum(at <= other < at + 1 for other in after) for at in after]
        assert max(seconds) <= 20 + 1 + 2, "no burst"
        assert after[16] - after[0] < 2, "no probe of a breaker: the server has not failed"


def test_while_a_429_is_waited_for(tmp_path: Path) -> None:
    with case(tmp_path, IDS, retry_after="seconds", retry_after_s=1.5) as it:
        it.served.script("429")
        process = run_of(it)
        wait_until(lambda: it.served.ledger.answers["429"] == 1)
        with stopped(process):
            pass
        assert_whole(it, finish(process))


def test_while_the_breaker_is_open(tmp_path: Path) -> None:
    with case(tmp_path, IDS, share_503=1.0, fault_style="http", fault_paths=DELETIONS) as it:
        process = it.start("--patience", "8s")
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
        process = run_of(it)
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] == 16)
        process.send_signal(signal.SIGTERM)
        with stopped(process):
            pass
        ran = finish(process)
        assert ran.code == 128 + signal.SIGTERM, ran.err
        assert ran.summary["status"] == "interrupted"
        it.served.switches = type(it.served.switches)()
        assert_whole(it, it.run())


def test_while_verify_asks(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:400], users=IDS) as it:
        assert it.run().code == 0
        it.served.switches = it.served.switches.changed({"latency_s": 0.4})
        args = ("verify", it.log, "--host", it.served.url, "--json", "--concurrency", 1)
        before = it.served.ledger.by_path[LOOKUP_PATH]
        process = subprocess.Popen(
            [*COMMAND, *map(str, args), "--patience", f"{PATIENCE_S}s", "--timeout-s", "2"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > before + 1)
        with stopped(process):
            pass
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

    def wait_for(self, pattern: str, timeout_s: float = 20) -> re.Match[str]:
        """Wait for it in what the terminal shows, after what was waited for before."""
        until = time.monotonic() + timeout_s
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


def test_ctrl_z_and_fg_at_the_question_and_while_sending(shell: Shell, tmp_path: Path) -> None:
    """Typed on a terminal. The token ends meanwhile and is renewed; a second run is refused all the while."""
    switches: dict[str, Any] = {"latency_s": 0.2, "token_lifetime_s": 2.0}
    with case(tmp_path, IDS, **switches) as it:
        args = ("run", "delete-users", it.export, "--host", it.served.url, "--rate", 20, "--chunk-size", 20)
        shell.type(shlex.join([*COMMAND, *map(str, args), "--patience", f"{PATIENCE_S}s"]) + "; echo code=$?\n")
        shell.wait_for("Type the number")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        assert it.served.pool.deleted == 0
        shell.type("fg\n")
        shell.wait_for("bulkdel|runner.cli")
        shell.type(f"{it.ids}\n")
        wait_until(lambda: it.served.pool.deleted > 0)
        shell.type("\x1a")
        shell.wait_for("Stopped")
        wait_until(lambda: time.monotonic() - it.served.ledger.arrivals[-1] > 2.5)
        signed_in = it.served.ledger.by_path[TOKEN_PATH]
        second = it.run()
        assert second.code == 3, second.err
        assert "another run (pid " in second.err
        shell.type("fg\n")
        shell.wait_for(r"complete: 1,000 rows")
        shell.type("echo code=$?\n")
        assert shell.wait_for(r"code=(\d+)").group(1) == "0"
        assert [it.served.ledger.effects(id_) for id_ in IDS] == [1] * len(IDS)
        assert it.served.ledger.by_path[TOKEN_PATH] > signed_in
