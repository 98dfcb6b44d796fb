"""A running job is steered: by its socket, by a file. The server's arrivals are the oracle."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from bulkdel.errors import NotAcceptable
from bulkdel.live import ask as asking
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    POOL,
    Case,
    Ran,
    bulkdel,
    case,
    environment,
    finish,
    kill,
    start,
    user_ids,
    wait_until,
)
from tests.mutants import mutant
from tests.recorded import rewrite
from tests.syntax import before, drop, only_if, swap

IDS = user_ids(700, seed=14)
ONE = ("--chunk-size", 1, "--concurrency", 64)
WITHIN_S = 1.0
"""A change holds at the server after so many seconds."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: the socket of a run lies in its place."""
    with TemporaryDirectory(prefix="b", dir="/tmp") as made:
        yield Path(made)


def ctl(it: Case, *words: object, code: int = 0) -> Ran:
    ran = bulkdel("ctl", it.log, *words)
    assert ran.code == code, (words, ran)
    return ran


def arrived(it: Case, since: float, until: float) -> int:
    """How many requests arrived at the server in this time of the monotonic clock."""
    return sum(since <= at < until for at in it.served.ledger.arrivals)


def holds(it: Case, rate: float, window_s: float) -> None:
    """From a second after now on, no more than the rate arrives in the window."""
    since = time.monotonic() + WITHIN_S
    time.sleep(WITHIN_S + window_s)
    assert arrived(it, since, since + window_s) <= rate * window_s + 1 + 0.02 * rate


def reaches(it: Case, rate: float) -> None:
    """The server sees more than this rate in some half second, soon."""
    wait_until(lambda: arrived(it, time.monotonic() - 0.5, time.monotonic()) > rate / 2)


def changes(it: Case) -> list[tuple[str, Any, str]]:
    """What the audit lists as changed: what, value, source. The audit has to hold."""
    ran = bulkdel("status", it.log, "--audit", "--json")
    assert ran.code == 0, ran
    return [
        (change["what"], change["value"], change["source"])
        for session in json.loads(ran.out)["sessions"]
        for change in session["changes"]
    ]


def ended(it: Case, process: subprocess.Popen[bytes]) -> Ran:
    """The run ends complete, and each id was deleted once."""
    ran = finish(process)
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": it.ids}
    assert it.effects(IDS) == [1] * len(IDS)
    return ran


@contextmanager
def running(it: Case, *options: object, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The run, from the moment at which ids are deleted and it can be reached."""
    process = it.start(*options, **popen)
    try:
        it.wait_until_deleted(1)
        wait_until(lambda: it.log.with_name("control.sock").exists(), process)
        yield process
    finally:
        if process.poll() is None:
            kill(process)


@mutant(
    "a pause holds no request back",
    "Client.hold",
    drop("self.rate_limiter.hold()"),
)
def test_the_rate_and_a_pause_hold_at_the_server_by_the_socket(folder: Path) -> None:
    """50 → 10 → pause → 100, and every change is in the audit, with the user."""
    with case(folder, IDS, options=["--rate", 50, *ONE]) as it, running(it) as process:
        assert "10 requests/s" in ctl(it, "rate", 10).out
        holds(it, 10, 1.5)
        assert "resume" in ctl(it, "pause").out
        time.sleep(0.3)
        before = it.served.ledger.arrivals[-1]
        time.sleep(1.0)
        assert it.served.ledger.arrivals[-1] == before, "nothing arrives while it is paused"
        status = json.loads(ctl(it, "status", "--json").out)["status"]
        assert (status["state"], status["in_flight"], status["paused"]["source"]) == ("paused", 0, "ctl")
        assert "paused already" in ctl(it, "pause").out
        assert "paused by" in bulkdel("status", it.log).out
        ctl(it, "rate", 100)
        ctl(it, "resume")
        reaches(it, 20)  # more than the rate before; how much more depends on the machine
        ended(it, process)
        user = json.loads(bulkdel("status", it.log, "--audit", "--json").out)["sessions"][0]["user"]
        listed = json.loads(bulkdel("status", it.log, "--audit", "--json").out)["sessions"][0]["changes"]
        assert {change["user"] for change in listed} == {user}
        assert changes(it) == [
            ("rate", 10.0, "ctl"),
            ("paused", True, "ctl"),
            ("rate", 100.0, "ctl"),
            ("paused", False, "ctl"),
        ]


@pytest.mark.soak
def test_watching_ends_with_the_run(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it, running(it) as process:
        watching = start("status", "--watch", it.log)
        assert watching.stdout is not None
        assert b": sending (pid " in watching.stdout.readline()
        kill(process)
        ran = finish(watching)
        assert (ran.code, ": killed\n" in ran.out, "To go on" in ran.out) == (0, True, True), ran


def test_watching_ends_when_its_reader_has_left(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it, running(it):
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            left = bulkdel("status", "--watch", it.log, stdout=theirs)
        finally:
            os.close(theirs)
        assert left.code == 141, left


@mutant(
    "a change by a pause file is not logged",
    "SessionControl._note",
    only_if("by.user is not None", "self._log.enqueue(Change(at, wish.what, value, by.source, by.user, as_json))"),
)
def test_a_file_pauses_from_the_first_request_on_and_only_its_removal_resumes(folder: Path) -> None:
    pause = folder / "pause"
    pause.touch()
    with case(folder, IDS, options=["--rate", 0, *ONE, "--pause-file", pause]) as it:
        process = it.start()
        wait_until(lambda: it.log.with_name("control.sock").exists(), process)
        time.sleep(0.5)
        assert it.served.pool.deleted == 0
        refused = ctl(it, "resume", code=2)
        assert "Remove the file" in refused.err
        ctl(it, "pause")
        pause.unlink()
        time.sleep(0.7)
        assert it.served.pool.deleted == 0, "the pause by ctl is left"
        ctl(it, "resume")
        ended(it, process)
        assert changes(it) == [
            ("paused", True, "pause-file"),
            ("paused", True, "ctl"),
            ("paused", False, "pause-file"),
            ("paused", False, "ctl"),
        ]


FAULTS: dict[str, dict[str, Any]] = {
    "unlimited": {},
    "429": {"retry_after_s": 2.0, "retry_after": "seconds"},
    "breaker": {},
    "draining": {"latency_after_s": 2.5},
}


@mutant(
    "a change of the concurrency ends the run",
    "Workers.set_concurrency",
    before("self._start_workers()", 'self._drain.begin(Stop("another concurrency", planned=True))'),
    case="breaker",
)
@pytest.mark.parametrize("state", one_in(2, FAULTS))
def test_changes_in_every_state_lose_no_id(state: str, folder: Path) -> None:
    """Unlimited, in the pause of a 429, with the breaker open, and while it drains."""
    with case(folder, IDS, options=["--rate", 0, "--chunk-size", 10], fault_paths=DELETIONS, **FAULTS[state]) as it:
        if state == "unlimited":
            it.switch(latency_s=4.0)  # on a busy machine each change takes a second
        process = it.start()
        wait_until(lambda: it.log.with_name("control.sock").exists(), process)
        it.wait_until_deleted(1)
        if state == "429":
            it.served.script(*["429"] * 16)
            wait_until(lambda: it.served.ledger.answers["429"] > 0, process)
        if state == "breaker":
            it.switch(share_503=1.0)
            wait_until(lambda: "server fails" in bulkdel("ctl", it.log, "status").out, process, every_s=0.1)
        if state == "draining":
            time.sleep(0.5)  # the next requests are on the wire
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in bulkdel("ctl", it.log, "status").out, process, every_s=0.1)
        ctl(it, "rate", 20)
        ctl(it, "pause")
        ctl(it, "concurrency", 3)
        time.sleep(0.3)
        status = json.loads(ctl(it, "status", "--json").out)["status"]
        assert (status["rate"]["limits"], status["concurrency"]) == ({"ctl": 20.0}, 3)
        it.switch(share_503=0.0, latency_s=0.0, latency_after_s=0.0)
        if state == "draining":
            assert finish(process).code == 143
            assert it.run().code == 0
        else:
            ctl(it, "resume")
            ctl(it, "rate", 0)
            assert finish(process).code == 0
        assert it.effects(IDS) == [1] * len(IDS)
        assert ("rate", 20.0, "ctl") in changes(it)
        if state == "429":
            assert b'"type":"throttled"' in it.log.read_bytes(), "for the report, which marks it"


@mutant(
    "the highest rate bounds no change to unlimited",
    "check_change",
    swap("0 < rate <= highest", "0 <= rate <= highest"),
)
def test_a_wrong_command_changes_nothing_and_says_why(folder: Path) -> None:
    config = folder / "config.toml"
    config.write_text("[protect]\nrate_max = 60\n")
    with case(folder, IDS, options=["--rate", 20, *ONE, "--config", config]) as it, running(it) as process:
        for words, why in {
            "fly": "no command",
            "rate": "one number",
            "rate ten": "not a number",
            "rate nan": "not a number",
            "rate -1": "rate -1",
            "rate 61": "rate_max of the config allows 60",
            "rate 0": "rate_max",
            "rate 1e9": "rate 1e",
            "concurrency 0": "concurrency 0",
            "concurrency 99999": "concurrency",
            "concurrency 1.5": "whole number",
            "paus": "'paus' is no command. Did you mean pause? The commands are status, pause, ",
            "until yesterday": "write 06:00",
            "until 2020-01-01T00:00Z": "in the past",
            "pause now": "takes no more words",
            "resume --confirm": "write resume",
            "stop please": "takes no more words",
        }.items():
            refused = ctl(it, *words.split(), code=2)
            assert why in refused.err, (words, refused.err)
        assert "not paused" in ctl(it, "resume").out
        assert "limited by --rate" in ctl(it, "status").out
        ctl(it, "rate", 60)
        ended(it, process)
        assert changes(it) == [("rate", 60.0, "ctl")]
    for words in ("pause", "pause\tnow"):  # blanks of every kind part the words
        gone = bulkdel("ctl", it.log, words)
        assert (gone.code, "no run is under way" in gone.err) == (3, True)
    assert bulkdel("ctl", folder / "other.jsonl", "pause").code == 3
    assert not list(folder.rglob("*.sock"))


@pytest.mark.traced
def test_until_and_stop_end_the_run_as_planned_and_the_next_one_begins_with_its_command_line(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it:
        with running(it) as process:
            for seconds in (3, 15, 30):  # a busy machine may take longer to say it
                soon = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() + seconds))
                told = bulkdel("ctl", it.log, "until", soon)
                if told.code == 0:
                    break
            assert "stops at" in told.out, told
            ran = finish(process)
            assert (ran.code, ran.summary["status"]) == (6, "stopped")
            assert "with a new confirmation" in ran.err
        with running(it) as process:
            assert json.loads(ctl(it, "status", "--json").out)["status"]["until"] is None
            assert "stops" in ctl(it, "stop").out
            ran = finish(process)
            assert (ran.code, ran.summary["status"], "(bulkdel ctl)" in ran.err) == (6, "stopped", True)
            assert "with a new confirmation" not in ran.err
        it.options[1] = 0
        assert it.run().counts() == {"deleted": it.ids}
        assert it.effects(IDS) == [1] * len(IDS)


def test_a_slow_sign_in_page_halves_the_rate(folder: Path) -> None:
    """Asked without the key, and its answer 503 counts as slow."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    asked: list[dict[str, str]] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=page.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{page.server_port}/"
        with case(folder, IDS, options=["--rate", 40, *ONE, "--slow-while", url]) as it, running(it) as process:
            wait_until(lambda: bool(asked), process)
            status = json.loads(ctl(it, "status", "--json").out)["status"]
            assert status["rate"]["binding"] == "slow-while"
            assert 20 <= status["rate"]["allowed"] < 24
            holds(it, 24, 1.5)
            assert "--slow-while" in ctl(it, "status").out
            assert not {"authorization", "cookie", "x-authing-userpool-id"} & {name.lower() for name in asked[0]}
            kill(process)
            assert changes(it)[0] == ("slowed", 20.0, "slow-while")
    finally:
        page.shutdown()
        page.server_close()


@mutant(
    "what is asked for before the sending is forgotten",
    "Run._send",
    swap("self._changes", "None"),
)
def test_the_schedule_holds_from_the_first_request_on(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 0, *ONE, "--schedule", "00:00-24:00=20, else=50"]) as it:
        with running(it) as process:
            holds(it, 20, 1.0)
            assert "the schedule allows 20" in ctl(it, "rate", 50).out
            assert json.loads(ctl(it, "status", "--json").out)["status"]["rate"]["binding"] == "schedule"
            kill(process)
        first = it.served.ledger.arrivals[0]
        assert arrived(it, first + 1, first + 2) <= 20 + 2
        assert changes(it) == [("schedule", 20.0, "schedule"), ("rate", 50.0, "ctl")]
        refused = bulkdel("plan", "delete-users", it.export, "--schedule", "soon")
        assert (refused.code, "is not a part of a schedule" in refused.err) == (2, True)


# ── the socket ────────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "a link in the place of the socket is removed",
    "remove_left_over",
    swap("is_socket_of(path, {os.geteuid()})", "is_socket_of(path, {os.geteuid()}) or path.is_symlink()"),
)
def test_a_link_in_the_place_of_the_socket_is_not_followed(folder: Path) -> None:
    """The run uses a folder of the user instead, and `ctl` finds it."""
    runtime, trap = folder / "run", folder / "trap"
    runtime.mkdir(mode=0o700)
    trap.write_text("precious")
    env = {**environment(), "XDG_RUNTIME_DIR": str(runtime)}
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it:
        it.place.mkdir(parents=True)
        link = it.log.with_name("control.sock")
        link.symlink_to(trap)
        process = start(*it.args, env=env)
        it.wait_until_deleted(1)
        wait_until(lambda: any((runtime / "bulkdel").glob("*.sock")), process)
        assert bulkdel("ctl", it.log, "rate", 0, env=env).code == 0
        ended(it, process)
        assert (trap.read_text(), link.is_symlink()) == ("precious", True)
        assert not list((runtime / "bulkdel").iterdir())


@pytest.mark.soak
def test_a_log_with_a_long_path_has_its_socket_elsewhere(folder: Path) -> None:
    deep = folder / ("d" * 120)
    deep.mkdir()
    runtime = folder / "r"
    runtime.mkdir(mode=0o700)
    env = {**environment(), "XDG_RUNTIME_DIR": str(runtime)}
    with case(deep, IDS, options=["--rate", 20, *ONE]) as it:
        process = start(*it.args, env=env)
        it.wait_until_deleted(1)
        wait_until(lambda: any(runtime.glob("bulkdel/*.sock")), process)
        assert ((runtime / "bulkdel").stat().st_mode & 0o777) == 0o700
        assert bulkdel("ctl", it.log, "rate", 0, env=env).code == 0
        ended(it, process)


def test_a_socket_that_a_killed_run_has_left_is_replaced_and_a_second_run_does_not_touch_it(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it:
        with running(it) as process:
            kill(process)
            assert it.log.with_name("control.sock").exists()
            assert bulkdel("ctl", it.log, "status").code == 3
        with running(it) as process:
            wait_until(lambda: bulkdel("ctl", it.log, "status").code == 0, process, every_s=0.1)
            assert it.run().code == 3, "the log is locked"
            ctl(it, "rate", 0)
            assert finish(process).code == 0


@contextmanager
def database(path: Path) -> Iterator[list[bytes]]:
    """Another program of this user that listens on a Unix socket. Yields what it was asked; it keeps its socket."""
    asked = list[bytes]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(0.05)
        own, over = path.lstat().st_ino, threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError), listening.accept()[0] as taken:
                    asked.append(taken.recv(4_096))

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield asked
        finally:
            over.set()
            serving.join()
        assert os.path.lexists(path), "its socket is gone"
        assert path.lstat().st_ino == own, "it is another socket"


@mutant(
    "the run id of a log is a path",
    "_is_run_id",
    swap("_UUID.fullmatch(value) is not None", "_UUID.search(str(value)) is not None or bool(value)"),
)
def test_the_run_id_of_a_log_is_no_path(folder: Path) -> None:
    """The path of the log is too long for a socket, so that the run id would name the place of it."""
    deep, path = folder / ("d" * 100), folder / "database.sock"
    deep.mkdir()
    with case(deep, IDS, options=["--rate", 0, "--limit", 100]) as it, database(path) as asked:
        assert it.run().code == 0
        forged = str(path).removesuffix(".sock")
        rewrite(it.log, lambda entry: {**entry, "run_id": forged} if entry["type"] == "header" else entry)
        store = folder / "store" / "log"
        store.mkdir(parents=True)
        for number, line in enumerate(it.log.read_bytes().splitlines(keepends=True), 1):
            (store / f"{number:012d}").write_bytes(line)
        for words in (it.args, ("ctl", f"file://{store.parent}", "stop")):
            ran = bulkdel(*words)
            assert ran.code == 3, ran
            assert "run_id: " in ran.err, ran
        assert (asked, it.served.pool.deleted) == ([], 100)


@mutant(
    "a socket at which another program listens is removed",
    "remove_left_over",
    swap('raise OSError("another program listens there")', "path.unlink()"),
)
def test_the_socket_of_another_program_stays(folder: Path) -> None:
    """The run uses a folder of the user instead, and `ctl` finds it there."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    env = {**environment(), "XDG_RUNTIME_DIR": str(runtime)}
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it:
        it.place.mkdir(parents=True)
        with database(it.log.with_name("control.sock")):
            process = start(*it.args, env=env)
            it.wait_until_deleted(1)
            wait_until(lambda: any((runtime / "bulkdel").glob("*.sock")), process)
            assert bulkdel("ctl", it.log, "rate", 0, env=env).code == 0
            ended(it, process)


@contextmanager
def answering(it: Case, answer: Mapping[str, Any]) -> Iterator[None]:
    """A program that has the lock of a log and answers at its socket, to anything."""
    path = it.log.with_name("control.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, it.log.open("r+b") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError), listening.accept()[0] as taken:
                    taken.recv(4_096)
                    taken.sendall(orjson.dumps(answer))

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield
        finally:
            over.set()
            serving.join()
            path.unlink()


@mutant(
    "the text of an answer makes lines of its own",
    "answer_text",
    swap("shown(text)", "shown(above) + text"),
)
@mutant(
    "an answer ends with a command of another run",
    "_resuming",
    swap("line.options.keys() <= {*CONFIRMING}", "bool(CONFIRMING)"),
)
@mutant(
    "what a run does makes lines of its own",
    "now_lines",
    swap("shown(f\"  now        {status['doing']}\")", "str(f\"  now        {status['doing']}\")"),
)
def test_what_answers_at_the_socket_fakes_no_line_and_no_command(folder: Path) -> None:
    """Another program may answer there, in the words of a run, and another user may own the log that root reads."""
    evil = "bulkdel run delete-users all.jsonl --host https://evil.example"
    other = "bulkdel ctl /o resume --on-event evil"
    lines = f"x\x1b[2J\n  remaining          0\nTo go on:\n  {evil}"
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it:
        with running(it) as process:
            real = json.loads(ctl(it, "status", "--json").out)
            kill(process)
        it.log.with_name("control.sock").unlink()
        status = real["status"]
        starting = {name: status[name] for name in ("run_id", "pid", "names", "pool", "job", "host")}
        starting |= {"state": lines, "doing": lines}
        fakes = [
            {"status": starting},
            {"status": {**status, "waiting": lines, "state": lines, "confirm": evil, "refused": {lines: 1}}},
            {
                "status": {
                    **status,
                    "confirm": f"bulkdel ctl /other resume --confirm 3\n  {evil}",
                    "names": {lines: lines},
                }
            },
            {"text": lines, "status": status},
            {"text": f"paused. To resume:\n  {other}", "status": status},
            {"text": lines, "status": status, "ok": False},
        ]
        for fake in fakes:
            with answering(it, {"ok": True, "text": "", **fake}):
                for words in (("ctl", it.log, "status"), ("status", it.log)):
                    ran = bulkdel(*words)
                    told = (ran.out + ran.err).splitlines()
                    assert "this is a bug" not in ran.err, ran
                    assert not {
                        f"  {evil}",
                        f"  {other.replace('/o', str(it.place))}",
                        "To go on:",
                        "  remaining          0",
                    } & set(told), ran
                    assert "\x1b" not in ran.out + ran.err
        confirm = f"bulkdel ctl /other resume --confirm 3 --pool {POOL}"
        with answering(it, {"ok": False, "text": f"To resume:\n  {confirm}", "status": status}):
            assert f"To resume:\n  {confirm.replace('/other', str(it.place))}\n" in ctl(it, "resume", code=2).err
        for wrong in ({}, {**status, "rate": 3}, {**starting, "names": 5}, {**status, "counts": {"deleted": "x"}}):
            with answering(it, {"ok": True, "text": "", "status": {"run_id": status["run_id"], **wrong}}):
                assert "it does not answer" in ctl(it, "status", code=3).err
                assert bulkdel("status", it.log).code == 0


@mutant(
    "a socket that sends now and then a byte holds ctl",
    "_exchange",
    swap("sock.settimeout(_left_s(until))", "sock.settimeout(ANSWER_S)"),
)
def test_an_answer_byte_by_byte_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 1.0)
    sent = list[int]()

    def trickle(listening: socket.socket) -> None:
        with listening.accept()[0] as taken, suppress(ConnectionError):
            taken.recv(4_096)
            for _ in range(200):
                sent.append(taken.send(b" "))
                time.sleep(0.1)

    with case(folder, IDS[:3]) as it, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        assert it.run().code == 0
        listening.bind(str(it.log.with_name("control.sock")))
        listening.listen()
        trickling = threading.Thread(target=trickle, args=(listening,))
        trickling.start()
        with it.log.open("r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            with pytest.raises(NotAcceptable, match="it does not answer"):
                asking.ask(it.place, "status", {})
        trickling.join()
    assert 0 < len(sent) < 200


def conversation(path: Path, *parts: bytes, wait_s: float = 5.0) -> bytes:
    """Send raw bytes to a socket, and read until it closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(wait_s)
        sock.connect(str(path))
        for part in parts:
            sock.sendall(part)
        received = b""
        try:
            while part := sock.recv(65_536):
                received += part
        except (TimeoutError, ConnectionResetError):
            pass
        return received


@pytest.mark.soak
def test_garbage_on_the_socket_changes_nothing_and_does_not_slow_the_run_down(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 40, *ONE]) as it, running(it) as process:
        path = it.log.with_name("control.sock")
        assert path.stat().st_mode & 0o777 == 0o600
        garbage: list[tuple[bytes, ...]] = [
            (b"\n",),
            (b"null\n",),
            (b"[]\n",),
            (b'{"command":5}\n',),
            (b'{"command":"rate 10"', b"x" * 9_000),
            (b"\xff\xfe\n",),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",),
            (b'{"command":"rate \\u0000"}\n',),
            (orjson.dumps({"command": "rate " + "9" * 400}) + b"\n",),
            (orjson.dumps({"command": "concurrency " + "x" * 3_000}) + b"\n",),
        ]
        hanging = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(20)]
        for sock in hanging:
            sock.connect(str(path))
        since = time.monotonic()
        for parts in garbage:
            answer = conversation(path, *parts)
            assert orjson.loads(answer)["ok"] is False, parts
        window = time.monotonic() - since
        assert arrived(it, since, since + window) <= 40 * window + 2
        for sock in hanging:
            sock.close()
        assert "by --rate" in ctl(it, "status").out
        ctl(it, "rate", 0)
        ended(it, process)
        assert changes(it) == [("rate", 0.0, "ctl")]


@mutant(
    "the socket serves another user",
    "_user",
    swap("uid not in {0, own}", "uid not in {0, own} and not uid"),
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 20, *ONE]) as it, running(it) as process:
        path = it.log.with_name("control.sock")
        path.chmod(0o666)  # as if the modes had not kept the other user out
        for each in (folder, it.place.parent, it.place):
            each.chmod(0o755)
        asking = (
            "import os,socket,sys;os.setgid(65532);os.setuid(65532);s=socket.socket(socket.AF_UNIX);"
            f's.connect({str(path)!r});s.sendall(b\'{{"command":"stop"}}\\n\');print(s.recv(65536).decode())'
        )
        done = subprocess.run([COMMAND[0], "-c", asking], capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert (answer["ok"], answer["status"]) == (False, None)
        ctl(it, "rate", 0)
        ended(it, process)


def test_no_answer_holds_an_id(folder: Path) -> None:
    users = [f"person{number}@example.com" for number in range(300)]
    options = ["--rate", 20, "--id-type", "email", *ONE]
    poisonous = {users[3]: (409, None)}
    with case(folder, users, id_type="email", options=options, poisonous=poisonous) as it, running(it) as process:
        wait_until(lambda: it.served.pool.deleted > 20, process)
        answer = ctl(it, "status", "--json").out
        assert "person" not in answer.replace(str(it.place), "")
        assert json.loads(answer)["status"]["refused"] == {"409": 1}
        kill(process)
