"""The sandbox over HTTP. Owns the order in which a request is counted, limited, given a fault and answered.

`api` has what an endpoint means, `faults` what goes wrong on purpose; here it is done on a socket.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from random import Random

import orjson
from aiohttp import web

from bulkdel_jobs.sandbox.api import (
    Call,
    delete_users_batch,
    get_user_batch,
    list_users,
    named_to_delete,
    named_to_look_up,
)
from bulkdel_jobs.sandbox.auth import Tokens
from bulkdel_jobs.sandbox.fake_user import iso
from bulkdel_jobs.sandbox.faults import AFTER, UNSUCCESSFUL, Faults, RateLimit
from bulkdel_jobs.sandbox.responses import BAD_SIGNATURE, NO_SUCH_POOL, NOT_SIGNED_IN, Answer, Refused, malformed
from bulkdel_jobs.sandbox.stats import Ledger
from bulkdel_jobs.sandbox.user_pool import Pool
from bulkdel_jobs.sandbox.vendor_sdk.endpoints import create_users_batch, list_archived_users
from bulkdel_jobs.sandbox.vendor_sdk.signature import is_signed, readings
from bulkdel_jobs.sandbox_switches import Switches

SANDBOX_KEY_ID = "5a9db0c5a9db0c5a9db0c001"
SANDBOX_KEY_SECRET = "sandbox-secret-5a9db0c5a9db0c5a"  # noqa: S105 - opens nothing but the sandbox
SANDBOX_POOL_ID = "5a9db0c0000000000000c0de"

TOKEN_PATH = "/api/v3/get-management-token"  # noqa: S105 - a path
DELETE_PATH = "/api/v3/delete-users-batch"
LOOKUP_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"
CREATE_PATH = "/api/v3/create-users-batch"

ENDPOINTS: Mapping[tuple[str, str], Callable[[Call], Answer]] = {
    ("POST", DELETE_PATH): delete_users_batch,
    ("GET", LOOKUP_PATH): get_user_batch,
    ("POST", LIST_PATH): list_users,
    ("GET", "/api/v3/list-archived-users"): list_archived_users,
    ("POST", CREATE_PATH): create_users_batch,
}
"""Every endpoint that needs a sign-in."""

_GATEWAY = frozenset({502, 503})
_REDIRECTS = range(300, 400)


class Sandbox:
    """One server's state. `switches` may be replaced at any time, from any thread; requests under way keep theirs.

    url: without a trailing slash; set when the server listens.
    faults: scripts for single requests; see `script`.
    """

    def __init__(self, pool: Pool, switches: Switches, *, keys: Mapping[str, str] | None = None, seed: int = 0) -> None:
        self.pool = pool
        self.switches = switches
        self.keys = dict(keys) if keys is not None else {SANDBOX_KEY_ID: SANDBOX_KEY_SECRET}
        self.ledger = Ledger(pool)
        self.faults = Faults(Random(seed))  # noqa: S311 - chance that must be repeatable
        self.url = ""
        self._tokens = Tokens()
        self._limit = RateLimit()

    def script(self, *faults: str | None, path: str = DELETE_PATH) -> None:
        """Let the next requests to `path` suffer exactly these faults (see `is_fault`), in order; None spares one."""
        self.faults.script(path, *faults)

    @property
    def created_at(self) -> str:
        """What a user that is created now gets as `createdAt`, by the clock of the switches."""
        return iso(datetime.now(UTC) + timedelta(seconds=self.switches.created_offset_s))

    def revoke_tokens(self) -> None:
        """Make every token invalid that was issued so far."""
        self._tokens.revoke()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one request of the API from its arrival to its answer."""
        now, path, switches = time.monotonic(), request.path, self.switches
        self.ledger.arrived(path, now)
        locked_s = self._limit.locked_s(now, switches)
        call = await self._read(request, switches)
        if locked_s:
            return self._finish(call, self._styled(429, switches, retry_after_s=locked_s))
        fault = self.faults.draw(path, switches)
        if latency_s := self.faults.latency_s(switches):
            await asyncio.sleep(latency_s)
        if fault == "drop_before":
            return self._drop(request, fault)
        if fault is not None and fault not in AFTER and fault != UNSUCCESSFUL:
            return self._finish(call, self._instead(fault, switches), fault)
        try:
            answer = self._act(request, replace(call, fault=fault))
        except Refused as refused:
            answer = refused.answer
        if switches.latency_after_s and switches.strikes(path):
            await asyncio.sleep(switches.latency_after_s)
        if fault == "drop_after":
            return self._drop(request, fault)
        if fault == "truncated_after":
            return await self._truncate(request, call, answer)
        if fault is None and path == DELETE_PATH and answer.status_code == 200:  # noqa: PLR2004
            self.ledger.accepted += len(call.body["userIds"])
        return self._finish(call, self._styled(500, switches) if fault == "500_after" else answer, fault)

    async def _read(self, request: web.Request, switches: Switches) -> Call:
        """Read a request, and count the ids that it names, whatever its answer will be."""
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            body = None
        lang = request.headers.get("x-genauth-lang") or request.headers.get("x-authing-lang") or ""
        english = lang.lower().startswith("en")
        call = Call(self.pool, switches, tuple(request.query.items()), body, english, self.created_at)
        with suppress(Refused):
            if request.path == DELETE_PATH:
                named = named_to_delete(call)
                self.ledger.asked_to_delete(named.id_type, named.ids)
            elif request.path == LOOKUP_PATH:
                self.ledger.lookup_sizes[len(named_to_look_up(call).ids)] += 1
        return call

    def _act(self, request: web.Request, call: Call) -> Answer:
        """Let the endpoint have its effect, if the caller is signed in."""
        route = request.method, request.path
        if route == ("POST", TOKEN_PATH):
            return self._sign_in(call)
        endpoint = ENDPOINTS.get(route)
        if endpoint is None:
            return Answer(404, http=404, page="404 Not Found")
        self._check_signed_in(request, call)
        return endpoint(call)

    def _sign_in(self, call: Call) -> Answer:
        """Exchange a key for a token."""
        body = call.body if isinstance(call.body, dict) else {}
        for name in ("accessKeyId", "accessKeySecret"):
            if not isinstance(body.get(name), str):
                raise malformed(name)
        if self.keys.get(body["accessKeyId"]) != body["accessKeySecret"]:
            raise Refused(Answer(401, api_code=BAD_SIGNATURE))
        switches = call.switches
        announced_s = switches.token_announced_s
        if announced_s is None:
            announced_s = math.ceil(switches.token_lifetime_s)
        pool_id = switches.pool_id or SANDBOX_POOL_ID
        token = self._tokens.issue(pool_id, switches.token_user, time.monotonic(), int(time.time()), announced_s)
        return Answer(200, {"access_token": token, "expires_in": announced_s})

    def _check_signed_in(self, request: web.Request, call: Call) -> None:
        """Refuse a caller without a valid token or signature, or with the token of another pool."""
        authorization = request.headers.get("authorization", "")
        if not authorization.lower().startswith("bearer "):
            headers = {name.lower(): value for name, value in request.headers.items()}
            body = call.body if isinstance(call.body, dict) else {}
            possible = readings(call.query) if request.method == "GET" else [body]
            if is_signed(self.keys, request.method, request.path, headers, possible):
                return
            raise Refused(Answer(401, api_code=BAD_SIGNATURE))
        token = authorization[len("bearer ") :].strip()
        pool_id = self._tokens.pool_of(token, time.monotonic(), call.switches.token_lifetime_s)
        if pool_id is None:
            raise Refused(Answer(401, api_code=NOT_SIGNED_IN))
        named = request.headers.get("x-genauth-userpool-id") or request.headers.get("x-authing-userpool-id")
        if named != pool_id:
            message = ("用户池不存在", "User pool does not exist")
            raise Refused(Answer(404, api_code=NO_SUCH_POOL, message=message))

    def _instead(self, fault: str, switches: Switches) -> Answer:
        """Answer that comes instead of doing anything."""
        if fault == "html":
            return Answer(200, page="Welcome")
        if not fault.startswith("http:"):
            return self._styled(int(fault), switches)
        status = int(fault.removeprefix("http:"))
        headers = {"location": f"{self.url}/elsewhere"} if status in _REDIRECTS else {}
        return Answer(status, http=status, headers=headers, page="")

    def _styled(self, status: int, switches: Switches, *, retry_after_s: float | None = None) -> Answer:
        """Answer with a statusCode, as an envelope or as a gateway would (`Switches.fault_style`)."""
        http = status if switches.fault_style == "http" else 200
        headers: dict[str, str] = {}
        if status == 429 and switches.retry_after is not None:  # noqa: PLR2004
            # Whole seconds, rounded up, so that it is never too early.
            wait_s = math.ceil(switches.retry_after_s if retry_after_s is None else retry_after_s)
            date = formatdate(math.ceil(time.time() + switches.date_offset_s) + wait_s, usegmt=True)
            headers["retry-after"] = str(wait_s) if switches.retry_after == "seconds" else date
        return Answer(status, http=http, headers=headers, page=str(http) if http in _GATEWAY else None)

    def _finish(self, call: Call, answer: Answer, fault: str | None = None) -> web.Response:
        self.ledger.answers[fault or str(answer.status_code)] += 1
        return web.Response(
            body=answer.body(english=call.english, malformed=fault == "malformed_after"),
            status=answer.http,
            content_type=answer.content_type,
            headers={**answer.headers, "date": self._date()},
        )

    def _date(self) -> str:
        switches = self.switches
        return "" if switches.no_date else formatdate(time.time() + switches.date_offset_s, usegmt=True)

    def _drop(self, request: web.Request, fault: str) -> web.Response:
        """Close the connection without an answer; the returned response is not sent."""
        self.ledger.answers[fault] += 1
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _truncate(self, request: web.Request, call: Call, answer: Answer) -> web.StreamResponse:
        """Announce the whole body, send half of it, and close."""
        self.ledger.answers["truncated_after"] += 1
        body = answer.body(english=call.english)
        response = web.StreamResponse(status=answer.http, headers={"date": self._date()})
        response.content_type = answer.content_type
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
