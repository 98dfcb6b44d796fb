"""The token of GenAuth's management API: signing in, and when a token is good. Owns both.

Must never show the secret or a token: not in a message, not in a repr.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response
from bulkdel.core.redaction import spellings
from bulkdel.core.retry import ATTEMPTS_MAX, backoff_s
from bulkdel.errors import Halted
from bulkdel.http.client import decision_on
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel_jobs.genauth.brands import Brand
from bulkdel_jobs.genauth.responses import read_envelope

PATH = "/api/v3/get-management-token"
POOL_CLAIM = "scoped_userpool_id"
USER_CLAIMS = ("sub", "userId", "user_id")
"""Where a token may name the user that it belongs to. Most name an access key or the pool there: then nobody is called
like that, and protecting it does no harm."""

PAUSE_S = 3.0
"""Pause after a 429 that names no time (genauth-api.md: the limit's lock-out)."""

MARGIN_MAX_S = 60.0
MARGIN_SHARE = 0.2
"""A token is refreshed this long before it ends: a minute, or a fifth of its life (design)."""

LIFE_DEFAULT_S = 600.0
LIFE_MIN_S = 1.0
LIFE_MAX_S = 86_400.0
"""For an `expires_in` that is missing or odd. Too short costs a call every few minutes, too long a 401 in between."""

BACKOFFS_MAX = 10
"""Where the backoff stops growing anyway; without a bound its power overflows after a day of attempts."""

TOKENS_HIDDEN = 3
"""Tokens that are kept out of messages: a late answer may quote an older one."""

HEADER_SAFE = re.compile(r"[!-~]+")
"""What may stand in a header as it is."""

CHECK_KEY = (
    "check GENAUTH_ACCESS_KEY_ID and GENAUTH_ACCESS_KEY_SECRET (or the credentials file), that the key is enabled, and "
    "that --host is the deployment it belongs to"
)

Send = Callable[[Request, Mapping[str, str]], Awaitable[Response | NoResponse]]
"""`bulkdel.http.transport.Transport.send`."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in returned.

    pool: that the token is for. expires_in_s: its life from now on, checked. users: whom it may belong to.
    """

    token: str = field(repr=False)
    pool: str
    expires_in_s: float
    users: tuple[str, ...] = ()


def claims_of(token: str) -> tuple[str, tuple[str, ...]]:
    """Read pool and users out of a token (a JWT; its signature is the server's business).

    Raises Halted, never showing it.
    """
    parts = token.split(".")
    if len(parts) != 3 or not HEADER_SAFE.fullmatch(token):  # noqa: PLR2004 - header, payload, signature
        raise Halted("the server's token is not a JWT, so its user pool is unknown: check that --host is a GenAuth API")
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        payload = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise Halted("the payload of the server's token cannot be read, so its user pool is unknown") from None
    pool = payload.get(POOL_CLAIM) if isinstance(payload, dict) else None
    if not isinstance(pool, str) or not HEADER_SAFE.fullmatch(pool):
        raise Halted(f"the server's token names no user pool ({POOL_CLAIM}): is the key one of a user pool?")
    named = [payload.get(claim) for claim in USER_CLAIMS]
    return pool, tuple(dict.fromkeys(user for user in named if isinstance(user, str) and user not in {"", pool}))


def life_s(expires_in: Any) -> float:
    """Read `expires_in`, seconds; the default for whatever is not a sensible number."""
    if type(expires_in) not in (int, float) or expires_in < LIFE_MIN_S:
        return LIFE_DEFAULT_S
    return min(float(expires_in), LIFE_MAX_S)


class SignIn:
    """The call that returns a token. Paced like any other request, and repeated until there is an answer.

    attempts_max: bound for the first sign-in, where a lost reply most likely means a wrong address.
    patience_s: bound for every later one, counted from its start: an outage must not end a run that was going well.
    """

    def __init__(
        self,
        *,
        send: Send,
        rate_limiter: RateLimiter,
        key_id: str,
        secret: str,
        brand: Brand,
        lang: str | None = None,
        attempts_max: int = ATTEMPTS_MAX,
        patience_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._send = send
        self._rate_limiter = rate_limiter
        self._private = (key_id, secret)
        self._call = Request("POST", PATH, body=orjson.dumps({"accessKeyId": key_id, "accessKeySecret": secret}))
        self._headers = {} if lang is None else {f"{brand.prefix}lang": lang}
        self._attempts_max = attempts_max
        self._patience_s = patience_s
        self._clock = clock
        self._now = now
        self._chance = chance
        self._worked = False

    async def __call__(self) -> SignedIn:
        """Sign in. Raises Halted when the server refuses, or gives no answer for too long."""
        began = self._clock()
        attempts = 0
        while True:
            await self._rate_limiter.acquire()
            response = await self._send(self._call, self._headers)
            decision = decision_on(response, read_token, self._hide, self._now())
            if decision.next_step is NextStep.SETTLED:
                self._worked = True
                return _signed_in(decision.data)
            if decision.next_step is NextStep.THROTTLED:
                wait_s = PAUSE_S if decision.after_s is None else decision.after_s
            elif decision.next_step is NextStep.RETRY:
                attempts += 1
                wait_s = max(decision.after_s or 0.0, backoff_s(min(attempts, BACKOFFS_MAX), self._chance()))
            elif isinstance(response, NoResponse):
                raise Halted(f"sign-in: {decision.reason}")
            else:
                raise Halted(f"sign-in refused: {_said(decision)}; {CHECK_KEY}")
            self._check_patience(decision, attempts, self._clock() - began, wait_s)
            if decision.next_step is NextStep.THROTTLED:
                self._rate_limiter.pause(wait_s)  # everybody; the next acquire waits for it
            else:
                await asyncio.sleep(wait_s)

    def _check_patience(self, decision: Decision, attempts: int, waited_s: float, wait_s: float) -> None:
        if waited_s + wait_s > self._patience_s:
            text = (
                f"sign-in: no answer for {waited_s:.0f} s ({_said(decision)}), and the next attempt in {wait_s:.0f} s"
            )
            raise Halted(f"{text} is beyond the patience of {self._patience_s:.0f} s; run again later")
        if attempts >= self._attempts_max and not self._worked:
            raise Halted(f"sign-in: no answer in {attempts} attempts ({_said(decision)}); check --host")

    def _hide(self, text: str) -> str:
        """Take the credentials out of what the server says, which may quote them."""
        return hidden(text, self._private)


def read_token(response: Response) -> Decision:
    """Say what an answer to the sign-in means; SETTLED with `data` = the object that holds the token."""
    decision = read_envelope(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    if isinstance(decision.data, dict) and isinstance(decision.data.get("access_token"), str):
        return decision
    return Decision(NextStep.RETRY, reason="statusCode 200, but no token in the answer")


def _signed_in(data: Mapping[str, Any]) -> SignedIn:
    token = data["access_token"]
    pool, users = claims_of(token)
    return SignedIn(token, pool, life_s(data.get("expires_in")), users)


def _said(decision: Decision) -> str:
    return decision.reason or str(decision.detail)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Take `secrets` out of `text`, however they are spelled."""
    for secret in filter(None, secrets):
        for spelled in _spelled(secret):
            text = text.replace(spelled, "[hidden]")
    return text


_spelled = lru_cache(2 * TOKENS_HIDDEN + 4)(spellings)
"""Of the few secrets there are: they are looked for in every answer."""


class Tokens:
    """Keeps one good token for everybody: `bulkdel.auth.Auth`.

    pool: the only one that a token may be for; None takes that of the first token.
    secrets: what beside the tokens must be in no message.
    """

    def __init__(
        self,
        *,
        sign_in: Callable[[], Awaitable[SignedIn]],
        brand: Brand,
        pool: str | None = None,
        lang: str | None = None,
        secrets: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sign_in = sign_in
        self._secrets = secrets
        self._tokens: deque[str] = deque(maxlen=TOKENS_HIDDEN)
        self._brand = brand
        self._lang = lang
        self._clock = clock
        self._pool = pool
        self._users: tuple[str, ...] = ()
        self._generation = 0
        self._ready: tuple[Mapping[str, str], int] | None = None
        self._stale_at = 0.0
        self._suspect = False  # the token before was refused, and none has been accepted since
        self._halted: str | None = None
        # A lock and not a task of its own: whoever holds it signs in, for all who wait. If that one is cancelled, the
        # next in the queue takes over; no task is left that nobody awaits.
        self._turn = asyncio.Lock()

    @property
    def pool(self) -> str | None:
        """The user pool; None before the first sign-in unless it was given."""
        return self._pool

    @property
    def users(self) -> tuple[str, ...]:
        """See `bulkdel.auth.Auth`."""
        return self._users

    @property
    def waiting(self) -> str | None:
        """Why nothing goes out, for the progress bar."""
        return "signing in" if self._turn.locked() else None

    def headers(self) -> tuple[Mapping[str, str], int] | None:
        """See `bulkdel.auth.Auth`."""
        return self._ready if self._clock() < self._stale_at else None

    def hide(self, text: str) -> str:
        """See `bulkdel.auth.Auth`."""
        return hidden(text, (*self._secrets, *self._tokens))

    async def ensure(self) -> None:
        """See `bulkdel.auth.Auth`. While a refresh is under way everybody waits: the old token may end any moment."""
        if self.headers() is not None:
            return
        async with self._turn:
            if self._halted is not None:
                raise Halted(self._halted)
            if self.headers() is not None:
                return
            try:
                self._take(await self._sign_in())
            except Halted as halted:
                # For all who wait behind: they would only be refused again, one after another.
                self._halted = str(halted)
                raise

    def _take(self, fresh: SignedIn) -> None:
        if self._pool is None:
            self._pool = fresh.pool
        elif fresh.pool != self._pool:
            raise Halted(
                f"the token is for user pool {fresh.pool}, but this run is for {self._pool}: nothing more is sent; use "
                f"the access key of {self._pool}"
            )
        headers = {"authorization": f"Bearer {fresh.token}", f"{self._brand.prefix}userpool-id": fresh.pool}
        if self._lang is not None:
            headers[f"{self._brand.prefix}lang"] = self._lang
        self._users = fresh.users
        self._tokens.append(fresh.token)
        self._generation += 1
        self._ready = MappingProxyType(headers), self._generation
        margin_s = min(MARGIN_MAX_S, MARGIN_SHARE * fresh.expires_in_s)
        self._stale_at = self._clock() + fresh.expires_in_s - margin_s

    def rejected(self, generation: int) -> None:
        """See `bulkdel.auth.Auth`. A 401 to an older token, or to one that is given up already, says nothing new."""
        if self._ready is None or generation != self._generation:
            return
        if self._suspect:
            self._halted = f"the server accepts no token, not even a fresh one (401 twice); {CHECK_KEY}"
            raise Halted(self._halted)
        self._ready = None
        self._suspect = True

    def accepted(self, generation: int) -> None:
        """See `bulkdel.auth.Auth`."""
        if self._ready is not None and generation == self._generation:
            self._suspect = False
