"""The sandbox over HTTP. Owns the order in which a request is counted, limited, given a fault and answered.

The ledger counts every request and effect, so that a test can compare a run with it. `api` has the meaning of each
endpoint, and `token_issuer` decides which requests are let in.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from random import Random
from typing import Any

from aiohttp import web

from bulkdel_jobs.sandbox.api import (
    CREATING_PATHS,
    DELETE_PATH,
    ENDPOINTS,
    PUBLIC_PATHS,
    TOKEN_PATH,
    Endpoint,
    is_not_played,
)
from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.replies import Rejected, Reply
from bulkdel_jobs.sandbox.token_issuer import TokenIssuer
from bulkdel_jobs.sandbox.users import ID_TYPES, iso
from bulkdel_jobs.sandbox_switches import FAULTS, Switches

BLIND = "blind"
"""The fault that strikes only look-ups by id, as `Switches.blind`."""

UNSUCCESSFUL = "unsuccessful"
"""The fault that strikes only changes: `success` is false, and `Switches.unsuccessful_effect` says what was done."""

_GATEWAY = frozenset({502, 503})
_REDIRECTS = range(300, 400)
_OK = 200
_NOT_PLAYED = Reply(501, message=("沙盒不支持此接口", "The sandbox does not play this call"))


class Ledger:
    """Counts of one server. What the requests did is counted by the pool that they changed (`Pool.effects_of`).

    pool, public: the users and the public accounts.
    requests: all that arrived, except those to the admin endpoints; by_path: the same per path.
    arrivals: when each arrived, seconds on the monotonic clock.
    answers: per statusCode, or per fault where there was no envelope to read ("drop_after").
    chunk_sizes, id_types: of every well-formed request to change something, with any answer.
    lookup_sizes: the same of look-ups.
    accepted: ids in such changes that were answered with success.
    """

    def __init__(self, pool: Pool, public: Pool | None = None) -> None:
        self.pool = pool
        self.public = public or Pool()
        self.by_path: Counter[str] = Counter()
        self.arrivals = array("d")
        self.answers: Counter[str] = Counter()
        self.chunk_sizes: Counter[int] = Counter()
        self.id_types: Counter[str] = Counter()
        self.lookup_sizes: Counter[int] = Counter()
        self.accepted = 0
        # By path; then by the user's number, or by the id where no user has it.
        self._sent: defaultdict[str, Counter[int | str]] = defaultdict(Counter)

    @property
    def requests(self) -> int:
        """How many requests arrived."""
        return len(self.arrivals)

    @property
    def deleted(self) -> int:
        """How many users were really deleted."""
        return self.pool.deleted

    def arrived(self, path: str, now: float) -> None:
        """Count a request, at its arrival."""
        self.by_path[path] += 1
        self.arrivals.append(now)

    def asked_to_change(self, path: str, named: Named) -> None:
        """Count a well-formed request to change something, and each of its ids."""
        self.chunk_sizes[len(named.ids)] += 1
        self.id_types[named.id_type] += 1
        self._sent[path].update(self._keys(path, named.id_type, named.ids))

    def _keys(self, path: str, id_type: str, ids: list[str]) -> list[int | str]:
        if id_type not in ID_TYPES or path in CREATING_PATHS:
            return [*ids]
        pool = self.public if path in PUBLIC_PATHS else self.pool
        return [id_ if (found := pool.find(id_type, id_)) is None else found for id_ in ids]

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return self.pool.effects(id_, id_type)

    def sent(self, id_: str, id_type: str = "user_id", *, path: str | None = None) -> int:
        """How often changes named the user of `id_`, by any of its ids. Of several users the latest counts.

        path: of the endpoint; None for all that change users. One that creates users names each by the first that it
        is given of email, phone, username and externalId.
        """
        paths = self._sent.keys() - PUBLIC_PATHS - CREATING_PATHS if path is None else {path}
        return sum(self._sent[each][self._keys(each, id_type, [id_])[0]] for each in paths)

    def sent_times(self, *, path: str | None = None) -> dict[int, int]:
        """How many users and unknown ids were sent once, twice and so on: `{1: 950, 2: 50}`. path: as in `sent`."""
        sent = Counter[int | str]()
        for each in self._sent.keys() - PUBLIC_PATHS - CREATING_PATHS if path is None else {path}:
            sent.update(self._sent[each])
        return dict(sorted(Counter(sent.values()).items()))

    def busiest(self, window_s: float = 1.0) -> int:
        """Return the most requests that arrived within any `window_s` seconds."""
        most = first = 0
        for last, now in enumerate(self.arrivals):
            while self.arrivals[first] <= now - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def counts(self) -> dict[str, Any]:
        """Return every count but the times of arrival."""
        names = ("requests", "by_path", "answers", "chunk_sizes", "lookup_sizes", "id_types", "accepted", "deleted")
        return {
            **{name: getattr(self, name) for name in names},
            "effects": {kind: self.pool.effects_of(kind).total() for kind in self.pool.kinds()},
            "users": len(self.pool),
            "sent_times": self.sent_times(),
            "busiest_second": self.busiest(),
        }


class Sandbox:
    """One server's state. `switches` may be replaced at any time, from any thread; requests under way keep theirs.

    pool: the users. public: the public accounts; None for none at first.
    keys: key id → secret; None for the built-in key. url: without a trailing slash; set when the server listens.
    """

    def __init__(
        self,
        pool: Pool,
        switches: Switches,
        *,
        public: Pool | None = None,
        keys: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        self.pool = pool
        self.public = public or Pool()
        self.switches = switches
        self.ledger = Ledger(pool, self.public)
        self.url = ""
        self._sign_in = TokenIssuer(keys)
        self.revoke_tokens = self._sign_in.revoke
        self._locked_until = float("-inf")
        self._rng = Random(seed)  # noqa: S311 - chance that must be repeatable
        self._scripts: defaultdict[str, deque[str | None]] = defaultdict(deque)

    def script(self, *faults: str | None, path: str = DELETE_PATH) -> None:
        """Let the next requests to `path` meet exactly these faults, in order; None is no fault.

        A fault is a statusCode ("413": an envelope, styled as `fault_style` says), an HTTP status ("http:302": bare,
        without an envelope), or the name of a share of `Switches` ("drop_after").
        """
        for name in faults:
            if name is not None and name not in FAULTS and not re.fullmatch(r"(http:)?[2-9]\d\d", name):
                raise ValueError(f"no such fault: {name}")
        self._scripts[path].extend(faults)

    def draw(self, path: str, switches: Switches) -> str | None:
        """Return the fault of one request, or None. Every request draws one number, with any shares."""
        point = self._rng.random()
        if self._scripts[path]:
            return self._scripts[path].popleft()
        for name, share in switches.shares().items() if switches.strikes(path) else ():
            if point < share:
                return name
            point -= share
        return None

    def locked_s(self, now: float, switches: Switches) -> float:
        """Return for how long all clients are locked out (0: not at all), by the requests that arrived until `now`.

        This is the limit of the public cloud: so many requests in any second, then 429 for a while.
        """
        if switches.rate_per_s is None:
            return 0.0
        if now >= self._locked_until:
            arrivals = self.ledger.arrivals
            first = max(bisect_right(arrivals, now - 1), bisect_left(arrivals, self._locked_until))
            if len(arrivals) - first > switches.rate_per_s:
                self._locked_until = now + switches.lockout_s
        return max(0.0, self._locked_until - now)

    @property
    def created_at(self) -> str:
        """What a user that is created now gets as `createdAt`, by the clock of the switches."""
        return iso(datetime.now(UTC) + timedelta(seconds=self.switches.created_offset_s))

    async def answer(self, request: web.Request) -> web.Response:
        """Take one request of the API from its arrival to its answer."""
        now, path, switches = time.monotonic(), request.path, self.switches
        self.ledger.arrived(path, now)
        locked_s = self.locked_s(now, switches)
        endpoint = ENDPOINTS.get((request.method, path))
        call = await self._read(request, switches, endpoint)
        if locked_s:
            return self._finish(call, _styled(429, switches, retry_after_s=locked_s))
        fault = self.draw(path, switches)
        await asyncio.sleep(switches.latency_s + self._rng.uniform(0, switches.jitter_s))
        if fault == "drop_before":
            return self._break_off(request, fault)
        if fault is not None and not fault.endswith("_after") and fault not in {BLIND, UNSUCCESSFUL}:
            return self._finish(call, self._instead(fault, switches), fault)
        if fault == BLIND:
            call = replace(call, switches=replace(switches, blind=True))
        try:
            answer = self._act(endpoint, replace(call, unsuccessful=fault == UNSUCCESSFUL))
        except Rejected as refused:
            answer = refused.answer
        if switches.latency_after_s and switches.strikes(path):
            await asyncio.sleep(switches.latency_after_s)
        if fault == "drop_after":
            return self._break_off(request, fault)
        if fault == "truncated_after":
            body = answer.body(english=False)
            head = f"HTTP/1.1 {answer.http} OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            return self._break_off(request, fault, head.encode() + body[: len(body) // 2])
        if fault is None and endpoint is not None and endpoint.changes and endpoint.named and answer.status_code == _OK:
            self.ledger.accepted += len(endpoint.named(call).ids)
        return self._finish(call, _styled(500, switches) if fault == "500_after" else answer, fault)

    async def _read(self, request: web.Request, switches: Switches, endpoint: Endpoint | None) -> Call:
        """Read a request, and count the ids that it names. They count with any answer."""
        body = None
        # The standard library keeps lone surrogates and numbers of any length, as the API may.
        with suppress(ValueError, RecursionError):
            body = json.loads(await request.read())
        public = endpoint is not None and endpoint.public
        call = Call(
            pool=self.public if public else self.pool,
            public=public,
            switches=switches,
            method=request.method,
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            query=tuple(request.query.items()),
            body=body if isinstance(body, dict) else {},
            created_at=self.created_at,
        )
        if endpoint is not None and endpoint.named is not None:
            with suppress(Rejected):
                named = endpoint.named(call)
                if endpoint.changes:
                    self.ledger.asked_to_change(call.path, named)
                else:
                    self.ledger.lookup_sizes[len(named.ids)] += 1
        return call

    def _act(self, endpoint: Endpoint | None, call: Call) -> Reply:
        """Let the endpoint have its effect, if the caller is signed in."""
        if (call.method, call.path) == ("POST", TOKEN_PATH):
            return Reply(200, self._sign_in.issue(call))
        if is_not_played(call.path):
            return _NOT_PLAYED
        if endpoint is None or (endpoint.authing_only and call.switches.brand == "genauth"):
            return Reply(404, http=404, page="404 Not Found")
        self._sign_in.check(call)
        if endpoint.changes and call.switches.forbidden:
            raise Rejected(Reply(403))
        return endpoint.answer(call)

    def _instead(self, fault: str, switches: Switches) -> Reply:
        """Return the answer of a fault that comes in place of the effect."""
        if fault == "html":
            return Reply(200, page="Welcome")
        if not fault.startswith("http:"):
            return _styled(int(fault), switches)
        status = int(fault.removeprefix("http:"))
        headers = {"location": f"{self.url}/elsewhere"} if status in _REDIRECTS else {}
        return Reply(status, http=status, headers=headers, page="")

    def _finish(self, call: Call, answer: Reply, fault: str | None = None) -> web.Response:
        """Count an answer and put it into bytes."""
        self.ledger.answers[fault or str(answer.status_code)] += 1
        if answer.status_code == _OK and call.switches.says_nothing:
            answer = replace(answer, message=("", ""))
        english = call.header("lang").lower().startswith("en")
        date = "" if call.switches.no_date else formatdate(time.time() + call.switches.date_offset_s, usegmt=True)
        return web.Response(
            body=answer.body(english=english, malformed=fault == "malformed_after"),
            status=answer.http,
            content_type="application/json" if answer.page is None else "text/html",
            headers={**answer.headers, "date": date},
        )

    def _break_off(self, request: web.Request, fault: str, sent: bytes = b"") -> web.Response:
        """Close the connection after `sent`; the returned response is not sent."""
        self.ledger.answers[fault] += 1
        if request.transport is not None:
            request.transport.write(sent)
            request.transport.close()
        return web.Response()


def _styled(status: int, switches: Switches, *, retry_after_s: float | None = None) -> Reply:
    """Answer with a statusCode, as an envelope or as a gateway would (`Switches.fault_style`)."""
    http = status if switches.fault_style == "http" else 200
    headers: dict[str, str] = {}
    if status == 429 and switches.retry_after is not None:  # noqa: PLR2004
        # Whole seconds, rounded up, so that it is never too early.
        wait_s = math.ceil(switches.retry_after_s if retry_after_s is None else retry_after_s)
        date = formatdate(math.ceil(time.time() + switches.date_offset_s) + wait_s, usegmt=True)
        headers["retry-after"] = str(wait_s) if switches.retry_after == "seconds" else date
    return Reply(status, http=http, headers=headers, page=str(http) if http in _GATEWAY else None)
