"""The server: one user pool, its tokens, and what the API does with a request. Knows no network and no program."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from random import Random
from typing import Any, Literal

import orjson

from bulkdel.core.decision import Request, Response
from bulkdel_jobs.genauth.auth import PATH as TOKEN_PATH
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, LIST_PATH, READ_PATH
from tests.simulation.ids import account_key, members

POOL = "5a9db0c0000000000000c0de"
REFUSED_CODE = 422
BURST_S = 1.0
"""How long a burst of 429 responses lasts."""


@dataclass(frozen=True)
class Customs:
    """What kind of server it is, in all sessions.

    unknown: what happens to a deletion with an id that no account has: `accept` ignores the id, `refuse` deletes
    nothing, `partial` deletes the other accounts and answers as `refuse` does.
    commas: which ids with a comma a look-up takes for several ids: none, one that is asked for alone, or each.
    page: most records in one response. poisonous: accounts that make a deletion be refused whole.
    ahead_s: how far its Date is ahead of the true time; None without a Date. created_ahead_s: the same of `createdAt`.
    """

    unknown: Literal["accept", "refuse", "partial"] = "accept"
    commas: Literal["whole", "alone", "each"] = "whole"
    page: int = 50
    poisonous: frozenset[str] = frozenset()
    ahead_s: float | None = 0.0
    created_ahead_s: float = 0.0


@dataclass(frozen=True)
class Weather:
    """How the server is in one session. Shares are of its requests, from 0 to 1.

    throttled: answered 429, also those of the next second if `bursts`. retry_after: which header the 429 has.
    failing: fails in the place of any effect. failing_after: fails after the effect. garbled: half of the response
    body is missing. unsuccessful: `success` is not true, and nothing, half or all of the request was done.
    lag_s: how late look-ups see a deletion. blind_s: how many seconds after the start of the session look-ups begin to
    find no account.
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
    token_s: float = 7200.0
    announced_s: int = 7200

    @property
    def goes_blind(self) -> bool:
        """Whether look-ups find no account at some time."""
        return self.blind_s < float("inf")


FAIR = Weather()


@dataclass
class Account:
    """One account. deleted_by: `us` for the program under test, `late` for a request that it had given up, `others`.

    sign_ins: the times at which its user signs in, also those to come.
    """

    key: str
    user_id: str
    created_at: float
    deleted_at: float | None = None
    deleted_by: str = ""
    sign_ins: Sequence[float] = ()

    def last_sign_in(self, now: float) -> float | None:
        """The latest one until `now`; None without one."""
        return max((at for at in self.sign_ins if at <= now), default=None)


class Server:
    """One user pool. now: the true time. accounts: by key (`ids.account_key`), oldest first. owner: the key's user."""

    def __init__(
        self, id_type: str, customs: Customs, rng: Random, now: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        self._id_type = id_type
        self._customs = customs
        self._rng = rng
        self._now = now
        self._note = note
        self._tokens: dict[str, float] = {}
        self._burst_until = 0.0
        self._began = 0.0
        self.weather = FAIR
        self.accounts: dict[str, list[Account]] = {}
        self.owner: str | None = None

    def begin(self, weather: Weather) -> None:
        """Begin a session."""
        self.weather, self._began = weather, self._now()

    def create(self, id_: str, at: float, sign_ins: Sequence[float] = ()) -> Account:
        """Create an account."""
        key = account_key(self._id_type, id_)
        user_id = key if self._id_type == "user_id" else f"f{sum(map(len, self.accounts.values())):023x}"
        account = Account(key, user_id, at, sign_ins=sign_ins)
        self.accounts.setdefault(key, []).append(account)
        return account

    def delete(self, account: Account, by: str) -> None:
        """Delete an account."""
        account.deleted_at, account.deleted_by = self._now(), by

    def first(self, id_: str) -> Account | None:
        """The account that had this id when the export was written."""
        accounts = self.accounts.get(account_key(self._id_type, id_))
        return accounts[0] if accounts else None

    def alive(self, id_: str) -> Account | None:
        """The account that has this id now."""
        accounts = self.accounts.get(account_key(self._id_type, id_))
        return accounts[-1] if accounts and accounts[-1].deleted_at is None else None

    def every(self) -> Iterator[Account]:
        """Every account that there is or was."""
        for accounts in self.accounts.values():
            yield from accounts

    # --- one request ---

    def answer(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """Let a request have its effect. by: what counts as the one that deletes."""
        if (failure := self._failure()) is not None:
            return failure
        if request.path == TOKEN_PATH:
            return self._sign_in()
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < self._now():
            return self._envelope(401)
        if request.path == DELETE_PATH:
            response = self._delete(orjson.loads(request.body or b"")["userIds"], by)
        elif request.path == READ_PATH:
            response = self._read(request.query)
        else:
            assert request.path == LIST_PATH, request.path
            limit = orjson.loads(request.body or b"")["options"]["pagination"]["limit"]
            listed = [account for account in self.every() if account.deleted_at is None][:limit]
            response = self._envelope(200, {"totalCount": len(listed), "list": [self._record(one) for one in listed]})
        draw = self._rng.random()
        if draw < self.weather.failing_after:
            return self._envelope(500)
        if draw < self.weather.failing_after + self.weather.garbled:
            return response._replace(body=response.body[: len(response.body) // 2])
        return response

    def _failure(self) -> Response | None:
        """A response in the place of any effect; None where the request is taken."""
        weather, draw, now = self.weather, self._rng.random(), self._now()
        if draw < weather.throttled or now < self._burst_until:
            if weather.bursts and draw < weather.throttled:
                self._burst_until = now + BURST_S
            response, wait_s = self._envelope(429), self._rng.randrange(1, 8)
            dated = formatdate(now + (self._customs.ahead_s or 0.0) + wait_s, usegmt=True)
            header = {"none": None, "seconds": str(wait_s), "date": dated}[weather.retry_after]
            return response._replace(retry_after=header)
        if draw < weather.throttled + weather.failing:
            code = self._rng.choice([500, 502, 503, 504])
            return self._envelope(code) if self._rng.random() < 0.5 else Response(code, b"<html>bad gateway</html>")
        return None

    def _sign_in(self) -> Response:
        claims = {"scoped_userpool_id": POOL, **({"sub": self.owner} if self.owner else {})}
        payload = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=").decode()
        token = f"h.{payload}.{len(self._tokens)}"
        self._tokens[token] = self._now() + self.weather.token_s
        return self._envelope(200, {"access_token": token, "expires_in": self.weather.announced_s})

    def _delete(self, ids: Sequence[str], by: str) -> Response:
        there = [account for id_ in ids if (account := self.alive(id_)) is not None]
        if any(account.key in self._customs.poisonous for account in there):
            return self._envelope(REFUSED_CODE)
        whole = len(there) == len(ids)
        if not whole and self._customs.unknown == "refuse":
            return self._envelope(404, api_code=2004)
        success = not whole or self._rng.random() >= self.weather.unsuccessful
        done = there if success else there[: self._rng.choice([0, len(there) // 2, len(there)])]
        for account in done:
            self.delete(account, by)
        self._note(f"  server: {len(done)} accounts deleted")
        if not whole and self._customs.unknown == "partial":
            return self._envelope(404, api_code=2004)
        return self._envelope(200, {"success": success})

    def _read(self, query: Sequence[tuple[str, str]]) -> Response:
        """Look up. A deletion of less than `lag_s` ago is not seen yet."""
        values = [value for name, value in query if name == "userIds"]
        since = self._now() - self.weather.lag_s
        if ("userIdType", "user_id") in query:
            asked = [account for account in self.every() if account.user_id in values]
        else:
            commas = self._customs.commas
            if commas == "each" or (commas == "alone" and len(values) == 1):
                values = [part for value in values for part in value.split(",")]
            keys = dict.fromkeys(account_key(self._id_type, value) for value in values)
            asked = [account for key in keys for account in self.accounts.get(key, ())]
        found = [one for one in asked if one.deleted_at is None or one.deleted_at > since]
        if self._now() >= self._began + self.weather.blind_s:
            found = []
        return self._envelope(200, [self._record(account) for account in found[: self._customs.page]])

    def _record(self, account: Account) -> dict[str, Any]:
        at, seen = self.created_at(account), account.last_sign_in(self._now())
        own = members(self._id_type, account.key)
        return {
            "userId": account.user_id,
            "status": "Activated",
            "createdAt": datetime.fromtimestamp(at, UTC).isoformat(),
            "lastLogin": None if seen is None else datetime.fromtimestamp(seen, UTC).isoformat(),
            **own,
        }

    def created_at(self, account: Account) -> float:
        """The time of creation, as the server has it."""
        return account.created_at + self._customs.created_ahead_s

    def _envelope(self, code: int, data: Any = None, *, api_code: int | None = None) -> Response:
        body = {"statusCode": code, "message": "", "requestId": "r", "data": data}
        if api_code is not None:
            body["apiCode"] = api_code
        ahead_s = self._customs.ahead_s
        date = None if ahead_s is None else formatdate(self._now() + ahead_s, usegmt=True)
        return Response(200, orjson.dumps(body), date=date)
