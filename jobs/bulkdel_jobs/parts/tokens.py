"""Credentials that are fetched and end: one sign-in call for all requests, and when its token is refreshed.

Owns the life of a token. How a token is asked for, and what is in it, is in a subclass of `SignIn`. Neither a secret
nor a token may be in a message or in a repr.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response, fault_of, is_outage
from bulkdel.core.redaction import decision_on
from bulkdel.core.retry import ATTEMPTS_MAX, backoff_s
from bulkdel.errors import Halted
from bulkdel.http.rate_limiter import RateLimiter

PAUSE_S = 3.0
"""Pause after a 429 that names no time (how long GenAuth's public cloud locks a client out)."""

MARGIN_MAX_S = 60.0
MARGIN_SHARE = 0.2
"""A token is refreshed this long before it ends: a minute, or a fifth of its life."""

LIFE_DEFAULT_S = 600.0
LIFE_MIN_S = 1.0
LIFE_MAX_S = 86_400.0
"""The life of a token whose `expires_in` is missing, no number or below LIFE_MIN_S; and the longest life.

A life that is too short costs a sign-in every few minutes. One that is too long costs a 401."""

BACKOFFS_MAX = 10
"""At this attempt the backoff has its longest wait. Without this bound its power overflows after a day of attempts."""

TOKENS_HIDDEN = 3
"""Tokens that are kept out of messages: a late response may quote an older one."""

HIDDEN = "[hidden]"

HEADER_SAFE = re.compile(r"[!-~]+")
"""What may stand in a header as it is."""

Send = Callable[[Request, Mapping[str, str]], Awaitable[Response | NoResponse]]
"""`bulkdel.http.transport.Transport.send`."""


@dataclass(frozen=True, slots=True)
class FreshToken:
    """What a sign-in returned.

    pool: the pool or tenant of the token. expires_in_s: how long it lives from now on.
    users: the accounts that it may belong to.
    """

    token: str = field(repr=False)
    pool: str
    expires_in_s: float
    users: tuple[str, ...] = ()


def life_s(expires_in: Any) -> float:
    """The life of a token in seconds: what the server says, within bounds."""
    if type(expires_in) not in {int, float} or expires_in < LIFE_MIN_S:
        return LIFE_DEFAULT_S
    return min(float(expires_in), LIFE_MAX_S)


@dataclass(kw_only=True)
class SignIn:
    """The call that returns a token. Takes its turn at the rate limiter, and is repeated until there is a response.

    A subclass says what is asked (`request`, `headers`), how the response is read (`read`, `signed_in`), which
    `secrets` a response may quote, and what the user should `check` when the server refuses.

    It ends after patience_s, from the first one on: the API may be down when a run begins. Answers that are neither a
    token nor a failure of the server most likely mean a wrong address: ATTEMPTS_MAX of them end the first sign-in.
    clock: monotonic. now: epoch seconds. chance: 0 to 1.
    """

    send: Send
    rate_limiter: RateLimiter
    patience_s: float = 900.0
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    _worked: bool = field(default=False, init=False)

    def request(self) -> Request:
        """The request that asks for a token."""
        raise NotImplementedError

    def headers(self) -> Mapping[str, str]:
        """Its headers beside those of `request`."""
        return {}

    def read(self, response: Response) -> Decision:
        """Decide on a response: SETTLED with `data` for `signed_in`."""
        raise NotImplementedError

    def signed_in(self, data: Any) -> FreshToken:
        """What `data` says. Raises Halted for a token that cannot be used."""
        raise NotImplementedError

    def token_headers(self, fresh: FreshToken) -> Mapping[str, str]:
        """The headers of a request with this token."""
        return {"authorization": f"Bearer {fresh.token}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What a response may quote and no message may show."""
        raise NotImplementedError

    @property
    def check(self) -> str:
        """What the user should check when the server refuses."""
        raise NotImplementedError

    async def __call__(self) -> FreshToken:
        """Sign in. Raises Halted when the server refuses, or gives no response for too long."""
        request, headers, secrets = self.request(), self.headers(), pattern_of(*self.secrets)
        began, held_s, attempts, strange = self.clock(), self.rate_limiter.held_s, 0, 0
        while True:
            await self.rate_limiter.acquire()
            response = await self.send(request, headers)
            decision = decision_on(response, self.read, lambda text: secrets.sub(HIDDEN, text), self.now())
            if decision.next_step is NextStep.SETTLED:
                self._worked = True
                return self.signed_in(decision.data)
            if decision.next_step is NextStep.THROTTLED:
                wait_s = PAUSE_S if decision.after_s is None else decision.after_s
            elif decision.next_step is NextStep.RETRY:
                attempts += 1
                strange += not is_outage(fault_of(response), decision)
                if strange >= ATTEMPTS_MAX and not self._worked:
                    raise Halted(f"sign-in: no token in {strange} answers ({_reason(decision)}); check --host")
                wait_s = max(decision.after_s or 0.0, backoff_s(min(attempts, BACKOFFS_MAX), self.chance()))
            elif isinstance(response, NoResponse):
                raise Halted(f"sign-in: {decision.reason}")
            else:
                raise Halted(f"sign-in refused: {_reason(decision)}; {self.check}")
            waited_s = self.clock() - began - (self.rate_limiter.held_s - held_s)  # a hold is not the server's silence
            if waited_s + wait_s > self.patience_s:
                raise Halted(
                    f"sign-in: no token for {waited_s:.0f} s: {_reason(decision)}. The next attempt in {wait_s:.0f} s "
                    f"is beyond the patience of {self.patience_s:.0f} s (--patience). Check --host, or run again later"
                )
            if decision.next_step is NextStep.THROTTLED:
                self.rate_limiter.pause(wait_s)  # all requests; the next acquire waits for it
            else:
                await asyncio.sleep(wait_s)


def _reason(decision: Decision) -> str:
    return decision.reason or str(decision.detail)


def pattern_of(*secrets: str) -> re.Pattern[str]:
    """Make the pattern of `secrets`, in upper or lower case. HIDDEN takes the place of a match."""
    # The longest first: one secret may be the beginning of another. `(?!)` matches nowhere.
    longest_first = sorted(filter(None, secrets), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)", re.IGNORECASE)


@dataclass(kw_only=True)
class TokenAuth:
    """Keeps one good token for all requests: `bulkdel.job.Auth`.

    sign_in: called once, however many requests wait for a token. Its secrets are redacted like the tokens.
    pool: the only pool that a token may have; None takes the pool of the first token.
    users: the users that the token may belong to.
    """

    sign_in: SignIn = field(repr=False)
    pool: str | None = None
    clock: Callable[[], float] = time.monotonic
    users: tuple[str, ...] = field(default=(), init=False)
    _issued: deque[str] = field(default_factory=lambda: deque(maxlen=TOKENS_HIDDEN), init=False, repr=False)
    _hidden: re.Pattern[str] | None = field(default=None, init=False, repr=False)  # of the secrets and tokens
    _generation: int = field(default=0, init=False)
    _ready: tuple[Mapping[str, str], int] | None = field(default=None, init=False, repr=False)
    _stale_at: float = field(default=0.0, init=False)
    _suspect: bool = field(default=False, init=False)  # the last token was refused, and no token was accepted since
    _halted: str | None = field(default=None, init=False)
    # A lock and not a task: the request that holds it signs in. If that one is cancelled, the next in line does it.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def waiting(self) -> str | None:
        """Why no request is sent, for the progress bar."""
        return "signing in" if self._turn.locked() else None

    def sign(self, request: Request) -> tuple[Mapping[str, str], int] | None:  # noqa: ARG002 - the same for all
        """See `bulkdel.job.Auth`."""
        return self._usable()

    def _usable(self) -> tuple[Mapping[str, str], int] | None:
        return self._ready if self.clock() < self._stale_at else None

    def hide(self, text: str) -> str:
        """See `bulkdel.job.Auth`."""
        return (self._hidden or pattern_of(*self.sign_in.secrets)).sub(HIDDEN, text)

    async def ensure(self) -> None:
        """See `bulkdel.job.Auth`. During a refresh all requests wait: the old token may end any moment."""
        if self._usable() is not None:
            return
        async with self._turn:
            if self._halted is not None:
                raise Halted(self._halted)
            if self._usable() is not None:
                return
            try:
                fresh = await self.sign_in()
                used_s = self._used_s(fresh)
            except Halted as halted:
                self._halted = str(halted)  # the other requests that wait would be refused too
                raise
            self.pool, self.users = fresh.pool, fresh.users
            self._issued.append(fresh.token)
            self._hidden = pattern_of(*self.sign_in.secrets, *self._issued)
            self._generation += 1
            self._ready = self.sign_in.token_headers(fresh), self._generation
            self._stale_at = self.clock() + used_s

    def _used_s(self, fresh: FreshToken) -> float:
        """How long this token is used. Raises Halted for another pool, or when it ends before a request can leave."""
        if self.pool not in {None, fresh.pool}:
            raise Halted(
                f"the token is for user pool {fresh.pool}, but this run is for {self.pool}: nothing more is sent; "
                f"use the access key of {self.pool}"
            )
        margin_s = min(MARGIN_MAX_S, MARGIN_SHARE * fresh.expires_in_s)
        used_s, rate = fresh.expires_in_s - margin_s, self.sign_in.rate_limiter.rate
        if 0 < used_s * rate < 1:  # a sign-in takes the turn of a request
            raise Halted(
                f"a token lives {fresh.expires_in_s:g} s, and at {rate:g} requests a second it has ended before "
                "the next request may leave. Nothing more is sent. Raise --rate, or let the server give longer tokens"
            )
        return used_s

    def rejected(self, generation: int) -> None:
        """See `bulkdel.job.Auth`. A 401 to an older token, or to one that is given up already, changes nothing."""
        if self._ready is None or generation != self._generation:
            return
        if self._suspect:
            self._halted = f"the server accepts no token, not even a fresh one (401 twice); {self.sign_in.check}"
            raise Halted(self._halted)
        self._ready = None
        self._suspect = True

    def accepted(self, generation: int) -> None:
        """See `bulkdel.job.Auth`."""
        if self._ready is not None and generation == self._generation:
            self._suspect = False
