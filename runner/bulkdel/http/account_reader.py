"""Reads accounts by their ids, until the responses are complete. It proves no absence: see `http.lookup`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from bulkdel.core.absence import perhaps_split
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.page_reader import Listed, PageReader
from bulkdel.job import Account, ByKeys, LookUps

PAGE_MIN = 10  # accounts that any API returns in one response, if there are so many

# After this failure the look-up proves nothing of any id: the server may have ignored the ids and returned any account.
STRANGER = "a look-up of one id returned another account"


class LookupResult(NamedTuple):
    """What a look-up has shown.

    accounts: the accounts that exist, by id as asked.
    unproven: ids that were not found, and may exist all the same.
    unread: ids with a mark that no account of the same response has. After `AccountLookup.find` those that the server
        misreads are unproven too.
    empty: ids whose response held no account. After `AccountLookup.find_proven` they are gone only if the control is
        proven.
    """

    accounts: dict[str, Account]
    unproven: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()

    def without(self, ids: Collection[str]) -> LookupResult:
        """The same without some of the ids that were asked for."""
        return LookupResult(
            {id_: account for id_, account in self.accounts.items() if id_ not in ids},
            self.unproven.difference(ids),
            self.unread.difference(ids),
            self.empty.difference(ids),
        )


class AccountReader:
    """Sends the look-ups of the job. Every method may raise Halted, as `Client.ask` does.

    fullest: the most accounts that one look-up of this session held, in all its pages.
    """

    def __init__(self, client: Client, look_ups: LookUps, reader: PageReader, *, fullest: int = 0) -> None:
        self._client = client
        self._look_ups = look_ups
        self._reader = reader
        self.fullest = fullest

    async def find(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """Return the accounts that exist among `ids`; None when the look-up failed or must stop."""
        results: list[LookupResult] = []
        for group, request in self._look_ups.calls(ids):
            found = await self._reader.items(request, self._look_ups.read, worker, group)
            if found is None:
                return None
            matched, strays = self._look_ups.match(group, found.items)
            # The server may split an id with a comma, and return a record that has only a part of it.
            splits = self._look_ups.may_split
            matched = {id_: account for id_, account in matched.items() if account.certain or not splits(id_)}
            open_ids = perhaps_split(list(filter(splits, group)), matched)
            empty = frozenset(() if found.items else group)
            result = LookupResult(matched, open_ids, self._unread(group, matched), empty)
            if strays and len(group) > 1:
                # A record that matches no id belongs to one of them: the only record of that id, or one more.
                alone = await self._one_by_one(group, worker)
                if alone is None:
                    return None
                result = alone
            elif strays and (matched or not splits(group[0])):
                self._reader.fail(STRANGER)
                return None
            complete = await self._complete(result, found, group, worker)
            if complete is None:
                return None
            results.append(complete)
        return joined(results)

    async def find_by_keys(
        self, look_ups: ByKeys, ids: Sequence[str], worker: WorkerStatus
    ) -> dict[str, Account] | None:
        """Return the accounts that have a key of these records; None when the look-up failed.

        look_ups: those of the records (`FindsCreated.for_records`).
        """
        accounts: dict[str, Account] = {}
        for group, request in look_ups.calls(ids):
            found = await self._reader.items(request, look_ups.read, worker, look_ups.texts(group))
            if found is None:
                return None
            matched, strays = look_ups.match(group, found.items)
            accounts = {**matched, **accounts}
            # A server may find an account by a rule of its own. So each record is looked up alone: then the accounts in
            # the response belong to it.
            for id_ in group if strays and len(group) > 1 else ():
                if id_ not in accounts:
                    alone = await self.find_by_keys(look_ups, [id_], worker)
                    if alone is None:
                        return None
                    accounts.update(alone)
        return accounts

    def _unread(self, ids: Sequence[str], accounts: Mapping[str, Account]) -> frozenset[str]:
        """The ids with a mark that no account of the response has."""
        seen = {id_ for id_, account in accounts.items() if account.certain}
        if not (unseen := [id_ for id_ in ids if id_ not in seen]):  # true of most responses
            return frozenset()
        marks = self._look_ups.marks
        read = set[str]().union(*map(marks, seen))
        return frozenset(id_ for id_ in unseen if not marks(id_) <= read)

    async def _complete(
        self, result: LookupResult, found: Listed, group: Sequence[str], worker: WorkerStatus
    ) -> LookupResult | None:
        """Ask again for the ids that a response lacks: an API may return a limited number of accounts.

        found: every account of the response, also an account that matches no id of the group (part of an id with a
        comma). A response of one page counts as complete if an earlier one held more accounts, or if it held fewer than
        PAGE_MIN. So where most ids exist, hardly any look-up is repeated. A response of several pages may lack an
        account: when one is deleted between two pages, the accounts behind it move up.
        """
        accounts, fullest, held = result.accounts, self.fullest, len(found.items)
        self.fullest = max(fullest, held)
        missing = [id_ for id_ in group if id_ not in accounts]
        if not missing or not held or (found.pages == 1 and held < max(fullest, PAGE_MIN)):
            return result
        if not accounts:  # a full response of other accounts proves nothing, and so would the next one
            return result._replace(unproven=frozenset(missing))
        more = await self.find(missing, worker)
        # The first response may be cut off, so an id that it lacks may exist. The second response decides. A control
        # with a comma in the first does not count for the second: some servers split an id only when it is alone.
        return None if more is None else more._replace(accounts={**accounts, **more.accounts})

    async def _one_by_one(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        results: list[LookupResult] = []
        for id_ in ids:
            alone = await self.find([id_], worker)
            if alone is None:
                return None
            if any(
                account.raw == other.raw and not (account.certain and other.certain)
                for account in alone.accounts.values()
                for result in results
                for other in result.accounts.values()
            ):
                self._reader.fail(STRANGER)  # one account without either id cannot belong to both
                return None
            results.append(alone)
        return joined(results)


def joined(results: Sequence[LookupResult]) -> LookupResult:
    """The results of several look-ups as one."""
    accounts: dict[str, Account] = {}
    for result in results:
        accounts.update(result.accounts)
    return LookupResult(
        accounts,
        frozenset[str]().union(*(result.unproven for result in results)),
        frozenset[str]().union(*(result.unread for result in results)),
        frozenset[str]().union(*(result.empty for result in results)),
    )
