"""A simulated API in front of what it acts on: its tokens, its bad days, and the form of its responses."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Any, Literal

import orjson

from bulkdel.core.decision import Request, Response
from bulkdel_jobs.genauth.signing_in import PATH as TOKEN_PATH

POOL = "5a9db0c0000000000000c0de"
BURST_S = 1.0
"""How long a burst of 429 responses lasts."""


@dataclass(frozen=True)
class Weather:
    """How the server is in one session. Shares are of its requests, from 0 to 1.

    throttled: answered 429, also those of the next second if `bursts`. retry_after: which header the 429 has.
    failing: fails in the place of any effect. failing_after: fails after the effect. garbled: half of the response
    body is missing. unsuccessful: `success` is not true, and nothing, half or all of the request was done.
    lag_s: how late look-ups see a change. blind_s: how many seconds after the start of the session look-ups begin to
    find no account. blind_for_s: for how many seconds.
    token_s: how long a token is accepted. announced_s: how long the server says it is.
    """

    throttled: float = 0.0
    bursts: bool = False
    retry_after: Literal["none", "seconds", "date"] = "none"
    failing: float = 0.0
    failing_after: float = 0.0
    garbled: float = 0.0
    unsuccessful: float = 0.0
    lag_s: float = 0.0
    blind_s: float = float("inf")
    blind_for_s: float = float("inf")
    token_s: float = 7200.0
    announced_s: int = 7200

    @property
    def goes_blind(self) -> bool:
        """Whether look-ups find no account at some time."""
        return self.blind_s < float("inf")


FAIR = Weather()


class Api(ABC):
    """What every simulated server has in common. A subclass has the endpoints.

    now: the true time. ahead_s: how far its Date is ahead of that; None without a Date. rng: its chance.
    """

    def __init__(self, rng: Random, now: Callable[[], float], ahead_s: float | None) -> None:
        self._rng = rng
        self._now = now
        self._ahead_s = ahead_s
        self._tokens: dict[str, float] = {}
        self._burst_until = 0.0
        self._began = 0.0
        self.weather = FAIR
        self.owner: str | None = None

    def begin(self, weather: Weather) -> None:
        """Begin a session."""
        self.weather, self._began = weather, self._now()

    @abstractmethod
    def act(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """Let a request with a valid token have its effect. by: see `answer`."""

    def answer(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """Let a request have its effect. by: what counts as the one that asks."""
        if (failure := self._failure()) is not None:
            return failure
        if request.path == TOKEN_PATH:
            return self._sign_in()
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < self._now():
            return self.envelope(401)
        response = self.act(request, headers, by)
        draw = self._rng.random()
        if draw < self.weather.failing_after:
            return self.envelope(500)
        if draw < self.weather.failing_after + self.weather.garbled:
            return response._replace(body=response.body[: len(response.body) // 2])
        return response

    @property
    def blind(self) -> bool:
        """Whether look-ups find no account now."""
        blind_since_s = self._now() - self._began - self.weather.blind_s
        return 0 <= blind_since_s < self.weather.blind_for_s

    def envelope(self, code: int, data: Any = None, *, api_code: int | None = None) -> Response:
        """A response in the API's form."""
        body = {"statusCode": code, "message": "", "requestId": "r", "data": data}
        if api_code is not None:
            body["apiCode"] = api_code
        return self.dated(orjson.dumps(body))

    def dated(self, body: bytes) -> Response:
        """A response with this body."""
        date = None if self._ahead_s is None else formatdate(self._now() + self._ahead_s, usegmt=True)
        return Response(200, body, date=date)

    def _failure(self) -> Response | None:
        """A response in the place of any effect; None where the request is taken."""
        weather, draw, now = self.weather, self._rng.random(), self._now()
        if draw < weather.throttled or now < self._burst_until:
            if weather.bursts and draw < weather.throttled:
                self._burst_until = now + BURST_S
            response, wait_s = self.envelope(429), self._rng.randrange(1, 8)
            dated = formatdate(now + (self._ahead_s or 0.0) + wait_s, usegmt=True)
            header = {"none": None, "seconds": str(wait_s), "date": dated}[weather.retry_after]
            return response._replace(retry_after=header)
        if draw < weather.throttled + weather.failing:
            code = self._rng.choice([500, 502, 503, 504])
            return self.envelope(code) if self._rng.random() < 0.5 else Response(code, b"<html>bad gateway</html>")
        return None

    def _sign_in(self) -> Response:
        claims = {"scoped_userpool_id": POOL, **({"sub": self.owner} if self.owner else {})}
        payload = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=").decode()
        token = f"h.{payload}.{len(self._tokens)}"
        self._tokens[token] = self._now() + self.weather.token_s
        return self.envelope(200, {"access_token": token, "expires_in": self.weather.announced_s})
