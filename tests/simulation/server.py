"""The simulated server: users, tokens, and what the API does with a request. Knows no network and no program."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from random import Random
from typing import Any

import orjson

from bulkdel.core.decision import Request, Response
from bulkdel_jobs.genauth.auth import PATH as TOKEN_PATH
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, LIST_PATH, READ_PATH

POOL = "5a9db0c0000000000000c0de"
MEMBER = {"user_id": "userId", "email": "email"}
REFUSED_CODE = 422


@dataclass
class Account:
    """One account. deleted_by: "us" for the program under test, "late" for a request of it that it had given up."""

    id: str
    created_at: float
    deleted_at: float | None = None
    deleted_by: str = ""


@dataclass(frozen=True)
class Weather:
    """How the server is in one session. Shares are of its requests, from 0 to 1.

    unsuccessful: `success` is not true, and nothing, half or all of it was done. lag_s: how late look-ups see a
    deletion. blind: look-ups find no account. token_s: how long a token is accepted; announced_s: what it says of that.
    """

    throttled: float = 0.0
    retry_after: str | None = None
    failing: float = 0.0
    failing_after: float = 0.0
    garbled: float = 0.0
    unsuccessful: float = 0.0
    lag_s: float = 0.0
    blind: bool = False
    token_s: float = 7200.0
    announced_s: int = 7200


FAIR = Weather()


@dataclass
class Server:
    """One user pool. wall: the true time. ahead_s: how far its Date is ahead; None without a Date.

    unknown: what a request with an id without an account gets: accept, refuse or partial. poisonous: ids that make a
    request be refused whole. created_ahead_s: how far the clock that writes createdAt is ahead.
    accounts: by id, oldest first.
    """

    id_type: str
    rng: Random
    wall: Callable[[], float]
    unknown: str
    poisonous: frozenset[str]
    ahead_s: float | None
    created_ahead_s: float
    weather: Weather = FAIR
    accounts: dict[str, list[Account]] = field(default_factory=dict)
    _tokens: dict[str, float] = field(default_factory=dict)

    def create(self, id_: str, at: float) -> None:
        """Create an account."""
        self.accounts.setdefault(id_, []).append(Account(id_, at))

    def alive(self, id_: str) -> Account | None:
        """The account that has this id now."""
        account = self.accounts[id_][-1] if id_ in self.accounts else None
        return account if account is not None and account.deleted_at is None else None

    def every(self) -> Iterator[Account]:
        """Every account that there is or was."""
        for accounts in self.accounts.values():
            yield from accounts

    def answer(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """Let a request have its effect. by: who is said to have deleted."""
        if request.path == TOKEN_PATH:
            return self._failing() or self._sign_in()
        if (failure := self._failing()) is not None:
            return failure
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < self.wall():
            return self._envelope(401)
        if request.path == DELETE_PATH:
            response = self._delete(orjson.loads(request.body or b"")["userIds"], by)
        elif request.path == READ_PATH:
            response = self._envelope(200, self._found([value for name, value in request.query if name == "userIds"]))
        else:
            assert request.path == LIST_PATH, request.path
            listed = [account for account in self.every() if account.deleted_at is None][:10]
            response = self._envelope(200, {"totalCount": len(listed), "list": [self._record(one) for one in listed]})
        draw = self.rng.random()
        if draw < self.weather.failing_after:
            return self._envelope(500)
        if draw < self.weather.failing_after + self.weather.garbled:
            return response._replace(body=response.body[: len(response.body) // 2])
        return response

    def _failing(self) -> Response | None:
        """An answer in the place of any effect."""
        draw = self.rng.random()
        weather = self.weather
        if draw < weather.throttled:
            response = self._envelope(429)
            if weather.retry_after is None:
                return response
            wait_s = self.rng.randrange(1, 6)
            dated = formatdate(self.wall() + (self.ahead_s or 0.0) + wait_s, usegmt=True)
            return response._replace(retry_after=str(wait_s) if weather.retry_after == "seconds" else dated)
        if draw < weather.throttled + weather.failing:
            code = self.rng.choice([500, 502, 503, 504])
            return self._envelope(code) if self.rng.random() < 0.5 else Response(code, b"<html>bad gateway</html>")
        return None

    def _sign_in(self) -> Response:
        claims = base64.urlsafe_b64encode(orjson.dumps({"scoped_userpool_id": POOL})).rstrip(b"=").decode()
        token = f"h.{claims}.{len(self._tokens)}"
        self._tokens[token] = self.wall() + self.weather.token_s
        return self._envelope(200, {"access_token": token, "expires_in": self.weather.announced_s})

    def _delete(self, ids: list[str], by: str) -> Response:
        if self.poisonous.intersection(ids):
            return self._envelope(REFUSED_CODE)
        there = [account for id_ in ids if (account := self.alive(id_)) is not None]
        whole = len(there) == len(ids)
        if not whole and self.unknown == "refuse":
            return self._envelope(404, api_code=2004)
        success = not whole or self.rng.random() >= self.weather.unsuccessful
        done = there if success else there[: self.rng.choice([0, len(there) // 2, len(there)])]
        for account in done:
            account.deleted_at, account.deleted_by = self.wall(), by
        if not whole and self.unknown == "partial":
            return self._envelope(404, api_code=2004)
        return self._envelope(200, {"success": success})

    def _found(self, ids: list[str]) -> list[dict[str, Any]]:
        if self.weather.blind:
            return []
        now = self.wall() - self.weather.lag_s
        return [
            self._record(account)
            for id_ in ids
            for account in self.accounts.get(id_, ())
            if account.deleted_at is None or account.deleted_at > now
        ]

    def _record(self, account: Account) -> dict[str, Any]:
        at = datetime.fromtimestamp(account.created_at + self.created_ahead_s, UTC)
        member = MEMBER[self.id_type]
        return {"userId": "0" * 24, "status": "Activated", "createdAt": at.isoformat(), member: account.id}

    def _envelope(self, code: int, data: Any = None, *, api_code: int | None = None) -> Response:
        body = {"statusCode": code, "message": "", "requestId": "r", "data": data}
        if api_code is not None:
            body["apiCode"] = api_code
        date = None if self.ahead_s is None else formatdate(self.wall() + self.ahead_s, usegmt=True)
        return Response(200, orjson.dumps(body), date=date)
