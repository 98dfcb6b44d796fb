"""No secret and no stray id in anything that the command writes, whatever goes wrong and however it tells of it.

Every scene is played three times, each against a server of its own: a progress bar on a terminal, JSON lines on a pipe
(and `--json`), and `--log-level debug`. Then stdout, stderr and every file are searched for the canaries, whole or cut.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH, TOKEN_PATH
from tests import forked
from tests.examples import one_in
from tests.faultserver import KEY_ID, KEYS, SECRET, Fault, FaultServer, envelope, json_answer
from tests.harness import (
    COMMAND,
    DELETIONS,
    POOL,
    Ran,
    environment,
    importing_from,
    start,
    user_ids,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.rawserver import DATA, RawServer, ReceivedRequest, always, answer, tunnel_to
from tests.syntax import drop, swap
from tests.waits import WAIT_MAX_S

PROXY_PASSWORD = "c4nary-proxy-password"
IDS = user_ids(120, seed=13)
OFTEN = 12
"""So many characters of a canary are a leak too, because a truncated canary can still be read."""

MODES: Mapping[str, tuple[str, ...]] = {"terminal": (), "pipe": ("--json",), "debug": ("--log-level", "debug")}


# --- the search -------------------------------------------------------------------------------------------------------


def secrets(tokens: Sequence[str] = ()) -> list[str]:
    """What must not be found anywhere. The masked key id shows four characters at either end, and may."""
    found = [PROXY_PASSWORD]
    for secret in (KEY_ID, SECRET, *(token.rpartition(".")[2] for token in tokens)):
        found += [secret[:OFTEN], secret[-OFTEN:], quote(secret, safe="")]
        # Base64 depends on where in a group of three bytes the text begins; the ends depend on its neighbours.
        found += [base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    return found


def spelled(ids: Sequence[str]) -> list[str]:
    """The pieces by which an id would be recognised."""
    return [piece for id_ in ids for piece in {id_[:OFTEN], id_[-OFTEN:]}]


def leaks(text: str, ids: Sequence[str] = IDS, tokens: Sequence[str] = ()) -> list[str]:
    """Secrets and ids in a text, each with what stands around it."""
    canaries = [(canary, text.find(canary)) for canary in (*secrets(tokens), *spelled(ids))]
    return [f"{canary}: …{text[max(0, at - 60) : at + 60]}…" for canary, at in canaries if at >= 0]


def without_samples(text: str) -> str:
    """Take out what shows ids by design: the examples in the plan."""
    return re.sub(r"^(  id type .*?, such as ).*$", r"\1…", text, flags=re.MULTILINE)


def log_text(path: Path) -> str:
    """A log without the ids of its refused and unknown entries: there they belong. Their messages stay."""
    text = []
    for line in path.read_bytes().splitlines():
        try:
            commit = json.loads(line)
        except ValueError:  # a torn tail
            continue
        for entry in commit["entries"]:
            for exception in entry.get("exceptions", ()):
                exception["id"] = ""
        text.append(json.dumps(commit, ensure_ascii=False))
    return "\n".join(text)


OF_IDS = ("/invalid", ".backup")
"""Files that hold rows of the export or records of users, by their paths' ends. A torn tail (`.torn-N`) may, too."""


def searched(folder: Path, inputs: set[Path], *told: str, tokens: Sequence[str] = ()) -> list[str]:
    """Leaks in what was told and in every file of the folder that the command made; and modes that are too open."""
    found = [leak for text in told for leak in leaks(without_samples(text), tokens=tokens)]
    for path in sorted(folder.rglob("*")):
        if path in inputs or not (path.is_file() or path.is_dir()):
            continue
        if path.stat().st_mode & 0o777 != (0o700 if path.is_dir() else 0o600):
            found.append(f"{path.name} has mode {path.stat().st_mode & 0o777:o}")
        if path.is_dir():
            continue
        text = log_text(path) if path.name == "log.jsonl" else path.read_bytes().decode(errors="replace")
        ids = () if str(path).endswith(OF_IDS) or ".torn-" in path.name else IDS
        found += [f"{path.name}: {leak}" for leak in leaks(text, ids, tokens)]
    return found


# --- the servers ------------------------------------------------------------------------------------------------------


def quoted(request: ReceivedRequest) -> str:
    """What a careless server says of a request: all of it, as it came and escaped once more."""
    body = request.body.decode()
    return f"in {request.headers.get('authorization')} {KEY_ID} {SECRET}: {request.target} {body} {json.dumps(body)}"


def cut(request: ReceivedRequest) -> str:
    """The same, so long that the first thousand characters end within a canary."""
    ids = asked_in(request)
    canary = ids[0] if ids else SECRET
    return "x" * 986 + canary + KEY_ID + SECRET + request.headers.get("authorization", "")


def asked_in(request: ReceivedRequest) -> list[str]:
    """The ids of a request."""
    parts = urlsplit(request.target)
    if parts.path == DELETE_PATH:
        found: list[str] = json.loads(request.body)["userIds"]
        return found
    return parse_qs(parts.query).get("userIds", [])


Say = Callable[[ReceivedRequest], str]
Wrong = Callable[["Quoting", ReceivedRequest], bytes | None]
"""Another answer than the right one, or None for the right one."""


@dataclass(slots=True)
class Quoting(FaultServer):
    """A fault server with an answer of the scene's own."""

    wrong: Wrong = lambda _server, _request: None
    turns: int = 0

    async def answered(self, request: ReceivedRequest, *, effect: bool) -> bytes:
        if (other := self.wrong(self, request)) is not None:
            return other
        return await FaultServer.answered(self, request, effect=effect)


def says(path: str, code: int, say: Say = quoted, *, after: int = 0, status: int = 200, **more: Any) -> Wrong:
    """Answer every request to `path`, but for the first `after`, with an envelope that quotes it."""

    def wrong(server: Quoting, request: ReceivedRequest) -> bytes | None:
        if urlsplit(request.target).path != path:
            return None
        server.turns += 1
        if server.turns <= after:
            return None
        told = {"requestId": say(request), **more}
        return json_answer(envelope(status_code=code, message=say(request), **told), status)

    return wrong


def raw(path: str, status: int, headers: Callable[[ReceivedRequest], dict[str, str]] | None = None) -> Wrong:
    """Answer every request to `path` with HTML that quotes it."""

    def wrong(server: Quoting, request: ReceivedRequest) -> bytes | None:
        if urlsplit(request.target).path != path:
            return None
        page = f"<html>{quoted(request)}</html>".encode()
        return answer(page, status, {"content-type": "text/html", **(headers(request) if headers else {})})

    return wrong


def refusing(some: Sequence[str], say: Say = quoted) -> Wrong:
    """Refuse whatever request has one of `some` in it, quoting it."""

    def wrong(server: Quoting, request: ReceivedRequest) -> bytes | None:
        if urlsplit(request.target).path != DELETE_PATH or not set(asked_in(request)) & set(some):
            return None
        return json_answer(envelope(status_code=422, message=say(request), requestId=say(request)))

    return wrong


def both(*wrongs: Wrong) -> Wrong:
    """Try each; the first wrong response counts."""
    return lambda server, request: next((told for wrong in wrongs if (told := wrong(server, request))), None)


def odd_records(server: Quoting, request: ReceivedRequest) -> bytes | None:
    """Records whose status quotes what it should not."""
    if urlsplit(request.target).path != LOOKUP_PATH:
        return None
    authorization = request.headers["authorization"]
    found = [{"userId": id_, "status": f"of {id_} {authorization}"} for id_ in asked_in(request)]
    return json_answer(envelope(found))


def odd_cookie(request: ReceivedRequest) -> dict[str, str]:
    return {"set-cookie": f"[{','.join(asked_in(request)[:3])}]={request.headers.get('authorization')}; path=/"}


# --- playing ----------------------------------------------------------------------------------------------------------


@dataclass
class Play:
    """One scene in one mode: a folder, a server, and what the command told so far.

    inputs: files that are the user's own.
    """

    folder: Path
    server: Quoting
    mode: str
    inputs: set[Path] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    @property
    def export(self) -> Path:
        return self.folder / "export.jsonl"

    @property
    def log(self) -> Path:
        return log_of(self.export)

    @property
    def place(self) -> Path:
        return self.log.parent

    def put(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file of the user's."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        self.inputs.add(path)
        return path

    def argv(self, *more: object, confirm: int = len(IDS), command: str = "run", host: str | None = None) -> list[str]:
        url = self.server.url if host is None else host
        given = (command, "delete-users", self.export, "--host", url, "--rate", 0, "--max-refused", "100%")
        return [*map(str, (*given, "--confirm", confirm, "--pool", POOL, *MODES[self.mode], *more))]

    def start(
        self, *argv: object, env: Mapping[str, str] = KEYS, wrapper: Sequence[str] = (), **popen: Any
    ) -> tuple[subprocess.Popen[bytes], Awaitable[Ran]]:
        """Start the command; the second one waits for its end and keeps what it told."""
        ours, theirs = pty.openpty() if self.mode == "terminal" else (-1, subprocess.PIPE)
        popen = {"stderr": theirs, "umask": 0, "cwd": self.folder, **popen}
        env = {"TERM": "xterm", "COLUMNS": "1000", **env}
        if wrapper:
            words = [*wrapper, *COMMAND, *map(str, argv)]
            process = subprocess.Popen(words, env=environment(env), **{**forked.PIPED, **popen})
        else:
            process = start(*argv, env=env, **popen)
        if ours >= 0:
            os.close(theirs)

        async def end() -> Ran:
            shown = asyncio.create_task(asyncio.to_thread(drained, ours)) if ours >= 0 else None
            out, err = await asyncio.to_thread(process.communicate, timeout=WAIT_MAX_S)
            err = await shown if shown else err
            ran = Ran(process.returncode, out.decode(), err.decode())
            self.told += [ran.out, ran.err.replace("\r\n", "\n")]
            return ran

        return process, end()

    async def run(self, *argv: object, **options: Any) -> Ran:
        """Run the command to its end."""
        _, end = self.start(*argv, **options)
        return await end

    def names(self) -> set[str]:
        """The files that are there."""
        return names_of(self.folder)

    def found(self) -> list[str]:
        used = {
            request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.server.raw.requests
        }
        return searched(self.folder, self.inputs, *self.told, tokens=sorted(used - {""}))


def names_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def drained(fd: int) -> bytes:
    """What was shown on a terminal until its other end closed."""
    shown = []
    with contextlib.suppress(OSError):  # Linux: the other end is closed
        while data := os.read(fd, 65536):
            shown.append(data)
    os.close(fd)
    return b"".join(shown)


Scene = Callable[[Play], Awaitable[None]]


async def play(
    folder: Path,
    scene: Scene,
    wrong: Wrong | None = None,
    *,
    modes: Sequence[str] = tuple(MODES),
    ids: Sequence[str] = IDS,
    **server: Any,
) -> None:
    """Play a scene in every mode, side by side, and search what is left."""

    async def in_mode(mode: str) -> None:
        place = folder / mode
        place.mkdir()
        options = server if wrong is None else {"wrong": wrong, **server}
        async with Quoting(ids, **options).running() as served:
            it = Play(place, served, mode)
            it.inputs.add(write_objects(it.export, ids))
            await scene(it)
            assert it.told, "nothing was run"
            assert it.found() == []

    for result in await asyncio.gather(*map(in_mode, modes), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def stops(it: Play, code: int, said: str, *more: object, confirm: int = len(IDS), **options: Any) -> None:
    """The run ends with `code` and says `said`: the error path was met."""
    ran = await it.run(*it.argv(*more, confirm=confirm), **options)
    assert ran.code == code, ran.err + ran.out
    assert said in ran.err + ran.out


# --- the scenes -------------------------------------------------------------------------------------------------------

ONE = ("pipe",)
"""One mode: for scenes whose kind of output another scene covers in all three."""

QUICK = ("--patience", "3s")
"""A run that waits for a better answer stops soon."""

TRUSTED = ("--ca-file", DATA / "localhost.crt")
"""The certificate of a server with TLS."""


@dataclass(frozen=True)
class Answered:
    """A server that gives another answer, and how a run ends by it."""

    wrong: Wrong
    code: int
    said: str
    options: tuple[object, ...] = ()


CUT = {
    "sign-in-refused": Answered(says(TOKEN_PATH, 401, cut), 4, "sign-in refused: the server answered"),
    "sign-in-500": Answered(says(TOKEN_PATH, 500, cut), 4, "sign-in: no token", QUICK),
    "402": Answered(says(DELETE_PATH, 402, cut), 4, "does not include this call"),
    "422-of-some": Answered(refusing(IDS[5:55:20], cut), 1, "refused"),
    "500": Answered(says(DELETE_PATH, 700, cut), 4, "the last failure: the server answered", QUICK),
    "sample-403": Answered(says(LOOKUP_PATH, 403, cut), 4, "looking up a sample of the ids failed"),
}
"""What is kept of them ends within a canary."""

ANSWERS = {
    "sign-in-refused": Answered(says(TOKEN_PATH, 401), 4, "sign-in refused: the server answered"),
    "sign-in-500": Answered(says(TOKEN_PATH, 500, status=500), 4, "sign-in: no token", QUICK),
    "401-storm": Answered(says(DELETE_PATH, 401, after=3), 4, "accepts no token", ("--chunk-size", 5)),
    "402": Answered(says(DELETE_PATH, 402), 4, "does not include this call"),
    "403": Answered(says(DELETE_PATH, 403), 4, "no permission"),
    "404-of-a-gateway": Answered(raw(DELETE_PATH, 404, odd_cookie), 4, "wrong host or path"),
    "422-of-some": Answered(refusing(IDS[5:55:20]), 1, "refused"),
    "422-of-all": Answered(says(DELETE_PATH, 422), 4, "were refused with one code", ("--concurrency", 2)),
    "500": Answered(says(DELETE_PATH, 500), 4, "the last failure: the server answered", QUICK),
    "500-of-a-gateway": Answered(raw(DELETE_PATH, 500), 4, "HTTP 500 without an envelope", QUICK),
    "redirected": Answered(
        raw(DELETE_PATH, 307, lambda request: {"location": f"http://localhost:9/{asked_in(request)[0]}?{SECRET}"}),
        4,
        "the server redirects",
    ),
    "success-without-success": Answered(
        both(says(DELETE_PATH, 200, data={"success": False}), says(LOOKUP_PATH, 403, after=3)), 4, "last failure"
    ),
    "sample-403": Answered(says(LOOKUP_PATH, 403), 4, "looking up a sample of the ids failed"),
    "odd-records": Answered(both(odd_records, says(DELETE_PATH, 402)), 4, "looked up exist"),
    "sign-in-503-of-a-gateway": Answered(raw(TOKEN_PATH, 503), 4, "sign-in: no token", QUICK),
    "403-later": Answered(says(DELETE_PATH, 403, after=1), 4, "were refused with one code", ("--concurrency", 1)),
    "429-too-long": Answered(raw(DELETE_PATH, 429, lambda _: {"retry-after": "9999"}), 4, "longer than --patience"),
    "501": Answered(says(DELETE_PATH, 501), 4, "does not support this call"),
    "sample-402": Answered(says(LOOKUP_PATH, 402), 4, "a look-up: the plan"),
    "sample-500": Answered(says(LOOKUP_PATH, 500), 4, "looking up a sample of the ids failed", QUICK),
    "later-look-up-402": Answered(
        both(says(DELETE_PATH, 404, apiCode=2004), says(LOOKUP_PATH, 402, after=3)), 4, "a look-up: the plan"
    ),
    **{f"{name}-cut": it for name, it in CUT.items()},
}


def in_each_mode(names: Iterable[str]) -> pytest.MarkDecorator:
    """Every scene in every mode; `make test` plays each second scene in one of the modes, in turn."""
    here = {(name, mode) for name, mode in zip([*names][::2], cycle(MODES), strict=False)}
    params = [
        pytest.param(name, mode, marks=() if (name, mode) in here else pytest.mark.soak)
        for name, mode in product(names, MODES)
    ]
    return pytest.mark.parametrize(("name", "mode"), params)


@mutant(
    "ids that a server quotes are told",
    "Client.ask",
    swap("redact(self.auth.hide(text))", 'self.auth.hide(text) + redact("")'),
    case="402-terminal",
)
@mutant(
    "credentials that a server quotes are told",
    "Client.ask",
    swap("self.auth.hide(text)", "text[:]"),
    case="402-terminal",
)
@mutant(
    "cut short and hidden then",
    "decision_on.clean",
    swap("redacted(text, redact)[:length_max]", "redacted(text[:length_max], redact)"),
    case="402-cut-debug",
)
@in_each_mode(ANSWERS)
async def test_what_a_server_says(name: str, mode: str, tmp_path: Path) -> None:
    """Whatever it quotes of the request: its ids, the token, key id and secret."""
    it = ANSWERS[name]
    await play(tmp_path, lambda play: stops(play, it.code, it.said, *it.options), it.wrong, modes=(mode,))


async def test_what_a_server_says_of_emails(tmp_path: Path) -> None:
    """A look-up has them percent-encoded in its URL."""
    emails = [f"Some.One+{id_}@mail.example" for id_ in IDS]
    said = "looking up a sample of the ids failed"
    await play(
        tmp_path, lambda it: stops(it, 4, said, "--id-type", "email"), says(LOOKUP_PATH, 403), ids=emails, modes=ONE
    )


@dataclass(frozen=True)
class Broken:
    """A server with faults on the wire, and how a run ends by them."""

    shares: Mapping[Fault, float]
    paths: frozenset[str]
    said: str
    options: tuple[object, ...] = QUICK
    tls: bool = False


BROKEN = {
    # The patience ends, or the attempts: then no look-up proves that all accounts are gone.
    "lost": Broken({Fault.RESET_AFTER: 1.0}, DELETIONS, "the last failure: ", ("--patience", "1s")),
    "short": Broken({Fault.SHORT_BODY: 1.0}, frozenset({LOOKUP_PATH}), "a sample of the ids failed (response"),
    "token-endpoint-down": Broken({Fault.RESET_BEFORE: 1.0}, frozenset({TOKEN_PATH}), "sign-in: no token"),
    "wrong-certificate": Broken(
        {Fault.WRONG_CERTIFICATE: 1.0},
        frozenset(),
        "certificate not accepted",
        (*QUICK, "--ca-file", DATA / "localhost.crt"),
        tls=True,
    ),
}


@in_each_mode(BROKEN)
async def test_what_a_wire_does(name: str, mode: str, tmp_path: Path) -> None:
    it = BROKEN[name]
    server: dict[str, Any] = {"shares": it.shares, "paths": it.paths, "tls": it.tls}
    await play(tmp_path, lambda play: stops(play, 4, it.said, *it.options), modes=(mode,), **server)


def proxied(url: str) -> str:
    """The address of a proxy that wants a password."""
    return url.replace("://", f"://canary:{PROXY_PASSWORD}@")


async def test_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    said, options = "no connection to the proxy", (*TRUSTED, "--proxy", proxied("http://localhost:9"))
    await play(tmp_path, lambda it: stops(it, 4, said, *QUICK, *options), tls=True)


async def test_a_proxy_that_is_not_asked(tmp_path: Path) -> None:
    """A server without TLS is allowed only on this machine. Its key does not travel in the clear to another one."""

    async def scene(it: Play) -> None:
        async with RawServer(always(answer(status=403))).running() as proxy:
            ran = await it.run(*it.argv("--proxy", proxied(proxy.url)))
            assert (ran.code, proxy.connections) == (0, 0), ran.err
        assert it.server.effects == dict.fromkeys(IDS, 1)

    await play(tmp_path, scene, modes=ONE)


async def test_a_proxy_that_refuses(tmp_path: Path) -> None:
    async def scene(it: Play) -> None:
        async with RawServer(always(answer(status=407))).running() as proxy:
            argv = it.argv(*QUICK, "--proxy", proxied(proxy.url), host="https://api.invalid")
            ran = await it.run(*argv)
            assert ran.code == 4, ran.err
            assert "the proxy answered 407" in ran.err

    await play(tmp_path, scene, modes=ONE)


@mutant(
    "the password of a proxy is told",
    "CommandLine.words",
    swap('"[hidden]@"', 'r"\\g<0>"'),
)
async def test_a_proxy_that_serves(tmp_path: Path) -> None:
    """The command that goes on is printed and logged, without the password; the same where the environment names it."""

    async def scene(it: Play) -> None:
        async with RawServer(tunnel_to(lambda: it.server.raw.port)).running() as through:
            proxy = proxied(through.url)
            ran = await it.run(*it.argv(*TRUSTED, "--proxy", proxy))
            assert ran.code == 4, ran.err
            assert "--proxy 'http://[hidden]@localhost" in ran.err
            told = await it.run("status", it.log)
            assert "To go on" in told.out
            ran = await it.run(*it.argv(*TRUSTED, "--proxy=" + proxy, command="plan"))
            assert ran.code == 0
            ran = await it.run(*it.argv(*TRUSTED), env={**KEYS, "BULKDEL_PROXY": proxy})
            assert ran.code == 4, ran.err
            assert {request.method for request in through.requests} == {"CONNECT"}

    await play(tmp_path, scene, says(DELETE_PATH, 402), modes=ONE, tls=True)


FILES: Mapping[str, tuple[Mapping[str, tuple[str, int]], tuple[str, ...], str]] = {
    "ca-file": ({"ca": (f"-----BEGIN CERTIFICATE-----\n{SECRET}\n", 0o600)}, ("--ca-file", "ca"), "no PEM certificate"),
    "config-no-toml": (
        {"config": (f'[genauth]\nbrand = "genauth"\nkey = {KEY_ID} {SECRET}\n', 0o600)},
        ("--config", "config"),
        "not TOML",
    ),
    "config-no-string": ({"config": (f'[run]\nhost = "{SECRET}\n', 0o600)}, ("--config", "config"), "not TOML"),
    "config-own-secret": (
        {"config": (f'[genauth]\naccess_key_secret = "{SECRET}"\n', 0o600)},
        ("--config", "config"),
        "[genauth] access_key_secret",
    ),
    "config-no-table": ({"config": (f'access_key = "{SECRET}"\n', 0o600)}, ("--config", "config"), "'access_key'"),
    "config-no-option": ({"config": (f'[run]\nsecret = "{SECRET}"\n', 0o600)}, ("--config", "config"), "secret"),
    "credentials-open": ({"keys": (f"GENAUTH_ACCESS_KEY_SECRET={SECRET}\n", 0o644)}, (), "others can read"),
    "credentials-no-line": ({"keys": (f"GENAUTH_ACCESS_KEY_SECRET {SECRET}\n", 0o600)}, (), "not NAME=VALUE"),
    "credentials-half": ({"keys": (f"GENAUTH_ACCESS_KEY_SECRET={SECRET}\n", 0o600)}, (), "but not GENAUTH"),
    "credentials-no-file": ({}, (), "No such file"),
}
"""Files of the user's that cannot be used: their text and mode, the options that name them, what is said."""


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    """Nothing of it is quoted. No run begins, so nothing is told in more than one way."""
    files, options, said = FILES[name]

    async def scene(it: Play) -> None:
        for file, (text, mode) in files.items():
            it.put(file, text, mode)
        if not options:
            it.put("config", '[genauth]\ncredentials_file = "keys"\n')
        await stops(it, 2, said, *(options or ("--config", "config")), env=KEYS if options else {})

    await play(tmp_path, scene, modes=ONE)


@pytest.mark.parametrize("spelled", ['{"id": "bad row"}', "{bad row"])
async def test_a_bad_row(spelled: str, tmp_path: Path) -> None:
    """It is shown, its neighbours are not; left out, it goes to a file of its own."""

    async def scene(it: Play) -> None:
        lines = it.export.read_text().splitlines()
        it.export.write_text("\n".join([*lines[:7], spelled, *lines[7:]]))
        await stops(it, 3, "bad row")
        assert (await it.run(*it.argv("--skip-invalid", "10"))).code == 0
        assert (it.place / "invalid").exists()

    await play(tmp_path, scene, modes=ONE)


@mutant(
    "others can read a log",
    "LogFile.writable",
    swap("MODE", "0o644"),
)
async def test_plan_run_and_status(tmp_path: Path) -> None:
    """Without a key and with one, wrongly confirmed, complete, and asked how far it is."""

    async def scene(it: Play) -> None:
        for env in ({}, KEYS):
            ran = await it.run(*it.argv(command="plan"), env=env)
            assert ran.code == 0, ran.err
            if "--json" in MODES[it.mode]:
                assert '"ids": 120' in ran.out, "a plan for programs shows no id at all"
            else:
                assert f"such as {IDS[0]}" in ran.out, "or the plan shows no samples any more, and the exception can go"
        await stops(it, 2, "not confirmed", confirm=1)
        assert (await it.run(*it.argv())).code == 0
        for more in ((), ("--json",)):
            assert (await it.run("status", it.log, *more)).code == 0

    await play(tmp_path, scene, modes=("terminal", "pipe"))


async def test_a_backup_and_an_exclude_file(tmp_path: Path) -> None:
    """The records go to a file that is for them; a protected id is named nowhere."""

    async def scene(it: Play) -> None:
        keep = it.folder / "keep.jsonl"
        it.inputs.add(write_objects(keep, [IDS[3]]))
        ran = await it.run(*it.argv("--backup-to", "users.backup", "--exclude", keep, confirm=len(IDS) - 1))
        assert ran.code == 1, ran.err
        assert {"users.backup", "keep.jsonl"} < it.names()

    await play(tmp_path, scene, refusing(IDS[5:55:20]), modes=ONE)


STALLED = {Fault.STALL: 1.0}


async def until_stalled(it: Play) -> None:
    """Wait until a deletion hangs at the server."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not it.server.met[Fault.STALL]:  # noqa: ASYNC110 - a counter cannot wake us
            await asyncio.sleep(0.01)


@pytest.mark.soak
async def test_interrupted_killed_and_resumed(tmp_path: Path) -> None:
    """SIGINT, SIGKILL, a torn tail; then the same command goes on. The export came through a pipe."""

    async def scene(it: Play) -> None:
        it.server.shares = STALLED
        argv = it.argv("--drain", 0, "--run", it.place)
        piped = [word if word != str(it.export) else "-" for word in argv]
        for signum, words in ((signal.SIGINT, piped), (signal.SIGKILL, [*piped, "--as-confirmed"])):
            it.server.met.clear()
            with it.export.open() as export:
                process, end = it.start(*words, stdin=export)
            ending = asyncio.ensure_future(end)
            await until_stalled(it)
            process.send_signal(signum)
            assert (await ending).code == (130 if signum == signal.SIGINT else -signal.SIGKILL)
        with it.log.open("ab") as log:
            log.write(b'{"seq":9,"entries":[{"type":"outcome","exceptions":[{"id":"' + IDS[7].encode())
        it.server.shares = {}
        ran = await it.run(*piped, "--as-confirmed")
        assert ran.code == 0, ran.err
        rows = {"input.jsonl.zst", "input.index.jsonl"}
        (torn,) = names_of(it.place) - rows - {it.log.name, "control.sock"}
        assert torn.startswith("log.jsonl.torn-")
        assert it.server.effects == dict.fromkeys(IDS, 1)

    await play(tmp_path, scene, paths=DELETIONS)


SMALL_FILES = """
import os, resource, sys
length = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.soak
async def test_a_full_disk(tmp_path: Path) -> None:
    """The log cannot grow any more, in the middle of refusals."""

    async def scene(it: Play) -> None:
        assert (await it.run(*it.argv("--limit", 50, "--chunk-size", 10))).code in {0, 1}
        limit = it.log.stat().st_size + 1_500
        wrapper = (sys.executable, "-c", SMALL_FILES, str(limit))
        await stops(it, 5, "File too large", "--chunk-size", 10, wrapper=wrapper)

    await play(tmp_path, scene, refusing(IDS[5:110:25]))


LEAKY = """
import atexit, gc
atexit.register(gc.collect)  # an exception that was not retrieved is reported when it is collected
import os
from dataclasses import fields
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.endpoints import DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.genauth_job import GenAuth
from bulkdel.core import chunk_state

def leak(where, ids):
    if os.environ["LEAKY"] == where:
        try:
            {}[f"{list(ids)}"]
        except KeyError:
            raise ValueError(f"no idea: {list(ids)} {os.environ['GENAUTH_ACCESS_KEY_SECRET']}")

class Action(DeleteUsersBatch):
    def calls(self, records):
        self.asked = [record.id for record in records]
        leak("call", self.asked)
        return super().calls(records)

    def read(self, response):
        leak("read", self.asked)
        return super().read(response)

class LookUps(UserLookUps):
    def match(self, ids, found):
        leak("match", ids)
        return super().match(ids, found)

class Target(GenAuth):
    def action(self, id_type):
        if os.environ["LEAKY"] == "program":
            exec(PROGRAM, vars(chunk_state))
        return Action(id_type)

    def look_ups(self, id_type, *, full=False):
        return LookUps(id_type, full=full)

# As if this stood in the program: an exception is a job's where its last line is the job's.
PROGRAM = '''
def replied(self, decision, requests):
    import os
    raise ValueError(f"no idea: {list(self.chunk.records.ids)} {os.environ['GENAUTH_ACCESS_KEY_SECRET']}")

ChunkState.replied = replied
'''

class Leaky(DeleteUsers):
    name = "delete-leaky"

    def target(self, options):
        made = super().target(options)
        return Target(*(getattr(made, field.name) for field in fields(made)))
"""
ENTRY_POINT = "[bulkdel.jobs]\ndelete-leaky = leaky:Leaky\n"


@mutant(
    "the text of an unexpected exception is told",
    "trace_of",
    swap('f"{kind.__module__}.{kind.__qualname__}\\n"', 'f"{kind.__module__}.{kind.__qualname__}\\n{link}"'),
    case="program",
    crashes=True,
)
@mutant(
    "what a job raises is told whole",
    "job_failed",
    swap("type(error).__qualname__", "error"),
    case="read",
)
@pytest.mark.parametrize("where", one_in(3, ["call", "read", "match", "program"]))
async def test_an_unexpected_failure(where: str, tmp_path: Path) -> None:
    """By all workers at once: what it is and where it was raised is told. What it says is left out, of a job's too."""
    package = tmp_path / "package"
    for name, text in {
        "leaky.py": LEAKY,
        "leaky-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: leaky\nVersion: 1\n",
        "leaky-1.dist-info/entry_points.txt": ENTRY_POINT,
    }.items():
        (package / name).parent.mkdir(exist_ok=True, parents=True)
        (package / name).write_text(text)

    async def scene(it: Play) -> None:
        argv = it.argv("--chunk-size", 5)
        argv[1] = "delete-leaky"
        ran = await it.run(*argv, env={**KEYS, "LEAKY": where, **importing_from(package)})
        assert ran.code == 4, ran.err
        assert "ValueError" in ran.err
        if where == "program":
            assert "in replied" in ran.err
            assert "this is a bug in this program; please report it" in ran.err
        else:
            assert "leaky.py" in ran.err
            assert "the job delete-leaky failed: ValueError; " in ran.err
            assert "report it to its author" in ran.err
        assert "retrieved" not in ran.err

    await play(tmp_path, scene, modes=tuple(MODES) if where in ("read", "program") else ONE)


# --- core dumps -------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
from bulkdel.cli.main import main
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
main(["--version"])
print(resource.getrlimit(resource.RLIMIT_CORE))
"""


@mutant(
    "core dumps allowed",
    "main",
    drop("_forbid_core_dumps()"),
)
def test_no_core_dump_is_allowed(tmp_path: Path) -> None:
    """The key, the token and ids are in the memory of the process."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "(0, 0)"


async def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """SIGABRT, which dumps core by default, in the middle of a deletion."""

    async def scene(it: Play) -> None:
        it.server.shares = STALLED
        process, end = it.start(*it.argv())
        ending = asyncio.ensure_future(end)
        await until_stalled(it)
        process.send_signal(signal.SIGABRT)
        assert (await ending).code == -signal.SIGABRT
        assert it.names() == {it.export.name, it.place.parent.name}
        assert names_of(it.place) - {"control.sock"} == {"input.index.jsonl", "input.jsonl.zst", it.log.name}

    await play(tmp_path, scene, paths=DELETIONS, modes=ONE)


# --- the search can fail ----------------------------------------------------------------------------------------------

TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c4naryTokenSignature0123456789abcdefXYZ-0"
PLANTED = {
    "key-id": f"key {KEY_ID}",
    "secret": f"is {SECRET}.",
    "secret-cut": SECRET[:OFTEN],
    "secret-base64": base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode(),
    "token": f"Bearer {TOKEN}",
    "proxy": proxied("http://localhost:9"),
    "id": f"no user {IDS[77]}",
    "id-cut": f"no user {IDS[77][:OFTEN]}…",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_found(name: str, tmp_path: Path) -> None:
    """In what is told, in any file, and in a message of the log."""
    assert searched(tmp_path, set(), "all is well", PLANTED[name], tokens=[TOKEN])
    planted = tmp_path / "any.file"
    planted.touch(0o600)
    assert searched(tmp_path, set()) == []
    planted.write_text(PLANTED[name])
    assert searched(tmp_path, set(), tokens=[TOKEN])
    assert searched(tmp_path, {planted}) == [], "the user's own files are not searched"
    exception = {"position": 1, "id": IDS[3], "message": PLANTED[name]}
    line = json.dumps({"seq": 1, "entries": [{"type": "outcome", "exceptions": [exception]}]})
    planted.rename(tmp_path / "log.jsonl").write_text(line)
    assert searched(tmp_path, set(), tokens=[TOKEN])


def test_what_may_be_there(tmp_path: Path) -> None:
    """The masked key; the ids of refused entries and of bad rows; the plan's examples, and only they."""
    assert leaks(f"{KEY_ID[:4]}…{KEY_ID[-4:]}") == []
    line = {"seq": 1, "entries": [{"type": "outcome", "exceptions": [{"position": 1, "id": IDS[3]}]}]}
    for name, text in {"log.jsonl": json.dumps(line), "invalid": IDS[3]}.items():
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(text)
    assert searched(tmp_path, set(), f"  id type     user_id, such as {IDS[0]}, {IDS[1]}\n  rows") == []
    assert searched(tmp_path, set(), f"  id type     user_id, such as {IDS[0]}\n{IDS[1]}")
    (tmp_path / "invalid").write_text(SECRET)
    assert searched(tmp_path, set())


def test_a_file_that_others_can_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "any.file").touch(0o644)
    assert searched(tmp_path, set()) == ["any.file has mode 644"]
