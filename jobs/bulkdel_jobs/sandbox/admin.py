"""The admin endpoints, `/sandbox/…`, by which another process changes and reads the sandbox.

They need no sign-in, and are neither limited nor counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import orjson
from aiohttp import web

from bulkdel_jobs.sandbox.id_match import ID_TYPES
from bulkdel_jobs.sandbox.server import DELETE_PATH, Sandbox

_LINES_AT_ONCE = 10_000


def routes(sandbox: Sandbox) -> list[web.RouteDef]:
    """Return the admin endpoints of `sandbox`.

    GET /sandbox/ledger → the counts; `?arrivals=true` adds the time of every request.
    GET /sandbox/deleted → JSON lines `{"id", "count"}`, one per id that was deleted; `?userIdType=` chooses the type.
    GET /sandbox/switches → all switches. POST, a JSON object → changes them; answers all.
    POST /sandbox/users, `{"ids": […], "userIdType": …, "createdAt": …}` or `{"count": n}` → adds users: `{"added": n}`.
        createdAt: ISO 8601; "now" by the server's clock; left out, a date well in the past.
    POST /sandbox/script, `{"faults": […], "path": …}` → the next requests to the path suffer these.
    A request that makes no sense is answered HTTP 400 with the reason as text.
    """
    admin = Admin(sandbox)
    return [
        web.get("/sandbox/ledger", admin.ledger),
        web.get("/sandbox/deleted", admin.deleted),
        web.get("/sandbox/switches", admin.switches),
        web.post("/sandbox/switches", _explained(admin.switch)),
        web.post("/sandbox/users", _explained(admin.add)),
        web.post("/sandbox/script", _explained(admin.script)),
    ]


def _explained(act: Callable[[dict[str, Any]], object]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Call `act` with the JSON object of a request, and answer with what it returns, or with why it could not."""

    async def explained(request: web.Request) -> web.Response:
        try:
            return _json(act(orjson.loads(await request.read())))
        except (ValueError, TypeError, AttributeError, LookupError) as wrong:
            return web.Response(text=f"{type(wrong).__name__}: {wrong}", status=400)

    return explained


def _json(content: object) -> web.Response:
    return web.Response(body=orjson.dumps(content, default=sorted), content_type="application/json")


class Admin:
    """What each admin endpoint does."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def ledger(self, request: web.Request) -> web.Response:
        """Return the counts."""
        return _json(self._sandbox.ledger.as_json(arrivals=request.query.get("arrivals") == "true"))

    async def deleted(self, request: web.Request) -> web.StreamResponse:
        """Stream every deleted id with its count."""
        id_type = request.query.get("userIdType")
        if id_type is not None and id_type not in ID_TYPES:
            return web.Response(text=f"no such userIdType: {id_type}", status=400)
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        counts = iter(self._sandbox.pool.deleted_ids(id_type).items())
        while lines := [orjson.dumps({"id": id_, "count": n}) + b"\n" for id_, n in islice(counts, _LINES_AT_ONCE)]:
            await response.write(b"".join(lines))
        return response

    async def switches(self, _request: web.Request) -> web.Response:
        """Return all switches."""
        return _json(dataclasses.asdict(self._sandbox.switches))

    def switch(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some switches; return all."""
        self._sandbox.switches = self._sandbox.switches.changed(changes)
        return dataclasses.asdict(self._sandbox.switches)

    def add(self, wanted: dict[str, Any]) -> dict[str, int]:
        """Add users."""
        pool = self._sandbox.pool
        if "count" in wanted:
            count = int(wanted["count"])
            if count < 0:
                raise ValueError(f"count must not be negative: {count}")
            pool.add_generated(count)
            return {"added": count}
        ids, created_at = wanted["ids"], wanted.get("createdAt")
        if not isinstance(ids, list) or not all(isinstance(id_, str) and id_ for id_ in ids):
            raise TypeError("ids must be a list of texts, none of them empty")
        if created_at == "now":
            created_at = self._sandbox.created_at
        return {"added": pool.add_ids(ids, wanted.get("userIdType") or "user_id", created_at=created_at)}

    def script(self, wanted: dict[str, Any]) -> dict[str, int]:
        """Script the faults of the next requests to one path."""
        self._sandbox.script(*wanted["faults"], path=wanted.get("path") or DELETE_PATH)
        return {"scripted": len(wanted["faults"])}
