"""The live page of one run: the answer of each address. Shows only the values that `SeenRun.look` returns.

`/` is the page, `/events` its stream, `/status.json` the same as one object, `/metrics` for Prometheus, `/healthz` and
`/readyz` for Kubernetes. `/login` and `/control` need a token.

It runs in the event loop of the run. `connections` bounds what it costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Protocol

import orjson
from aiohttp import web

from bulkdel.core.listen_address import ListenAddress
from bulkdel.core.page_access import CONTROL, FILES, LOGIN, PAGE, PageRequest, Right, SignedIn, refusal
from bulkdel.errors import trace_of
from bulkdel.format import to_install
from bulkdel.live.connections import ANSWER_S, Connections, listen
from bulkdel.live.page.sign_in import NAME_MAX, BrowserSession, SignIns, Tokens, TooManyWrongTokensError
from bulkdel.live.page.stream import LAST_S, EventStream
from bulkdel.live.status import BEFORE
from bulkdel.output import say

REQUEST_MAX = 8 * 1024
"""Bytes of a body."""

LIMITS: Mapping[str, Any] = MappingProxyType(
    {
        "max_line_size": 4 * 1024,
        "max_field_size": 4 * 1024,
        "max_headers": 64,
        "auto_decompress": False,
        "lingering_time": 0,  # a body that is not wanted is not read
        "shutdown_timeout": LAST_S,
    }
)
"""Limits of a request, as aiohttp names them: bytes of the first line and of one header, number of headers."""

NO_NAME = "unnamed"
"""For the log, when a command that is sent with the token gives no name."""

COMMAND_MAX = 200
"""Characters of a command."""

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

OPEN_MAX = 32
"""Connections that are open at once. For the next one the oldest ends that has not asked yet."""

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
"""The answer when all of them have asked."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

NO_METRICS = f"/metrics needs the extra 'metrics': {to_install('metrics')}"

HEADERS = {
    "Server": "bulkdel",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SeenRun(Protocol):
    """A run, as the page uses it; see `RunOnPage`."""

    def look(self) -> Mapping[str, Any]:
        """The status, as `/status.json` shows it."""
        ...

    async def steer(self, command: str, name: str) -> tuple[bool, str]:
        """Obey a command of the person with this name."""
        ...

    def writable(self) -> bool:
        """Whether the log can be written, as far as is known."""
        ...


@contextlib.asynccontextmanager
async def serving_page(address: ListenAddress, tokens: Tokens, run: SeenRun) -> AsyncIterator[None]:
    """Serve the page of `run` until the block ends, and print where it is.

    Raises UsageError when the address cannot be listened on.
    """
    listener = listen(address)
    try:
        connections = Connections(listener.socket, most=OPEN_MAX, busy=BUSY, give_way=True)
        page = _Page(listener.address, tokens, run, connections)
        runner = web.AppRunner(page.app, access_log=None, logger=_silent_logger(), **LIMITS)
        await runner.setup()
        server = runner.server
        assert server is not None, "it is set up"
        say(f"Live page: {listener.address.shown}", "live_page", address=listener.address.shown)
        if page.metrics is None:
            say(f"Note: {NO_METRICS}", "no_metrics", level="warning")
        tasks = [asyncio.create_task(work) for work in (connections.take(server), page.stream.tick())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await page.stream.end()
            connections.close()
            await runner.cleanup()
    finally:
        listener.close()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Page:
    """The answers."""

    def __init__(self, address: ListenAddress, tokens: Tokens, run: SeenRun, connections: Connections) -> None:
        self._address = address
        self._rights = frozenset(tokens)
        self._cookie = f"bulkdel-{address.port}"
        self._run = run
        self._connections = connections
        self._sign_ins = SignIns(tokens)
        self._failed = False
        self.stream = EventStream(run.look, self._report)
        self.metrics = _metrics(run.look)
        folder = files("bulkdel.live.page")
        self._files = {path: folder.joinpath(path[1:]).read_bytes() for path in FILES}
        self._index = folder.joinpath("index.html").read_bytes()
        self.app = web.Application(middlewares=[_middleware(self._answer)], client_max_size=REQUEST_MAX)
        self.app.on_response_prepare.append(_add_headers)
        self.app.router.add_get(PAGE, self._page)
        for path in FILES:
            self.app.router.add_get(path, self._file)
        self.app.router.add_get("/events", self._events, allow_head=False)
        self.app.router.add_get("/status.json", self._status)
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/readyz", self._readyz)
        self.app.router.add_post(LOGIN, self._login)
        self.app.router.add_post(CONTROL, self._control)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a request or answer it, in bounded time. A connection carries one request."""
        self._connections.asked(request.transport, ANSWER_S)
        try:
            signed_in, right = await self._sign_ins.proof(
                request.headers.get("Authorization", ""), request.cookies.get(self._cookie, "")
            )
            refused = refusal(_what_it_says(request, signed_in, right), self._address, self._rights)
            if refused is None:
                response = await handler(request)
            elif request.path == PAGE and refused.status == web.HTTPUnauthorized.status_code:
                response = self._index_page(refused.status)  # it has the form to sign in
            else:
                response = _text(refused.status, refused.text)
        except TooManyWrongTokensError:
            response = _text(429, "too many wrong tokens; try again in a second")
        except web.HTTPException as error:
            response = _text(error.status, error.reason.lower())
        except ConnectionError:
            raise  # the reader has left
        except Exception as error:  # noqa: BLE001 - a failure of the page does not touch the run
            self._report(error)
            response = _text(500, "the page failed; the run continues")
        response.force_close()
        return response

    def _report(self, error: Exception) -> None:
        """Print the first failure of the page."""
        if not self._failed:
            self._failed = True
            text = f"bulkdel: the live page failed; the run continues. Please report this.\n{trace_of(error)}"
            say(text, "bug", level="error")

    async def _page(self, _request: web.Request) -> web.Response:
        return self._index_page(200)

    def _index_page(self, status: int) -> web.Response:
        return web.Response(status=status, body=self._index, content_type=TYPES["html"], charset="utf-8")

    async def _file(self, request: web.Request) -> web.Response:
        kind = TYPES[request.path.rpartition(".")[2]]
        return web.Response(body=self._files[request.path], content_type=kind, charset="utf-8")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.stream.full:
            return _text(503, "too many streams are open; close a page")
        self._connections.limit(request.transport, None)  # each write has a limit of its own
        session = self._session(request)
        right, name = (None, None) if session is None else (session.right, session.name)
        may_sign_in = Right.CONTROL in self._rights and right is not Right.CONTROL
        return await self.stream.send(
            request, {"control": right is Right.CONTROL, "sign_in": may_sign_in, "name": name}
        )

    def _session(self, request: web.Request) -> BrowserSession | None:
        return self._sign_ins.session_of(request.cookies.get(self._cookie, ""))

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(200, self._run.look())

    async def _metrics(self, _request: web.Request) -> web.Response:
        if self.metrics is None:
            return _text(501, NO_METRICS)
        return web.Response(body=self.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _text(200, "ok") if self._run.writable() else _text(503, "the log cannot be written")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._run.look()["state"] in BEFORE:
            return _text(503, "nothing is sent yet")
        return _text(200, "ok")

    async def _login(self, request: web.Request) -> web.Response:
        asked = await _object(request)
        name = _line(asked.get("name"), NAME_MAX)
        if name is None:
            return _json(400, {"ok": False, "text": "give a name for the log"})
        right = await self._sign_ins.right_of(str(asked.get("token", "")))
        if right is None:
            return _json(401, {"ok": False, "text": "wrong token"})
        response = _json(200, {"ok": True, "name": name})
        cookie = self._sign_ins.new_session(name, right)
        response.set_cookie(self._cookie, cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _control(self, request: web.Request) -> web.Response:
        asked = await _object(request)
        command = _line(asked.get("command"), COMMAND_MAX)
        if command is None:
            return _json(400, {"ok": False, "text": 'send {"command": "pause"}'})
        session = self._session(request)
        name = session.name if session is not None else None
        name = name or _line(asked.get("name"), NAME_MAX) or NO_NAME
        obeyed, text = await self._run.steer(command, name)
        return _json(200 if obeyed else 409, {"ok": obeyed, "text": text})


def _middleware(answer: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]) -> Any:
    """A method as a middleware: aiohttp marks it with an attribute, which a method cannot have."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await answer(request, handler)

    return middleware


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _what_it_says(request: web.Request, signed_in: SignedIn, right: Right | None) -> PageRequest:
    hosts = request.headers.getall("Host", [])
    return PageRequest(
        request.method,
        request.path,
        hosts[0] if len(hosts) == 1 else "",
        request.headers.get("Origin", ""),
        request.headers.get("Sec-Fetch-Site", ""),
        request.content_type if "Content-Type" in request.headers else "",
        signed_in,
        right,
    )


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


def _json(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


async def _object(request: web.Request) -> Mapping[str, Any]:
    """The body, a JSON object. Raises HTTPBadRequest."""
    try:
        value = orjson.loads(await request.read())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(reason="not a JSON object")
    return value


def _line(value: object, length: int) -> str | None:
    """A line of text that is not empty, not longer than `length` and printable; None for anything else."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.strip()) <= length:
        return None
    return value.strip()


def _metrics(look: Callable[[], Mapping[str, Any]]) -> Callable[[], bytes] | None:
    """The function that makes the metrics; None where the extra is not installed."""
    try:
        from bulkdel.live.page.metrics import Metrics  # noqa: PLC0415 - an extra, which may not be installed
    except ModuleNotFoundError:
        return None
    return Metrics(look).text


def _silent_logger() -> logging.Logger:
    """A logger of this server alone that writes nothing: it would log what a broken request says."""
    logger = logging.Logger("bulkdel.live.page")  # noqa: LOG001 - the registry of loggers belongs to the program
    logger.addHandler(logging.NullHandler())
    return logger
