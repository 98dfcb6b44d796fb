"""Controls for ids that a server may misread: ids with a comma, and ids with other marks. See `core.absence`.

For an id with a comma, "gone" counts only if the same response holds another account whose id has a comma. For an id
with other marks, it counts only once look-ups have found accounts whose ids have the same marks.

So it is for the keys of a record (`hidden_records`). The absence of a key is proven when every server reads the key
alike, or when a look-up finds another account that has a key with the same characters.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from bulkdel.core.absence import CAPITAL, may_be_split
from bulkdel.http.account_reader import LookupResult
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.page_reader import PageReader, spread
from bulkdel.http.positive_control import CONTROL_TRIES, Find, PositiveControl
from bulkdel.job import ByKeys, LookUps

COMMA_CONTROLS_MAX = 3  # accounts whose id has a comma, in one request as its control; one that is found suffices
MARK_CONTROLS_MAX = 3  # accounts whose id or key has one character that may be misread; one that is found suffices


class CommaControl:
    """Looks ids with a comma up together with accounts that exist and have a comma too."""

    def __init__(self, control: PositiveControl, find: Find) -> None:
        """control: lists the accounts."""
        self._control = control
        self._find = find
        self._lock = asyncio.Lock()
        self._listed: list[str] = []
        self._tries_left = CONTROL_TRIES

    async def settle(self, result: LookupResult, ids: Sequence[str], worker: WorkerStatus) -> LookupResult:
        """Ask again for the unproven ids of a result. ids: those that were asked for."""
        missing = [id_ for id_ in ids if id_ in result.unproven]
        accounts, unread = dict(result.accounts), result.unread
        while missing and (controls := [id_ for id_ in await self._controls(worker) if id_ not in missing]):
            again = await self._find([*controls, *missing], worker)
            if again is None:
                break
            if again.accounts.keys().isdisjoint(controls):
                # The controls may be deleted by now, or this server splits ids. Others are tried, a few times in all.
                self._listed = []
                self._tries_left -= 1
                continue
            self._tries_left = CONTROL_TRIES
            unread = unread.difference(missing) | again.unread.intersection(missing)
            accounts.update({id_: again.accounts[id_] for id_ in missing if id_ in again.accounts})
            # Ids that did not fit into the request with the control go into the next one.
            left = [id_ for id_ in missing if id_ in again.unproven]
            if len(left) == len(missing):
                break
            missing = left
        return LookupResult(accounts, frozenset(missing), unread, result.empty)

    async def _controls(self, worker: WorkerStatus) -> list[str]:
        """Some listed ids with a comma. Empty when the list has none, or when a few look-ups did not find them."""
        async with self._lock:
            if not self._listed and self._tries_left > 0:
                listed = await self._control.list_accounts(worker)
                ids = [] if listed is None else listed.items
                self._listed = list(filter(may_be_split, ids))[:COMMA_CONTROLS_MAX]
                if not self._listed:
                    self._tries_left -= 1
            return self._listed


class MarkControl:
    """Finds out which marks of ids the server reads as they are sent."""

    def __init__(self, client: Client, look_ups: LookUps, control: PositiveControl, find: Find) -> None:
        """control: lists the accounts."""
        self._client = client
        self._marks = look_ups.marks
        self._control = control
        self._find = find
        self._lock = asyncio.Lock()
        self._read_at: dict[str, float] = {}  # by mark, when the latest look-up began that has found an id with it
        self._small_at = float("-inf")  # when the latest list of accounts began, if none of them has a capital letter
        self._in_vain = Counter[str]()

    def note_found(self, ids: Iterable[str], began: float) -> None:
        """Note that a look-up has found accounts in whose records these ids stand. began: when it was sent."""
        for mark in set[str]().union(*map(self._marks, ids)):
            self._read_at[mark] = max(began, self._read_at.get(mark, began))
            del self._in_vain[mark]

    async def misread(self, result: LookupResult, worker: WorkerStatus) -> frozenset[str]:
        """The ids that the server may have read as other ids: no look-up finds an account with their marks.

        An account with the mark counts if it is in the same response, or if its look-up began after that response: of
        two look-ups on the way, the later one may be answered first. Where the list has no other account with the mark,
        an earlier look-up still counts.
        """
        accounts = result.accounts
        unread = [id_ for id_ in result.unread if id_ not in accounts or not accounts[id_].certain]
        answered = self._client.clock()
        await self._read(unread, answered, worker)
        read = {*self._read_at, *({CAPITAL} if self._small_at >= answered else ())}
        return frozenset(id_ for id_ in unread if not self._marks(id_) <= read)

    async def _read(self, missing: Sequence[str], since: float, worker: WorkerStatus) -> None:
        """See whether the marks of `missing` are read as they were sent, by look-ups that begin after `since`.

        This process may have deleted listed accounts before their look-up. So when accounts with a mark are not found,
        others are looked up while this process sends no chunk. When these are not found either, or when the list fails,
        the mark counts as misread, even if it was read before.
        """
        if not self._not_read_since(since, missing):
            return
        async with self._lock:
            marks = {mark for mark in self._not_read_since(since, missing) if self._in_vain[mark] < CONTROL_TRIES}
            hidden = await self._look_up(marks, missing, since, worker) if marks else []
            if hidden:
                async with self._client.action_requests.paused():
                    again = await self._look_up(hidden, missing, since, worker)
                hidden = hidden if again is None else again
            for mark in marks if hidden is None else hidden:
                self._read_at.pop(mark, None)

    async def _look_up(
        self, marks: Collection[str], missing: Sequence[str], since: float, worker: WorkerStatus
    ) -> list[str] | None:
        """Look up a few accounts with each mark. Return the marks with which accounts exist and none is found.

        None when the list fails. The accounts are listed ones, and those that are known to exist. A listed account of
        `missing` counts: it exists, and was not found.

        A mark that no account has stays as it was; after a few lists without it, no further list is asked for. But a
        capital letter counts as read while accounts are listed and none of them has one. After an empty list every mark
        counts as read, if the list was not empty before, no account is known to exist, and the control may do without
        one: this process may have deleted them all.
        """
        began = self._client.clock()
        if (answer := await self._control.list_accounts(worker)) is None:
            return None
        listed = answer.items
        there = [*dict.fromkeys([*listed, *self._control.known])]
        if not listed and self._control.lists_some and not (self._control.known or self._control.needs_account):
            self._read_at.update(dict.fromkeys(marks, began))
        marks_there = set[str]().union(*map(self._marks, there))
        self._small_at = began if listed and CAPITAL not in marks_there else float("-inf")
        controls = {
            mark: spread([id_ for id_ in there if mark in self._marks(id_) and id_ not in missing], MARK_CONTROLS_MAX)
            for mark in sorted(marks)
        }
        for number in range(MARK_CONTROLS_MAX):
            unread = [mark for mark in controls if not self._is_read(mark, since)]
            some = dict.fromkeys(controls[mark][number] for mark in unread if number < len(controls[mark]))
            if some:
                await self._find([*some], worker)
        unread = [mark for mark in controls if not self._is_read(mark, since)]
        # The only account with a mark may be the missing one: a list may lag.
        self._in_vain.update(mark for mark in unread if controls[mark] or mark not in marks_there)
        listed_too = set[str]().union(*(self._marks(id_) for id_ in listed if id_ in missing))
        return [mark for mark in unread if controls[mark] or mark in listed_too]

    def _not_read_since(self, since: float, ids: Sequence[str]) -> set[str]:
        marks = set[str]().union(*map(self._marks, ids))
        return {mark for mark in marks if not self._is_read(mark, since)}

    def _is_read(self, mark: str, since: float) -> bool:
        return self._read_at.get(mark, float("-inf")) >= since or (mark == CAPITAL and self._small_at >= since)


async def hidden_records(
    reader: PageReader,
    look_ups: ByKeys,
    found: Collection[str],
    missing: Sequence[str],
    worker: WorkerStatus,
) -> frozenset[str] | None:
    """The records of `missing` that the look-up by their keys may have missed; None when a request failed.

    look_ups: of the records. found: the records whose accounts have one of their keys.
    """
    kinds = list(look_ups.by_kind([*found, *missing]))
    hidden = set(missing)
    for own, keys in kinds:
        hidden -= {id_ for id_, key in keys.items() if not (own.may_split(key) or own.marks(key))}
    asked_by = Counter(id_ for _, keys in kinds for id_ in keys)
    for own, keys in kinds:
        asked = {id_: key for id_, key in keys.items() if id_ in hidden and not own.may_split(key)}
        read = set[str]().union(*(own.marks(keys[id_]) for id_ in found if id_ in keys and asked_by[id_] == 1))
        marks = set[str]().union(*map(own.marks, asked.values())) - read
        more = await _read_marks(reader, own, marks, asked.values(), worker) if marks else set[str]()
        if more is None:
            return None
        hidden -= {id_ for id_, key in asked.items() if own.marks(key) <= read | more}
    return frozenset(hidden)


async def _read_marks(
    reader: PageReader, look_ups: LookUps, marks: Collection[str], missing: Collection[str], worker: WorkerStatus
) -> set[str] | None:
    """The marks with which a listed account is found by its key; None when a request failed.

    look_ups: of one kind of keys. missing: keys that were not found.
    """
    listed = await reader.items(look_ups.control(), look_ups.read_control, worker, some=True)
    if listed is None:
        return None
    read = set[str]()
    for mark in sorted(marks):
        controls = [key for key in listed.items if mark in look_ups.marks(key) and key not in missing]
        if mark == CAPITAL and not any(mark in look_ups.marks(key) for key in listed.items):
            read.add(mark)
        for key in spread(controls, MARK_CONTROLS_MAX) if mark not in read else ():
            found = await reader.items(look_ups.calls([key])[0][1], look_ups.read, worker, [key])
            if found is None:
                return None
            account = look_ups.match([key], found.items)[0].get(key)
            if account is not None and account.certain:
                read |= look_ups.marks(key)
                break
    return read
