"""Look-ups: which ids exist, asked so that an empty response can be trusted. Holds nothing that could delete.

A job may have no look-ups. Then no request is sent, no id is found, and no id is proven absent.

"Gone" counts only in a session whose look-ups have found at least one existing account (a positive control): a key that
may not read, or an id type that matches no account, gets an empty list too. Another call lists the controls. Where it
lists none, or the key may not list, the control is an account that the sample found and that still exists.

For an id with a comma, "gone" counts only if the same response holds another account whose id has a comma
(`core.absence`). For an id in a path it counts only once look-ups have found accounts whose ids have the same
characters.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from bulkdel.core.absence import CAPITAL, IN_PATH, Misread, may_be_split, unproven
from bulkdel.core.decision import Decision, NextStep, Response, Verdict
from bulkdel.core.guards import untold
from bulkdel.core.retry import LOOKS_AGAIN_MAX, look_again_s
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.hidden_records import MARK_CONTROLS_MAX, hidden_records
from bulkdel.http.page_reader import Listed, PageReader, spread
from bulkdel.job import Account, LookUps

IDS_AT_ONCE = 50  # ids that are looked up together where nothing is sent; `LookUps.calls` may cut them further
CONTROLS_MAX = 10  # accounts looked up as a control, as many in one request as it takes; one that is found suffices
CONTROL_TRIES = 3  # an empty pool, or a key that may not list, is not asked again and again
PAUSED_TRIES = 2  # controls while this process sends no chunk
COMMA_CONTROLS_MAX = 3  # accounts whose id has a comma, in one request as its control; one that is found suffices
PAGE_MIN = 10  # accounts that any API returns in one response, if there are so many

# After this failure the look-up proves nothing of any id: the server may have ignored the ids and returned any account.
STRANGER = "a look-up of one id returned another account"

STRANGE_ADMINISTRATORS = "a look-up finds none of the administrators that the API lists"


class LookupResult(NamedTuple):
    """What a look-up has shown.

    accounts: the accounts that exist, by id as asked.
    unproven: ids that were not found, and may exist all the same.
    unread: ids with a mark that no account of the same response has. `find` looks up other accounts with the mark. In
        its result, the ids that the server misreads are unproven.
    empty: whether one of the responses held no account. Look-ups may have ceased to find any: see `prove_since`.
    """

    accounts: dict[str, Account]
    unproven: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    empty: bool = False


class AccountLookup:
    """Look-ups with their retries, matching and control. Every method may raise Halted, as `Client.ask` does.

    possible: whether the job has look-ups. If not, nothing is sent, and each id is left unproven.
    proven: whether an empty response counts now: a look-up has found an account, and no control has failed since.
    lost: whether look-ups found accounts before, in this run, and a control found none. True until a look-up finds one.
    listed: how many accounts the latest control had to look up.
    none_listed: whether the latest control was told that there are no accounts at all.
    answered: whether the latest control has got its responses; false while there was none.
    lists: whether the API has listed accounts for this key since the command was started. shows: whether it has
        listed one.
    uncontrolled: whether the latest control had no account to look up: the key may not list, and none is known.
    fullest: the most accounts that one look-up of this session held, in all its pages.
    """

    def __init__(
        self,
        client: Client,
        look_ups: LookUps | None,
        chance: Callable[[], float],
        *,
        proven: bool = False,
        proven_before: bool = False,
        fullest: int = 0,
        lists: bool = False,
        shows: bool = False,
        known: Iterable[str] = (),
        creates: bool = False,
        patient: bool = False,
    ) -> None:
        """known: ids of accounts that a look-up has found, in the order in which they are sent.

        proven_before: whether look-ups found accounts in an earlier session of the run. patient: as of `PageReader`.

        creates: the run creates accounts, so a pool that is empty now is asked for a control again later.
        """
        self._client = client
        self.possible = look_ups is not None
        if look_ups is not None:
            self._look_ups = look_ups
            self._reader = PageReader(client, look_ups, chance, patient=patient)
        self._control = asyncio.Lock()
        self._controls_left = CONTROL_TRIES
        self._exhausted = not self.possible
        self._shown_at = self._empty_at = float("-inf")
        self._states_seen = self.possible and self._look_ups.state_control() is None
        self._state_tries_left = CONTROL_TRIES
        self._with_comma: list[str] = []
        self._comma_tries_left = CONTROL_TRIES
        self._known = dict.fromkeys(known)
        self._read_at: dict[str, float] = {}  # by mark, when the latest look-up began that has found an id with it
        self._small_at = float("-inf")  # when the latest list of accounts began, if none of them has a capital letter
        self._in_vain = Counter[str]()
        self._proven_before = proven_before
        self._creates = creates
        self.proven = proven
        self.lost = False
        self.listed = 0
        self.none_listed = self.answered = False
        self.lists = lists
        self.shows = shows
        self.uncontrolled = False
        self.fullest = fullest

    def note_gone(self, ids: Sequence[str]) -> None:
        """Note that these accounts are gone, by an outcome of this run: they cannot serve as controls any more."""
        for id_ in self._known.keys() & ids if self._known else ():
            del self._known[id_]

    @property
    def failed(self) -> str:
        """The reason of the latest failure."""
        return self._reader.failed if self.possible else ""

    def splits(self, id_: str) -> bool:
        """Whether the server may take `id_` in a look-up for several ids."""
        return self.possible and self._look_ups.may_split(id_)

    def marks(self, id_: str) -> frozenset[str]:
        """The characters of `id_` that a server may read otherwise: `LookUps.marks`."""
        return self._look_ups.marks(id_) if self.possible else frozenset()

    @property
    def misread(self) -> Misread:
        """Why an id may exist although a look-up does not find it: `LookUps.misread`."""
        return self._look_ups.misread

    @property
    def by_path(self) -> bool:
        """Whether a look-up has its id in the path. Then it shows how the server reads a path."""
        return self.possible and self._look_ups.misread is IN_PATH

    async def find(self, ids: Sequence[str], worker: WorkerStatus, *, with_states: bool = True) -> LookupResult | None:
        """Return the accounts that exist among `ids`; None when the look-up failed or must stop.

        with_states: ask for the state of each account whose record does not have it, which takes a request or more.

        Ids with a comma that were not found are asked for again, together with a control that has a comma. For those
        that a server may read otherwise, listed accounts with such ids are looked up.
        """
        if not self.possible:
            return LookupResult({}, frozenset(ids))
        began = self._client.clock()
        result = await self._find_and_note(ids, worker)
        if result is not None and result.unproven:
            result = await self._find_with_control(result, [id_ for id_ in ids if id_ in result.unproven], worker)
        if result is not None:
            misread = await self._misread(result, worker)
            # The account that was found may belong to another id.
            accounts = {id_: account for id_, account in result.accounts.items() if id_ not in misread}
            result = LookupResult(accounts, result.unproven | misread)
        if result is None or (with_states and not await self._add_states(result.accounts, worker)):
            return None
        return result._replace(empty=self._empty_at >= began)

    async def find_keys(
        self, look_ups: LookUps, ids: Sequence[str], worker: WorkerStatus, *, prove: bool = False
    ) -> LookupResult | None:
        """Return the accounts that have a key of these records; None when a look-up failed.

        look_ups: those of the records (`LookUps.for_records`). Asks again for the records of which no key was found,
        until a response finds no more: an API may return a limited number of accounts.

        prove: a record is `unproven` when it was not found and a server may misread each of its keys.
        """
        began = self._client.clock()
        accounts: dict[str, Account] = {}
        while missing := [id_ for id_ in ids if id_ not in accounts]:
            more = await self._find_keys(look_ups, missing, worker)
            if more is None:
                return None
            accounts.update(more)
            if not more:
                break
        if accounts:
            self._note_found(began)
        hidden: frozenset[str] | None = frozenset()
        if prove and missing:
            found = [id_ for id_, account in accounts.items() if account.certain]
            hidden = await hidden_records(self._reader, look_ups, found, missing, worker)
        return None if hidden is None else LookupResult(accounts, hidden, empty=not accounts)

    async def find_all(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """As `find`, and ask again for the ids that were not found until a response finds no more.

        An API may return a limited number of accounts. Costs one look-up more wherever only some ids exist.
        """
        found = LookupResult({})
        while missing := [id_ for id_ in ids if id_ not in found.accounts]:
            more = await self.find(missing, worker)
            if more is None:
                return None
            found = LookupResult({**found.accounts, **more.accounts}, more.unproven)
            if not more.accounts:
                break
        return found

    async def shows_few(self, ids: Sequence[str], found: LookupResult, worker: WorkerStatus) -> bool:
        """Whether `found`, with fewer than PAGE_MIN accounts, was cut off: a second look-up finds more, or fails."""
        missing = [id_ for id_ in ids if id_ not in found.accounts]
        if not missing or not 0 < len(found.accounts) < PAGE_MIN:
            return False
        more = await self.find(missing, worker, with_states=False)
        return more is None or bool(more.accounts)

    async def prove(self, worker: WorkerStatus) -> bool:
        """Look up accounts that another call lists, unless a look-up has found an account before.

        Best called before this session deletes anything: a listed account may be gone by the time of its look-up.
        """
        if self.proven or self._exhausted:  # called before every chunk
            return self.proven
        async with self._control:
            if not self.proven and self._controls_left:
                passes = await self._control_passes_in_time(worker)
                self._controls_left -= not (self._creates and self.none_listed)
                self.lost = self.lost or (not passes and self._proven_before)
            self._exhausted = not self._controls_left
        return self.proven

    async def prove_since(self, since: float, worker: WorkerStatus) -> bool:
        """Check that an empty response at `since` could have held an account.

        Look-ups that found accounts before may find none any more (a permission taken away, a broken index). So a
        look-up that began later has to find an account: any look-up, or one control for all that wait for it. One that
        began earlier does not count, whenever its response arrives.

        The pool may be empty by now. So where no account is listed, and all accounts of the sample are gone by outcomes
        of this run, the earlier proof stays. If this key was never allowed to list accounts, `uncontrolled` says that
        there is no proof. If it has listed accounts before and may not any more, the check fails: the key has lost the
        right to list, and perhaps the right to look up.
        """
        await self.prove(worker)
        async with self._control:
            if self.proven and self._shown_at < since:
                began = self._client.clock()
                if await self._control_passes(worker) or await self._control_passes_while_paused(worker):
                    self._shown_at = max(self._shown_at, began)  # also when no account is left to be found
                else:
                    self.proven, self.lost = False, True
        return self.proven

    async def check_control(self, worker: WorkerStatus) -> bool:
        """Read the control once, and look its accounts up unless a look-up has found one. False when it has no answer.

        When the key may not list accounts, nothing is known: then look-ups have no control. Raises Halted when the list
        is not where the job reads it.
        """
        if self.possible:
            if await self._list_controls(worker, refused=Listed([])) is None:
                return False
            await self.prove(worker)
        return True

    async def owner(self, user: str, worker: WorkerStatus) -> list[str] | None:
        """Return the ids (of this id type) of the account that the credentials belong to.

        Empty when the API says that there is no such account, or that it has no id of the type. None without a
        response, after any other refusal, and when a record does not say its ids. Raises Halted when the key may not
        look it up.
        """
        if not self.possible:
            return []
        request = self._look_ups.owner(user)
        found = await self._reader.items(request, self._read_owner, worker, [user], absent=Listed([]))
        return None if found is None else self._told(found.items)

    def _read_owner(self, response: Response) -> Decision:
        """As the job does, but halt when the key lacks the permission: the account may still have ids."""
        decision = self._look_ups.read_owner(response)
        return decision._replace(next_step=NextStep.HALT) if decision.next_step is NextStep.FORBIDDEN else decision

    def _told(self, ids: Sequence[str | None]) -> list[str] | None:
        """The ids by which a guard compares; None when one of the records does not say its ids."""
        if (why := untold(ids)) is not None:
            self._reader.failed = why
            return None
        return [id_ for id_ in ids if id_ is not None]

    @property
    def fields(self) -> Mapping[str, str]:
        """The API's names of the fields that the guards compare: `LookUps.fields`."""
        return self._look_ups.fields if self.possible else {}

    async def administrator(self, worker: WorkerStatus) -> list[str] | None:
        """Return the ids of the first administrator that exists; None when a call failed, or the list cannot be read.

        They are taken in the order of their ids. So each session of a run keeps the same one, also when the API lists
        them in another order or the run has deleted some of the others. Empty when the API lists none, or has no such
        call.
        """
        request = self._look_ups.administrators() if self.possible else None
        if request is None:
            return []
        listed = await self._reader.items(request, self._look_ups.read_administrators, worker, some=True)
        told = None if listed is None else self._told(listed.items)
        if told is None:
            return None
        ids = sorted(set(told))
        for start in range(0, len(ids), IDS_AT_ONCE):
            found = await self.find(ids[start : start + IDS_AT_ONCE], worker, with_states=False)
            if found is None:
                return None
            if first := next((id_ for id_ in ids[start : start + IDS_AT_ONCE] if id_ in found.accounts), None):
                return [first, *found.accounts[first].ids]
        if ids:
            self._reader.failed = STRANGE_ADMINISTRATORS
        return None if ids else []

    async def _add_states(self, accounts: dict[str, Account], worker: WorkerStatus) -> bool:
        """Ask for the state of each account whose record does not have it. False when a look-up failed."""
        for id_, account in list(accounts.items()):
            if account.reached is not None or not self._look_ups.state_calls(account):
                continue
            reached = await self._state(account, worker, self._look_ups.texts([id_]))
            if reached is None:
                return False
            if reached is Verdict.ABSENT:
                del accounts[id_]
                continue
            # Without a control, an answer that speaks for the target state proves nothing.
            known = reached if not reached or await self._sees_states(worker) else None
            accounts[id_] = replace(account, reached=known)
        return True

    async def _state(
        self, account: Account, worker: WorkerStatus, texts: Sequence[str] = ()
    ) -> bool | Literal[Verdict.ABSENT] | None:
        """Whether every state call of an account speaks for the target state; None when a look-up failed.

        ABSENT: one of them says that the account does not exist.
        """
        read = self._look_ups.state_reader(account)
        for request in self._look_ups.state_calls(account):
            reached = await self._reader.value(request, read, worker, texts)
            if reached is not True:
                return Verdict.ABSENT if reached is Verdict.ABSENT else None if reached is None else False
        return True

    async def _sees_states(self, worker: WorkerStatus) -> bool:
        """Whether state calls can tell: they show a listed account that is not in the target state.

        Another call lists accounts that are not in the target state. An empty list says that none is left. Asked until
        it is true, a few times.
        """
        async with self._control:
            if self._state_tries_left and (request := self._look_ups.state_control()) is not None:
                self._state_tries_left -= 1
                listed = await self._reader.items(request, self._look_ups.read_state_control, worker, some=True)
                for account in () if listed is None else listed.items[:CONTROLS_MAX]:
                    self._states_seen = await self._state(account, worker) is False
                    if self._states_seen:
                        break
                if (listed is not None and not listed.items) or self._states_seen:
                    self._states_seen, self._state_tries_left = True, 0
            return self._states_seen

    async def _find_with_control(self, result: LookupResult, missing: list[str], worker: WorkerStatus) -> LookupResult:
        """Ask for `missing`, ids with a comma, in one request with accounts that exist and have a comma too."""
        accounts, unread = dict(result.accounts), result.unread
        while missing and (controls := [id_ for id_ in await self._comma_controls(worker) if id_ not in missing]):
            again = await self._find_and_note([*controls, *missing], worker)
            if again is None:
                break
            if again.accounts.keys().isdisjoint(controls):
                # The controls may be deleted by now, or this server splits ids. Others are tried, a few times in all.
                self._with_comma = []
                self._comma_tries_left -= 1
                continue
            self._comma_tries_left = CONTROL_TRIES
            unread = unread.difference(missing) | again.unread.intersection(missing)
            accounts.update({id_: again.accounts[id_] for id_ in missing if id_ in again.accounts})
            # Ids that did not fit into the request with the control go into the next one.
            left = [id_ for id_ in missing if id_ in again.unproven]
            if len(left) == len(missing):
                break
            missing = left
        return LookupResult(accounts, frozenset(missing), unread)

    async def _comma_controls(self, worker: WorkerStatus) -> list[str]:
        """Some listed ids with a comma. Empty when the list has none, or when a few look-ups did not find them."""
        async with self._control:
            if not self._with_comma and self._comma_tries_left > 0:
                listed = await self._list_controls(worker)
                self._with_comma = list(filter(may_be_split, listed or ()))[:COMMA_CONTROLS_MAX]
                if not self._with_comma:
                    self._comma_tries_left -= 1
            return self._with_comma

    async def _misread(self, result: LookupResult, worker: WorkerStatus) -> frozenset[str]:
        """The ids that the server may have read as other ids: no look-up finds an account with their marks.

        An account with the mark counts if it is in the same response, or if its look-up began after that response: of
        two look-ups on the way, the later one may be answered first. Where the list has no other account with the mark,
        an earlier look-up still counts.
        """
        accounts = result.accounts
        unread = [id_ for id_ in result.unread if id_ not in accounts or not accounts[id_].certain]
        answered = self._client.clock()
        await self._read_marks(unread, answered, worker)
        read = {*self._read_at, *({CAPITAL} if self._small_at >= answered else ())}
        return frozenset(id_ for id_ in unread if not self.marks(id_) <= read)

    async def _read_marks(self, missing: Sequence[str], since: float, worker: WorkerStatus) -> None:
        """See whether the marks of `missing` are read as they were sent, by look-ups that begin after `since`.

        This process may have deleted listed accounts before their look-up. So when accounts with a mark are not found,
        others are looked up while this process sends no chunk. When these are not found either, or when the list fails,
        the mark counts as misread, even if it was read before.
        """
        if not self._not_read_since(since, missing):
            return
        async with self._control:
            marks = {mark for mark in self._not_read_since(since, missing) if self._in_vain[mark] < CONTROL_TRIES}
            hidden = await self._look_up_marks(marks, missing, since, worker) if marks else []
            if hidden:
                async with self._client.action_requests.paused():
                    again = await self._look_up_marks(hidden, missing, since, worker)
                hidden = hidden if again is None else again
            for mark in marks if hidden is None else hidden:
                self._read_at.pop(mark, None)

    async def _look_up_marks(
        self, marks: Iterable[str], missing: Sequence[str], since: float, worker: WorkerStatus
    ) -> list[str] | None:
        """Look up a few accounts with each mark. Return the marks with which accounts exist and none is found.

        None when the list fails. The accounts are listed ones, and those that are known to exist. A listed account of
        `missing` counts: it exists, and was not found.

        A mark that no account has stays as it was; after a few lists without it, no further list is asked for. But a
        capital letter counts as read while accounts are listed and none of them has one. After an empty list every mark
        counts as read, if the list was not empty before and no account is known to exist.
        """
        began = self._client.clock()
        if (listed := await self._list_controls(worker, refused=Listed([]))) is None:
            return None
        there = [*dict.fromkeys([*listed, *self._known])]
        if not listed and self.shows and not self._known:
            self._read_at.update(dict.fromkeys(marks, began))
        marks_there = set[str]().union(*map(self.marks, there))
        self._small_at = began if listed and CAPITAL not in marks_there else float("-inf")
        controls = {
            mark: spread([id_ for id_ in there if mark in self.marks(id_) and id_ not in missing], MARK_CONTROLS_MAX)
            for mark in sorted(marks)
        }
        for number in range(MARK_CONTROLS_MAX):
            unread = [mark for mark in controls if not self._is_read(mark, since)]
            some = dict.fromkeys(controls[mark][number] for mark in unread if number < len(controls[mark]))
            if some:
                await self._find_and_note([*some], worker)
        unread = [mark for mark in controls if not self._is_read(mark, since)]
        # The only account with a mark may be the missing one: a list may lag.
        self._in_vain.update(mark for mark in unread if controls[mark] or mark not in marks_there)
        listed_too = set[str]().union(*(self.marks(id_) for id_ in listed if id_ in missing))
        return [mark for mark in unread if controls[mark] or mark in listed_too]

    def _not_read_since(self, since: float, ids: Sequence[str]) -> set[str]:
        marks = set[str]().union(*map(self.marks, ids))
        return {mark for mark in marks if not self._is_read(mark, since)}

    def _is_read(self, mark: str, since: float) -> bool:
        return self._read_at.get(mark, float("-inf")) >= since or (mark == CAPITAL and self._small_at >= since)

    async def _find_and_note(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        """Look up `ids`. If an account is found, note that look-ups find accounts."""
        began = self._client.clock()
        result = await self._find(ids, worker)
        if result is not None and result.accounts:
            self._note_found(began)
            seen = [id_ for id_, account in result.accounts.items() if account.certain]
            for mark in set[str]().union(*map(self.marks, seen)):
                self._read_at[mark] = max(began, self._read_at.get(mark, began))
                del self._in_vain[mark]
        return result

    def _note_found(self, began: float) -> None:
        self.proven, self.lost, self._shown_at = True, False, max(self._shown_at, began)
        self.uncontrolled = False

    async def _find_keys(
        self, look_ups: LookUps, ids: Sequence[str], worker: WorkerStatus
    ) -> dict[str, Account] | None:
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
                    alone = await self._find_keys(look_ups, [id_], worker)
                    if alone is None:
                        return None
                    accounts.update(alone)
        return accounts

    async def _find(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        results: list[LookupResult] = []
        for group, request in self._look_ups.calls(ids):
            found = await self._reader.items(request, self._look_ups.read, worker, group)
            if found is None:
                return None
            if not found.items:
                self._empty_at = self._client.clock()
            matched, strays = self._look_ups.match(group, found.items)
            # The server may split an id with a comma, and return a record that has only a part of it.
            matched = {id_: account for id_, account in matched.items() if account.certain or not self.splits(id_)}
            open_ids = unproven(list(filter(self.splits, group)), matched)
            result = LookupResult(matched, open_ids, self._unread(group, matched))
            if strays and len(group) > 1:
                # A record that matches no id belongs to one of them: the only record of that id, or one more.
                alone = await self._one_by_one(group, worker)
                if alone is None:
                    return None
                result = alone
            elif strays and (matched or not self.splits(group[0])):
                self._reader.failed = STRANGER
                return None
            complete = await self._complete(result, found, group, worker)
            if complete is None:
                return None
            results.append(complete)
        return _joined(results)

    def _unread(self, ids: Sequence[str], accounts: Mapping[str, Account]) -> frozenset[str]:
        """The ids with a mark that no account of the response has."""
        seen = {id_ for id_, account in accounts.items() if account.certain}
        if not (unseen := [id_ for id_ in ids if id_ not in seen]):  # true of most responses
            return frozenset()
        read = set[str]().union(*map(self.marks, seen))
        return frozenset(id_ for id_ in unseen if not self.marks(id_) <= read)

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
        more = await self._find(missing, worker)
        # The first response may be cut off, so an id that it lacks may exist. The second response decides. A control
        # with a comma in the first does not count for the second: some servers split an id only when it is alone.
        return None if more is None else more._replace(accounts={**accounts, **more.accounts})

    async def _one_by_one(self, ids: Sequence[str], worker: WorkerStatus) -> LookupResult | None:
        results: list[LookupResult] = []
        for id_ in ids:
            alone = await self._find([id_], worker)
            if alone is None:
                return None
            if any(
                account.raw == other.raw and not (account.certain and other.certain)
                for account in alone.accounts.values()
                for result in results
                for other in result.accounts.values()
            ):
                self._reader.failed = STRANGER  # one account without either id cannot belong to both
                return None
            results.append(alone)
        return _joined(results)

    async def _control_passes_in_time(self, worker: WorkerStatus) -> bool:
        """As `_control_passes`, but repeated if the pool was empty before: its accounts are new, look-ups may lag."""
        new = self.none_listed
        passes = await self._control_passes(worker)
        for again in range(1, LOOKS_AGAIN_MAX + 1):
            if passes or not (new and self.listed) or self._client.draining:
                break
            await asyncio.sleep(look_again_s(again))
            passes = await self._control_passes(worker)
        return passes

    async def _control_passes_while_paused(self, worker: WorkerStatus) -> bool:
        """As `_control_passes`, a few times, while this process sends no chunk.

        Before the pause it may have deleted every account that was listed. Other processes of the run may still do so.
        """
        async with self._client.action_requests.paused():
            for _ in range(PAUSED_TRIES):
                if await self._control_passes(worker):
                    return True
        return False

    async def _control_passes(self, worker: WorkerStatus) -> bool:
        """List some accounts by another call and look them up.

        True when one was found. False when none was found, or without a response. Where the API lists none, or the key
        may not list, the accounts that the sample found are looked up, the last ones first; true when none of them is
        left.
        """
        refused = Listed([])
        self.answered = False  # also when it is cut off
        listed = await self._list_controls(worker, refused=refused)
        self.answered = listed is not None
        self.listed = len(listed or ())
        self.none_listed = listed == [] and listed is not refused.items
        if not listed:
            self.uncontrolled = listed is refused.items and not self._known
            return listed is not None and await self._known_pass(worker)
        self.uncontrolled = False
        # Ids without a comma come first.
        certain = [id_ for id_ in listed if not may_be_split(id_)] or listed
        for group, _ in self._look_ups.calls(spread(certain, CONTROLS_MAX)):
            result = await self._find_and_note(group, worker)
            if result is None or result.accounts:
                self.answered = result is not None
                return self.answered
        return False

    async def _known_pass(self, worker: WorkerStatus) -> bool:
        """Whether a look-up finds one of the accounts that are known to be there; true where none is known."""
        known = [*self._known][-CONTROLS_MAX:]
        for id_ in reversed(known):
            found = await self._find_and_note([id_], worker)
            if found is None or found.accounts:
                self.answered = found is not None
                return self.answered
        return not known

    async def _list_controls(self, worker: WorkerStatus, *, refused: Listed | None = None) -> list[str] | None:
        """The ids of some existing accounts; those of `refused` when the API has always refused to list any."""
        request, read = self._look_ups.control(), self._look_ups.read_control
        allowed = None if self.lists else refused
        listed = await self._reader.items(request, read, worker, refused=allowed, some=True)
        if listed is None:
            return None
        self.lists = self.lists or listed is not allowed
        self.shows = self.shows or bool(listed.items)
        return listed.items


def _joined(results: Sequence[LookupResult]) -> LookupResult:
    """The results of several look-ups as one."""
    accounts: dict[str, Account] = {}
    for result in results:
        accounts.update(result.accounts)
    return LookupResult(
        accounts,
        frozenset[str]().union(*(result.unproven for result in results)),
        frozenset[str]().union(*(result.unread for result in results)),
    )
