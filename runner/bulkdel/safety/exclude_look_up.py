"""Exclude files of another id type than the run's: their accounts are looked up, and all ids of these are protected.

An id that no look-up finds protects no account, and the plan says so. That has to be certain: with a key that may not
read, or a server without answers, existing accounts must not seem gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from bulkdel.core.absence import Misread
from bulkdel.core.guards import untold
from bulkdel.core.id_type import IdSet
from bulkdel.errors import Halted
from bulkdel.format import counted, first_of
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup
from bulkdel.job import LookUps
from bulkdel.output import has_terminal

NAMED_MAX = 5
"""So many ids are named in a message."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The accounts that were found.

    protected: the ids of the run's type that must not be sent, with the ids of the other exclude files.
    ids: of these, the ids of the accounts that were found. accounts: how many there are. without: how many of them have
    no id of the run's type, so that this run cannot reach them. not_found: the ids that no look-up finds, as text.
    """

    protected: IdSet
    ids: tuple[str, ...]
    accounts: int
    without: int
    not_found: tuple[str, ...]


async def look_up_excluded(
    client: Client,
    look_ups: Callable[[str], LookUps],
    wanted: Mapping[str, Sequence[str]],
    protected: IdSet,
    chance: Callable[[], float],
) -> LookedUp:
    """Look the ids up. look_ups: by id type. wanted: the ids by type. protected: those of the run's type so far.

    Raises Halted when a look-up fails, or proves nothing.
    """
    name = protected.id_type.name
    of_run = look_ups(name)
    ids, not_found, accounts, without = dict[str, None](), list[str](), 0, 0
    for id_type, asked in wanted.items():
        lookup = AccountLookup(client, look_ups(id_type), chance, patient=True)
        for start in range(0, len(asked), IDS_AT_ONCE):
            some = asked[start : start + IDS_AT_ONCE]
            found = await lookup.find_all(some, WorkerStatus())
            if found is None and not lookup.control.lost:
                raise _halted(id_type, f"failed ({lookup.failed})")
            if found is None or (found.empty and not lookup.control.proven):
                raise _halted(id_type, "find no account at all, also none that the API lists, or it lists none")
            if found.unproven:
                raise _halted(id_type, _unproven_text(found.unproven, lookup.look_ups.misread))
            if loose := [id_ for id_, account in found.accounts.items() if not account.certain]:
                other = f"return another account for {_named(loose)}, or one that writes the id in another way"
                raise _halted(id_type, other)
            records = [record for account in found.accounts.values() for record in account.records]
            if why := untold([of_run.says_ids(record) for record in records]):
                raise _halted(id_type, f"find accounts, but {why} ({name})")
            for account in found.accounts.values():
                own = [id_ for record in account.records for id_ in of_run.ids_of(record)]
                ids.update(dict.fromkeys(own))
                accounts += 1
                without += not own
            lookup.control.note_known(found.accounts)
            not_found += [id_ for id_ in some if id_ not in found.accounts]
    if accounts and not ids:
        raise Halted(
            f"--exclude: none of the {accounts:,} accounts that were looked up has an id of the type {name}, so the "
            f"exclude files would protect no account. Nothing was sent. Write the exclude files in {name}"
        )
    return LookedUp(protected.plus(ids), tuple(ids), accounts, without, tuple(not_found))


def _unproven_text(ids: Collection[str], misread: Misread) -> str:
    """Why nothing is known of these ids."""
    return (
        f"find no account of {_named(ids)} with {misread.mark}, which proves nothing. A server may read such an id as "
        f"{misread.why}"
    )


def _named(ids: Collection[str]) -> str:
    """How many ids there are. They are named only where a person sees it."""
    return counted(len(ids), "id") + (f" ({first_of(sorted(ids), NAMED_MAX)})" if has_terminal() else "")


def _halted(id_type: str, why: str) -> Halted:
    return Halted(
        f"--exclude: look-ups by {id_type} {why}. So it is not known which accounts the exclude files protect. Nothing "
        "was sent. Run the same command again. If that does not help, write these ids as the API shows them, or ids of "
        "the type of the export"
    )
