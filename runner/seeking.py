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
        self.proven = False
        self.failed = ""
        self.listed = 0

    async def find(self, ids: Sequence[str], flight: Flight) -> dict[str, Account] | None:
        """Return the accounts that exist among `ids`, by id as asked; None when the look-up failed or must stop."""
        accounts = await self._find(ids, flight)
        self.proven = self.proven or bool(accounts)
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
                # Somebody came back whom no id explains: ask for the unexplained ids one by one.
                alone = await self._one_by_one([id_ for id_ in group if id_ not in matched], flight)
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
            if any(account.raw == other.raw for account in alone.values() for other in accounts.values()):
                self.failed = STRANGER  # one account cannot be meant by two ids, whatever the server's rule
                return None
            accounts.update(alone)
        return accounts

    async def prove(self, flight: Flight) -> bool:
        """Make sure that look-ups can find anyone at all: look up somebody whom another call listed.

        Best asked before this session deletes anybody: whoever is listed may be gone by the time of the look-up.
        """
        if self.proven or self._exhausted:  # asked before every chunk
            return self.proven
        async with self._control:
            if not self.proven and self._controls_left:
                self._controls_left -= 1
                listed = await self._read(self._look_ups.control(), self._look_ups.read_control, flight)
                self.listed = len(listed or ())
                if listed:
                    # Several: the first one listed may be the very next one that this run deletes.
                    await self.find(listed[:CONTROLS_MAX], flight)
            self._exhausted = not self._controls_left
        return self.proven

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
