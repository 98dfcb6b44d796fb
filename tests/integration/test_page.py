"""The server of the live page over real sockets: what it answers, what it refuses, and what it bounds."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulkdel.core.listen_address import ListenAddress
from bulkdel.core.page_access import Right
from bulkdel.errors import UsageError
from bulkdel.live.connections import REQUEST_S, TAKEN_AT_ONCE, listen
from bulkdel.live.page.server import OPEN_MAX, serving_page
from bulkdel.live.page.sign_in import SESSIONS_MAX, WRONG_AT_ONCE, SignIns, read_token, read_tokens
from bulkdel.live.page.stream import READERS_MAX
from bulkdel.safety.argument_checks import listen_tokens
from tests import pageclient
from tests.mutants import mutant
from tests.pageclient import ask, send
from tests.syntax import before, swap
from tests.waits import WAIT_MAX_S

TOKEN = "correct-horse-battery"
READ = ("/", "/page.js", "/page.css", "/status.json", "/metrics", "/healthz", "/readyz", "/vendor/uPlot.min.css")
STATUS: dict[str, Any] = {
    "at": "2026-11-26T07:00:00Z",
    "job": "delete-users",
    "pool": "pool-1",
    "host": "api.example",
    "run_id": "r1",
    "pid": 1,
    "state": "sending",
    "doing": None,
    "rows": 100,
    "settled": 40,
    "remaining": 55,
    "counts": {"deleted": 39, "absent": 1},
    "left_out": 5,
    "left_out_by": {"duplicate": 5},
    "names": {},
    "requests": 7,
    "retries": 1,
    "throttled": 2,
    "in_flight": 3,
    "rate": {"allowed": 50.0, "used": 49.5, "binding": "rate", "limits": {"rate": 50.0}},
    "concurrency": 16,
    "until": None,
    "limit": None,
    "paused": None,
    "waiting": None,
    "breaker": "closed",
    "per_s": 20.0,
    "left_s": 2.75,
    "latency": {"bounds_s": [0.1, 1.0], "counts": [4, 2, 1], "sum_s": 3.5},
    "refused": {},
    "plan": {"ids": 95},
}


@dataclass
class MadeUpRun:
    """A run that only has a status, and takes every command but `no`."""

    status: dict[str, Any] = field(default_factory=lambda: dict(STATUS))
    log_works: bool = True
    commands: list[tuple[str, str]] = field(default_factory=list)

    def look(self) -> Mapping[str, Any]:
        return self.status

    def writable(self) -> bool:
        return self.log_works

    async def steer(self, command: str, name: str) -> tuple[bool, str]:
        self.commands.append((command, name))
        return command != "no", f"{command}, then"


@asynccontextmanager
async def page(
    run: MadeUpRun, *, token: str | None = None, read: str | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Serve it at a free port. token: of `control`."""
    given = {Right.CONTROL: token, Right.READ: read}
    tokens = {right: each for right, each in given.items() if each is not None}
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
    async with serving_page(ListenAddress(host, port), tokens, run):
        yield port


async def test_what_is_read() -> None:
    run = MadeUpRun()
    async with page(run) as port:
        answers = {path: await ask(port, "GET", path) for path in READ}
        assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(READ, 200)
        for answer in (*answers.values(), await ask(port, "GET", "/no"), await ask(port, "PUT", "/", Host="x")):
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["connection"] == "close"
        assert answers["/status.json"].json() == STATUS
        run.status["state"], run.log_works = "starting", False
        probes = [await ask(port, "GET", path) for path in ("/healthz", "/readyz")]
        assert [(probe.status, probe.body) for probe in probes] == [
            (503, b"the log cannot be written\n"),
            (503, b"nothing is sent yet\n"),
        ]


async def test_metrics() -> None:
    run = MadeUpRun()
    async with page(run) as port:
        text = (await ask(port, "GET", "/metrics")).body.decode()
        run.status |= {"left_s": None, "rate": {"allowed": 0.0, "used": 900.0}, "paused": {}, "breaker": "open"}
        later = (await ask(port, "GET", "/metrics")).body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    common = {"job": "delete-users", "pool": "pool-1", "run_id": "r1"}
    assert all(common.items() <= sample.labels.items() for sample in samples)
    values = {
        (sample.name, *(value for name, value in sample.labels.items() if name not in common)): sample.value
        for sample in samples
    }
    assert values == {
        ("bulkdel_rows", "deleted"): 39,
        ("bulkdel_rows", "absent"): 1,
        ("bulkdel_rows", "left_out"): 5,
        ("bulkdel_rows", "remaining"): 55,
        ("bulkdel_requests_total",): 7,
        ("bulkdel_retries_total",): 1,
        ("bulkdel_throttled_total",): 2,
        ("bulkdel_rate_allowed",): 50,
        ("bulkdel_rate_used",): 49.5,
        ("bulkdel_in_flight",): 3,
        ("bulkdel_paused",): 0,
        ("bulkdel_breaker_open",): 0,
        ("bulkdel_seconds_left",): 2.75,
        ("bulkdel_request_seconds_bucket", "0.1"): 4,
        ("bulkdel_request_seconds_bucket", "1.0"): 6,
        ("bulkdel_request_seconds_bucket", "+Inf"): 7,
        ("bulkdel_request_seconds_count",): 7,
        ("bulkdel_request_seconds_sum",): 3.5,
    }
    lines = {line.partition("{")[0]: line.rpartition(" ")[2] for line in later.splitlines() if line[0] != "#"}
    assert (lines["bulkdel_paused"], lines["bulkdel_breaker_open"], lines["bulkdel_rate_allowed"]) == (
        "1.0",
        "1.0",
        "+Inf",
    )
    assert "bulkdel_seconds_left" not in lines


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "bulkdel.live.page.metrics", raising=False)
    async with page(MadeUpRun()) as port:
        answer = await ask(port, "GET", "/metrics")
    assert (answer.status, answer.body) == (
        501,
        b"/metrics needs the extra 'metrics': pip install '.[metrics]' in the clone of bulkdel\n",
    )
    assert "pip install '.[metrics]' in the clone of bulkdel" in capsys.readouterr().err


async def test_the_stream_begins_with_its_history_and_ends_with_the_run() -> None:
    run = MadeUpRun()
    async with page(run, token=TOKEN) as port:
        await asyncio.sleep(0.5)
        run.status |= {"requests": 27, "latency": {"bounds_s": [0.1, 1.0], "counts": [4, 22, 1], "sum_s": 3.5}}
        run.status |= {"throttled": 5, "paused": {"source": "ctl", "user": "ann", "since": "T"}}
        await asyncio.sleep(0.7)  # a point a second
        reader, writer = await pageclient.stream(port)
        name, hello = await pageclient.event(reader)
        assert (name, hello["control"], hello["sign_in"], hello["name"]) == ("hello", False, True, None)
        first, second = (point[1:] for point in hello["points"])
        assert (first, second[0], second[2:]) == ([50.0, 0.0, None, None, 2, False], 50.0, [0.55, 0.955, 3, True])
        assert 15 < second[1] <= 20
        assert (await pageclient.event(reader))[0] == "status"
        run.status["settled"] = 41
        name, news = await pageclient.event(reader)
        assert (name, news["status"], len(news["point"])) == ("status", run.status, 7)
        run.status["settled"] = 42
    name, last = await pageclient.event(reader)
    assert (name, last["status"]["settled"], await reader.read()) == ("ended", 42, b"")
    writer.close()


async def test_other_names_other_sites_and_broken_requests(capsys: pytest.CaptureFixture[str]) -> None:
    run = MadeUpRun()
    async with page(run) as port:
        assert (await ask(port, "GET", "/status.json", Host="evil.example")).status == 421
        assert (await ask(port, "GET", "/status.json", Sec_Fetch_Site="cross-site")).status == 403
        assert (
            await ask(port, "POST", "/control", {"command": "pause"}, Authorization=f"Bearer {TOKEN}")
        ).status == 403
        here = f"Host: 127.0.0.1:{port}\r\n"
        broken = {
            b"\0\xff\r\n\r\n": 400,
            b"GET / HTTP/9.9\r\n\r\n": 400,
            f"GET / HTTP/1.1\r\n{here}X: {'y' * 9000}\r\n\r\n".encode(): 400,
            f"GET /{'y' * 9000} HTTP/1.1\r\n{here}\r\n".encode(): 400,
            f"GET / HTTP/1.1\r\n{here}".encode() + b"X: y\r\n" * 100 + b"\r\n": 400,
            f"GET /status.json HTTP/1.1\r\n{here}{here}\r\n".encode(): 400,
            b"GET /status.json HTTP/1.0\r\n\r\n": 421,
            f"GET //evil.example/ HTTP/1.1\r\n{here}\r\n".encode(): 404,
            f"GET /vendor/../status.json HTTP/1.1\r\n{here}\r\n".encode(): 404,
            f"OPTIONS /control HTTP/1.1\r\n{here}\r\n".encode(): 403,
        }
        found = {sent: (await send(port, sent)).status for sent in broken}
        assert found == broken
    assert run.commands == []
    assert "failed" not in capsys.readouterr().err


@mutant(
    "a cookie steers without an origin",
    "_of_writing",
    swap(
        "steers and request.signed_in is SignedIn.COOKIE and not named",
        'steers and request.signed_in is SignedIn.COOKIE and origin == "null"',
    ),
)
async def test_the_token() -> None:
    run, bearer = MadeUpRun(), f"Bearer {TOKEN}"
    async with page(run, token=TOKEN) as port:
        here = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
        assert (await ask(port, "POST", "/control", {"command": "pause"}, **here)).status == 401
        signed_in = await ask(port, "POST", "/login", {"name": " ann ", "token": TOKEN}, **here)
        assert signed_in.status == 200
        cookie, _, attributes = signed_in.headers["set-cookie"].partition("; ")
        assert TOKEN not in cookie
        assert set(attributes.split("; ")) == {"HttpOnly", "SameSite=Strict", "Path=/"}
        answers = [
            await ask(port, "POST", "/control", {"command": "rate 10"}, Cookie=cookie, **here),
            await ask(port, "POST", "/control", {"command": "no"}, Authorization=bearer),
            await ask(port, "POST", "/control", {"command": "pause", "name": "cron"}, Authorization=bearer),
        ]
        assert [(answer.status, answer.json()["text"]) for answer in answers] == [
            (200, "rate 10, then"),
            (409, "no, then"),
            (200, "pause, then"),
        ]
        wrong: list[tuple[Any, dict[str, str], int]] = [
            ({"command": "stop"}, {"Cookie": cookie}, 403),
            ({"command": "stop"}, {"Cookie": cookie, **here, "Origin": "http://evil.example"}, 403),
            ({"command": "stop"}, {"Cookie": cookie + "x", **here}, 401),
            ({"command": "stop"}, {"Authorization": bearer, "Content_Type": "text/plain"}, 415),
            ({"command": "x" * 201}, {"Authorization": bearer}, 400),
            ({"command": "stop\n"}, {"Authorization": bearer}, 400),
            ({"command": ["stop"]}, {"Authorization": bearer}, 400),
            (["stop"], {"Authorization": bearer}, 400),
            ({"command": "stop", "more": "x" * 9000}, {"Authorization": bearer}, 413),
        ]
        bytes_of_no_text = (
            b"POST /control HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        )
        for header in (b"Cookie: bulkdel-%d=\xff" % port, b"Authorization: Bearer \xff"):
            assert (await send(port, bytes_of_no_text + header + b"\r\n\r\n{}")).status == 401
        found = [(await ask(port, "POST", "/control", body, **headers)).status for body, headers, _ in wrong]
        assert found == [status for _, _, status in wrong]
        assert (await ask(port, "POST", "/login", {"name": "", "token": TOKEN}, **here)).status == 400
    assert run.commands == [("rate 10", "ann"), ("no", "unnamed"), ("pause", "cron")]


@mutant(
    "a token that only reads steers the run",
    "_of_writing",
    swap("request.right is not Right.CONTROL", "request.right is None"),
)
async def test_a_token_that_only_reads() -> None:
    """With it a browser and a script read, and neither steers. That of `control` does both."""
    run, only = MadeUpRun(), "another token of 16"
    async with page(run, token=TOKEN, read=only, host="0.0.0.0") as port:
        here = {"Host": f"run.example:{port}", "Origin": f"http://run.example:{port}"}
        assert (await ask(port, "GET", "/status.json", **here)).status == 401
        for token, steers in ((only, 403), (TOKEN, 200)):
            bearer = {**here, "Authorization": f"Bearer {token}"}
            assert (await ask(port, "GET", "/status.json", **bearer)).status == 200
            assert (await ask(port, "POST", "/control", {"command": "rate 10"}, **bearer)).status == steers
            signed_in = await ask(port, "POST", "/login", {"name": "ann", "token": token}, **here)
            assert signed_in.status == 200
            cookie = {**here, "Cookie": signed_in.headers["set-cookie"].partition("; ")[0]}
            assert (await ask(port, "GET", "/status.json", **cookie)).status == 200
            assert (await ask(port, "POST", "/control", {"command": "rate 10"}, **cookie)).status == steers
    assert len(run.commands) == 2
    async with page(run, read=only) as port:
        assert (await ask(port, "GET", "/status.json")).status == 401, "the token for reading is asked for here too"
        assert (await ask(port, "GET", "/status.json", Authorization=f"Bearer {only}")).status == 200
        told = await ask(port, "POST", "/control", {"command": "stop"}, Authorization=f"Bearer {only}")
        assert (told.status, b"`control` in [listen]" in told.body) == (403, True)
    assert len(run.commands) == 2


def test_a_token_that_reads_signs_out_none_that_steers() -> None:
    sign_ins = SignIns({Right.CONTROL: TOKEN})
    steers, first = sign_ins.new_session("ann", Right.CONTROL), sign_ins.new_session("bob", Right.READ)
    for _ in range(SESSIONS_MAX):
        last = sign_ins.new_session("eve", Right.READ)
    assert [sign_ins.session_of(each) is not None for each in (steers, first, last)] == [True, False, True]


def test_the_tokens_of_the_config(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name} {'-' * 20}".replace(" ", ""))
        (tmp_path / name).chmod(0o600)
    files = {"read": tmp_path / "one", "control": tmp_path / "two"}
    assert read_tokens(listen_tokens({"listen": {name: str(path) for name, path in files.items()}})).keys() == {*Right}
    with pytest.raises(UsageError, match="have the same token"):
        read_tokens({"read": tmp_path / "one", "control": tmp_path / "one"})
    with pytest.raises(UsageError, match="is a table with the files of tokens"):
        listen_tokens({"listen": "127.0.0.1:9400"})
    for table in ({"steer": "x"}, {"read": ""}, {"control": 1}):
        with pytest.raises(UsageError, match=r"\[listen\] .*: its keys are read and control"):
            listen_tokens({"listen": table})


@mutant(
    "a wrong token costs nothing",
    "SignIns.right_of",
    swap("WRONG_S", "0"),
)
async def test_wrong_tokens_are_slow_and_few() -> None:
    run = MadeUpRun()
    async with page(run, token=TOKEN) as port:
        began = time.monotonic()
        tries = [
            ask(port, "POST", "/login", {"name": "x", "token": f"wrong {number}"})
            if number % 2
            else ask(port, "POST", "/control", {"command": "stop"}, Authorization=f"Bearer wrong {number}")
            for number in range(WRONG_AT_ONCE + 4)
        ]
        answers = await asyncio.gather(*tries)
        assert time.monotonic() - began >= 0.5
        assert sorted(answer.status for answer in answers) == [401] * WRONG_AT_ONCE + [429] * 4
    assert run.commands == []


@mutant(
    "the status is shown to a network without the token",
    "_of_reading",
    swap("request.path not in PROBES | FILES", 'request.path in {PAGE, "/events"}'),
)
async def test_in_a_network_nothing_is_shown_without_the_token() -> None:
    run = MadeUpRun()
    async with page(run, token=TOKEN, host="0.0.0.0") as port:
        statuses = {path: (await ask(port, "GET", path, Host="run.example")).status for path in (*READ, "/events")}
        closed = {"/", "/status.json", "/metrics", "/events"}
        assert {path for path, status in statuses.items() if status == 401} == closed
        for path in ("/", "/events"):
            assert b"pool-1" not in (await ask(port, "GET", path, Host="run.example")).body
        token = f"Bearer {TOKEN}"
        assert (await ask(port, "GET", "/status.json", Host="run.example", Authorization=token)).json() == STATUS


@mutant(
    "a reader that takes nothing is kept",
    "EventStream.send",
    swap(
        "async with asyncio.timeout(WRITE_S):\n    await response.write(sent)",
        "async with asyncio.timeout(None):\n    await response.write(sent)",
    ),
)
@pytest.mark.untraced
async def test_slow_and_many_connections_are_ended() -> None:
    """Slow requests hold every connection for five seconds, and readers that take nothing are dropped."""
    run = MadeUpRun()
    run.status["plan"] = dict.fromkeys(map(str, range(40_000)), 1)  # fills every buffer in a second
    async with page(run) as port:
        began, here, connections = time.monotonic(), f"Host: 127.0.0.1:{port}\r\n".encode(), []
        for _ in range(READERS_MAX):
            connections.append(await pageclient.connected(port))
            connections[-1][1].write(b"GET /events HTTP/1.1\r\n" + here + b"\r\n")
        assert (await ask(port, "GET", "/events")).status == 503
        for _ in range(OPEN_MAX - READERS_MAX):
            connections.append(await pageclient.connected(port))
            connections[-1][1].write(b"GET /status.json HTTP/1.1\r\n" + here)  # and nothing more
        assert (await ask(port, "GET", "/healthz")).status == 200
        assert await connections[READERS_MAX][0].read() == b"", "the oldest that has asked nothing gives way"
        assert time.monotonic() - began < REQUEST_S, "and not because its time was over"
        for reader, _ in connections[READERS_MAX:]:
            assert await reader.read() == b""  # the time for a request is over
        assert (await ask(port, "GET", "/healthz")).status == 200
        first = b""
        while b" 200 " not in first:  # until the readers are dropped
            assert time.monotonic() - began < WAIT_MAX_S
            connections.append(await pageclient.connected(port))
            connections[-1][1].write(b"GET /events HTTP/1.1\r\n" + here + b"\r\n")
            first = await connections[-1][0].readline()
        for _, writer in connections:
            writer.close()


@mutant(
    "connections are taken as fast as they come",
    "TAKEN_PER_S",
    swap("50.0", "5_000.0"),
)
async def test_connections_are_taken_at_a_bounded_rate() -> None:
    async with page(MadeUpRun()) as port:
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(port, "GET", "/healthz") for _ in range(TAKEN_AT_ONCE + 40)))
        assert {answer.status for answer in answers} == {200}
        assert time.monotonic() - began >= 40 / 50


async def test_a_failure_is_answered_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = MadeUpRun()
    async with page(run) as port:
        del run.status["rate"]
        assert [(await ask(port, "GET", "/metrics")).status for _ in range(2)] == [500, 500]
    told = capsys.readouterr().err
    assert told.count("the live page failed; the run continues") == 1
    assert "KeyError" in told


async def test_a_unix_socket(tmp_path: Path) -> None:
    path, run = tmp_path / "p.sock", MadeUpRun()
    address = ListenAddress(path=str(path))
    with socket.socket(socket.AF_UNIX) as left_over:  # of a run that was killed
        left_over.bind(str(path))
    async with serving_page(address, {}, run):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await ask(str(path), "GET", "/status.json", Host="anything")).json() == STATUS
        with pytest.raises(UsageError, match="another program listens there"):
            listen(address)
    assert not path.exists()


@mutant(
    "the mode of what another has put in the place of a socket is changed",
    "listen_at",
    before("listening.listen(WAITING_MAX)", "path.chmod(MODE)"),
)
def test_a_socket_has_its_mode_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link takes the place of the socket as soon as it is there. The file at its end keeps its mode."""
    monkeypatch.chdir(tmp_path)  # a socket has a short path
    path, other, bind = Path("p.sock"), Path("other"), socket.socket.bind
    other.touch()
    modes = list[int]()

    def bind_and_lose(listening: socket.socket, at: str) -> None:
        bind(listening, at)
        modes.append(stat.S_IMODE(path.lstat().st_mode))
        path.unlink()
        path.symlink_to(other)

    umask = os.umask(0)
    try:
        other.chmod(0o644)
        monkeypatch.setattr(socket.socket, "bind", bind_and_lose)
        listen(ListenAddress(path=str(path))).close()
    finally:
        os.umask(umask)
    assert (modes, stat.S_IMODE(other.stat().st_mode), path.is_symlink()) == ([0o600], 0o644, True)


@pytest.mark.parametrize("kind", ["file", "link", "link to a socket"])
def test_what_lies_in_the_place_of_the_socket(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "p.sock", tmp_path / "other"
    other.write_text("kept")
    if kind == "file":
        path.write_text("kept")
    else:
        path.symlink_to(tmp_path / "other.sock" if kind == "link to a socket" else other)
    if kind == "link to a socket":
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(tmp_path / "other.sock"))
    with pytest.raises(UsageError, match="no socket of yours"):
        listen(ListenAddress(path=str(path)))
    assert os.path.lexists(path)
    assert other.read_text() == "kept"


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--listen 127.0.0.1:{port}: address already in use"):
            listen(ListenAddress("127.0.0.1", port))
    with pytest.raises(UsageError, match="af_unix path too long"):
        listen(ListenAddress(path="/tmp/" + "x" * 200))


@mutant(
    "the group may read the token",
    "read_token",
    swap("0o077", "0o037"),
)
@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("a" * 16 + "\n", 0o600, None),
        ("a" * 1024, 0o400, None),
        ("a" * 16, 0o640, "others can read the token. Fix: chmod 600"),
        ("a" * 15, 0o600, "no token of 16 or more characters"),
        ("a" * 1025, 0o600, "no token of 16"),
        ("two words of a token", 0o600, "no token of 16"),
        ("ä" * 16, 0o600, "no token of 16"),
    ],
)
def test_the_token_file(tmp_path: Path, text: str, mode: int, says: str | None) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    if says is None:
        assert read_token(path, "it") == text.strip()
        return
    with pytest.raises(UsageError, match=says) as refused:
        read_token(path, "it")
    assert text not in str(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="no token file of another owner was read: needs root")
def test_a_mounted_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o440)
    os.chown(path, os.geteuid() + 1, -1)
    assert read_token(path, "it") == TOKEN
    path.chmod(0o444)
    with pytest.raises(UsageError, match="others can read the token"):
        read_token(path, "it")


def test_no_token_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        read_token(tmp_path / "token", "it")
