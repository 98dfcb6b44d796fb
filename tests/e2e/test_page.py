"""`run --listen`: the page of a real run, what it shows and steers, and that nothing it is asked slows the run."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkdel.live.page.server import OPEN_MAX
from bulkdel_jobs.sandbox import SANDBOX_KEY_SECRET
from tests.e2e.test_restore import undo
from tests.harness import (
    COMMAND,
    POOL,
    Case,
    assert_in_time,
    case,
    entries,
    environment,
    finish,
    kill,
    run_on,
    sandbox,
    start,
    steady,
    told_after,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.pageclient import Answer, ask, event, stream
from tests.places import log_of
from tests.syntax import before, drop, swap

TOKEN = "correct-horse-battery"
READ = ("/", "/status.json", "/metrics", "/healthz", "/readyz", "/page.js", "/no")


def with_token(folder: Path) -> Path:
    """A config that names a file with the token of `control`."""
    config = folder / "page.toml"
    config.write_text(f'[listen]\ncontrol = "{token_file(folder)}"\n')
    return config


def token_file(folder: Path) -> Path:
    path = folder / "page.token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port that the run has printed."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", told_after(process, "Live page: ", None))
    assert found is not None
    return int(found.group(1))


@contextmanager
def served(it: Case, *options: object) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run with a page, and the port of the page."""
    process = it.start("--listen", "127.0.0.1:0", *options)
    try:
        yield process, port_of(process)
    finally:
        if process.returncode is None:
            kill(process)


def asked(port: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
    return asyncio.run(ask(port, method, path, body, **headers))


@mutant(
    "an answer of the page has the path of the log",
    "RunOnPage.steer",
    swap("self._without_path(text)", "text"),
)
def test_the_page_of_a_run(tmp_path: Path) -> None:
    """It shows what the server counts, and no id; a command has its effect, and is in the log."""
    ids, bearer = user_ids(2_000), {"Authorization": f"Bearer {TOKEN}"}
    with (
        case(tmp_path, ids, users=ids[:-100], options=["--rate", 20, "--chunk-size", 10]) as it,
        served(it, "--config", with_token(tmp_path)) as (process, port),
    ):
        wait_until(lambda: asked(port, "GET", "/readyz").status == 200, process, every_s=0.1)
        it.wait_until_deleted(100)
        answers = [asked(port, "GET", path) for path in READ]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 200, 404]
        status = answers[1].json()
        assert (status["job"], status["rows"], status["state"]) == ("delete-users", 2_000, "sending")
        assert 0 < status["settled"] <= it.served.pool.deleted
        assert f'outcome="deleted",pool="{status["pool"]}",run_id="{status["run_id"]}"' in answers[2].body.decode()

        async def read_stream() -> bytes:
            reader, writer = await stream(port)
            found = [await event(reader) for _ in range(3)]
            writer.close()
            assert [name for name, _ in found] == ["hello", "status", "status"]
            return json.dumps(found).encode()

        answers.append(Answer(200, {}, asyncio.run(read_stream())))
        for answer in answers:
            for secret in (*ids, TOKEN, SANDBOX_KEY_SECRET, str(tmp_path)):
                assert secret.encode() not in answer.body

        assert asked(port, "POST", "/control", {"command": "pause"}).status == 401
        paused = asked(port, "POST", "/control", {"command": "pause", "name": "cron"}, **bearer)
        assert paused.json()["text"].endswith("To resume:\n  bulkdel ctl RUN resume")  # and no path
        time.sleep(0.2)  # the requests that were on the wire arrive
        arrived = it.served.ledger.requests
        time.sleep(0.5)
        assert it.served.ledger.requests == arrived
        assert asked(port, "POST", "/control", {"command": "resume", "name": "cron"}, **bearer).json()["ok"]
        assert asked(port, "POST", "/control", {"command": "rate 5", "name": "cron"}, **bearer).json()["ok"]
        assert not asked(port, "POST", "/control", {"command": "rate -5"}, **bearer).json()["ok"]
        wait_until(lambda: asked(port, "GET", "/status.json").json()["rate"]["allowed"] == 5, process, every_s=0.1)
        assert asked(port, "POST", "/control", {"command": "stop", "name": "cron"}, **bearer).json()["ok"]
        assert finish(process).code == 6
        changes = [each for each in entries(it.log) if each["type"] == "change"]
        assert [(each["what"], each["value"], each["source"], each["user"]) for each in changes] == [
            ("paused", True, "page", "cron"),
            ("paused", False, "page", "cron"),
            ("rate", 5, "page", "cron"),
            ("stop", True, "page", "cron"),
        ]
        assert it.run().code == 0
        assert it.effects(ids) == [1] * 1_900 + [0] * 100


async def until_ended(port: int) -> dict[str, Any]:
    """The last status of a run."""
    reader, writer = await stream(port)
    try:
        while True:
            name, found = await event(reader)
            if name == "ended":
                status: dict[str, Any] = found["status"]
                return status
    finally:
        writer.close()


@contextmanager
def asked_on_a_terminal(
    it: Case, *options: object
) -> Iterator[tuple[subprocess.Popen[bytes], int, Callable[[str], None]]]:
    """A run with a page that waits for its confirmation, its port, and what types a line on its terminal."""
    ours, theirs = pty.openpty()
    words = ("run", "delete-users", it.export, "--host", it.served.url, "--listen", "127.0.0.1:0", *options)
    process = start(*words, stdin=theirs)
    os.close(theirs)
    try:
        port = port_of(process)
        wait_until(lambda: asked(port, "GET", "/status.json").json()["state"] == "unconfirmed", process, every_s=0.1)
        yield process, port, lambda line: (os.write(ours, line.encode() + b"\n"), None)[1]
    finally:
        os.close(ours)
        if process.returncode is None:
            kill(process)


@mutant(
    "the page has no plan before the confirmation",
    "_run",
    drop("page.planned(plan, status, steering)"),
)
def test_the_page_from_the_plan_to_the_end(tmp_path: Path) -> None:
    """Before the confirmation it shows the plan and steers nothing; at the end it says how the run ended."""
    ids, bearer = user_ids(300), {"Authorization": f"Bearer {TOKEN}"}
    with case(tmp_path, [*ids, ids[10]], users=ids[:-20]) as it:
        keep = write_objects(tmp_path / "vips.jsonl", ids[:7])
        options = ("--exclude", keep, "--spare", "created-after=2020-01-01", "--config", with_token(tmp_path))
        with asked_on_a_terminal(it, *options) as (process, port, typed):
            plan = asked(port, "GET", "/status.json").json()
            facts = dict(plan["facts"])
            assert (facts["host"], facts["pool"]) == (it.served.url, POOL)
            assert facts["to delete"].startswith("up to 293 ids in ")
            (sample,) = plan["thresholds"]
            assert (sample["name"], sample["holds"]) == ("sampled ids that exist", True)
            assert re.fullmatch(r"1\d\d of 200; at least half must", sample["now"])
            early = asked(port, "POST", "/control", {"command": "stop", "name": "ann"}, **bearer)
            assert (early.status, it.served.ledger.deleted) == (409, 0)
            typed("293")
            ended = asyncio.run(until_ended(port))
            ran = finish(process)
    assert ran.code == 0, ran
    assert (ended["state"], ended["why"]) == ("complete", None)
    assert (ended["rows"], ended["remaining"]) == (301, 0)
    assert sum(ended["counts"].values()) + ended["left_out"] == 301
    assert ended["left_out_by"].keys() == {"excluded", "created after", "duplicate"}
    assert ended["left_out_by"]["excluded"] == 7
    assert sum(ended["left_out_by"].values()) == ended["left_out"]
    assert ended["names"]["created after"] == "spared: created after 2020-01-01"
    commands = [command for _, command in ended["next"]]
    assert commands == ["bulkdel verify RUN", "bulkdel report RUN"]
    for private in (*ids, TOKEN, str(tmp_path)):
        assert private not in json.dumps([plan, ended])


@pytest.mark.parametrize(
    ("typed", "signum", "state", "why"),
    [
        ("no", 0, "refused", "it was not confirmed"),
        (None, signal.SIGTERM, "interrupted", "Ctrl-C, or a signal of the system"),
    ],
)
def test_the_page_of_a_run_that_ends_before_it_begins(
    tmp_path: Path, typed: str | None, signum: int, state: str, why: str
) -> None:
    with case(tmp_path, user_ids(20)) as it, asked_on_a_terminal(it) as (process, port, type_line):

        async def end_it() -> dict[str, Any]:
            ending = asyncio.create_task(until_ended(port))
            await asyncio.sleep(0.2)
            if typed is None:
                process.send_signal(signum)
            else:
                type_line(typed)
            return await ending

        ended = asyncio.run(end_it())
        assert finish(process).code in {2, 128 + signum}
        assert (ended["state"], ended["why"]) == (state, why)
        assert it.served.ledger.deleted == 0


def test_the_page_of_a_run_that_halts(tmp_path: Path) -> None:
    """It says why in words that no server wrote, and how to go on without naming a file."""
    ids = user_ids(300)
    with (
        case(tmp_path, ids, options=["--rate", 20, "--chunk-size", 1, "--max-refused", "2"]) as it,
        served(it) as (process, port),
    ):
        it.wait_until_deleted(3)
        it.switch(poisonous=dict.fromkeys(ids[50::2], (422, None)))
        ended = asyncio.run(until_ended(port))
        ran = finish(process)
    assert ran.code == 4, ran
    assert (ended["state"], ended["why"]) == ("halted", "a guard rail, an outage, a permission or the sign-in")
    assert {each["name"]: each["holds"] for each in ended["thresholds"]}["refused ids"] is False
    assert [command for _, command in ended["next"]] == [
        "bulkdel results RUN --only refused,unknown",
        "bulkdel resume RUN",
    ]


@mutant(
    "silent connections keep a probe out",
    "serving_page",
    swap("True", "False"),
)
def test_the_page_before_the_first_request(tmp_path: Path) -> None:
    """It is there while the export is read, so that a probe of Kubernetes does not end a long preflight."""
    ids = user_ids(20)
    with sandbox(ids) as server:
        words = (
            "run",
            "delete-users",
            "-",
            "--run",
            tmp_path / "run",
            "--id-type",
            "user_id",
            "--host",
            server.url,
        )
        confirmed = ("--confirm", 20, "--pool", POOL, "--listen", "127.0.0.1:0")
        process = start(*words, *confirmed, "--json", stdin=subprocess.PIPE)
        port = port_of(process)
        answers = {path: asked(port, "GET", path) for path in ("/healthz", "/readyz", "/status.json", "/metrics", "/")}
        assert [answer.status for answer in answers.values()] == [200, 503, 200, 200, 200]
        status = answers["/status.json"].json()
        # Its input is a pipe that stays open. How far the command has come depends on the machine.
        doing = {"opening the export", "copying the export from a pipe: 0 bytes so far"}
        assert (status["state"], status["doing"] in doing) == ("starting", True), status
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(OPEN_MAX)]  # they ask nothing
        assert asked(port, "GET", "/healthz").status == 200
        for each in silent:
            each.close()
        out, err = process.communicate("".join(f'"{id_}"\n' for id_ in ids).encode(), 60)
        assert (process.returncode, server.pool.deleted) == (0, 20), (out, err)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "0.0.0.0:0"], "other machines could read the page. Name a file with a token in the config"),
        (["--listen", "9400"], "write 127.0.0.1:9400"),
        (["--listen", "127.0.0.1:0", "--config", "no.toml"], "Name a file with a token"),
        (["--listen", "203.0.113.1:1", "--config", "page.toml"], "Give another address"),
        (["--listen-control", "page.token"], "--listen-control is gone. In its place: control in the table [listen]"),
        (["--listen", "unix:export.jsonl"], "no socket of yours. Give another path"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with_token(tmp_path)
    (tmp_path / "no.toml").write_text('[listen]\nread = "no.token"\n')
    ids = user_ids(5)
    export = write_objects(tmp_path / "export.jsonl", ids)
    with sandbox(ids) as server:
        ran = run_on(export, server, *options, ids=5)
        assert (ran.code, server.ledger.requests) == (2, 0), ran
    assert says in ran.err
    assert not log_of(export).exists()


@mutant(
    "every command loads the web server of the live page",
    "make_app",
    before("sources = [*app.config, secrets_in_files, config]", "import bulkdel.live.page.server"),
)
def test_nothing_of_it_is_loaded_without_it() -> None:
    """Neither by `--help` nor by `run`."""
    costly = {"aiohttp.web", "prometheus_client", "bulkdel.live.page.server"}
    loaded = f"import sys; print(*sorted({costly} & set(sys.modules)))"
    for first in ("import bulkdel.commands.run", "from bulkdel.cli.app import run_app; run_app(['run', '--help'])"):
        done = subprocess.run([sys.executable, "-c", f"{first}; {loaded}"], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "", done.stdout


FUZZ = """
import random, socket, sys, time
port, seconds, rng = int(sys.argv[1]), float(sys.argv[2]), random.Random(7)
here = b"Host: 127.0.0.1:%d\\r\\n" % port
sent = [
    b"GET /status.json HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n",
    b"GET /events HTTP/1.1\\r\\n" + here + b"\\r\\n",
    b"GET /metrics HTTP/1.1\\r\\n" + here + b"\\r\\n",
    b"POST /control HTTP/1.1\\r\\n" + here + b"Content-Type: application/json\\r\\nContent-Length: 20\\r\\n\\r\\n{",
    b'POST /control HTTP/1.1\\r\\n' + here + b'Content-Type: application/json\\r\\nAuthorization: Bearer wrong\\r\\n'
    b'Content-Length: 18\\r\\n\\r\\n{"command":"stop"}',
    b"POST /control HTTP/1.1\\r\\n" + here + b"Origin: http://evil.example\\r\\nSec-Fetch-Site: cross-site\\r\\n\\r\\n",
    b"GET / HTTP/1.1\\r\\n" + here + b"X: " + b"y" * 100_000,
    b"GET / HTTP/1.1\\r\\n" + here + b"X: y",
    b"POST /login HTTP/1.1\\r\\n" + here + b"Transfer-Encoding: chunked\\r\\n\\r\\nffffffff\\r\\n" + b"z" * 100_000,
    bytes(rng.randrange(256) for _ in range(2_000)),
    b"",
]
kept, number, until = [], 0, time.monotonic() + seconds
while time.monotonic() < until:
    number += 1
    try:
        one = socket.create_connection(("127.0.0.1", port), timeout=0.02)
        one.settimeout(0)
        kept.append(one)
        one.send(rng.choice(sent))
    except OSError:
        pass
    if len(kept) > 200:
        kept.pop(rng.randrange(len(kept))).close()
    time.sleep(0.001)
print(number)
"""
"""More than a hundred connections a second, of every wrong kind; most of them are held open."""


@pytest.mark.alone
def test_the_rate_of_the_run_while_its_page_is_attacked(tmp_path: Path) -> None:
    """Without a token, cross-site, malformed, too long, slow and very many: within 5 %, and nothing is steered."""

    def scenario(folder: Path) -> None:
        with (
            case(folder, user_ids(20_000), options=["--rate", 100, "--chunk-size", 10]) as it,
            served(it, "--config", with_token(folder)) as (process, port),
        ):
            it.wait_until_deleted(200)
            arrivals, rates = it.served.ledger.arrivals, []
            for words in (["-c", "import time; time.sleep(2)"], ["-c", FUZZ, str(port), "2"]):
                began, count = time.monotonic(), len(arrivals)
                done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
                rates.append((len(arrivals) - count) / (time.monotonic() - began))
            assert_in_time(int(done.stdout) > 200, done.stdout)
            assert_in_time(rates[1] >= 0.95 * rates[0], rates)
            assert_in_time(rates[1] <= 1.05 * rates[0], rates)
            wait_until(lambda: asked(port, "GET", "/healthz").status == 200, process, every_s=0.1)
            assert [each for each in entries(it.log) if each["type"] == "change"] == []

    steady(scenario, tmp_path)


@pytest.mark.soak
def test_the_page_leaves_the_run_its_descriptors(tmp_path: Path) -> None:
    """With the lowest limit of open files that is accepted, and every connection of the page held open."""
    with case(tmp_path, user_ids(2_000), options=["--rate", 40, "--chunk-size", 10], latency_s=0.05) as it:
        limit = 'ulimit -n "$1" && shift && exec "$@"'
        words = [*COMMAND, *map(str, it.args), "--listen", "127.0.0.1:0"]
        done = subprocess.run(
            ["sh", "-c", limit, "sh", "81", *words], env=environment(), capture_output=True, check=False
        )
        assert (done.returncode, it.served.ledger.requests) == (2, 0)
        assert b"only 81 files may be open at once, and --concurrency 16 needs 82" in done.stderr
        process = subprocess.Popen(
            ["sh", "-c", limit, "sh", "82", *words],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        port = port_of(process)
        it.wait_until_deleted(100)
        with ExitStack() as held:
            for _ in range(80):
                held.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            ran = finish(process)
        assert (ran.code, ran.summary["retries"], ran.counts()) == (0, 0, {"deleted": 2_000}), ran


def test_a_restore_has_a_page_too(tmp_path: Path) -> None:
    with undo(tmp_path, user_ids(5)) as it:
        it.delete()
        ran = it.restore(5, "--listen", "127.0.0.1:0")
    assert ran.code == 0, ran
    assert re.search(r"Live page: http://127\.0\.0\.1:\d+/", ran.err)
