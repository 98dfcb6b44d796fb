"""Asking which ids exist, in a way that an empty answer can be trusted. Holds nothing that could delete.

"Gone" counts only in a session whose look-ups have found at least one existing account: a key that may not read, or an
id type that matches nobody, answers with an empty list too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from runner.api import Api, Flight
from runner.core.policy import ATTEMPTS_MAX, backoff_s
from runner.core.verdicts import Act, Call, Reply, Verdict
from runner.errors import Halted
from runner.job import Account, LookUps

CONTROLS_MAX = 10
"""Accounts that are looked up as a control, all in one request; one that is found suffices."""


CONTROL_TRIES = 3
"""An empty pool, or a key that may not list, is not asked again and again."""


STRANGER = "a look-up of one id returned another account"
"""Such look-ups say nothing about anybody: the server may have ignored the ids and returned whom it liked."""


class Seeker:
    """Look-ups with their retries, matching, and the control.

    proven: whether any look-up of this session has found an existing account.
    failed: what the last failure was, in words.
    listed: how many accounts the latest control had to look up.
    """

    def __init__(self, api: Api, look_ups: LookUps, chance: Callable[[], float]) -> None:
        self._api = api
        self._look_ups = look_ups
        self._chance = chance
        self._control = asyncio.Lock()
        self._controls_left = CONTROL_TRIES
        self._exhausted = False
        self._found_at = self._checked_at = float("-inf")
        self.proven = False
        self.failed = ""
        self.listed = 0

    async def find(self, ids: Sequence[str], flight: Flight) -> dict[str, Account] | None:
        """Return the accounts that exist among `ids`, by id as asked; None when the look-up failed or must stop."""
        began = self._api.clock()
        accounts = await self._find(ids, flight)
        if accounts:
            self.proven, self._found_at = True, max(self._found_at, began)
        return accounts

    async def _find(self, ids: Sequence[str], flight: Flight) -> dict[str, Account] | None:
        accounts: dict[str, Account] = {}
        for group, call in self._look_ups.calls(ids):
            found = await self._read(call, self._look_ups.read, flight, group)
            if found is None:
                return None
            matched, strays = self._look_ups.match(group, found)
            accounts.update(matched)
            if strays and len(group) > 1:
                # A record came back that no id explains: ask for the ids without a record one by one.
                alone = await self._one_by_one([id_ for id_ in group if id_ not in matched], flight)
                if alone is not None and sum(len(account.records) for account in alone.values()) < strays:
                    # It is explained by none of them, so it may be a second record of an id that has one.
                    more = await self._one_by_one(list(matched), flight)
                    alone = None if more is None else {**alone, **more}
                if alone is None:
                    return None
                accounts.update(alone)
            elif strays:
                self.failed = STRANGER
                return None
        return accounts

    async def _one_by_one(self, ids: Sequence[str], flight: Flight) -> dict[str, Account] | None:
        accounts: dict[str, Account] = {}
        for id_ in ids:
            alone = await self._find([id_], flight)
            if alone is None:
                return None
            if any(
                account.raw == other.raw and not (account.certain and other.certain)
                for account in alone.values()
                for other in accounts.values()
            ):
                self.failed = STRANGER  # one account cannot be meant by two ids that it does not carry
                return None
            accounts.update(alone)
        return accounts

    async def find_all(self, ids: Sequence[str], flight: Flight) -> dict[str, Account] | None:
        """As `find`, and ask again for those who are missing beside others, until an answer finds nobody more.

        An API may return so many and no more. Costs one look-up wherever only some exist.
        """
        found: dict[str, Account] = {}
        while missing := [id_ for id_ in ids if id_ not in found]:
            more = await self.find(missing, flight)
            if more is None:
                return None
            found.update(more)
            if not more:
                break
        return found

    async def prove(self, flight: Flight) -> bool:
        """Make sure that look-ups can find anyone at all: look up somebody whom another call listed.

        Best asked before this session deletes anybody: whoever is listed may be gone by the time of the look-up.
        """
        if self.proven or self._exhausted:  # asked before every chunk
            return self.proven
        async with self._control:
            if not self.proven and self._controls_left:
                self._controls_left -= 1
                await self._look_up_listed(flight)
            self._exhausted = not self._controls_left
        return self.proven

    async def prove_since(self, since: float, flight: Flight) -> bool:
        """Make sure that a look-up answered at `since`, which found nobody, could have found somebody.

        Look-ups that found somebody before may have gone blind (a permission taken away, an index that is broken). So
        somebody has to be found by a look-up that began later: anybody's, or a control's; one serves all who wait.
        Where nobody is listed either, or may be, what was proven before has to do: the pool may be empty by now.
        """
        if not self.proven:
            return await self.prove(flight)
        async with self._control:
            if max(self._found_at, self._checked_at) < since:
                began = self._api.clock()
                # Several tries: who was listed may have been deleted a moment later, by this run.
                for _ in range(CONTROL_TRIES):
                    self.proven = not await self._look_up_listed(flight)
                    if self.proven:
                        break
                self._checked_at = began
        return self.proven

    async def _look_up_listed(self, flight: Flight) -> bool:
        """List some accounts by another call and look them up; whether some were listed and none found."""
        listed = await self._read(self._look_ups.control(), self._look_ups.read_control, flight)
        self.listed = len(listed or ())
        # Several: the first one listed may be the very next one that this run deletes.
        return bool(listed) and await self.find((listed or [])[:CONTROLS_MAX], flight) == {}

    async def owner(self, user: str, flight: Flight) -> list[str] | None:
        """Return the ids (of this id type) of the account that the credentials belong to; None when that failed."""
        return await self._read(self._look_ups.owner(user), self._look_ups.read_owner, flight, [user])

    async def _read(
        self, call: Call, read: Callable[[Reply], Verdict], flight: Flight, ids: Sequence[str] = ()
    ) -> list[Any] | None:
        attempts = 0
        while True:
            verdict = await self._api.ask(call, read, flight, ids)
            if verdict is None:
                return None
            if verdict.act is Act.SETTLED:
                data: list[Any] = verdict.data
                return data
            self.failed = verdict.reason or str(verdict.detail)
            if verdict.act is Act.HALT:
                raise Halted(f"a look-up: {self.failed}")
            attempts += not verdict.free
            if verdict.act is not Act.RETRY or self._api.closing or attempts >= ATTEMPTS_MAX:
                return None
            self._api.figures.retries += 1
            await asyncio.sleep(max(verdict.after_s or 0.0, backoff_s(max(1, attempts), self._chance())))
