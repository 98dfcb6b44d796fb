"""The accounts that no run may reach: that of the credentials, and the administrator that the pool keeps."""

from __future__ import annotations

from collections.abc import Sequence

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.guards import untold
from bulkdel.http.client import WorkerStatus
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup

STRANGE_ADMINISTRATORS = "a look-up finds none of the administrators that the API lists"


async def owner_of(lookup: AccountLookup, user: str, worker: WorkerStatus) -> list[str] | None:
    """Return the ids (of this id type) of the account that the credentials belong to.

    Empty when the API says that there is no such account, or that it has no id of the type. None without a response,
    after any other refusal, and when a record does not say its ids. Raises Halted when the key may not look it up.
    """
    look_ups = lookup.look_ups
    if not look_ups.possible:
        return []

    def read(response: Response) -> Decision:
        """As the job does, but halt when the key lacks the permission: the account may still have ids."""
        decision = look_ups.read_owner(response)
        return decision._replace(next_step=NextStep.HALT) if decision.next_step is NextStep.FORBIDDEN else decision

    found = await lookup.reader.items(look_ups.owner(user), read, worker, [user], may_be_absent=True)
    return None if found is None else _told(lookup, found.items)


async def administrator_of(lookup: AccountLookup, worker: WorkerStatus) -> list[str] | None:
    """Return the ids of the first administrator that exists; None when a call failed, or the list cannot be read.

    They are taken in the order of their ids. So each session of a run keeps the same one, also when the API lists them
    in another order or the run has deleted some of the others. Empty when the API lists none, or has no such call.
    """
    if (request := lookup.look_ups.administrators()) is None:
        return []
    listed = await lookup.reader.items(request, lookup.look_ups.read_administrators, worker, some=True)
    told = None if listed is None else _told(lookup, listed.items)
    if told is None:
        return None
    ids = sorted(set(told))
    for start in range(0, len(ids), IDS_AT_ONCE):
        found = await lookup.find(ids[start : start + IDS_AT_ONCE], worker)
        if found is None:
            return None
        if first := next((id_ for id_ in ids[start : start + IDS_AT_ONCE] if id_ in found.accounts), None):
            return [first, *found.accounts[first].ids]
    if ids:
        lookup.reader.fail(STRANGE_ADMINISTRATORS)
    return None if ids else []


def _told(lookup: AccountLookup, ids: Sequence[str | None]) -> list[str] | None:
    """The ids by which a guard compares; None when one of the records does not say its ids."""
    if (why := untold(ids)) is not None:
        lookup.reader.fail(why)
        return None
    return [id_ for id_ in ids if id_ is not None]
