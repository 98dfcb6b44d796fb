"""Ways to run the sandbox: in this event loop, or on a thread of its own; and its admin endpoints, `/sandbox/…`.

Another process uses these to change and read the sandbox. They need no sign-in, and are neither limited nor counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from bulkdel.tasks import begin_accepted
from bulkdel_jobs.sandbox.access import Kept
from bulkdel_jobs.sandbox.api import DELETE_PATH
from bulkdel_jobs.sandbox.pool import DELETED, Pool
from bulkdel_jobs.sandbox.sandbox import Sandbox
from bulkdel_jobs.sandbox.users import ID_TYPES
from bulkdel_jobs.sandbox_switches import Switches

HOST = "127.0.0.1"
"""The sandbox listens on no other address: its admin endpoints need no sign-in."""

_BODY_MAX = 64 * 1024 * 1024
"""Bytes of a request: POST /sandbox/users may bring a million ids."""

_SHUTDOWN_S = 0.05
"""How long requests under way may take when the server stops; those with a long latency are cut off."""


@asynccontextmanager
async def serve(
    pool: Pool,
    switches: Switches | None = None,
    *,
    public: Pool | None = None,
    port: int = 0,
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
) -> AsyncIterator[Sandbox]:
    """Serve `pool` on 127.0.0.1 while the context lasts.

    public: the public accounts. port: 0 for any free one. keys: key id → secret; None for the built-in key.
    seed: of the faults by chance.
    OSError when the port is taken.
    """
    sandbox = Sandbox(pool, switches or Switches(), public=public, keys=keys, seed=seed)
    app = web.Application(client_max_size=_BODY_MAX)
    app.add_routes(_Admin(sandbox).routes())
    app.router.add_route("*", "/{path:.*}", sandbox.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        sandbox.url = f"http://{HOST}:{runner.addresses[0][1]}"
        yield sandbox
    finally:
        await begin_accepted()
        await runner.cleanup()


@contextmanager
def serve_in_thread(
    pool: Pool, switches: Switches | None = None, *, public: Pool | None = None, port: int = 0, seed: int = 0
) -> Iterator[Sandbox]:
    """Do what `serve` does on a thread with its own event loop, for callers that block."""
    started: Future[tuple[Sandbox, asyncio.AbstractEventLoop]] = Future()
    stopped = asyncio.Event()

    async def run() -> None:
        try:
            async with serve(pool, switches, public=public, port=port, seed=seed) as sandbox:
                started.set_result((sandbox, asyncio.get_running_loop()))
                await stopped.wait()
        except OSError as error:  # the port is taken
            started.set_exception(error)

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="sandbox", daemon=True)
    thread.start()
    try:
        sandbox, loop = started.result()
        try:
            yield sandbox
        finally:
            loop.call_soon_threadsafe(stopped.set)
    finally:
        thread.join()


class _Admin:
    """The admin endpoints of one sandbox.

    GET /sandbox/ledger → the counts; `?arrivals=true` adds the time of every request.
    GET /sandbox/deleted → JSON lines `{"id", "count"}`, one per id that was deleted; `?userIdType=` chooses the type.
    GET /sandbox/effects → JSON lines `{"kind", "id", "count", "again"}`, one per kind and id: the requests that changed
        something, and those that were carried out and changed nothing. `?kind=` chooses one kind.
        Both tell of the public accounts with `?public=true`.
    GET /sandbox/switches → all switches. POST, a JSON object → changes them; answers all.
    POST /sandbox/users, `{"ids": […], "userIdType": …, "createdAt": …, "public": …}` → adds users: `{"added": n}`.
        createdAt: ISO 8601; "now" by the server's clock; left out, a date well in the past. public: true for public
        accounts.
    POST /sandbox/departments and /sandbox/identity-sources, `{"add": […], "remove": […]}` → adds and removes ids;
        answers all that there are then. `"public": true` as above.
    POST /sandbox/script, `{"faults": […], "path": …}` → the next requests to the path meet these.
    A request that makes no sense is answered HTTP 400 with the reason as text.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        return [
            web.get("/sandbox/ledger", _answering(self._ledger)),
            web.get("/sandbox/deleted", _answering(self._deleted)),
            web.get("/sandbox/effects", _answering(self._effects)),
            web.get("/sandbox/switches", _answering(lambda _query: asdict(self._sandbox.switches))),
            web.post("/sandbox/switches", _answering(self._switch)),
            web.post("/sandbox/users", _answering(self._add_users)),
            web.post("/sandbox/departments", _answering(self._departments)),
            web.post("/sandbox/identity-sources", _answering(self._sources)),
            web.post("/sandbox/script", _answering(self._script)),
        ]

    def _ledger(self, query: Mapping[str, str]) -> object:
        arrivals = {"arrivals": list(self._sandbox.ledger.arrivals)} if query.get("arrivals") == "true" else {}
        return self._sandbox.ledger.counts() | arrivals

    def _deleted(self, query: Mapping[str, str]) -> bytes:
        pool, id_type = self._asked_for(query)
        return _lines({"id": id_, "count": count} for id_, count in pool.effects_of(DELETED, id_type).items())

    def _effects(self, query: Mapping[str, str]) -> bytes:
        pool, id_type = self._asked_for(query)
        return _lines(
            {"kind": kind, "id": id_, "count": count[id_], "again": again[id_]}
            for kind in pool.kinds()
            if query.get("kind") in {None, kind}
            for count, again in [(pool.effects_of(kind, id_type), pool.repeats_of(kind, id_type))]
            for id_ in count | again
        )

    def _asked_for(self, query: Mapping[str, str]) -> tuple[Pool, str | None]:
        """Return the pool that a GET is about, and the type of the ids that it answers."""
        id_type = query.get("userIdType")
        if id_type is not None and id_type not in ID_TYPES:
            raise ValueError(f"no such userIdType: {id_type}")
        return self._pool(public=query.get("public") == "true"), id_type

    def _pool(self, *, public: bool) -> Pool:
        return self._sandbox.public if public else self._sandbox.pool

    def _switch(self, changes: Mapping[str, Any]) -> object:
        self._sandbox.switches = self._sandbox.switches.changed(changes)
        return asdict(self._sandbox.switches)

    def _add_users(self, wanted: Mapping[str, Any]) -> object:
        ids, created_at = wanted["ids"], wanted.get("createdAt")
        if not isinstance(ids, list) or not all(isinstance(id_, str) and id_ for id_ in ids):
            raise TypeError("ids must be a list of texts, none of them empty")
        if created_at == "now":
            created_at = self._sandbox.created_at
        pool, id_type = self._pool(public=wanted.get("public") is True), wanted.get("userIdType") or "user_id"
        return {"added": pool.add_ids(ids, id_type, created_at=created_at)}

    def _departments(self, wanted: Mapping[str, Any]) -> object:
        references = self._pool(public=wanted.get("public") is True).references
        return _known(wanted, references.departments, references.add_department)

    def _sources(self, wanted: Mapping[str, Any]) -> object:
        references = self._pool(public=wanted.get("public") is True).references
        return _known(wanted, references.sources, references.add_source)

    def _script(self, wanted: Mapping[str, Any]) -> object:
        self._sandbox.script(*wanted["faults"], path=wanted.get("path") or DELETE_PATH)
        return {"scripted": len(wanted["faults"])}


def _known(wanted: Mapping[str, Any], known: Kept[str, Any], add: Callable[[str], object]) -> object:
    """Add and remove the ids that a POST names; return all that are known then."""
    added, removed = wanted.get("add", []), wanted.get("remove", [])
    if not all(isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids) for ids in (added, removed)):
        raise TypeError("add and remove must be lists of texts")
    for id_ in added:
        add(id_)
    for id_ in removed:
        known.remove(id_)
    return {"known": [*known]}


def _lines(objects: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(each) + b"\n" for each in objects)


def _answering(act: Callable[[Any], object]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer with what `act` returns for the query or the JSON object of a request; HTTP 400 if it cannot."""

    async def answer(request: web.Request) -> web.Response:
        try:
            content = act(request.query if request.method == "GET" else orjson.loads(await request.read()))
        except (ValueError, TypeError, AttributeError, LookupError) as wrong:
            return web.Response(text=f"{type(wrong).__name__}: {wrong}", status=400)
        if isinstance(content, bytes):
            return web.Response(body=content, content_type="application/x-ndjson")
        body = orjson.dumps(content, default=sorted, option=orjson.OPT_NON_STR_KEYS)
        return web.Response(body=body, content_type="application/json")

    return answer
