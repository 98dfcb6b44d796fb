"""Rare states, each through the real command: none of them loses an id or is a dead end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, Pool
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    POOL,
    bulkdel,
    case,
    entries,
    environment,
    finish,
    importing_from,
    run_with_streams,
    sandbox,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(1_000)


def test_refused_all_over_and_mended(tmp_path: Path) -> None:
    """Every deletion is refused, in sixteen chunks at once: the run halts, and no id counts as refused."""
    with case(tmp_path, IDS, poisonous=dict.fromkeys(IDS, (422, None))) as it:
        ran = it.run()
        assert ran.code == 4, ran.err
        assert ran.counts() == {"remaining": 1_000}
        it.switch(poisonous={})
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 1_000}
        assert it.served.pool.deleted == 1_000


def test_one_forbidden_id_and_a_resume(tmp_path: Path) -> None:
    """A 403 after earlier sessions' successes is about the id, not about the permission."""
    with case(tmp_path, IDS[:200], poisonous={IDS[190]: (403, None)}) as it:
        assert it.run("--limit", 100).code == 0
        ran = it.run()
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": 199, "refused": 1}


@pytest.mark.parametrize("zone", ["", "Z"])
def test_accounts_from_the_future(zone: str, tmp_path: Path) -> None:
    """`createdAt` hours ahead, in local time without a zone or by a wrong clock: in doubt, there, so sent again."""
    ahead = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 6 * 3600)) + zone
    with case(tmp_path, IDS[:60], share_drop_before=1.0, fault_paths=DELETIONS) as it:
        it.served.pool = Pool.from_ids(IDS[:60], created_at=ahead)
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] > 0, process)
        process.kill()
        finish(process)
        it.switch(share_drop_before=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 60}
        assert len(it.served.pool) == 0


@pytest.mark.parametrize("confirmed", [True, False])
def test_killed_before_its_last_word(confirmed: bool, tmp_path: Path) -> None:
    """Everything is settled, only the stop entry is missing: the same command says so and exits 0."""
    with case(tmp_path, IDS[:130]) as it:
        assert it.run().code == 0
        lines = it.log.read_bytes().splitlines(keepends=True)
        it.log.write_bytes(b"".join(lines[:-1]))
        before = it.served.ledger.by_path[DELETE_PATH]
        args = it.args if confirmed else [arg for arg in it.args if arg not in {"--confirm", it.ids, "--pool", POOL}]
        ran = bulkdel(*args)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 130}
        assert it.served.ledger.by_path[DELETE_PATH] == before
        assert entries(it.log)[-1]["event"] == "stop"


def test_complete_needs_no_credentials(tmp_path: Path) -> None:
    """A complete run started again repeats its summary, without a sign-in."""
    with case(tmp_path, IDS[:130]) as it:
        first = it.run()
        again = it.run(env={})
        assert again.code == 0, again.err
        assert again.summary == first.summary


@pytest.mark.parametrize("closed", one_in(5, ["<&- >&- 2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&-"]))
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    """Also on a resume, where the log is the first file to be opened."""
    with case(tmp_path, IDS) as it:
        for more in (["--limit", "100"], []):
            args = [*map(str, it.args), *more]
            done = run_with_streams(closed, *args)
            assert done.returncode == 0, (done.stdout, done.stderr)
        assert it.served.pool.deleted == 1_000
        assert bulkdel("status", it.log, "--json").summary["deleted"] == 1_000


def test_stdin_closed_and_unconfirmed(tmp_path: Path) -> None:
    """No terminal, no options: exit 2, not a traceback."""
    with case(tmp_path, IDS) as it:
        done = run_with_streams("<&-", *it.args[:5])
        assert done.returncode == 2, done.stderr
        assert b"Traceback" not in done.stderr


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """Neither the log nor the command that resumes can hold it, so it is refused. A link to it is accepted."""
    export = write_objects(tmp_path / "us\udcffers.jsonl", IDS[:60])
    args = ("--sandbox", "--rate", 0, "--json")
    for where in (tmp_path, None):
        name = export.name if where else export
        ran = bulkdel("run", "delete-users", name, *args, env={}, cwd=where)
        assert (ran.code, ran.out) == (2, "")
        assert "us\ufffders.jsonl: is not UTF-8" in ran.err
    link = tmp_path / "users.jsonl"
    link.symlink_to(export)
    ran = bulkdel("run", "delete-users", link, *args, env={})
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": 60}


def test_the_field_spelled_out_on_a_resume(tmp_path: Path) -> None:
    """First found by its name, then given: the same rows are read."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        ran = it.run("--id-field", "id")
        assert ran.code == 0, ran.err


def has_begun(pid: int) -> bool:
    """Whether the first lines of `main` have run: they ignore SIGUSR1. Before them, the interpreter takes a signal."""
    ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return ignored is not None and bool(int(ignored[1], 16) >> (signal.SIGUSR1 - 1) & 1)


def test_interrupted_at_once(tmp_path: Path) -> None:
    """Ctrl-C in the first moments of the program: 130 and no traceback."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # a command in the process of a test leaves it ignored: inherited
    for delay_s in (0, 0.05, 0.1, 0.2, 0.3):
        process = subprocess.Popen(
            [*COMMAND, "plan", "delete-users", str(export)],
            env=environment({}),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        wait_until(partial(has_begun, process.pid), process)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        ran = finish(process)
        assert ran.code in {0, 130, -signal.SIGINT}, ran.err
        assert "Traceback" not in ran.err


HELD = "import _imp, sys; from bulkdel.cli.main import main; _imp.acquire_lock(); sys.exit(main(sys.argv[1:]))"
"""What an interrupt leaves that the interpreter swallows in a clean-up of its imports, before `main`."""


@mutant(
    "an interrupt that the interpreter swallowed while it started leaves a run that never ends",
    "main",
    swap("lock_held()", "lock_held() and argv is not None and not argv"),
)
def test_an_interrupt_that_the_interpreter_swallowed_ends_the_command(tmp_path: Path) -> None:
    """Else the run waits for ever: the thread that makes its sandbox loads a module."""
    words = ("run", "delete-users", write_objects(tmp_path / "e.jsonl", IDS), "--sandbox")
    with subprocess.Popen([sys.executable, "-c", HELD, *map(str, words)], env=environment({})) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        code = process.poll()
        process.kill()
    assert code == 130


INTERRUPTS = """
import builtins, os, signal, sys
as_usual = builtins.__import__
def imported(name, *args, **kwargs):
    if "orjson.orjson" in sys.modules:  # it is being loaded, and imports something
        builtins.__import__ = as_usual
        os.kill(os.getpid(), signal.SIGINT)
    return as_usual(name, *args, **kwargs)
builtins.__import__ = imported
"""


SWALLOWS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "LATE":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                pass
sys.meta_path.insert(0, Finder())
"""
"""As what Python calls when the import system frees an object: an exception in it is swallowed, and the lock of all
imports may stay held."""

IN_SIGNALS = "from bulkdel.engine.signals import Signals\nwith Signals():\n    import csv, LATE"


@mutant(
    "an interrupt is an exception while a command loads its modules",
    "_interrupt",
    swap("if is_importing(frame):\n    os._exit(INTERRUPTED)", "is_importing(frame)"),
)
@mutant(
    "a signal before the loop is an exception while a module is loaded",
    "Signals._handle",
    swap("interrupt", "ignore"),
)
@pytest.mark.parametrize(
    ("late", "words"),
    one_in(
        2,
        [
            ("bulkdel.commands.plan", ["-m", "bulkdel", "plan", "delete-users", "EXPORT"]),
            ("bulkdel.commands.run", ["-m", "bulkdel", "run", "delete-users", "EXPORT", "--sandbox"]),
            ("colorsys", ["-c", IN_SIGNALS.replace("LATE", "colorsys")]),
        ],
    ),
    ids=["plan", "run", "before the loop of a run"],
)
def test_interrupted_while_a_command_loads_its_modules(late: str, words: list[str], tmp_path: Path) -> None:
    """An exception in the middle of that may leave the lock of all imports held: then the command never ends."""
    export = write_objects(tmp_path / "e.jsonl", IDS[:3])
    (tmp_path / "sitecustomize.py").write_text(SWALLOWS.replace("LATE", late))
    given = [sys.executable, *(str(export) if word == "EXPORT" else word for word in words)]
    env = environment(importing_from(tmp_path))
    done = subprocess.run(given, env=env, capture_output=True, text=True, check=False, timeout=WAIT_MAX_S)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), done


@mutant(
    "an interrupt is an exception while modules are loaded",
    "main",
    swap("lambda *_: os._exit(INTERRUPTED)", "as_usual"),
)
def test_interrupted_while_orjson_is_loaded(tmp_path: Path) -> None:
    """An exception in the middle of that ends the interpreter with SIGSEGV."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    done = subprocess.run(
        [*COMMAND, "jobs"], env=environment(importing_from(tmp_path)), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_piped_and_gone_on(tmp_path: Path) -> None:
    """After `-` the command to go on reads no pipe, and works."""
    with sandbox(IDS) as served:
        args = ("run", "delete-users", "-", "--host", served.url, "--rate", 0, "--run", tmp_path / "run")
        data = write_objects(tmp_path / "e.jsonl", IDS).read_bytes()
        ran = bulkdel(*args, "--confirm", 1_000, "--pool", POOL, "--limit", 100, input=data)
        assert ran.code == 0, ran.err
        shown = ran.err.splitlines()[-1].split()
        assert shown[3] == "-"
        assert "--as-confirmed" in shown
        assert bulkdel(*shown[1:]).code == 0
        assert served.pool.deleted == 1_000


def test_what_the_terminal_cannot_show(tmp_path: Path) -> None:
    """An ASCII-only stdout still gets its summary."""
    export = tmp_path / "é.jsonl"
    write_objects(export, IDS[:60])
    env = {"PYTHONIOENCODING": "ascii"}
    ran = bulkdel("run", "delete-users", export, "--sandbox", "--rate", 0, "--json", env=env)
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": 60}
    assert "--confirm 60" in bulkdel("plan", "delete-users", export, env=env).out


def test_corrections_are_not_overwritten(tmp_path: Path) -> None:
    """The bad rows may hold a user's corrections: another run does not replace them, also in the same place."""
    export = tmp_path / "e.jsonl"
    write_objects(export, [*IDS[:5], "oops"])
    args = ("run", "delete-users", export, "--sandbox", "--skip-invalid", "10", "--rate", 0)
    assert bulkdel(*args, env={}).code == 0
    log = log_of(export, sandbox=True)
    mended = log.with_name("invalid")
    mended.write_text(mended.read_text().replace("oops", IDS[7]))
    corrected = mended.read_text()
    assert bulkdel(*args, "--run", tmp_path / "other", env={}).code == 0
    assert mended.read_text() == corrected
    for name in ("log.jsonl", "input.jsonl.zst", "input.index.jsonl", "skipped.zst"):
        log.with_name(name).unlink()
    ran = bulkdel(*args, env={})
    assert ran.code == 3
    assert str(mended) in ran.err
    assert mended.read_text() == corrected


def test_ids_that_got_no_answer_are_explained(tmp_path: Path) -> None:
    """Exit 4 says why: here every deletion of some ids fails until the attempts run out."""
    with case(tmp_path, IDS[:30]) as it:
        it.served.script(*["500"] * 200)
        ran = it.run("--concurrency", 1)
        assert ran.code == 4, ran.err
        assert "30 ids got no response that settles them" in ran.err
        assert "500" in ran.err


def test_limit_that_reaches_the_end(tmp_path: Path) -> None:
    """--limit equal to all ids, with duplicates behind the last: complete, not 'remaining'."""
    export = write_objects(tmp_path / "e.jsonl", [*IDS[:100], *IDS[:30]])
    ran = bulkdel("run", "delete-users", export, "--sandbox", "--rate", 0, "--json", "--limit", 100, env={})
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": 100, "duplicate": 30}
    assert ran.summary["status"] == "complete"
