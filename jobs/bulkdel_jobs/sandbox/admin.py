"""How another process steers and reads the sandbox. Owns `/sandbox/…`: without sign-in, limit or counting."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from bulkdel_jobs.sandbox.id_match import ID_TYPES
from bulkdel_jobs.sandbox.server import DELETE_PATH, Sandbox

_LINES_AT_ONCE = 10_000


def routes(sandbox: Sandbox) -> list[web.RouteDef]:
    """Return the control endpoints of `sandbox`.

    GET /sandbox/ledger → the counts; `?arrivals=true` adds the timeline.
    GET /sandbox/deleted → JSON lines `{"id", "count"}`, one per id that was deleted; `?userIdType=` chooses the type.
    GET /sandbox/switches → all switches. POST, a JSON object → changes them; answers all.
    POST /sandbox/users, `{"ids": […], "userIdType": …, "createdAt": …}` or `{"count": n}` → adds users: `{"added": n}`.
        createdAt: ISO 8601; "now" by the server's clock; left out, a date well in the past.
    POST /sandbox/script, `{"faults": […], "path": …}` → the next requests to the path suffer these.
    A request that makes no sense is answered HTTP 400 with the reason as text.
    """
    control = Control(sandbox)
    return [
        web.get("/sandbox/ledger", control.ledger),
        web.get("/sandbox/deleted", control.deleted),
        web.get("/sandbox/switches", control.switches),
        web.post("/sandbox/switches", _explained(control.switch)),
        web.post("/sandbox/users", _explained(control.add)),
        web.post("/sandbox/script", _explained(control.script)),
    ]


def _explained(
    act: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def explained(request: web.Request) -> web.StreamResponse:
        try:
            return await act(request)
        except (ValueError, TypeError, AttributeError, LookupError) as wrong:
            return web.Response(text=f"{type(wrong).__name__}: {wrong}", status=400)

    return explained


async def _object(request: web.Request) -> dict[str, Any]:
    content = orjson.loads(await request.read())
    if not isinstance(content, dict):
        raise TypeError("the body must be a JSON object")
    return content


def _json(content: Any) -> web.Response:
    return web.Response(body=orjson.dumps(content, default=_plain), content_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


class Control:
    """The control endpoints, each of which reads a request and returns a response."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def ledger(self, request: web.Request) -> web.StreamResponse:
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
        lines: list[bytes] = []
        for id_, count in self._sandbox.pool.deleted_ids(id_type):
            lines.append(orjson.dumps({"id": id_, "count": count}) + b"\n")
            if len(lines) >= _LINES_AT_ONCE:
                await response.write(b"".join(lines))
                lines.clear()
        await response.write(b"".join(lines))
        return response

    async def switches(self, _request: web.Request) -> web.StreamResponse:
        """Return all switches."""
        return _json(dataclasses.asdict(self._sandbox.switches))

    async def switch(self, request: web.Request) -> web.StreamResponse:
        """Change some switches."""
        self._sandbox.switches = self._sandbox.switches.changed(await _object(request))
        return await self.switches(request)

    async def add(self, request: web.Request) -> web.StreamResponse:
        """Add users."""
        wanted = await _object(request)
        if "count" in wanted:
            count = int(wanted["count"])
            if count < 0:
                raise ValueError(f"count must not be negative: {count}")
            self._sandbox.pool.add_generated(count)
            return _json({"added": count})
        ids, id_type = wanted["ids"], wanted.get("userIdType") or "user_id"
        if not isinstance(ids, list) or not all(isinstance(id_, str) and id_ for id_ in ids):
            raise TypeError("ids must be a list of texts, none of them empty")
        created_at = wanted.get("createdAt")
        if created_at == "now":
            created_at = self._sandbox.created_at
        return _json({"added": self._sandbox.pool.add_ids(ids, id_type, created_at=created_at)})

    async def script(self, request: web.Request) -> web.StreamResponse:
        """Script the faults of the next requests to one path."""
        wanted = await _object(request)
        self._sandbox.script(*wanted["faults"], path=wanted.get("path") or DELETE_PATH)
        return _json({"scripted": len(wanted["faults"])})
