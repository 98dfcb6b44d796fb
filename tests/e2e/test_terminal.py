"""A run on a terminal that a shell shares with it: stopped, in the background, in the foreground again, hung, gone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select

import pytest

from tests.harness import COMMAND, Case, case, entries, environment, user_ids, wait_until
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(700, seed=15)
ONE = ("--rate", 50, "--chunk-size", 1, "--concurrency", 64)
IN_FRONT = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal of standard input that of this session, as a terminal window does for its shell."""


@dataclass
class Terminal:
    """A terminal and the program that was started in it. ours: where a person types and reads."""

    ours: int
    theirs: int
    process: subprocess.Popen[bytes]
    shown: str = field(default="", init=False)

    def press(self, text: str) -> None:
        self.shown = ""
        os.write(self.ours, text.encode())

    def read(self, for_s: float = 0.05) -> None:
        while select([self.ours], [], [], for_s)[0] and (text := os.read(self.ours, 65_536)):
            self.shown += text.decode(errors="replace")

    def until(self, pattern: str) -> str:
        """Read until the screen has shown the pattern."""

        def found() -> bool:
            self.read()
            return re.search(pattern, self.shown) is not None

        try:
            wait_until(found, self.process)
        except AssertionError as error:
            raise AssertionError(pattern, self.shown[:1_500]) from error
        return self.shown

    def mode(self) -> int:
        """The local flags: whether it shows what is typed, and whether it collects lines."""
        return int(termios.tcgetattr(self.theirs)[3]) & (termios.ECHO | termios.ICANON)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    """Start a program in a terminal of its own."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [COMMAND[0], "-c", IN_FRONT, *words],
        env={**environment(), "TERM": "xterm", "PS1": "ready> "},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    it = Terminal(ours, theirs, process)
    try:
        yield it
    finally:
        process.kill()
        it.read()
        process.wait()
        os.close(it.ours)
        os.close(it.theirs)


def line(it: Case) -> str:
    return shlex.join([*COMMAND, *map(str, it.args)])


def goes_on(it: Case, shell: Terminal) -> None:
    """More is deleted, soon."""
    before = it.served.pool.deleted

    def more() -> bool:
        shell.read(0.01)
        return it.served.pool.deleted > before

    wait_until(more)


@mutant(
    "a key that is typed ends the run",
    "Reporter.__init__",
    swap(
        'self._has_bar = shape == "redrawn" and level != "debug"',
        "if self._log.isatty():\n"
        "    import os  # noqa: PLC0415\n"
        "    import tty  # noqa: PLC0415\n"
        "\n"
        "    tty.setcbreak(0)\n"
        "    keys = lambda: (os.read(0, 1), os.kill(os.getpid(), 15))  # type: "
        "ignore[func-returns-value]  # noqa: E731\n"
        "    threading.Thread(target=keys, daemon=True).start()\n"
        'self._has_bar = shape == "redrawn" and level != "debug"',
    ),
)
def test_a_shell_stops_the_run_and_lets_it_go_on_behind_it_and_in_front(tmp_path: Path) -> None:
    """What is typed, to the run or to the shell, does not steer the run: neither in front nor behind."""
    bash = shutil.which("bash")
    assert bash, "install bash: this test needs its job control"
    with case(tmp_path, IDS, options=ONE) as it, terminal(bash, "--norc", "--noprofile", "-i") as shell:
        shell.until("ready> ")
        shell.press(f"{line(it)}\n")
        goes_on(it, shell)
        shell.press("-p+q")
        time.sleep(0.7)
        goes_on(it, shell)
        shell.press("\x1a")
        shell.until("Stopped.*(?s:.*)ready> ")
        shell.press("bg\n")
        goes_on(it, shell)
        shell.press("echo typed-$((40 + 2)) && jobs\n")
        assert "Running" in shell.until("typed-42(?s:.*)bulkdel(?s:.*)ready> ")
        goes_on(it, shell)
        shell.press("fg\n")
        goes_on(it, shell)
        shell.press("\x03")
        shell.until('"status": "interrupted"(?s:.*)ready> ')
        assert not [entry for entry in entries(it.log) if entry["type"] == "change"], "no key has changed the rate"
        shell.press(f"{line(it)} --note behind &\n")
        goes_on(it, shell)
        shell.press("kill -TERM %1; wait %1; echo code-$?\n")
        shell.until("code-143")
    assert set(it.effects(IDS)) <= {0, 1}


def test_a_second_signal_ends_a_run_whose_terminal_takes_no_output(tmp_path: Path) -> None:
    """As after Ctrl-S, or with a lost connection. It waits for no output."""
    with case(tmp_path, IDS, options=ONE) as it, terminal(*COMMAND, *map(str, it.args)) as shell:
        before = shell.mode()
        goes_on(it, shell)
        termios.tcflow(shell.theirs, termios.TCOOFF)
        time.sleep(0.5)  # the next frame of the bar waits
        for signum in (signal.SIGTERM, signal.SIGINT):  # two of a kind may be one by the time that Python looks
            shell.process.send_signal(signum)
            time.sleep(0.1)
        began = time.monotonic()
        wait_until(lambda: shell.process.poll() is not None)
        assert time.monotonic() - began < 10, "else it waits for the terminal"
        assert shell.mode() == before
        termios.tcflow(shell.theirs, termios.TCOON)


@pytest.mark.soak
def test_a_terminal_that_goes_away_drains_the_run(tmp_path: Path) -> None:
    with case(tmp_path, IDS, options=ONE) as it:
        with terminal(*COMMAND, *map(str, it.args)) as shell:
            goes_on(it, shell)
            kept, shell.ours = shell.ours, os.open(os.devnull, os.O_RDWR)
            os.close(kept)
            os.close(shell.theirs)
            shell.theirs = os.open(os.devnull, os.O_RDWR)
            assert shell.process.wait(10) == 128 + signal.SIGHUP
        it.options[1] = 0
        assert it.run().counts() == {"deleted": it.ids}
        assert it.effects(IDS) == [1] * len(IDS)
