"""The audit hook of `tests.watched` sees what a command does; and the same for the libraries in Rust, under strace.

`campaigns/test_hostile_files.py` has the files of others by the hundred.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import xlsxwriter

from bulkdel.live import socket_path
from tests.harness import COMMAND, POOL, bulkdel, environment, sandbox, state_home, strace, user_ids, write_objects
from tests.waits import WAIT_MAX_S
from tests.watched import OF_PYTHON, watching

IDS = user_ids(60)
CALLS = "open,openat,creat,execve,connect,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat"


def test_what_is_typed_is_seen(tmp_path: Path) -> None:
    """A command, a proxy, a file of another folder: each is seen, and only the file may be read."""
    folder, proof, other = tmp_path / "run", tmp_path / "proof", tmp_path / "other.jsonl"
    folder.mkdir()
    write_objects(folder / "users.jsonl", IDS)
    write_objects(other, IDS[:5])
    run = ("run", "delete-users", "users.jsonl", "--host", "http://127.0.0.1:9", "--patience", "1")
    with watching([("127.0.0.1", 9)]) as watched:
        seen = watched.run(*run, "--on-event", f"touch {proof}", "--exclude", other, cwd=folder, within=folder)
        assert {event.name for event in seen.beyond} == {"subprocess.Popen", "open"}, seen
        assert {event.what for event in seen.beyond if event.name == "open"} == {str(other)}
        named = watched.run(*run, "--exclude", other, cwd=folder, within=folder, named=[other])
        assert (named.beyond, proof.exists()) == ([], False), named
        with_tls = [word.replace("http:", "https:") for word in run]
        asked = watched.run(*with_tls, "--proxy", "http://127.0.0.2:9", cwd=folder, within=folder)
        assert {event.name for event in asked.beyond} <= {"socket.connect", "socket.getaddrinfo"}, asked
        assert "127.0.0.2" in asked.beyond[0].what
        away = watched.run("show", "x", cwd=folder, within=folder, env={})
        assert (away.code, away.beyond) == (2, []), away
        moved = watched.run(*run, "--run", tmp_path / "log", cwd=folder, within=folder, named=[other])
        assert not (tmp_path / "log").exists(), moved


def test_a_run_by_a_plan_does_no_more_under_strace(tmp_path: Path) -> None:
    """Every system call of a run by a plan, whose export is a workbook: a library in Rust reads it, in a process."""
    folder, trace = tmp_path / "run", tmp_path / "trace"
    folder.mkdir()
    before = [*strace("-y", "-s", 4_000, "-o", trace, "-e", f"trace={CALLS}", "-e", "signal=none"), *COMMAND]
    with xlsxwriter.Workbook(str(folder / "users.xlsx")) as book:
        book.add_worksheet("Leavers").write_column(0, 0, ["id", *IDS])
    with sandbox(IDS) as served:
        where = ("--host", served.url, "--rate", "0")
        planned = bulkdel("plan", "delete-users", "users.xlsx", *where, "--out", "plan.json", cwd=folder)
        assert planned.code == 0, planned.err
        done = subprocess.run(
            [*before, "run", "--plan", "plan.json", *where],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_MAX_S,
            check=False,
        )
        assert (done.returncode, served.pool.deleted) == (0, len(IDS)), (done.stderr, POOL)
        port = served.url.rpartition(":")[2]
    calls = [line for line in trace.read_text(encoding="latin-1").splitlines() if "resumed>" not in line]
    paths = [found[1] for line in calls if "ENOENT" not in line and (found := re.search(r'"((?:/|[^"])[^"]*)"', line))]
    # The folders of its control socket, of which strace may show the result in a line of its own, and of its key.
    own = (*map(str, socket_path.folders(os.getuid(), environment())), state_home())
    mine = (str(folder), *own, "/etc/", "/dev/", "/usr/", *OF_PYTHON)
    assert [path for path in paths if path.startswith("/") and not path.startswith(mine)] == []
    connected = [line for line in calls if "connect(" in line and "AF_INET" in line]
    assert connected
    assert all(f"htons({port})" in line for line in connected), connected
    started = {found[1] for line in calls if (found := re.search(r'execve\("([^"]*)"', line)) and line.endswith("= 0")}
    assert {Path(program).name for program in started} <= {Path(COMMAND[0]).name}, started
