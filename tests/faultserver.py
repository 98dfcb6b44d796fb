"""The sandbox behind a wire that breaks where a test says, at any byte.

Every request comes through here. A sound one is handed to a sandbox, which is the API and the oracle: it knows who
exists and how often each id was really deleted. Which request meets which fault depends on the seed, on what the
request says and on how often it has been sent, not on the order of arrival: a campaign is reproduced from its seed, up
to what a time-out decides.
"""

from __future__ import annotations

import asyncio
import enum
import gzip
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

from bulkdel_jobs.sandbox import DELETE_PATH, TOKEN_PATH, Pool, Sandbox, Switches, serve
from tests.rawserver import Peer, RawServer, ReceivedRequest, answer, tls_context

KEY_ID = "fault-key-id-0123456789ab"
SECRET = "fault-secret-0123456789abcdef"
KEYS = {"GENAUTH_ACCESS_KEY_ID": KEY_ID, "GENAUTH_ACCESS_KEY_SECRET": SECRET}

DRIP_S = 1.0
LATE_S = 1.2
DOWN_S = 1.0
IN_FLIGHT = 16
"""Requests that a dead token meets, about: the client's concurrency."""

USES_MAX = 80
"""A token dies after about so many requests at the latest, so that small campaigns meet it too."""


class Fault(enum.StrEnum):
    """What can be wrong with one request. Where the name does not say it, every second deletion had its effect."""

    RESET_BEFORE = enum.auto()
    RESET_AFTER = enum.auto()
    HALF_STATUS = enum.auto()
    HALF_HEADERS = enum.auto()
    SHORT_BODY = enum.auto()
    DRIP = enum.auto()
    STALL = enum.auto()
    LATE_EFFECT = enum.auto()  # the effect comes when the client has given up
    BOMB = enum.auto()  # 50 MB of body from 48 KB of gzip
    CHUNKED_CUT = enum.auto()
    KEEPALIVE_CLOSE = enum.auto()  # just as the next request goes out
    REDIRECT_301 = enum.auto()
    REDIRECT_302 = enum.auto()
    REDIRECT_307 = enum.auto()
    REDIRECT_308 = enum.auto()
    FALSE_BEFORE = enum.auto()  # success: false, and nothing was done
    FALSE_AFTER = enum.auto()  # success: false, and it was done
    HTML_AFTER = enum.auto()
    NO_ENVELOPE = enum.auto()
    NULL_DATA = enum.auto()  # statusCode 200, data null, and nothing was done
    STRING_CODE = enum.auto()
    STORM_401 = enum.auto()  # from some request on, a token is refused
    TOKEN_DOWN = enum.auto()  # the same, and no new one for a while
    WRONG_CERTIFICATE = enum.auto()  # of the connection; with `tls` only


REDIRECTS = {fault: int(fault[-3:]) for fault in Fault if fault.startswith("redirect")}
EFFECT = {Fault.RESET_AFTER: True, Fault.FALSE_AFTER: True, Fault.HTML_AFTER: True}
EFFECT |= dict.fromkeys((Fault.RESET_BEFORE, Fault.FALSE_BEFORE, Fault.NULL_DATA, Fault.LATE_EFFECT, *REDIRECTS), False)
OF_TOKENS = (Fault.STORM_401, Fault.TOKEN_DOWN)
OF_CONNECTIONS = (Fault.KEEPALIVE_CLOSE, Fault.WRONG_CERTIFICATE)


@cache
def bomb() -> bytes:
    """48 KB that become 50 MB."""
    return gzip.compress(b" " * 50_000_000, 9)


def envelope(data: Any = None, status_code: Any = 200, message: str = "", **more: Any) -> bytes:
    """The body of an answer, spelled as the sandbox spells it."""
    content = {"statusCode": status_code, "message": message, "data": data, **more}
    return json.dumps(content, separators=(",", ":")).encode()


def json_answer(body: bytes, status: int = 200) -> bytes:
    return answer(body, status, {"content-type": "application/json"})


@dataclass(slots=True)
class FaultServer:
    """`shares` of all requests (to `paths`, if given) meet a fault; the rest are answered by the sandbox.

    ids: of the users. shares may be changed at any time. unknown: what a deletion does about an id that does not exist,
    "accept" it or "refuse" the whole chunk. canary: URL that redirects lead to.
    met: how often each fault was served.
    """

    ids: Iterable[str]
    seed: object = 0
    shares: Mapping[Fault, float] = field(default_factory=dict)
    paths: frozenset[str] | None = None
    unknown: Any = "refuse"
    canary: str = "http://localhost:9"
    tls: bool = False
    met: Counter[Fault] = field(default_factory=Counter)
    raw: RawServer = field(init=False)
    sandbox: Sandbox = field(init=False)
    _times: Counter[object] = field(default_factory=Counter)
    _uses_left: int = -1
    _down_until: float = 0.0
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.raw = RawServer(self._connection, tls=self._switching_tls() if self.tls else None)

    @property
    def url(self) -> str:
        return self.raw.url

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        switches = Switches(unknown_ids=self.unknown, duplicates_in_chunk="refuse")
        async with serve(Pool.from_ids(self.ids), switches, keys={KEY_ID: SECRET}) as self.sandbox, self.raw.running():
            yield self
            await self.settle()

    async def settle(self) -> None:
        """Wait until effects that are late have come."""
        await asyncio.gather(*self._late)

    def exists(self, id_: str) -> bool:
        return self.sandbox.pool.find_alive("user_id", id_) is not None

    @property
    def effects(self) -> dict[str, int]:
        """How often each id was really deleted, of those that were."""
        return dict(self.sandbox.pool.deleted_ids())

    def _chance(self, *what: object) -> Random:
        """Chance that depends on the seed and on how often this was asked."""
        self._times[what] += 1
        return Random(f"{self.seed}|{self._times[what]}|{what}")

    def _switching_tls(self) -> ssl.SSLContext:
        right, wrong = tls_context(), tls_context("elsewhere")

        def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            if self._chance("certificate").random() < self.shares.get(Fault.WRONG_CERTIFICATE, 0):
                self.met[Fault.WRONG_CERTIFICATE] += 1
                connection.context = wrong

        right.sni_callback = choose
        return right

    async def _connection(self, peer: Peer) -> None:
        served = 0
        while True:
            share = self.shares.get(Fault.KEEPALIVE_CLOSE, 0)
            if served and share and self._chance("keep-alive").random() < share:
                if await peer.reader.read(1):
                    self.met[Fault.KEEPALIVE_CLOSE] += 1
                    peer.reset()
                return
            request = await peer.request()
            served += 1
            chance = self._chance(urlsplit(request.target).path, request.target, request.body)
            fault = self._fault(request, chance)
            if fault is None:
                await peer.send(await self.answered(request, effect=True))
                continue
            self.met[fault] += 1
            if not await self._break(peer, request, fault, effect=EFFECT.get(fault, chance.random() < 0.5)):
                return

    def _fault(self, request: ReceivedRequest, chance: Random) -> Fault | None:
        if self.paths is not None and urlsplit(request.target).path not in self.paths:
            return None
        drawn = chance.random()
        for fault, share in self.shares.items():
            if fault not in (*OF_TOKENS, *OF_CONNECTIONS):
                drawn -= share
                if drawn < 0:
                    return fault
        return None

    async def _break(self, peer: Peer, request: ReceivedRequest, fault: Fault, *, effect: bool) -> bool:
        """Answer as `fault` demands; whether the connection goes on."""
        true = await self.answered(request, effect=effect)
        head, _, body = true.partition(b"\r\n\r\n")
        match fault:
            case Fault.RESET_BEFORE | Fault.RESET_AFTER:
                peer.reset()
            case Fault.HALF_STATUS:
                await peer.send(true[:8])
            case Fault.HALF_HEADERS:
                await peer.send(head[: len(head) - 5])
            case Fault.SHORT_BODY:
                await peer.send(true[:-1])
            case Fault.DRIP:
                await peer.send(head + b"\r\n\r\n")
                await peer.drip(body, DRIP_S)
            case Fault.STALL:
                await peer.reader.read(1)
            case Fault.LATE_EFFECT:
                self._late.add(task := asyncio.create_task(self._later(request)))
                task.add_done_callback(self._late.discard)
                await peer.reader.read(1)
            case Fault.BOMB:
                await peer.send(answer(bomb(), headers={"content-encoding": "gzip"}))
            case Fault.CHUNKED_CUT:
                await peer.send(answer(b"%x\r\n%s\r\n" % (len(body), body), headers={"transfer-encoding": "chunked"}))
            case _:
                await peer.send(self._wrong(fault, request, body))
                return True
        return False

    def _wrong(self, fault: Fault, request: ReceivedRequest, body: bytes) -> bytes:
        """A whole answer with something wrong in it."""
        if fault in REDIRECTS:
            return answer(b"", REDIRECTS[fault], {"location": f"{self.canary}{request.target}"})
        if fault in {Fault.FALSE_BEFORE, Fault.FALSE_AFTER}:
            return json_answer(envelope({"success": False}, message="not this time"))
        if fault is Fault.HTML_AFTER:
            text = f"<html>upstream failed; authorization: {request.headers.get('authorization')}</html>"
            return answer(text.encode(), headers={"content-type": "text/html"})
        if fault is Fault.NO_ENVELOPE:
            return json_answer(b'{"ok": true, "deleted": 50}')
        if fault is Fault.NULL_DATA:
            return json_answer(envelope(None))
        assert fault is Fault.STRING_CODE, fault
        return json_answer(body.replace(b'"statusCode":200', b'"statusCode":"200"'))

    async def _later(self, request: ReceivedRequest) -> None:
        await asyncio.sleep(LATE_S)
        await self.answered(request, effect=True)

    async def answered(self, request: ReceivedRequest, *, effect: bool) -> bytes:
        """The sandbox's answer. A deletion without `effect` does not reach it, and its answer is made up."""
        path = urlsplit(request.target).path
        if path == TOKEN_PATH:
            if time.monotonic() < self._down_until:
                return answer(b"<html>503</html>", 503)
            self._draw_uses()
        else:
            self._use_token()
        if path == DELETE_PATH and not effect:
            return json_answer(envelope({"success": True}))
        return await self._forward(request)

    async def _forward(self, request: ReceivedRequest) -> bytes:
        """Hand a request to the sandbox; return its answer byte for byte, as one on a connection that is kept."""
        target = urlsplit(request.target)._replace(scheme="", netloc="").geturl()  # a proxy is sent the whole URL
        fields = {**request.headers, "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        url = urlsplit(self.sandbox.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(f"{request.method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + request.body)
        try:
            return (await reader.read()).replace(b"Connection: close\r\n", b"", 1)
        finally:
            writer.close()

    def _draw_uses(self) -> None:
        """Draw how many requests the next token lasts for."""
        share = sum(self.shares.get(fault, 0) for fault in OF_TOKENS)
        if share:
            even = min(IN_FLIGHT * (1 - share) / share, USES_MAX)
            self._uses_left = int(even * self._chance("token").uniform(0.5, 1.5))

    def _use_token(self) -> None:
        """Count a use, and let all tokens die after the last one."""
        self._uses_left -= 1
        kinds = [fault for fault in OF_TOKENS if self.shares.get(fault)]
        if self._uses_left == -1 and kinds:
            self.sandbox.revoke_tokens()
            deaths = sum(self.met[fault] for fault in OF_TOKENS)
            self.met[fault := kinds[deaths % len(kinds)]] += 1
            if fault is Fault.TOKEN_DOWN:
                self._down_until = time.monotonic() + DOWN_S
