"""The sandbox over HTTP. Owns the order in which a request is counted, limited, spoilt and answered.

What an endpoint means is in `endpoints`, what goes wrong on purpose in `faults`; here it happens on a socket.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from random import Random

import orjson
from aiohttp import web

from bulkdel_jobs.sandbox.api import ENDPOINTS, Asked, Call, asked_to_delete, asked_to_read
from bulkdel_jobs.sandbox.auth import Tokens, readings, signed_by
from bulkdel_jobs.sandbox.fake_user import iso
from bulkdel_jobs.sandbox.faults import AFTER, UNSUCCESSFUL, Faults, RateLimit, Switches
from bulkdel_jobs.sandbox.replica import Deletions, Replica
from bulkdel_jobs.sandbox.responses import (
    BAD_SIGNATURE,
    NO_SUCH_POOL,
    NOT_SIGNED_IN,
    Answer,
    failure,
    malformed,
    success,
    wants_english,
)
from bulkdel_jobs.sandbox.stats import Ledger
from bulkdel_jobs.sandbox.user_pool import Pool

SANDBOX_KEY_ID = "5a9db0c5a9db0c5a9db0c001"
SANDBOX_KEY_SECRET = "sandbox-secret-5a9db0c5a9db0c5a"  # noqa: S105 - opens nothing but the sandbox
SANDBOX_POOL_ID = "5a9db0c0000000000000c0de"

TOKEN_PATH = "/api/v3/get-management-token"  # noqa: S105 - a path
DELETE_PATH = "/api/v3/delete-users-batch"
LOOKUP_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"
CREATE_PATH = "/api/v3/create-users-batch"

_PAGE = b"<html><head><title>%s</title></head><body><center><h1>%s</h1></center><hr>nginx</body></html>"
_GATEWAY = frozenset({502, 503})
_REDIRECTS = range(300, 400)
_OK = 200


class Sandbox:
    """One server's state. `switches` may be replaced at any time, from any thread; requests under way keep theirs.

    url: without a trailing slash; set when the server listens.
    faults: scripts for single requests; see `script`.
    """

    def __init__(
        self,
        pool: Pool,
        switches: Switches,
        *,
        keys: Mapping[str, str] | None = None,
        seed: int = 0,
        count_sent: bool = True,
    ) -> None:
        self.pool = pool
        self.switches = switches
        self.keys = dict(keys) if keys is not None else {SANDBOX_KEY_ID: SANDBOX_KEY_SECRET}
        self.ledger = Ledger(pool, count_sent=count_sent)
        self.faults = Faults(Random(seed))  # noqa: S311 - chance that must be repeatable
        self.url = ""
        self._tokens = Tokens()
        self._deletions = Deletions()
        self._limit = RateLimit()

    def script(self, *faults: str | None, path: str = DELETE_PATH) -> None:
        """Let the next requests to `path` suffer exactly these faults, in order; None for a request spared.

        "413" and every other statusCode; "http:302" and every other HTTP status; html, drop_before; drop_after,
        500_after, truncated_after, malformed_after; unsuccessful.
        """
        self.faults.script(path, *faults)

    @property
    def created_at(self) -> str:
        """What a user that is created now gets as `createdAt`, by the clock of the switches."""
        return iso(datetime.now(UTC) + timedelta(seconds=self.switches.created_offset_s))

    def revoke_tokens(self) -> None:
        """Make every token invalid that was handed out so far."""
        self._tokens.revoke()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one request of the API from its arrival to its answer."""
        now, path, switches = time.monotonic(), request.path, self.switches
        self.ledger.arrived(path, now)
        locked_s = self._limit.locked_s(now, switches)
        call = await self._read(request, switches)
        if locked_s:
            return self._finish(self._styled(429, call, retry_after_s=locked_s))
        fault = self.faults.draw(path, switches)
        if latency_s := self.faults.latency_s(switches):
            await asyncio.sleep(latency_s)
        if fault == "drop_before":
            return self._drop(request, fault)
        if fault is not None and fault not in AFTER and fault != UNSUCCESSFUL:
            return self._finish(self._instead(fault, call), counted_as=fault)
        answer = self._act(request, call, fault)
        if switches.latency_after_s and switches.strikes(path):
            await asyncio.sleep(switches.latency_after_s)
        return await self._after(request, call, answer, fault)

    async def _read(self, request: web.Request, switches: Switches) -> Call:
        """Read a request, and count what it asks for: sent is sent, whatever becomes of it."""
        raw = await request.read()
        try:
            body = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError:
            body = None
        call = Call(
            pool=self.pool,
            switches=switches,
            query=tuple(request.query.items()),
            body=body,
            english=wants_english(request.headers),
            created_at=self.created_at,
            replica=Replica(self.pool, self._deletions, time.monotonic, switches.lag_s),
        )
        if request.path == DELETE_PATH and isinstance(asked := asked_to_delete(body, switches), Asked):
            self.ledger.asked_to_delete(asked.id_type, asked.ids)
        elif request.path == LOOKUP_PATH and isinstance(asked := asked_to_read(call.query, switches), Asked):
            self.ledger.lookup_sizes[len(asked.ids)] += 1
        return call

    def _act(self, request: web.Request, call: Call, fault: str | None) -> Answer:
        """Let the endpoint have its effect, if the caller may."""
        route = request.method, request.path
        if route == ("POST", TOKEN_PATH):
            return self._sign_in(call)
        endpoint = ENDPOINTS.get(route)
        if endpoint is None:
            return Answer(_PAGE % (b"404 Not Found", b"404 Not Found"), 404, 404, "text/html")
        refusal = self._refused(request, call)
        if refusal is not None:
            return refusal
        return endpoint(replace(call, fault=fault))

    def _sign_in(self, call: Call) -> Answer:
        """Exchange a key for a token."""
        body = call.body if isinstance(call.body, dict) else {}
        key_id, secret = body.get("accessKeyId"), body.get("accessKeySecret")
        for name, value in (("accessKeyId", key_id), ("accessKeySecret", secret)):
            if not isinstance(value, str):
                return malformed(name, english=call.english)
        if self.keys.get(str(key_id)) != secret:
            return failure(401, BAD_SIGNATURE, english=call.english)
        switches = call.switches
        announced_s = switches.token_announced_s
        if announced_s is None:
            announced_s = math.ceil(switches.token_lifetime_s)
        pool_id = switches.pool_id or SANDBOX_POOL_ID
        token = self._tokens.issue(pool_id, switches.token_user, time.monotonic(), int(time.time()), announced_s)
        return success({"access_token": token, "expires_in": announced_s}, english=call.english)

    def _refused(self, request: web.Request, call: Call) -> Answer | None:
        """Why the caller may not: no valid token or signature, or the token of another pool. None if it may."""
        authorization = request.headers.get("authorization", "")
        if not authorization.lower().startswith("bearer "):
            return None if self._signed(request, call) else failure(401, BAD_SIGNATURE, english=call.english)
        token = authorization[len("bearer ") :].strip()
        pool_id = self._tokens.pool_of(token, time.monotonic(), call.switches.token_lifetime_s)
        if pool_id is None:
            return failure(401, NOT_SIGNED_IN, english=call.english)
        named = request.headers.get("x-genauth-userpool-id") or request.headers.get("x-authing-userpool-id")
        if named == pool_id:
            return None
        message = "User pool does not exist" if call.english else "用户池不存在"
        return failure(404, NO_SUCH_POOL, english=call.english, message=message)

    def _signed(self, request: web.Request, call: Call) -> bool:
        """Whether the request carries a signature made with one of the keys."""
        body = call.body if isinstance(call.body, dict) else {}
        key_id = signed_by(
            request.headers.get("authorization", ""),
            self.keys,
            method=request.method,
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            parameters=readings(call.query) if request.method == "GET" else iter([body]),
        )
        return key_id is not None

    def _instead(self, fault: str, call: Call) -> Answer:
        """Answer that comes instead of doing anything."""
        if fault == "html":
            return Answer(_PAGE % (b"Welcome", b"Please sign in to the network"), _OK, content_type="text/html")
        if fault.startswith("http:"):
            status = int(fault.removeprefix("http:"))
            headers = {"location": f"{self.url}/elsewhere"} if status in _REDIRECTS else {}
            return Answer(b"", status, status, "text/plain", headers)
        return self._styled(int(fault), call)

    def _styled(self, status: int, call: Call, *, retry_after_s: float | None = None) -> Answer:
        """Answer with a statusCode, as an envelope or as a gateway would (`Switches.fault_style`)."""
        switches = call.switches
        http = status if switches.fault_style == "http" else _OK
        headers: dict[str, str] = {}
        if status == web.HTTPTooManyRequests.status_code and switches.retry_after is not None:
            wait_s = math.ceil(switches.retry_after_s if retry_after_s is None else retry_after_s)
            # It has whole seconds: rounded up, so that it is never too early.
            date = formatdate(math.ceil(time.time() + switches.date_offset_s) + wait_s, usegmt=True)
            headers["retry-after"] = str(wait_s) if switches.retry_after == "seconds" else date
        if http in _GATEWAY:
            return Answer(_PAGE % ((b"%d" % http,) * 2), status, http, "text/html", headers)
        return failure(status, english=call.english, http=http, headers=headers)

    async def _after(self, request: web.Request, call: Call, answer: Answer, fault: str | None) -> web.StreamResponse:
        """Answer, or spoil the answer, of what was done."""
        if fault == "drop_after":
            return self._drop(request, fault)
        if fault == "truncated_after":
            return await self._truncate(request, answer)
        if fault == "500_after":
            return self._finish(self._styled(500, call), counted_as=fault)
        if fault == "malformed_after":
            spoiled = orjson.dumps({**orjson.loads(answer.body), "statusCode": "ok"})
            return self._finish(Answer(spoiled, answer.status, answer.http), counted_as=fault)
        if fault is None and request.path == DELETE_PATH and answer.status == _OK:
            self.ledger.accepted += len(call.body["userIds"])
        return self._finish(answer, counted_as=fault)

    def _finish(self, answer: Answer, *, counted_as: str | None = None) -> web.Response:
        self.ledger.answers[counted_as or str(answer.status)] += 1
        headers = {**answer.headers, "date": self._date()}
        return web.Response(body=answer.body, status=answer.http, content_type=answer.content_type, headers=headers)

    def _date(self) -> str:
        switches = self.switches
        return "" if switches.no_date else formatdate(time.time() + switches.date_offset_s, usegmt=True)

    def _drop(self, request: web.Request, fault: str) -> web.Response:
        """Close the connection without an answer; what is returned goes nowhere."""
        self.ledger.answers[fault] += 1
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _truncate(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        """Announce the whole body, send half of it, and close."""
        self.ledger.answers["truncated_after"] += 1
        response = web.StreamResponse(status=answer.http, headers={"date": self._date()})
        response.content_type = answer.content_type
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
