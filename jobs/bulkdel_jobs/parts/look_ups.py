"""Look-ups of one id a request (`GET /users/{id}`), or by a list call (`GET /users?id=a&id=b`); their control. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bulkdel.core.absence import IN_PATH, IN_QUERY, Misread, marks_in_path, marks_in_query
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.job import Account, LookUps, Paged
from bulkdel_jobs.parts.json_values import epoch_s, id_at, is_one_of, last_seen_s, objects_at, value_at, word_at
from bulkdel_jobs.parts.pages import Pages, has_next
from bulkdel_jobs.parts.paths import PLACEHOLDER, UNUSABLE, filled
from bulkdel_jobs.parts.statuses import Statuses, with_data

FOUND = Statuses.of({"settled": [200]})

URL_MAX = 6_000
"""Bytes of the parameters with ids in one URL. Gateways refuse URLs from about 8 KB on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOneLookUps(LookUps):
    """`bulkdel.job.LookUps` by a path with the id in it.

    one: the request for one id, with `{id}` in its path. listing: the request that lists some accounts.
    id_field: path of the id in a record. list_at: path of the list in the response to `listing`. list_id: path of the
    id in a record of that list; None when it is `id_field`.
    state: path of the state in a record; without it no record is in the target state. reached: the values of the state
    in the target state. created_at, last_seen_at: paths of the times at which the account was made, and of its last
    sign-in. status: path of its status.
    administrator_list: the request that lists administrators. administrators_at: path of the list in its response.
    administrator_id: path of the id in a record of that list; None when it is that of `listing`.
    statuses: what the statuses of `one` mean; absent: there is no such account.
    """

    one: Request
    listing: Request
    id_field: str = "id"
    list_at: str = ""
    list_id: str | None = None
    state: str | None = None
    reached: tuple[str | int | bool, ...] = ()
    created_at: str | None = None
    last_seen_at: str | None = None
    status: str | None = None
    administrator_list: Request | None = None
    administrators_at: str = ""
    administrator_id: str | None = None
    statuses: Statuses = FOUND

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """See `bulkdel.job.LookUps`."""
        return [([id_], filled(self.one, id_)) for id_ in ids]

    def read(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`. A response without a record in it is no answer."""
        decision = self.statuses.decide_json(response)
        if decision.next_step is NextStep.LOOK_UP:  # absent
            return Decision(NextStep.SETTLED, data=[])
        if decision.next_step is NextStep.SETTLED and id_at(decision.data, self.id_field) is None:
            return Decision(
                NextStep.HALT, reason=f"HTTP {response.status}, and the record has no id at {self.id_field!r}"
            )
        return decision._replace(data=[decision.data])

    @property
    def fields(self) -> Mapping[str, str]:
        """See `bulkdel.job.LookUps`."""
        paths = {"last_seen_at": self.last_seen_at, "created_at": self.created_at, "status": self.status}
        return {name: path for name, path in paths.items() if path is not None}

    def lacks_state(self, record: Mapping[str, Any]) -> bool:
        """See `bulkdel.job.LookUps`."""
        return self.state is not None and value_at(record, self.state) is None

    @property
    def splits_commas(self) -> bool:
        """See `bulkdel.job.LookUps`. A path holds one id, and a query may hold several."""
        return self._in_query

    def marks(self, id_: str) -> frozenset[str]:
        """See `bulkdel.job.LookUps`."""
        return marks_in_query(id_) if self._in_query else marks_in_path(id_)

    @property
    def misread(self) -> Misread:
        """See `bulkdel.job.LookUps`."""
        return IN_QUERY if self._in_query else IN_PATH

    @property
    def _in_query(self) -> bool:
        """Whether the ids stand in the query of a request, and not in its path."""
        return PLACEHOLDER not in self.one.path

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """See `bulkdel.job.LookUps`. A record matches the id that stands in it, exactly."""
        records = {id_at(record, self.id_field): record for record in found}
        accounts = {id_: self._account(id_, records[id_]) for id_ in ids if id_ in records}
        return accounts, len(found) - len(accounts)

    def control(self) -> Request:
        """See `bulkdel.job.LookUps`."""
        return self.listing

    def read_control(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`. A list with a record that has no id is no answer.

        An id that cannot be in a path cannot be looked up. A list of nothing else is no empty one, so it is no answer.
        """
        field = self.list_id or self.id_field
        decision = self._listed(response, self.list_at, field)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        if not all(decision.data):
            return Decision(NextStep.HALT, reason=_without_id(field))
        usable = [id_ for id_ in decision.data if not UNUSABLE.fullmatch(id_)]
        if decision.data and not usable:
            return Decision(NextStep.HALT, reason=f"no id that the list call returned at {field!r} can be looked up")
        return decision._replace(data=usable)

    def owner(self, user: str) -> Request:
        """See `bulkdel.job.LookUps`."""
        return filled(self.one, user)

    def read_owner(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`."""
        return with_data(self.read(response), lambda found: [id_at(record, self.id_field) for record in found])

    def administrators(self) -> Request | None:
        """See `bulkdel.job.LookUps`."""
        return self.administrator_list

    def read_administrators(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`."""
        field = self.administrator_id or self.list_id or self.id_field
        return self._listed(response, self.administrators_at, field)

    @property
    def _reads_one_page(self) -> bool:
        """Whether only the first page of a list is read."""
        return True

    def _listed(self, response: Response, list_at: str, id_field: str) -> Decision:
        """The ids of a list, None for a record without one.

        Where one page is read, an empty one with another behind it is no empty list.
        """
        listed = _records(response, list_at)
        decision = with_data(listed, lambda records: [id_at(record, id_field) for record in records])
        is_empty = decision.next_step is NextStep.SETTLED and not decision.data
        if is_empty and self._reads_one_page and has_next(response):
            return Decision(NextStep.HALT, reason="the list call returned an empty page, and one behind it is not read")
        return decision

    def _account(self, id_: str, record: Mapping[str, Any]) -> Account:
        created_at = None if self.created_at is None else epoch_s(value_at(record, self.created_at))
        reached = self.state is not None and is_one_of(value_at(record, self.state), self.reached)
        return Account(
            created_at=created_at,
            last_seen_at=None if self.last_seen_at is None else last_seen_s(record, self.last_seen_at),
            status=None if self.status is None else word_at(record, self.status),
            raw=record,
            ids=(id_,),
            reached=reached,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLookUps(OneByOneLookUps, Paged):
    """`bulkdel.job.LookUps` by a list call that takes ids in its query, and shows the accounts that exist.

    one: the list call. A value `{id}` in its query stands for the ids: the parameter is repeated for each.
    at_once: how many ids it takes. list_at: path of the list in its response, and in that to `listing`.
    pages: how its next page is asked for; None when the API shows all accounts at once. host: base URL of the API.
    """

    at_once: int = 1
    pages: Pages | None = None
    host: str = ""

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """See `bulkdel.job.LookUps`."""
        name = next(name for name, value in self.one.query if value == PLACEHOLDER)
        return [(group, self._request(group)) for group in grouped(ids, name, self.at_once)]

    def read(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`. A list with a record that has no id is no answer."""
        decision = _records(response, self.list_at)
        if decision.next_step is NextStep.SETTLED and any(id_at(each, self.id_field) is None for each in decision.data):
            return Decision(NextStep.HALT, reason=_without_id(self.id_field))
        return decision

    @property
    def _reads_one_page(self) -> bool:
        return self.pages is None

    def next_page(self, request: Request, response: Response, found: int) -> Request | None:
        """See `bulkdel.job.Paged`. Of the administrators the first page with one of them suffices."""
        if self.pages is None or (request == self.administrator_list and found):
            return None
        return self.pages.next_page(self.host, request, response, found)

    def owner(self, user: str) -> Request:
        """See `bulkdel.job.LookUps`."""
        return self._request([user])

    def _request(self, ids: Sequence[str]) -> Request:
        query = [(name, each) for name, value in self.one.query for each in (ids if value == PLACEHOLDER else (value,))]
        return self.one._replace(query=tuple(query))


def grouped(ids: Sequence[str], name: str, at_once: int, query_max: int = URL_MAX) -> Iterator[list[str]]:
    """Divide ids into groups for one request each, at most `at_once` ids in one.

    name: of the parameter that is repeated for each id. query_max: bytes of these parameters.
    """
    group: list[str] = []
    length = 0
    for id_ in ids:
        cost = len(f"&{name}=") + len(quote(id_, safe=""))
        if group and (len(group) == at_once or length + cost > query_max):
            yield group
            group, length = [], 0
        group.append(id_)
        length += cost
    if group:
        yield group


def _without_id(path: str) -> str:
    return f"the list call returned a record without an id at {path!r}"


def _records(response: Response, list_at: str) -> Decision:
    """Decide on the response to a list call: SETTLED with the list of records as `data`."""
    decision = FOUND.decide_json(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    listed = objects_at(decision.data, list_at)
    if listed is None:
        return Decision(NextStep.HALT, reason=f"the list call returned no list of records at {list_at!r}")
    return decision._replace(data=listed)
