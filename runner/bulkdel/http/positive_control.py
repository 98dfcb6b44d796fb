"""The positive control: whether look-ups find accounts at all, so that an empty response proves that ids are absent.

A key that may not read, or an id type that matches no account, gets an empty response too. So "gone" counts only in a
session whose look-ups have found at least one existing account. Another call lists accounts for it. Where it lists
none, or the key may not list, the control is an account that the sample found and that still exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from bulkdel.core.absence import may_be_split
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX, look_again_s
from bulkdel.http.account_reader import LookupResult
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.page_reader import Listed, PageReader, spread
from bulkdel.job import LookUps

CONTROLS_MAX = 10  # accounts looked up as a control, as many in one request as it takes; one that is found suffices
CONTROL_TRIES = 3  # an empty pool, or a key that may not list, is not asked again and again
PAUSED_TRIES = 2  # controls while this process sends no chunk

Find = Callable[[Sequence[str], WorkerStatus], Awaitable[LookupResult | None]]
"""Looks ids up, and notes what was found (`PositiveControl.note_found`)."""


@dataclass(frozen=True, slots=True)
class SeenBefore:
    """What earlier look-ups of a run have shown.

    proven: whether one has found an account since the command was started.
    proven_before: whether one did in an earlier session of the run.
    fullest: the most accounts that one look-up held, in all its pages.
    may_list, lists_some: as of `PositiveControl`.
    known: ids of accounts that a look-up has found, in the order in which they are sent.
    """

    proven: bool = False
    proven_before: bool = False
    fullest: int = 0
    may_list: bool = False
    lists_some: bool = False
    known: Collection[str] = ()


NOTHING_SEEN = SeenBefore()


class PositiveControl:
    """Whether an empty response counts. Every method that asks may raise Halted, as `Client.ask` does.

    proven: whether an empty response counts now: a look-up has found an account, and no control has failed since.
    lost: whether look-ups found accounts before, in this run, and a control found none. True until a look-up finds one.
    listed: how many accounts the latest control had to look up.
    none_listed: whether the latest control was told that there are no accounts at all.
    answered: whether the latest control has got its responses; false while there was none.
    may_list: whether the API has answered this key with a list since the command was started. lists_some: whether an
        account was in it.
    uncontrolled: whether the latest control had no account to look up: the key may not list, and none is known.
    known: ids of accounts that a look-up has found and that this run has not deleted, in the order in which they are
        sent.
    """

    def __init__(
        self,
        client: Client,
        look_ups: LookUps,
        reader: PageReader,
        find: Find,
        seen: SeenBefore,
        *,
        creates: bool,
        needs_account: bool,
    ) -> None:
        """Take the parts, and what was seen before.

        creates: the run creates accounts, so a pool that is empty now is asked for a control again later.
        needs_account: a control without an account to look up fails, because this process deletes none.
        """
        self._client = client
        self._look_ups = look_ups
        self._reader = reader
        self._find = find
        self._lock = asyncio.Lock()
        self._tries_left = CONTROL_TRIES if look_ups.possible else 0
        self._proven_at = float("-inf")  # when the latest look-up began that has found an account, or a control passed
        self._proven_before = seen.proven_before
        self._creates = creates
        self.needs_account = needs_account
        self.known = dict.fromkeys(seen.known)
        self._beside: list[str] = []  # at most one account, which the latest control has found
        self.proven = seen.proven
        self.lost = False
        self.listed = 0
        self.none_listed = self.answered = False
        self.may_list = seen.may_list
        self.lists_some = seen.lists_some
        self.uncontrolled = False

    def note_known(self, ids: Iterable[str]) -> None:
        """Note that a look-up has found these accounts, and that this run does not delete them now."""
        self.known.update(dict.fromkeys(ids))

    def note_gone(self, ids: Sequence[str]) -> None:
        """Note that these accounts are gone, by an outcome of this run: they cannot serve as controls any more."""
        for id_ in self.known.keys() & ids if self.known else ():
            del self.known[id_]
        self._beside = [id_ for id_ in self._beside if id_ not in ids]

    @property
    def controlled(self) -> bool:
        """Whether an empty response counts now because a control has found an account."""
        return self.proven and not self.uncontrolled

    @property
    def has_account(self) -> bool:
        """Whether a control has an account to look up: the latest one had listed ones, or one is known."""
        return bool(self.listed or self.known)

    def beside(self, ids: Collection[str]) -> list[str]:
        """The account that the latest control has found, to be looked up in one request with `ids`; empty for none."""
        return [id_ for id_ in self._beside if id_ not in ids]

    def note_found(self, began: float) -> None:
        """Note that a look-up has found an account. began: when it was sent, by the clock of the client."""
        self.proven, self.lost, self._proven_at = True, False, max(self._proven_at, began)
        self.uncontrolled = False

    async def prove_once(self, worker: WorkerStatus) -> bool:
        """Look up accounts that another call lists, unless a look-up has found an account before.

        Best called before this session deletes anything: a listed account may be gone by the time of its look-up.
        """
        if self.proven or not self._tries_left:  # called before every chunk
            return self.proven
        async with self._lock:
            if not self.proven and self._tries_left:
                passes = await self._passes_in_time(worker)
                if not (self._creates and self.none_listed):
                    self._tries_left -= 1
                self.lost = self.lost or (not passes and self._proven_before)
        return self.proven

    async def prove_again(self, worker: WorkerStatus) -> bool:
        """Check that an empty response that has just come could have held an account.

        Look-ups that found accounts before may find none any more (a permission taken away, a broken index). So a
        look-up that began later has to find an account: any look-up, or one control for all that wait for it. One that
        began earlier does not count, whenever its response arrives.

        The pool may be empty by now. So where no account is listed, and all accounts of the sample are gone by outcomes
        of this run, the earlier proof stays, unless an account is needed. If this key was never allowed to list
        accounts, `uncontrolled` says that there is no proof. If it has listed accounts before and may not any more, the
        check fails: the key has lost the right to list, and perhaps the right to look up.
        """
        since = self._client.clock()
        await self.prove_once(worker)
        async with self._lock:
            if self.proven and (self._proven_at < since or not self._beside):
                began = self._client.clock()
                if await self._passes(worker) or await self._passes_while_paused(worker):
                    self._proven_at = max(self._proven_at, began)  # also when no account is left to be found
                else:
                    self.proven, self.lost = False, True
        return self.proven

    async def list_and_prove(self, worker: WorkerStatus) -> bool:
        """Read the control once, and look its accounts up unless a look-up has found one. False when it has no answer.

        When the key may not list accounts, nothing is known: then look-ups have no control. Raises Halted when the list
        is not where the job reads it.
        """
        if not self._look_ups.possible:
            return True
        if await self.list_accounts(worker) is None:
            return False
        await self.prove_once(worker)
        return True

    async def list_accounts(self, worker: WorkerStatus) -> Listed | None:
        """The ids of some existing accounts; `refused` when the API has always refused to list any."""
        request, read = self._look_ups.control(), self._look_ups.read_control
        listed = await self._reader.items(request, read, worker, may_refuse=not self.may_list, some=True)
        if listed is not None:
            self.may_list = self.may_list or not listed.refused
            self.lists_some = self.lists_some or bool(listed.items)
        return listed

    async def _passes_in_time(self, worker: WorkerStatus) -> bool:
        """As `_passes`, but repeated if the pool was empty before: its accounts are new, look-ups may lag."""
        new = self.none_listed
        passes = await self._passes(worker)
        for again in range(1, LOOKS_AGAIN_MAX + 1):
            if passes or not (new and self.listed) or self._client.draining:
                break
            await asyncio.sleep(look_again_s(again))
            passes = await self._passes(worker)
        return passes

    async def _passes_while_paused(self, worker: WorkerStatus) -> bool:
        """As `_passes`, a few times, while this process sends no chunk.

        Before the pause it may have deleted every account that was listed. Other processes of the run may still do so.
        """
        async with self._client.action_requests.paused():
            for _ in range(PAUSED_TRIES):
                if await self._passes(worker):
                    return True
        return False

    async def _passes(self, worker: WorkerStatus) -> bool:
        """List some accounts by another call and look them up.

        True when one was found. False when none was found, or without a response. Where the API lists none, or the key
        may not list, the accounts that the sample found are looked up, the last ones first; true when none of them is
        left.
        """
        self.answered = False  # also when it is cut off
        listed = await self.list_accounts(worker)
        self.answered = listed is not None
        ids, refused = ([], False) if listed is None else (listed.items, listed.refused)
        self.listed = len(ids)
        if not self.has_account:
            self._beside = []
        self.none_listed = self.answered and not ids and not refused
        self.uncontrolled = refused and not self.known
        if not ids:
            return self.answered and await self._known_pass(worker)
        # Ids without a comma come first.
        certain = [id_ for id_ in ids if not may_be_split(id_)] or ids
        for group, _ in self._look_ups.calls(spread(certain, CONTROLS_MAX)):
            if (found := await self._is_found(group, worker)) or found is None:
                return bool(found)
        return False

    async def _known_pass(self, worker: WorkerStatus) -> bool:
        """Whether a look-up finds one of the known accounts. True where none is known, unless one is needed."""
        known = [*self.known][-CONTROLS_MAX:]
        for id_ in reversed(known):
            if (found := await self._is_found([id_], worker)) or found is None:
                return bool(found)
        return not known and not self.needs_account

    async def _is_found(self, ids: Sequence[str], worker: WorkerStatus) -> bool | None:
        """Whether a look-up finds one of the accounts; None without a response."""
        result = await self._find(ids, worker)
        if result is None:
            self.answered = False
            return None
        if result.accounts:
            self._beside = [id_ for id_, account in result.accounts.items() if account.certain][:1]
        return bool(result.accounts)
