"""--notify and --on-event through the real command: who is told of what, and that it never touches the run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_restore import undo
from tests.harness import (
    KEYS,
    POOL,
    Case,
    Ran,
    assert_in_time,
    assert_permitted,
    bulkdel,
    case,
    environment,
    finish,
    kill,
    steady,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.silent_names import LATE
from tests.syntax import before, swap
from tests.waits import WAIT_MAX_S
from tests.webhook import TOKEN, Webhook, keeping_command, webhook

IDS = user_ids(120)


@contextmanager
def told_case(folder: Path, **switches: Any) -> Iterator[tuple[Webhook, Case]]:
    with webhook() as told, case(folder, IDS, **switches) as it:
        yield told, it


def check_kept_secret(ran: Ran, folder: Path) -> None:
    """The URL is in no output and in no file of the run."""
    assert TOKEN not in ran.out + ran.err
    for path in folder.rglob("*"):
        assert not path.is_file() or TOKEN not in path.read_bytes().decode(errors="replace"), path


@mutant(
    "a notice has the path of the run",
    "Notices.planned",
    swap("plan.target.pinned_host", "str(plan.run)"),
)
def test_nothing_about_a_person_is_sent(tmp_path: Path) -> None:
    """Emails are in the export, its name, the note, the name of the run, the exclude file, and what the API refuses."""
    emails = [f"user.{number}@people.example.com" for number in range(60)]
    export = write_objects(tmp_path / f"of-{emails[0]}.jsonl", emails, "email")
    excluded = write_objects(tmp_path / f"keep-{emails[1]}.jsonl", emails[1:3], "email")
    command, kept = keeping_command(tmp_path)
    with webhook() as told, case(tmp_path, emails, id_type="email", poisonous={emails[5]: (422, None)}) as it:
        words = ("--host", it.served.url, "--rate", 0, "--confirm", 58, "--pool", POOL, "--json", "--note", emails[7])
        of = ("--id-type", "email", "--id-field", "email", "--exclude", excluded, "--run", f"{export}.run")
        places = ("--notify", told.url(), "--notify", told.url("refuses"), "--on-event", command)
        ran = bulkdel("run", "delete-users", export, *words, *of, *places, cwd=tmp_path)
        deleted = it.served.pool.deleted
    assert (ran.code, ran.counts()) == (1, {"deleted": 57, "refused": 1, "excluded": 2}), ran
    assert told.events() == ["start", "end"]
    start, end = (each.json for each in told.of())
    assert (start["job"], start["pool"], start["rows"], start["counts"]["remaining"]) == ("delete-users", POOL, 60, 58)
    assert (end["counts"]["deleted"], end["status"], end["exit_code"]) == (deleted, "complete", 1)
    assert start["run_id"] == end["run_id"] == ran.summary["run_id"]
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [given for _, given in lines] == [start, end]
    assert [environ["BULKDEL_EVENT"] for environ, _ in lines] == ["start", "end"]
    assert lines[1][0]["BULKDEL_EVENT_COUNT_DELETED"] == str(deleted)
    sent = "".join([*(str(each.body) for each in told.received), kept.read_text()])
    assert "@" not in sent
    assert "people" not in sent
    assert not any(secret in sent for secret in KEYS.values())
    assert "localhost" in ran.err  # that one failed; only its host is named
    check_kept_secret(ran, tmp_path)


@mutant(
    "a command of --on-event that fails ends the run",
    "CommandSender.send",
    before(
        'return Attempted(told=code == 0, text=f"exit code {code}")',
        "if code:\n    os.kill(os.getpid(), signal.SIGTERM)",
    ),
)
def test_failing_notifications_leave_the_run_alone(tmp_path: Path) -> None:
    with told_case(tmp_path) as (told, it):
        urls = [*map(told.url, ("fails", "refuses", "redirects")), f"http://localhost:1/{TOKEN}"]
        places = [word for url in urls for word in ("--notify", url)]
        ran = it.run(*places, "--on-event", "false")
        assert (ran.code, ran.counts()) == (0, {"deleted": 120}), ran
        assert it.effects(IDS) == [1] * 120
        assert told.of() == []  # the redirect leads there
    for place in (f"--notify localhost:{told.port}", "--notify localhost:1", "--on-event false"):
        for event in ("start", "end"):
            told_of = f"{place}: was not told of {event}: "
            assert ran.err.count(told_of) == (3 if str(told.port) in place else 1), ran.err
    check_kept_secret(ran, tmp_path)


def test_a_server_that_hangs_is_left_at_the_second_signal(tmp_path: Path) -> None:
    """The first one drains the run, which then waits for the notice of its start."""

    def scenario(folder: Path) -> None:
        with told_case(folder, latency_s=0.05) as (told, it):
            process = it.start("--notify", told.url("hangs"), "--concurrency", 1, "--chunk-size", 1)
            it.wait_until_deleted(3)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: 'session","event":"stop' in it.log.read_text(), process)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ran = finish(process)
            took_s = time.monotonic() - began
        assert ran.code == 143, ran
        assert told.events("hangs") == ["start"]
        check_kept_secret(ran, folder)
        assert_in_time(took_s < 1.0, took_s)

    steady(scenario, tmp_path)


def test_a_silent_name_server_holds_nothing_up(tmp_path: Path) -> None:
    """A look-up of a host name cannot be cancelled; here it takes a minute."""
    unshare = shutil.which("unshare")
    assert unshare, "install util-linux: this test has a network of its own, in which no name server answers"
    alone = (unshare, "--map-root-user", "--mount", "--net")
    assert_permitted(*alone)
    export = write_objects(tmp_path / "e.jsonl", IDS[:3])

    def scenario(folder: Path) -> None:
        words = ("run", "delete-users", export, "--sandbox", "--run", folder / "run")
        program = (sys.executable, "-m", "tests.silent_names", folder)
        url = f"https://hooks.example.com/{TOKEN}"
        command = [str(word) for word in (*alone, *program, *words, "--notify", url)]
        ran = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False, timeout=WAIT_MAX_S
        )
        assert_in_time(ran.returncode != LATE, ran)
        assert ran.returncode == 0, ran
        took_s = float(ran.stderr.splitlines()[-1])
        assert_in_time(took_s < 20.0, took_s)
        assert "--notify hooks.example.com: was not told of start, end, because it took too long" in ran.stderr

    steady(scenario, tmp_path)


@mutant(
    "a command of --on-event inherits the files that are open",
    "CommandSender.send",
    swap(
        "asyncio.create_subprocess_exec(*self._words, **given, env=environ, start_new_session=True)",
        """asyncio.create_subprocess_exec(
            *self._words,
            **given,
            env=environ,
            start_new_session=True,
            pass_fds=[int(each.name) for each in os.scandir("/proc/self/fd") if each.is_file()],
        )""",
    ),
)
def test_a_command_that_outlives_a_killed_run_holds_nothing_of_it(tmp_path: Path) -> None:
    pid, hangs = tmp_path / "pid", tmp_path / "hangs.sh"
    hangs.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 1000\n")
    hangs.chmod(0o700)
    with told_case(tmp_path, latency_s=0.05) as (_, it):
        process = it.start("--on-event", hangs, "--concurrency", 1, "--chunk-size", 1)
        wait_until(lambda: pid.exists() and bool(pid.read_text()), process)
        it.wait_until_deleted(1)
        kill(process)
        it.switch(latency_s=0.0)
        ran = it.run()  # exit code 3 while another process has the lock
        os.kill(int(pid.read_text()), signal.SIGKILL)
        assert (ran.code, ran.counts()) == (0, {"deleted": 120}), ran


@mutant(
    "the words of a command are in the log",
    "SECRET",
    swap("one.secret", 'name == "notify"'),
)
def test_the_words_of_a_command_are_in_no_file_and_no_output(tmp_path: Path) -> None:
    """A person may write a secret into it. What is printed to go on leaves it out."""
    with told_case(tmp_path) as (_, it):
        ran = it.run("--on-event", f"true {TOKEN}", "--limit", 50)
        assert (ran.code, ran.counts()) == (0, {"deleted": 50, "remaining": 70}), ran
        assert "--on-event" not in ran.err
        check_kept_secret(ran, tmp_path)
        assert '"on_event":"ON_EVENT"' in it.log.read_text()
        audit = bulkdel("status", it.log, "--audit")
        assert (audit.code, TOKEN in audit.out) == (0, False), audit
        planned = bulkdel("plan", *it.args[1:], "--on-event", f"true {TOKEN}", env={**KEYS})
        check_kept_secret(planned, tmp_path)


@pytest.mark.soak
def test_a_server_that_hangs_delays_the_end_by_ten_seconds(tmp_path: Path) -> None:
    with told_case(tmp_path) as (told, it):
        began = time.monotonic()
        ran = it.run("--notify", told.url("hangs"))
        took_s = time.monotonic() - began
    assert (ran.code, ran.counts()) == (0, {"deleted": 120})
    assert "because it took too long" in ran.err or "no whole response within 10 s" in ran.err  # both end then
    assert 10 <= took_s < 12


def test_a_run_that_is_refused_is_told_as_a_halt(tmp_path: Path) -> None:
    with told_case(tmp_path) as (told, it):
        env = {**KEYS, "BULKDEL_NOTIFY": f"{told.url()} {told.url('refuses')}"}
        words = ("--host", it.served.url, "--confirm", 7, "--pool", POOL)
        ran = bulkdel("run", "delete-users", it.export, *words, env=env)
        assert (ran.code, it.served.pool.deleted) == (2, 0), ran
    assert told.events() == told.events("refuses") == ["halt"]
    halt = told.of()[0].json
    assert (halt["status"], halt["cause"], halt["exit_code"]) == ("refused", "not-confirmed", 2)
    assert (halt["pool"], halt["rows"], halt["requests"]) == (POOL, 120, None)
    check_kept_secret(ran, tmp_path)


@mutant(
    "the URL of a notification is in the printed command",
    "SECRET",
    swap("one.secret", 'name == "on_event"'),
)
def test_a_halt_and_a_stop_have_their_events(tmp_path: Path) -> None:
    with told_case(tmp_path, latency_s=0.05) as (told, it):
        process = it.start("--notify", told.url(), "--concurrency", 1, "--chunk-size", 1)
        it.wait_until_deleted(3)
        process.send_signal(signal.SIGTERM)
        stopped = finish(process)
        assert stopped.code == 143, stopped
        it.switch(latency_s=0.0, forbidden=True)
        halted = it.run("--notify", told.url())
        assert halted.code == 4, halted
    assert told.events() == ["start", "stop", "start", "halt"]
    _, stop, again, halt = (each.json for each in told.of())
    assert (stop["status"], stop["cause"], stop["exit_code"]) == ("interrupted", "signal", 143)
    assert stop["counts"]["deleted"] + stop["counts"]["remaining"] == 120
    assert again["counts"]["deleted"] == stop["counts"]["deleted"] == it.served.pool.deleted
    assert (halt["status"], halt["cause"], halt["exit_code"]) == ("halted", "halted", 4)
    # The printed command works as it is, so it cannot have the URL.
    assert "--notify is left out, because a URL is a secret: add it, or set BULKDEL_NOTIFY." in halted.err
    check_kept_secret(halted, tmp_path)


def test_restore_and_verify_tell_too(tmp_path: Path) -> None:
    with webhook() as told, undo(tmp_path, IDS[:5]) as it:
        it.delete()
        verified = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--notify", told.url())
        plan = it.plan("--notify", told.url())
        restored = it.restore(5, "--notify", told.url())
        assert (verified.code, plan.code, restored.code) == (4, 0, 0), (verified, plan, restored)
    assert [(each.json["command"], each.json["event"], each.json["job"]) for each in told.of()] == [
        ("verify", "verify", "delete-users"),
        ("restore", "start", "restore-users"),
        ("restore", "end", "restore-users"),
    ]
    verify, _, end = (each.json for each in told.of())
    assert (verify["counts"]["claimed"], verify["status"], verify["exit_code"]) == (5, "halted", 4)
    assert (end["counts"]["done"], end["exit_code"]) == (5, 0)
    check_kept_secret(restored, tmp_path)


def test_notify_test(tmp_path: Path) -> None:
    command, kept = keeping_command(tmp_path)
    with webhook() as told:
        config = tmp_path / "config.toml"
        config.write_text(f'[run]\nnotify = ["{told.url()}"]\n')
        both = bulkdel("notify", "test", "--config", config, "--on-event", command)
        one = bulkdel("notify", "test", "--notify", told.url(), "--notify", told.url("refuses"))
        none = bulkdel("notify", "test")
    assert (both.code, one.code, none.code) == (0, 1, 2)
    assert both.out.splitlines() == [
        f"--notify localhost:{told.port}: told, 200 OK",
        "--on-event keep.py: told, exit code 0",
    ]
    assert one.out.splitlines()[1] == f"--notify localhost:{told.port}: not told, 404 Not Found"
    assert "--notify URL or --on-event COMMAND" in none.err
    assert told.events() == ["test", "test"]
    assert len(kept.read_text().splitlines()) == 1


def test_the_url_in_a_mounted_file(tmp_path: Path) -> None:
    mounted = tmp_path / "notify"
    with webhook() as told:
        mounted.write_text(f"{told.url()}\n{told.url('refuses')}\n")
        env = {"BULKDEL_NOTIFY_FILE": str(mounted)}
        ran = bulkdel("notify", "test", env=env)
        typed = bulkdel("notify", "test", "--notify", told.url(), env=env)
        both = bulkdel("notify", "test", env={**env, "BULKDEL_NOTIFY": told.url()})
    assert (ran.code, typed.code, both.code) == (1, 0, 2)
    assert (told.events(), told.events("refuses")) == (["test"] * 2, ["test"])
    assert "BULKDEL_NOTIFY and BULKDEL_NOTIFY_FILE: leave one of them out" in both.err
    mounted.write_text("\n")
    for path, why in ((mounted, "is empty"), (tmp_path / "missing", "No such file or directory")):
        ran = bulkdel("run", "delete-users", "missing.jsonl", env={"BULKDEL_NOTIFY_FILE": str(path)})
        assert (ran.code, f"BULKDEL_NOTIFY_FILE: {path}: {why}" in ran.err) == (2, True), ran


@mutant(
    "a notification may go to another machine without https",
    "address_of",
    swap('scheme == "http" and not is_loopback(text)', 'scheme == "http" and not is_loopback(text) and not text'),
)
@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--notify", f"http://hooks.example.com/{TOKEN}", "is not https"),
        ("--notify", "", "is not a URL"),
        ("--notify", TOKEN, "is not a URL"),
        ("--on-event", "no-such-program", "there is no such program"),
    ],
)
def test_a_place_that_cannot_be_told_is_refused_before_anything_is_read(
    tmp_path: Path, option: str, value: str, why: str
) -> None:
    ran = bulkdel("run", "delete-users", tmp_path / "missing.jsonl", option, value)
    assert (ran.code, ran.out) == (2, "")
    assert option in ran.err
    assert why in ran.err
    assert TOKEN not in ran.err


def test_a_command_of_an_event_may_call_this_program(tmp_path: Path) -> None:
    """Its variables are no misspelt options, and confirm no other run."""
    export = write_objects(tmp_path / "e.jsonl", IDS[:3])
    env = {"BULKDEL_EVENT": "end", "BULKDEL_EVENT_POOL": POOL, "BULKDEL_EVENT_COUNT_DELETED": "3"}
    ran = bulkdel("plan", "delete-users", export, "--json", env=env)
    assert (ran.code, ran.summary["ids"]) == (0, 3), ran
