"""Look-ups of one id a request (`GET /users/{id}`), and the list call that is their control. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.job import Account, LookUps
from bulkdel_jobs.parts.json_values import epoch_s, id_at, is_one_of, objects_at, value_at
from bulkdel_jobs.parts.paths import UNUSABLE, filled
from bulkdel_jobs.parts.statuses import Statuses

FOUND = Statuses.of({"settled": [200]})


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOneLookUps(LookUps):
    """`bulkdel.job.LookUps` by a path with the id in it.

    one: the request for one id, with `{id}` in its path. listing: the request that lists some accounts.
    id_field: path of the id in a record. list_at: path of the list in the response to `listing`.
    state: path of the state in a record, and reached: its values in the target state; without it every record that
    exists is not in the target state. created_at: path of the time at which the account was made.
    statuses: what the statuses of `one` mean; absent: there is no such account.
    """

    one: Request
    listing: Request
    id_field: str = "id"
    list_at: str = ""
    state: str | None = None
    reached: tuple[str | int | bool, ...] = ()
    created_at: str | None = None
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

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """See `bulkdel.job.LookUps`. A record matches the id that stands in it, exactly."""
        records = {id_at(record, self.id_field): record for record in found}
        accounts = {id_: self._account(id_, records[id_]) for id_ in ids if id_ in records}
        return accounts, len(found) - len(accounts)

    def control(self) -> Request:
        """See `bulkdel.job.LookUps`."""
        return self.listing

    def read_control(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`."""
        decision = FOUND.decide_json(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        listed = objects_at(decision.data, self.list_at)
        if listed is None:
            return Decision(NextStep.HALT, reason=f"the list call returned no list of records at {self.list_at!r}")
        ids = (id_at(each, self.id_field) for each in listed)
        # An id that cannot be in a path is no control: it cannot be looked up.
        return decision._replace(data=[id_ for id_ in ids if id_ is not None and not UNUSABLE.fullmatch(id_)])

    def owner(self, user: str) -> Request:
        """See `bulkdel.job.LookUps`."""
        return filled(self.one, user)

    def read_owner(self, response: Response) -> Decision:
        """See `bulkdel.job.LookUps`."""
        decision = self.read(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        return decision._replace(data=[id_at(record, self.id_field) for record in decision.data])

    def _account(self, id_: str, record: Mapping[str, Any]) -> Account:
        created_at = None if self.created_at is None else epoch_s(value_at(record, self.created_at))
        reached = self.state is not None and is_one_of(value_at(record, self.state), self.reached)
        return Account(created_at=created_at, raw=record, ids=(id_,), reached=reached)
