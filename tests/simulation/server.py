"""The server of a deletion: one user pool, and what the API does with a request. Knows no network and no program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal

import orjson

from bulkdel.core.decision import Request, Response
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, LIST_PATH, READ_PATH
from tests.simulation.api import Api
from tests.simulation.ids import account_key, members

REFUSED_CODE = 422


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


class Server(Api):
    """One user pool. now: the true time. accounts: by key (`ids.account_key`), oldest first. owner: the key's user."""

    def __init__(
        self, id_type: str, customs: Customs, rng: Random, now: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        super().__init__(rng, now, customs.ahead_s)
        self._id_type = id_type
        self._customs = customs
        self._note = note
        self.accounts: dict[str, list[Account]] = {}

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

    def act(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """See `Api`."""
        if request.path == DELETE_PATH:
            return self._delete(orjson.loads(request.body or b"")["userIds"], by)
        if request.path == READ_PATH:
            return self._read(request.query)
        assert request.path == LIST_PATH, request.path
        limit = orjson.loads(request.body or b"")["options"]["pagination"]["limit"]
        listed = [account for account in self.every() if account.deleted_at is None][:limit]
        return self.envelope(200, {"totalCount": len(listed), "list": [self._record(one) for one in listed]})

    def _delete(self, ids: Sequence[str], by: str) -> Response:
        there = [account for id_ in ids if (account := self.alive(id_)) is not None]
        if any(account.key in self._customs.poisonous for account in there):
            return self.envelope(REFUSED_CODE)
        whole = len(there) == len(ids)
        if not whole and self._customs.unknown == "refuse":
            return self.envelope(404, api_code=2004)
        success = not whole or self._rng.random() >= self.weather.unsuccessful
        done = there if success else there[: self._rng.choice([0, len(there) // 2, len(there)])]
        for account in done:
            self.delete(account, by)
        self._note(f"  server: {len(done)} accounts deleted")
        if not whole and self._customs.unknown == "partial":
            return self.envelope(404, api_code=2004)
        return self.envelope(200, {"success": success})

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
        if self.blind:
            found = []
        return self.envelope(200, [self._record(account) for account in found[: self._customs.page]])

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
