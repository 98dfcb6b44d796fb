"""Look-ups: which ids exist, asked so that an empty response can be trusted. Holds nothing that could delete.

`http.account_reader` sends the look-ups of the job. What is not found counts as gone only by the controls:
`http.positive_control` (look-ups find accounts at all) and `http.misread_ids` (they find accounts whose ids have the
same special characters). `find_proven` asks twice where no control is in the same response. `http.account_states` asks
for what the records do not say.

A job may have no look-ups. Then no request is sent, no id is found, and no id is proven absent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence

from bulkdel.http.account_reader import PAGE_MIN, AccountReader, LookupResult, joined
from bulkdel.http.account_states import AccountStates
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.misread_ids import CommaControl, MarkControl, hidden_records
from bulkdel.http.page_reader import PageReader
from bulkdel.http.positive_control import CONTROL_TRIES, NOTHING_SEEN, PositiveControl, SeenBefore
from bulkdel.job import Account, ByKeys, HasStates, LookUps

IDS_AT_ONCE = 50  # ids that are looked up together where nothing is sent; `LookUps.calls` may cut them further


class AccountLookup:
    """Look-ups with their retries, matching and controls. Every method may raise Halted, as `Client.ask` does.

    look_ups: the requests of the job. reader: sends them, and reads every page. control: the positive control.
    """

    def __init__(
        self,
        client: Client,
        look_ups: LookUps,
        chance: Callable[[], float],
        *,
        seen: SeenBefore = NOTHING_SEEN,
        creates: bool = False,
        needs_account: bool = False,
        patient: bool = False,
    ) -> None:
        """patient: as of `PageReader`. The others: as of `PositiveControl`."""
        self._client = client
        self.look_ups = look_ups
        self.reader = PageReader(client, look_ups, chance, patient=patient)
        self._accounts = AccountReader(client, look_ups, self.reader, fullest=seen.fullest)
        self.control = PositiveControl(
            client, look_ups, self.reader, self._find, seen, creates=creates, needs_account=needs_account
        )
        self._found_none = False  # whether the latest look-up of `find_proven` has found no account
        self._commas = CommaControl(self.control, self._find)
        self._marks = MarkControl(client, look_ups, self.control, self._find)
        self._states = AccountStates(look_ups, self.reader, self.control) if isinstance(look_ups, HasStates) else None

    @property
    def failed(self) -> str:
        """The reason of the latest failure."""
        return self.reader.failed

    @property
    def fullest(self) -> int:
        """The most accounts that one look-up of this session held, in all its pages."""
        return self._accounts.fullest

    async def find(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """Return the accounts that exist among `ids`; None when the look-up failed or must stop.

        Ids with a comma that were not found are asked for again, together with a control that has a comma. For those
        that a server may read otherwise, listed accounts with such ids are looked up.
        """
        if not self.look_ups.possible:
            return LookupResult({}, frozenset(ids))
        result = await self._find(ids, worker)
        if result is None:
            return None
        if result.unproven:
            result = await self._commas.settle(result, ids, worker)
        misread = await self._marks.misread(result, worker)
        # The account that was found may belong to another id.
        accounts = {id_: account for id_, account in result.accounts.items() if id_ not in misread}
        return LookupResult(accounts, result.unproven | misread, result.unread, result.empty)

    async def find_proven(
        self, ids: Sequence[str], worker: WorkerStatus, *, beside: bool = False
    ) -> LookupResult | None:
        """As `find`, so that an id that was not found is gone. None also when look-ups have ceased to find accounts.

        A server may find no account, or misread a mark, for some time. So a control after a look-up does not prove that
        the look-up could find an account, and an account in the same response does. Ids without one are asked for
        again, together with a control. An API that takes one id in a request is asked twice for an id, and both times a
        control follows. None also when no control is found together with them, although each is found alone.

        The state of each account is asked for if its record does not have it, which takes a request or more.

        beside: the first request has a control too, because most of the ids are gone. So it is after a look-up that has
        found none. But an API may return one account at a time: then the first request has no control. In the result,
        `empty` are the ids that are gone only if `control` is proven.
        """
        beside = (beside or self._found_none) and self._accounts.fullest > 1
        looked, in_vain = await self._find_controlled(ids, worker, beside=beside), 0
        while looked is not None and (unsure := _without_control(looked)):
            if looked.empty and not self.control.proven:
                break
            again = await self._find_controlled([id_ for id_ in ids if id_ in unsure], worker, beside=True)
            if again is None:
                return None
            looked = joined([looked.without(unsure), again])
            if len(_without_control(again)) == len(unsure):
                in_vain += 1
                if not (again.empty and self.control.has_account and self._takes_several(again.empty)):
                    break
                if in_vain == CONTROL_TRIES:
                    return None
        self._found_none = looked is not None and not looked.accounts
        if looked is None or (self._states is not None and not await self._states.add(looked.accounts, worker)):
            return None
        return looked

    async def find_keys(
        self,
        look_ups: ByKeys,
        ids: Sequence[str],
        worker: WorkerStatus,
        *,
        prove: bool = False,
        controlled: bool = False,
    ) -> LookupResult | None:
        """Return the accounts that have a key of these records; None when a look-up failed.

        look_ups: those of the records (`FindsCreated.for_records`). Asks again for the records of which no key was
        found, until a response finds no more: an API may return a limited number of accounts.

        prove: a record is `unproven` when it was not found and a server may misread each of its keys.
        controlled: when no account is found, a control follows, and once more both. None also when it finds none, and
            look-ups have found accounts before.
        """
        looked = await self._find_keys(look_ups, ids, worker, prove=prove)
        if looked is None or not controlled:
            return looked
        looked = await self._controlled(looked, worker)
        if looked is None or not looked.empty or not self.control.proven:
            return looked
        again = await self._find_keys(look_ups, ids, worker, prove=prove)
        return None if again is None else await self._controlled(again, worker)

    async def _find_keys(
        self, look_ups: ByKeys, ids: Sequence[str], worker: WorkerStatus, *, prove: bool
    ) -> LookupResult | None:
        began = self._client.clock()
        accounts: dict[str, Account] = {}
        while missing := [id_ for id_ in ids if id_ not in accounts]:
            more = await self._accounts.find_by_keys(look_ups, missing, worker)
            if more is None:
                return None
            accounts.update(more)
            if not more:
                break
        if accounts:
            self.control.note_found(began)
        hidden: frozenset[str] | None = frozenset()
        if prove and missing:
            found = [id_ for id_, account in accounts.items() if account.certain]
            hidden = await hidden_records(self.reader, look_ups, found, missing, worker)
        empty = frozenset(() if accounts else missing)
        return None if hidden is None else LookupResult(accounts, hidden, empty=empty)

    async def find_all(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """As `find_proven`, and ask again for the ids that were not found until a response finds no more.

        An API may return a limited number of accounts. Costs one look-up more wherever only some ids exist.
        """
        found = LookupResult({})
        while missing := [id_ for id_ in ids if id_ not in found.accounts]:
            more = await self.find_proven(missing, worker, beside=True)
            if more is None:
                return None
            found = more._replace(accounts={**found.accounts, **more.accounts})
            if not more.accounts:
                break
        return found

    async def shows_few(self, ids: Sequence[str], found: LookupResult, worker: WorkerStatus) -> bool:
        """Whether `found`, with fewer than PAGE_MIN accounts, was cut off: a second look-up finds more, or fails."""
        missing = [id_ for id_ in ids if id_ not in found.accounts]
        if not missing or not 0 < len(found.accounts) < PAGE_MIN:
            return False
        more = await self.find(missing, worker)
        return more is None or bool(more.accounts)

    def _takes_several(self, ids: Collection[str]) -> bool:
        """Whether a control and one of these ids can be looked up in one request."""
        some = [*self.control.beside(ids), *ids][:2]
        return len(some) > 1 and len(self.look_ups.calls(some)) == 1

    async def _find_controlled(self, ids: Sequence[str], worker: WorkerStatus, *, beside: bool) -> LookupResult | None:
        """Look ids up, and send a control if a response was empty. None also when none is found any more.

        beside: look a control up together with them.
        """
        controls, results = self.control.beside(ids) if beside else [], list[LookupResult]()
        for some in self._parts(controls, ids) if controls else [ids]:
            result = await self.find(some, worker)
            if result is None:
                return None
            results.append(result)
        looked = joined(results).without(controls)
        # Ids with a comma have their own control.
        looked = looked._replace(empty=frozenset(itertools.filterfalse(self.look_ups.may_split, looked.empty)))
        return await self._controlled(looked, worker)

    async def _controlled(self, looked: LookupResult, worker: WorkerStatus) -> LookupResult | None:
        """The result, after a control if a response was empty. None when look-ups have ceased to find accounts."""
        proven = not looked.empty or await self.control.prove_again(worker)
        return None if not proven and (looked.accounts or self.control.lost) else looked

    def _parts(self, controls: Sequence[str], ids: Sequence[str]) -> list[Sequence[str]]:
        """The ids, cut so that each part fits into one request with the control, and the control in each of them.

        Ids that fit into no request with it are not cut, and have none.
        """
        parts = list[Sequence[str]]()
        while ids:
            part, _ = self.look_ups.calls([*controls, *ids])[0]
            if len(part) == len(controls):
                return [*parts, ids]
            parts.append(part)
            ids = ids[len(part) - len(controls) :]
        return parts

    async def _find(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """Look `ids` up. If an account is found, note that look-ups find accounts, and with which marks."""
        began = self._client.clock()
        result = await self._accounts.find(ids, worker)
        if result is not None and result.accounts:
            self.control.note_found(began)
            self._marks.note_found((id_ for id_, account in result.accounts.items() if account.certain), began)
        return result


def _without_control(looked: LookupResult) -> frozenset[str]:
    """The ids of which a look-up says something, and no account in the same response proves that it is true."""
    return (looked.empty | looked.unread) - looked.unproven
