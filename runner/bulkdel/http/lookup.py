"""Asking which ids exist, in a way that an empty answer can be trusted. Holds nothing that could delete.

"Gone" counts only in a session whose look-ups have found at least one existing account: a key that may not read, or an
id type that matches nobody, answers with an empty list too. For an id with a comma it counts only where the same answer
has found an account whose id has a comma too (`core.absence`): a control that goes into the same request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bulkdel.core.absence import may_be_split, unproven
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.retry import ATTEMPTS_MAX, backoff_s
from bulkdel.errors import Halted
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.job import Account, LookUps

CONTROLS_MAX = 10
"""Accounts that are looked up as a control, all in one request; one that is found suffices."""


CONTROL_TRIES = 3
"""An empty pool, or a key that may not list, is not asked again and again."""


COMMA_CONTROLS_MAX = 3
"""Accounts whose id has a comma that go into a request as its control; one that is found suffices."""


PAGE_MIN = 10
"""Accounts that an API returns at least in one answer, if there are so many: the smallest page that any has."""


STRANGER = "a look-up of one id returned another account"
"""Such look-ups say nothing about anybody: the server may have ignored the ids and returned whom it liked."""


class Looked(NamedTuple):
    """What a look-up has told.

    accounts: those that exist, by id as asked. unproven: ids that were not found, which proves nothing of them.
    """

    accounts: dict[str, Account]
    unproven: frozenset[str] = frozenset()


class AccountLookup:
    """Look-ups with their retries, matching, and the control.

    proven: whether any look-up of this session has found an existing account.
    failed: what the last failure was, in words.
    listed: how many accounts the latest control had to look up.
    fullest: the most accounts that one answer of this session has held.
    """

    def __init__(self, client: Client, look_ups: LookUps, chance: Callable[[], float]) -> None:
        self._client = client
        self._look_ups = look_ups
        self._chance = chance
        self._control = asyncio.Lock()
        self._controls_left = CONTROL_TRIES
        self._exhausted = False
        self._found_at = self._checked_at = float("-inf")
        self._with_comma: list[str] = []
        self._comma_tries_left = CONTROL_TRIES
        self.proven = False
        self.failed = ""
        self.listed = 0
        self.fullest = 0

    async def find(self, ids: Sequence[str], worker: WorkerStatus) -> Looked | None:
        """Return the accounts that exist among `ids`; None when the look-up failed or must stop.

        Ids with a comma that were not found are asked for again, together with a control that has a comma.
        """
        looked = await self._find_noting(ids, worker)
        if looked is None or not looked.unproven:
            return looked
        return await self._with_control(looked, [id_ for id_ in ids if id_ in looked.unproven], worker)

    async def _with_control(self, looked: Looked, missing: list[str], worker: WorkerStatus) -> Looked:
        """Ask for `missing`, ids with a comma, beside accounts that exist and have one too."""
        accounts = dict(looked.accounts)
        while missing and (controls := [id_ for id_ in await self._comma_controls(worker) if id_ not in missing]):
            again = await self._find_noting([*controls, *missing], worker)
            if again is None:
                break
            if again.accounts.keys().isdisjoint(controls):
                # They may have been deleted meanwhile, or this server splits: other ones are tried, a few times in all.
                self._with_comma = []
                self._comma_tries_left -= 1
                continue
            self._comma_tries_left = CONTROL_TRIES
            accounts.update({id_: again.accounts[id_] for id_ in missing if id_ in again.accounts})
            # What did not fit into the request with the control goes into the next one.
            left = [id_ for id_ in missing if id_ in again.unproven]
            if len(left) == len(missing):
                break
            missing = left
        return Looked(accounts, frozenset(missing))

    async def _comma_controls(self, worker: WorkerStatus) -> list[str]:
        """Some listed ids with a comma. Empty when none is listed, or when look-ups did not find them a few times."""
        async with self._control:
            if not self._with_comma and self._comma_tries_left > 0:
                listed = await self._read(self._look_ups.control(), self._look_ups.read_control, worker)
                self._with_comma = list(filter(may_be_split, listed or ()))[:COMMA_CONTROLS_MAX]
                if not self._with_comma:
                    self._comma_tries_left -= 1
            return self._with_comma

    async def _find_noting(self, ids: Sequence[str], worker: WorkerStatus) -> Looked | None:
        """Look up `ids`, and note that look-ups find accounts when this one does."""
        began = self._client.clock()
        looked = await self._find(ids, worker)
        if looked is not None and looked.accounts:
            self.proven, self._found_at = True, max(self._found_at, began)
        return looked

    async def _find(self, ids: Sequence[str], worker: WorkerStatus) -> Looked | None:
        accounts: dict[str, Account] = {}
        open_ids: set[str] = set()
        for group, call in self._look_ups.calls(ids):
            found = await self._read(call, self._look_ups.read, worker, group)
            if found is None:
                return None
            matched, strays = self._look_ups.match(group, found)
            # A record that came back for an id with a comma, and does not carry it, may be that of a part of the id.
            matched = {id_: account for id_, account in matched.items() if account.certain or not may_be_split(id_)}
            looked = Looked(matched, unproven(group, matched))
            if strays and len(group) > 1:
                traced = await self._traced(looked, [id_ for id_ in group if id_ not in matched], strays, worker)
                if traced is None:
                    return None
                looked = traced
            elif strays and not may_be_split(group[0]):
                self.failed = STRANGER
                return None
            whole = await self._whole(looked, group, worker)
            if whole is None:
                return None
            accounts.update(whole.accounts)
            open_ids |= whole.unproven
        return Looked(accounts, frozenset(open_ids))

    async def _whole(self, looked: Looked, group: Sequence[str], worker: WorkerStatus) -> Looked | None:
        """Ask again for the ids that are missing from an answer: an API may return so many accounts and no more.

        Where an earlier answer has held more accounts than this one, or it holds fewer than PAGE_MIN, it was not cut
        short. So where most ids exist, hardly any answer is asked for again.
        """
        accounts, fullest = looked.accounts, self.fullest
        self.fullest = max(fullest, len(accounts))
        missing = [id_ for id_ in group if id_ not in accounts]
        if not missing or len(accounts) < max(fullest, PAGE_MIN):
            return looked
        more = await self._find(missing, worker)
        return None if more is None else Looked({**accounts, **more.accounts}, looked.unproven & more.unproven)

    async def _traced(self, looked: Looked, missing: list[str], strays: int, worker: WorkerStatus) -> Looked | None:
        """Records came back that no id explains: ask for the ids without a record one by one, then for the others."""
        alone = await self._one_by_one(missing, worker)
        if alone is None:
            return None
        explained = sum(len(account.records) for account in alone.accounts.values())
        accounts = {**looked.accounts, **alone.accounts}
        if explained < strays and not any(map(may_be_split, missing)):
            # They may be second records of ids that have one. (Parts of an id with a comma would explain them too.)
            more = await self._one_by_one(list(looked.accounts), worker)
            if more is None:
                return None
            accounts.update(more.accounts)
        return Looked(accounts, alone.unproven)

    async def _one_by_one(self, ids: Sequence[str], worker: WorkerStatus) -> Looked | None:
        accounts: dict[str, Account] = {}
        open_ids: set[str] = set()
        for id_ in ids:
            alone = await self._find([id_], worker)
            if alone is None:
                return None
            if any(
                account.raw == other.raw and not (account.certain and other.certain)
                for account in alone.accounts.values()
                for other in accounts.values()
            ):
                self.failed = STRANGER  # one account cannot be meant by two ids that it does not carry
                return None
            accounts.update(alone.accounts)
            open_ids |= alone.unproven
        return Looked(accounts, frozenset(open_ids))

    async def find_all(self, ids: Sequence[str], worker: WorkerStatus) -> Looked | None:
        """As `find`, and ask again for the ids that were not found, until an answer finds no more.

        An API may return so many and no more. Costs one look-up wherever only some exist.
        """
        found = Looked({})
        while missing := [id_ for id_ in ids if id_ not in found.accounts]:
            more = await self.find(missing, worker)
            if more is None:
                return None
            found = Looked({**found.accounts, **more.accounts}, more.unproven)
            if not more.accounts:
                break
        return found

    async def prove(self, worker: WorkerStatus) -> bool:
        """Make sure that look-ups can find anyone at all: look up somebody whom another call listed.

        Best asked before this session deletes anybody: whoever is listed may be gone by the time of the look-up.
        """
        if self.proven or self._exhausted:  # asked before every chunk
            return self.proven
        async with self._control:
            if not self.proven and self._controls_left:
                self._controls_left -= 1
                await self._look_up_listed(worker)
            self._exhausted = not self._controls_left
        return self.proven

    async def prove_since(self, since: float, worker: WorkerStatus) -> bool:
        """Make sure that a look-up answered at `since`, which found nobody, could have found somebody.

        Look-ups that found somebody before may have gone blind (a permission taken away, an index that is broken). So
        somebody has to be found by a look-up that began later: anybody's, or a control's; one serves all who wait.
        Where nobody is listed either, or may be, what was proven before has to do: the pool may be empty by now.
        """
        if not self.proven:
            return await self.prove(worker)
        async with self._control:
            if max(self._found_at, self._checked_at) < since:
                began = self._client.clock()
                # Several tries: who was listed may have been deleted a moment later, by this run.
                for _ in range(CONTROL_TRIES):
                    self.proven = not await self._look_up_listed(worker)
                    if self.proven:
                        break
                self._checked_at = began
        return self.proven

    async def _look_up_listed(self, worker: WorkerStatus) -> bool:
        """List some accounts by another call and look them up; whether some were listed and none found."""
        listed = await self._read(self._look_ups.control(), self._look_ups.read_control, worker)
        self.listed = len(listed or ())
        # Several: the first one listed may be the very next one that this run deletes. Those without a comma first.
        some = sorted(listed or (), key=may_be_split)[:CONTROLS_MAX]
        looked = await self._find_noting(some, worker) if some else None
        return looked is not None and not looked.accounts

    async def owner(self, user: str, worker: WorkerStatus) -> list[str] | None:
        """Return the ids (of this id type) of the account that the credentials belong to; None when that failed."""
        return await self._read(self._look_ups.owner(user), self._look_ups.read_owner, worker, [user])

    async def _read(
        self, call: Request, read: Callable[[Response], Decision], worker: WorkerStatus, ids: Sequence[str] = ()
    ) -> list[Any] | None:
        attempts = 0
        while True:
            decision = await self._client.ask(call, read, worker, ids)
            if decision is None:
                return None
            if decision.next_step is NextStep.SETTLED:
                data: list[Any] = decision.data
                return data
            self.failed = decision.reason or str(decision.detail)
            if decision.next_step is NextStep.HALT:
                raise Halted(f"a look-up: {self.failed}")
            attempts += not decision.free
            if decision.next_step is not NextStep.RETRY or self._client.draining or attempts >= ATTEMPTS_MAX:
                return None
            self._client.figures.retries += 1
            await asyncio.sleep(max(decision.after_s or 0.0, backoff_s(max(1, attempts), self._chance())))
