"""Runs without a person: everything by environment, logs for a collector, plain lines where there is no bar."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness import (
    COMMAND,
    KEYS,
    POOL,
    assert_permitted,
    bulkdel,
    case,
    entries,
    environment,
    finish,
    start,
    user_ids,
)
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(60)


def secrets_in(folder: Path) -> dict[str, str]:
    """The key as a container mounts it: files that all may read, named by variables."""
    for name, value in KEYS.items():
        (folder / name).write_text(f"{value}\n")
        (folder / name).chmod(0o444)
    return {f"{name}_FILE": str(folder / name) for name in KEYS}


def test_everything_by_environment(tmp_path: Path) -> None:
    """Job, export, options, tables of the config and the key; and a Service called `bulkdel` beside it."""
    secrets = secrets_in(tmp_path)
    with case(tmp_path, IDS) as it:
        env = {
            **secrets,
            "BULKDEL_JOB": "delete-users",
            "BULKDEL_EXPORT": str(it.export),
            "BULKDEL_HOST": it.served.url,
            "BULKDEL_RATE": "0",
            "BULKDEL_JSON": "true",
            "BULKDEL_LIMIT": "50",
            "BULKDEL_CONFIRM": str(it.ids),
            "BULKDEL_POOL": POOL,
            "BULKDEL_GENAUTH__LANG": "de-DE",
            "BULKDEL_PROTECT__POOLS": "other-pool another",
            "BULKDEL_PORT": "tcp://10.0.0.1:9400",
            "BULKDEL_SERVICE_PORT_HTTP": "9400",
            "BULKDEL_METRICS_PORT_9400_TCP_ADDR": "10.0.0.1",
        }
        ran = bulkdel("run", env=env)
        assert (ran.code, ran.counts()) == (0, {"deleted": 50, "remaining": 10}), ran
        assert sum(it.effects(IDS)) == 50
        protected = bulkdel("run", env={**env, "BULKDEL_PROTECT__POOLS": f"other-pool {POOL}"})
        assert (protected.code, sum(it.effects(IDS))) == (3, 50), protected
        # The printed command has what no option gives, and needs no BULKDEL_… of the environment.
        line = next(line for line in ran.err.splitlines() if " run delete-users " in line)
        words = shlex.split(line)
        variables = {"BULKDEL_GENAUTH__LANG": "de-DE", "BULKDEL_PROTECT__POOLS": "other-pool another"}
        assert words[:4] == ["env", *map("=".join, variables.items()), "bulkdel"]
        again = bulkdel(*words[4:], env={**secrets, **variables})
        assert (again.code, again.counts()) == (0, {"deleted": 60}), again
        assert it.effects(IDS) == [1] * len(IDS)


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    """One word that is no job is the export; a word that is one is the job."""
    with case(tmp_path, IDS) as it:
        env = {**KEYS, "BULKDEL_JOB": "kick-users", "BULKDEL_HOST": it.served.url}
        ran = bulkdel("plan", it.export, "--json", "--app", "a", env=env)
        assert (ran.code, ran.summary["job"]) == (0, "kick-users"), ran
        other = {**env, "BULKDEL_EXPORT": str(it.export), "BULKDEL_NOTE": "resign-users"}
        ran = bulkdel("plan", "--json", "delete-users", env=other)
        assert (ran.code, ran.summary["job"], ran.summary["export"]) == (0, "delete-users", str(it.export)), ran
        ran = bulkdel("plan", "--note", "delete-users", "--json", "--app", "a", env=other)
        assert (ran.code, ran.summary["job"]) == (0, "kick-users"), ran


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def objects(text: str) -> list[dict[str, Any]]:
    """Each line of the text, which is one JSON object."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    return found


@mutant(
    "the plan in a JSON log shows sampled ids",
    "_run",
    swap("True", "False"),
)
def test_each_line_of_both_streams_is_json(tmp_path: Path) -> None:
    """The two streams of a container are one. A run that SIGTERM drains, and the command that it says goes on."""
    with case(tmp_path, IDS, options=("--rate", 20, "--chunk-size", 2)) as it:
        words = [*it.args, "--log-format", "json", "--progress-every", "1s", "--log-level", "debug"]
        env = environment({**KEYS, "BULKDEL_LOG_FORMAT": "text"})
        with subprocess.Popen(
            [*COMMAND, *map(str, words)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            it.wait_until_deleted(40)
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            both = process.stdout.read().decode()
        assert process.returncode == 143, both
        found = objects(both)
        (summary,) = (one for one in found if "event" not in one)
        events = [one for one in found if "event" in one]
        assert {"plan", "progress", "chunk.settled", "run.draining", "run.ended", "to_go_on"} <= {
            one["event"] for one in events
        }
        assert all({"run_id", "job", "pool", "level", "timestamp"} <= one.keys() for one in events)
        assert {one["job"] for one in events} == {"delete-users"}
        known = next(number for number, one in enumerate(events) if one["event"] == "plan")
        assert {one["pool"] for one in events[:known]} <= {None, POOL}, "it is null before the sign-in"
        assert {one["pool"] for one in events[known:]} == {POOL}
        run_id = entries(it.log)[0]["run_id"]
        assert {one["run_id"] for one in events} == {None, run_id}, "it is null before there is a log"
        ended = next(one for one in events if one["event"] == "run.ended")
        assert summary.items() <= ended.items()
        assert not [id_ for id_ in IDS if id_ in both]
        (on,) = (one["command"] for one in events if one["event"] == "to_go_on")
        done = bulkdel(*on[1:])
        assert (done.code, it.effects(IDS)) == (0, [1] * len(IDS)), done
        said = objects(done.err)
        assert [one["event"] for one in said if one["event"].startswith("to_")] == ["to_verify", "to_report"]


@mutant(
    "a JSON log quotes bad rows",
    "say_error",
    swap("error.public", "str(error)"),
)
@pytest.mark.traced
def test_errors_are_json_too(tmp_path: Path) -> None:
    """Of the command line, of the settings, and of the export, without the text of its rows."""
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(["id", *IDS[:3], "eve@example.com", "mallory@example.com"]))
    env = {**KEYS, "BULKDEL_LOG_FORMAT": "json"}
    for words, event, code in (
        (["run", "delete-users", rows, "--foo"], "--foo is no option of `bulkdel run`", 2),
        (["run", "delete-users", rows, "--log-format=json", "--rate", "-1"], "Must be", 2),
        (["status", rows], "", 3),
        (["run", "kick-users", rows], "--app", 2),
        (["plan", "delete-users", rows], "2 of 5 rows are bad", 3),
        (["plan", "delete-users", rows, "--id-field", "x"], "no column x", 3),
    ):
        ran = bulkdel(*words, env=env)
        first, *_ = objects(ran.err)
        assert (ran.code, first["event"], first["level"], first["exit_code"]) == (code, "error", "error", code), ran
        assert event in first["text"]
        assert "@" not in ran.err
        assert not [id_ for id_ in IDS if id_ in ran.err]
    config = tmp_path / "c.toml"
    config.write_text('[run]\nlog_format = "json"\nraet = 5\n')
    ran = bulkdel("run", "delete-users", rows, "--config", config)
    assert (ran.code, objects(ran.err)[0]["event"]) == (2, "error"), ran


@pytest.mark.traced
def test_what_a_signal_handler_writes_is_json_too(tmp_path: Path) -> None:
    """SIGUSR1 while a pipe is read: the line about the step does not go through the stream."""
    variables = {**KEYS, "BULKDEL_LOG_FORMAT": "json"}
    place = tmp_path / "run"
    process = start("run", "delete-users", "-", "--run", place, env=variables, stdin=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stdin is not None
    process.stdin.write(b"x" * (1 << 17))  # more than a pipe holds
    process.stdin.flush()  # so the pipe is read, and the command has its handlers
    process.send_signal(signal.SIGUSR1)
    assert select.select([process.stderr], [], [], 30)[0]
    (step, *_) = objects(os.read(process.stderr.fileno(), 1 << 16).decode())
    process.terminate()
    ran = finish(process)
    assert (step["event"], step["job"]) == ("note", "delete-users"), step
    assert (ran.code, objects(ran.err)[-1]["exit_code"]) == (143, 143), ran


# ── as the entry point of a container ─────────────────────────────────────────────────────────────────────────────────


def first_process(*words: object, variables: dict[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the command as process 1 of a namespace. Also returns the file in /proc that has its pid out here."""
    unshare = shutil.which("unshare")
    assert unshare, "install util-linux: this test runs the command as process 1 of a namespace of its own"
    alone = (unshare, "--map-root-user", "--pid", "--fork", "--kill-child")
    assert_permitted(*alone)
    process = subprocess.Popen(
        [*alone, *COMMAND, *map(str, words)],
        env=environment({**KEYS, **variables}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return process, Path(f"/proc/{process.pid}/task/{process.pid}/children")


@mutant(
    "process 1 ignores SIGTERM until a command has its handlers",
    "_heed_signals_as_first_process",
    swap("1", "0"),
)
def test_sigterm_ends_process_1_at_any_time(tmp_path: Path) -> None:
    """Process 1 gets no signal without a handler. Before there is anything to drain, it ends; later it drains."""
    fifo = tmp_path / "config.toml"
    os.mkfifo(fifo)
    process, child = first_process("run", "x", "y", "--config", fifo, variables={})
    with process, fifo.open("wb"):  # opened by both, so the command reads its config file
        os.kill(int(child.read_text()), signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        code = process.poll()
        process.kill()
    assert code == 143
    with case(tmp_path, IDS, options=("--rate", 10, "--chunk-size", 1)) as it:
        process, child = first_process(*it.args, variables={})
        it.wait_until_deleted(3)
        os.kill(int(child.read_text()), signal.SIGTERM)
        out, _ = process.communicate(timeout=WAIT_MAX_S)
        assert (process.returncode, b"SIGTERM" in out) == (143, True), out
        assert 3 <= sum(it.effects(IDS)) < len(IDS)
        it.options = ["--rate", 0]
        ran = it.run()
        assert (ran.code, it.effects(IDS)) == (0, [1] * len(IDS)), ran


# ── terminals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Terminal:
    """What a command shows on a terminal: text, and the lines and frames in it without control codes."""

    text: str

    @property
    def frames(self) -> list[str]:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


def on_terminal(folder: Path, columns: int, *more: object, **variables: str) -> Terminal:
    """Run a whole deletion with stderr on a terminal of so many columns, and stdout elsewhere."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    folder.mkdir()
    with case(folder, IDS, options=("--rate", 20, "--chunk-size", 2, *more)) as it:
        env = {"TERM": "xterm", **KEYS, **variables}
        kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
        with subprocess.Popen(
            [*COMMAND, *map(str, it.args)],
            env={**kept, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            seen = b""
            with suppress(OSError):  # Linux's way to say that the other side is closed
                while more_seen := os.read(ours, 1 << 16):
                    seen += more_seen
        os.close(ours)
        assert (process.returncode, sum(it.effects(IDS))) == (0, len(IDS)), seen
    return Terminal(seen.decode())


@pytest.mark.soak
def test_the_bar_at_80_and_60_columns_and_lines_on_a_dumb_terminal(tmp_path: Path) -> None:
    """The percentage and the time left are whole at any width; nothing is wider than the terminal."""
    with ThreadPoolExecutor(4) as pool:
        wide = pool.submit(on_terminal, tmp_path / "80", 80, "--not-after", "23:59", "--limit", 60)
        narrow = pool.submit(on_terminal, tmp_path / "60", 60, NO_COLOR="1")
        dumb = pool.submit(on_terminal, tmp_path / "dumb", 80, "--progress-every", "1s", TERM="dumb")
        text = pool.submit(on_terminal, tmp_path / "text", 80, "--progress-every", "1s", "--log-format", "text")
    for terminal, columns in ((wide.result(), 80), (narrow.result(), 60)):
        bars = [frame for frame in terminal.frames if "%" in frame]
        moving = [bar for bar in bars if " left" in bar]
        assert moving, terminal.frames
        assert all(re.search(r" +\d+% \S", bar) for bar in moving), moving
        assert all(re.search(r"% (less than a second|\d+ s) left · \d+ ids/s", bar) for bar in moving), moving
        assert max(map(len, bars)) <= columns, bars
    assert re.search(r"ids/s · stops at 23:59 · limit 60", wide.result().text)
    assert re.search(r"ids/s · \d+ deleted", narrow.result().text)
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", narrow.result().text), "NO_COLOR"
    for terminal in (dumb.result(), text.result()):
        assert "\x1b" not in terminal.text
        assert "{" not in terminal.text
        assert [line for line in terminal.frames if re.match(r"\d\d:\d\d:\d\d \d+ of 60 rows \(\d+%\) · ", line)]
