"""The command line: confirmation, credentials, settings, exit codes, streams that fail, files that fail."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import shlex
import struct
import termios
import threading
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET
from tests.examples import one_in
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    assert_in_time,
    bulkdel,
    case,
    finish,
    names_in,
    run_with_streams,
    sandbox,
    start,
    steady,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(2_000)


@mutant(
    "a refused confirmation prints the new number ready to paste",
    "_how_to_confirm",
    swap("value not in {None, wanted.get(name)}", "value not in {None, value, wanted.get(name)}"),
    case="wrong count",
)
@mutant(
    "not confirmed and sent",
    "confirm",
    swap("(given[name] != value for name, value in wanted.items())", "(given[name] is None for name in wanted)"),
    case="wrong count",
)
@pytest.mark.parametrize(
    "given",
    one_in(
        3,
        [
            [],
            ["--confirm", "2000"],
            ["--pool", POOL],
            ["--confirm", "1999", "--pool", POOL],
            ["--confirm", "2000", "--pool", "x"],
        ],
    ),
    ids=["nothing", "no pool", "no count", "wrong count", "wrong pool"],
)
def test_unconfirmed(given: list[str], tmp_path: Path) -> None:
    """Exit 2, nothing deleted, no log, and the exact command is shown; that command works."""
    with case(tmp_path, IDS) as it:
        ran = bulkdel("run", "delete-users", it.export, "--host", it.served.url, "--rate", 0, *given)
        assert ran.code == 2, ran.err
        assert it.served.pool.deleted == 0
        assert not it.place.parent.exists()
        shown = ran.err.splitlines()[-1].split()
        assert shown[0] == "bulkdel"
        if "1999" in given:  # another number is looked at before it is typed, and so is another pool
            assert (shown[-2:], "--confirm" in shown) == (["--pool", POOL], False)
            shown += ["--confirm", "2000"]
        elif "x" in given:
            assert (shown[-2:], "--pool" in shown) == (["--confirm", "2000"], False)
            shown += ["--pool", POOL]
        else:
            assert shown[-4:] == ["--confirm", "2000", "--pool", POOL]
        assert bulkdel(*shown[1:]).code == 0
        assert it.served.pool.deleted == 2_000


@pytest.mark.parametrize(
    ("typed", "code"), one_in(2, [(b"2000\n", 0), (b"2,000\n", 0), (b"yes\n", 2), (b"\n", 2), (b"\x04", 2)])
)
def test_typed_on_a_terminal(typed: bytes, code: int, tmp_path: Path) -> None:
    """Both are shown, and the number is typed; anything else declines."""
    with case(tmp_path, IDS) as it:
        ours, theirs = pty.openpty()
        process = start("run", "delete-users", it.export, "--host", it.served.url, "--rate", 0, stdin=theirs)
        os.close(theirs)
        os.write(ours, typed)
        ran = finish(process)
        os.close(ours)
        assert ran.code == code, ran.err
        assert POOL in ran.err
        assert "Type the number of ids to delete to go on, anything else to stop:\n" in ran.err
        assert it.served.pool.deleted == (2_000 if code == 0 else 0)
        assert it.log.exists() == (code == 0)


def test_the_question_stands_below_what_it_is_about(tmp_path: Path) -> None:
    """On a terminal of 80 columns and 24 lines, all that is compared before the confirmation can be seen with it."""
    keep = write_objects(tmp_path / "keep.jsonl", IDS[:300])
    with case(tmp_path, IDS) as it:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        words = ("run", "delete-users", it.export, "--host", it.served.url, "--exclude", keep, "--backup")
        guards = ("--not-after", "23:59", "--spare", "active-since=2020-01-01", "--only-status", "Activated")
        process = start(*words, *guards, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while not shown.rstrip().endswith(b"anything else to stop:"):
            shown += os.read(ours, 65_536)
        os.write(ours, b"no\n")
        with suppress(OSError):  # the end of a terminal
            while os.read(ours, 65_536):
                pass
        os.close(ours)
        assert process.wait() == 2
    lines = shown.decode().replace("\r", "").rstrip().split("\n")[-23:]
    assert [line for line in lines if len(line) > 80 and " " in line[13:]] == [], lines
    for expected in (
        f"  host       {it.served.url}",
        f"  pool       {POOL}",
        "  to delete  up to 1,700 ids in 68 requests",
        "  protected  300 of 300 ids to keep are in the export, so 300 rows are left out",
        "  spared     each user that signed in since 2020-01-01",
        "  not after  ",
    ):
        assert [line for line in lines if line.startswith(expected)], (expected, lines)


def test_plan_deletes_nothing(tmp_path: Path) -> None:
    """With credentials it signs in and looks the sample up; without, it says so. Neither sends a deletion."""
    with case(tmp_path, IDS) as it:
        ran = bulkdel("plan", "delete-users", it.export, "--host", it.served.url)
        assert ran.code == 0
        assert POOL in ran.out
        assert "200 of 200 looked up exist" in ran.out
        assert it.served.ledger.by_path["/api/v3/delete-users-batch"] == 0
        before = it.served.ledger.requests
        ran = bulkdel("plan", "delete-users", it.export, "--host", it.served.url, env={})
        assert ran.code == 0
        assert "not signed in" in ran.out
        assert it.served.ledger.requests == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["export.jsonl"]


@pytest.mark.parametrize(
    "options",
    one_in(
        3,
        [
            ["--rate", "-1"],
            ["--concurrency", "0"],
            ["--chunk-size", "51"],
            ["--chunk-size", "0"],
            ["--limit", "0"],
            ["--id-type", "nonsense"],
            ["--id-pattern", "("],
            ["--host", "http://api.example.com"],
            ["--host", "https://user:secret@api.example.com"],
            ["--patience", "soon"],
            ["--config", "missing.toml"],
            ["--no-such-option"],
            ["--format", "xml"],
            ["--limit", "2.5"],
            ["--confirm", "1999.6"],
            ["--max-refused", "many"],
            ["--proxy", "ftp://x"],
            ["--ca-file", "missing.pem"],
        ],
    ),
    ids=" ".join,
)
def test_wrong_settings(options: list[str], tmp_path: Path) -> None:
    """Exit 2, the option named, nothing sent."""
    with case(tmp_path, IDS) as it:
        ran = it.run(*options)
        assert ran.code == 2, (ran.err, ran.out)
        assert options[0] in ran.err
        assert "Traceback" not in ran.err
        assert "secret" not in ran.err
        assert it.served.ledger.by_path["/api/v3/delete-users-batch"] == 0


def test_settings_in_layers(tmp_path: Path) -> None:
    """Command line over environment over TOML."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    config = tmp_path / "c.toml"
    config.write_text("[run]\nrate = 7\nchunk_size = 10\nconcurrency = 3\n")
    env = {"BULKDEL_RATE": "8", "BULKDEL_CHUNK_SIZE": "20"}
    ran = bulkdel("plan", "delete-users", export, "--config", config, "--rate", 9, env=env)
    assert ran.code == 0, ran.err
    assert "in 100 requests at 9 requests/s" in ran.out
    ran = bulkdel("plan", "delete-users", export, "--config", config, env=env)
    assert "in 100 requests at 8 requests/s" in ran.out
    ran = bulkdel("plan", "delete-users", export, "--config", config, env={})
    assert "in 200 requests at 7 requests/s" in ran.out
    config.write_text("[run]\nrat = 7\n")
    ran = bulkdel("plan", "delete-users", export, "--config", config, env={})
    assert ran.code == 2, ran.out
    assert "rat" in ran.err


def test_credentials_file(tmp_path: Path) -> None:
    """A 0600 file that the config names; one that others can read is refused, and never quoted."""
    secret = tmp_path / "key"
    secret.write_text(f"GENAUTH_ACCESS_KEY_ID={SANDBOX_KEY_ID}\nGENAUTH_ACCESS_KEY_SECRET={SANDBOX_KEY_SECRET}\n")
    secret.chmod(0o644)
    config = tmp_path / "c.toml"
    config.write_text(f'[genauth]\ncredentials_file = "{secret}"\n')
    with case(tmp_path, IDS) as it:
        ran = it.run("--config", config, env={})
        assert ran.code == 2
        assert "chmod 600" in ran.err
        assert SANDBOX_KEY_SECRET not in ran.err
        secret.chmod(0o600)
        assert it.run("--config", config, env={}).code == 0
        assert it.served.pool.deleted == 2_000


def test_no_credentials(tmp_path: Path) -> None:
    """Exit 2 and the names of the variables."""
    with case(tmp_path, IDS) as it:
        ran = it.run(env={})
        assert ran.code == 2
        assert "GENAUTH_ACCESS_KEY_ID" in ran.err
        assert it.served.ledger.requests == 0


def test_wrong_key(tmp_path: Path) -> None:
    """Sign-in refused: exit 4, and the secret is in no output."""
    with case(tmp_path, IDS) as it:
        ran = it.run(env={**KEYS, "GENAUTH_ACCESS_KEY_SECRET": "not-the-secret-canary"})
        assert ran.code == 4, ran.err
        assert "sign-in refused" in ran.err
        assert "canary" not in ran.err + ran.out
        assert it.served.pool.deleted == 0


def test_a_port_without_a_server(tmp_path: Path) -> None:
    """Exit 4 with the reason, within the patience, nothing left behind."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    ran = bulkdel(
        *("run", "delete-users", export, "--host", "http://127.0.0.1:9", "--confirm", len(IDS), "--pool", POOL),
        *("--patience", "1s"),
    )
    assert ran.code == 4
    assert "sign-in" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl"]


def test_sandbox_needs_nothing(tmp_path: Path) -> None:
    """--sandbox: no credentials, no confirmation, its own place; real credentials are not even looked at."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    ran = bulkdel(
        "run", "delete-users", export, "--sandbox", "--rate", 0, "--json", env={"GENAUTH_ACCESS_KEY_ID": "half"}
    )
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": 2_000}
    assert names_in(tmp_path) == ["e.jsonl", "e.jsonl.runs"]
    log = log_of(export, sandbox=True)
    assert [names_in(each) for each in (tmp_path / "e.jsonl.runs", log.parent)] == [[log.parent.name], ["log.jsonl"]]
    assert '"host":"sandbox"' in log.read_text()
    ran = bulkdel("run", "delete-users", export, "--sandbox", "--limit", 1, "--run", tmp_path / "x")
    assert ran.code == 0
    again = bulkdel("run", "delete-users", export, "--host", "http://127.0.0.1:9", "--run", tmp_path / "x")
    assert again.code == 3
    assert "host" in again.err


@mutant(
    "a stdout that is full ends a run with another exit code",
    "summary",
    swap("SafeStream(sys.stdout)", "Stdout()"),
    case="stdout-full-True",
)
@pytest.mark.parametrize(
    ("stream", "how", "json"), one_in(3, product(["stdout", "stderr"], ["closed", "full"], [True, False]))
)
def test_a_stream_that_fails(stream: str, how: str, json: bool, tmp_path: Path) -> None:
    """Logging never breaks a run: everything is deleted, and the exit code is that of the run."""
    with case(tmp_path, IDS) as it:
        args = [str(arg) for arg in it.args if json or arg != "--json"]
        fd = {"stdout": 1, "stderr": 2}[stream]
        redirect = f"{fd}>&-" if how == "closed" else f"{fd}>/dev/full"
        done = run_with_streams(redirect, *args)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert it.served.pool.deleted == 2_000


def test_a_pipe_that_is_not_read(tmp_path: Path) -> None:
    """A full stderr pipe holds up nothing: debug events by the hundred, and no reader."""
    with case(tmp_path, user_ids(30_000)) as it:
        process = it.start("--log-level", "debug")
        wait_until(lambda: it.served.pool.deleted == 30_000)
        ran = finish(process)
        assert ran.code == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away(stream: str, tmp_path: Path) -> None:
    """The other end of a pipe is closed in the middle of the run: it goes on to its end and to its exit code."""
    options = ["--rate", 20, "--log-level", "debug", "--concurrency", 1]
    slow: dict[str, Any] = {"latency_after_s": 0.3, "fault_paths": DELETIONS}
    with case(tmp_path, IDS, options=options, **slow) as it, it.start() as process:
        it.wait_until_deleted(1)
        gone, left = (process.stdout, process.stderr) if stream == "stdout" else (process.stderr, process.stdout)
        assert gone
        assert left
        gone.close()
        assert it.served.pool.deleted < 2_000
        it.switch(latency_after_s=0.0)
        said = left.read()
        assert process.wait(60) == 0, said
        assert it.served.pool.deleted == 2_000


def test_the_place_cannot_be_made(tmp_path: Path) -> None:
    """A folder that is not there, one that is a file: nothing sent but reads."""
    with case(tmp_path, IDS) as it:
        for path in (tmp_path / "no" / "run", it.export / "run"):
            ran = it.run("--run", path)
            assert ran.code == 2, ran.err
            assert str(path) in ran.err
            assert it.served.pool.deleted == 0


def test_the_log_is_a_file_of_another_program(tmp_path: Path) -> None:
    """A file that is no log is refused and left as it was. So is one in the place of the folder."""
    mine = tmp_path / "run" / "log.jsonl"
    mine.parent.mkdir()
    mine.write_text("a letter\n")
    with case(tmp_path, IDS) as it:
        ran = it.run("--run", mine.parent)
        assert ran.code == 3, ran.err
        assert mine.read_text() == "a letter\n"
        assert it.run("--run", it.export).code == 2
        assert it.served.ledger.requests == 0


def test_disk_full(tmp_path: Path) -> None:
    """The log cannot grow (EFBIG): no further request, exit 5, and with room again the same command goes on."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with case(tmp_path, user_ids(10_000)) as it:
        assert it.run("--limit", 50).code == 0  # finding duplicates takes a larger file, before there is a log
        ran = it.run("--concurrency", 4, preexec_fn=limit)
        assert ran.code == 5, (ran.err, ran.out)
        assert "could not be written" in ran.err or "cannot be written" in ran.err
        assert str(it.place) in ran.err
        known = ran.summary["deleted"]
        assert known <= it.served.pool.deleted <= known + 3 * 4 * 50
        sent = it.served.pool.deleted
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 10_000}
        assert it.served.pool.deleted == 10_000 > sent


@pytest.mark.alone
def test_rate_bound_is_kept(tmp_path: Path) -> None:
    """At --rate 150 the server sees at most 154 requests in any sliding second, the first one included."""

    def scenario(folder: Path) -> None:
        with case(folder, user_ids(40_000), options=["--rate", 150]) as it:
            ran = it.run()
            assert ran.code == 0, ran.err
            assert_in_time(it.served.ledger.busiest(1.0) <= 154, it.served.ledger.busiest(1.0))

    steady(scenario, tmp_path)


@pytest.mark.alone
def test_rate_bound_is_kept_with_retries(tmp_path: Path) -> None:
    """Retries, look-ups and sign-ins draw on the same limiter."""
    faults: dict[str, Any] = {"share_500": 0.2, "share_429": 0.02, "retry_after": "seconds", "retry_after_s": 1}

    def scenario(folder: Path) -> None:
        with case(folder, user_ids(5_000), options=["--rate", 100], **faults) as it:
            ran = it.run()
            assert ran.code in {0, 4}, ran.err
            assert_in_time(it.served.ledger.busiest(1.0) <= 100 + 1 + 2, it.served.ledger.busiest(1.0))

    steady(scenario, tmp_path)


def test_progress_lines(tmp_path: Path) -> None:
    """Elsewhere than on a terminal: JSON lines on stderr; debug: one event a chunk; no id, no token, no secret."""
    with case(tmp_path, IDS, options=["--rate", 6]) as it:  # long enough for one interval of progress
        ran = it.run("--log-level", "debug")
        events = [line for line in ran.err.splitlines() if line.startswith("{")]
        assert sum('"event": "chunk.settled"' in line for line in events) == 40
        assert any('"event": "progress"' in line for line in events)
        for word in (*IDS[10:], SANDBOX_KEY_SECRET, "Bearer"):
            assert not any(word in line for line in events)


def test_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    """Rate, counts and time left; and the summary on stdout."""
    with case(tmp_path, user_ids(10_000), options=["--rate", 60]) as it:
        ours, theirs = pty.openpty()
        seen: list[bytes] = []

        def read() -> None:
            try:
                while data := os.read(ours, 65536):
                    seen.append(data)
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        process = it.start(stderr=theirs)
        os.close(theirs)
        out, _ = process.communicate(timeout=WAIT_MAX_S)
        reader.join(10)
        os.close(ours)
        assert process.returncode == 0
        text = b"".join(seen).decode()
        assert "ids/s" in text
        assert "left" in text
        assert '"deleted": 10000' in out.decode()


def test_version_help_jobs() -> None:
    """The first commands of a new user."""
    assert bulkdel("--version").out.startswith("bulkdel ")
    overview = bulkdel("--help").out
    for command in ("run", "plan", "status", "jobs", "sandbox", "demo"):
        ran = bulkdel(command, "--help")
        assert ran.code == 0, ran.err
        assert command in ran.out
        assert command in overview
    ran = bulkdel("jobs")
    assert "delete-users" in ran.out
    assert "external_id" in ran.out


@mutant(
    "every option is in the short help",
    "_helped",
    swap("None if all_options else Parameter(show=False)", "None"),
)
@pytest.mark.parametrize("command", ["run", "plan", "restore", "verify"])
def test_the_help_fits_on_a_page(command: str) -> None:
    """80 columns, 60 lines, 24 options, two examples that can be typed. `--help-all` has the others, and the codes."""
    short, whole = (bulkdel(command, flag, env={"COLUMNS": "80"}) for flag in ("--help", "--help-all"))
    assert (short.code, whole.code) == (0, 0), (short.err, whole.err)
    lines = short.out.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    some, every = (set(re.findall(r"^│ (?:\* )? *(--[a-z-]+)", each.out, re.MULTILINE)) for each in (short, whole))
    assert 4 <= len(some) <= 24
    assert some < every
    examples = short.out.partition("\nUsage: ")[0].splitlines()[1:]
    assert [line.split()[0] for line in examples if line.strip()] == ["bulkdel", "bulkdel"]
    assert f"bulkdel {command} --help-all" in short.out
    assert "Exit codes" in whole.out
    assert "Exit codes" not in short.out


def test_status_of_nothing(tmp_path: Path) -> None:
    """Exit 3, and no traceback."""
    ran = bulkdel("status", tmp_path / "missing")
    assert ran.code == 3
    assert "missing" in ran.err
    assert "Traceback" not in ran.err


def test_two_pools_one_export(tmp_path: Path) -> None:
    """The sandbox's own count per id type: nothing but what the export names is touched."""
    others = user_ids(500, seed=9)
    export = write_objects(tmp_path / "e.jsonl", IDS)
    with sandbox([*IDS, *others]) as served:
        ran = bulkdel(
            *("run", "delete-users", export, "--host", served.url, "--rate", 0, "--confirm", len(IDS), "--pool", POOL)
        )
        assert ran.code == 0, ran.err
        assert all(served.ledger.effects(id_) == 0 for id_ in others)
        assert len(served.pool) == 500


@mutant(
    "a misspelt variable is ignored",
    "tables_with",
    swap("own.keys() - options - nested.keys()", "own.keys() - options - nested.keys() - own.keys()"),
)
def test_a_misspelt_variable_is_no_guard(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run(env={**KEYS, "BULKDEL_PROTECT__MAX_IDS_": "5"})
        assert (ran.code, "BULKDEL_PROTECT__MAX_IDS?" in ran.err) == (2, True), ran.err
        ran = it.run(env={**KEYS, "BULKDEL_PROTECT__MAX_IDS": "5"})
        assert ran.code == 3, ran.err
        assert it.run("--host", "").code == 2
        assert it.served.ledger.requests == 0


def test_printed_commands_work_behind_two_dashes(tmp_path: Path) -> None:
    """Added options stand before the dashes, and a name that looks like an option is printed as a path."""
    export = write_objects(tmp_path / "-x.jsonl", IDS[:60])
    with sandbox(IDS) as served:
        ran = bulkdel("plan", "delete-users", "--host", served.url, "--", "./-x.jsonl", cwd=tmp_path)
        assert ran.code == 0, ran.err
        ran = bulkdel(*shlex.split(ran.out.splitlines()[-1])[1:], cwd=tmp_path)
        assert ran.code == 0, ran.err
        assert served.ledger.deleted == 60
        assert bulkdel(*shlex.split(ran.err.splitlines()[-1])[1:], cwd=tmp_path).code == 0
    assert export.exists()
