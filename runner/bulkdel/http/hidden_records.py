"""Which records a look-up by their keys may not have found, although their accounts are there. See `core.absence`.

A key proves something when every server reads it alike, or when a look-up finds a listed account whose key has the same
characters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bulkdel.http.client import WorkerStatus
from bulkdel.http.pages import Reader
from bulkdel.job import LookUps

CONTROLS_MAX = 3  # accounts with one character that are looked up; one that is found suffices


async def hidden_records(
    reader: Reader, look_ups: LookUps, missing: Sequence[str], worker: WorkerStatus, *, created: bool
) -> frozenset[str] | None:
    """Those of `missing`, of which no key was found, that the look-up may not have found; None when a request failed.

    look_ups: those of the records. created: whether this run has created accounts. If not, an empty list of accounts
    says that nothing can be hidden.
    """
    kinds = [(own, keys) for _, own, keys in look_ups.by_kind(missing)]
    hidden = set(missing)
    for own, keys in kinds:
        hidden -= {id_ for id_, key in keys.items() if not (own.may_split(key) or own.marks(key))}
    for own, keys in kinds:
        asked = {id_: key for id_, key in keys.items() if id_ in hidden and not own.may_split(key)}
        if asked:
            unread = await _unread_marks(reader, own, asked.values(), worker, created=created)
            if unread is None:
                return None
            hidden -= {id_ for id_, key in asked.items() if unread.isdisjoint(own.marks(key))}
    return frozenset(hidden)


async def _unread_marks(
    reader: Reader, look_ups: LookUps, missing: Collection[str], worker: WorkerStatus, *, created: bool
) -> set[str] | None:
    """The marks of some keys of one kind with which no listed account is found; None when a request failed."""
    listed = await reader.items(look_ups.control(), look_ups.read_control, worker, some=True)
    if listed is None:
        return None
    unread = set[str]().union(*map(look_ups.marks, missing))
    if not listed.items and not created:
        return set()
    for mark in sorted(unread):
        controls = [key for key in listed.items if mark in look_ups.marks(key) and key not in missing]
        for key in _spread(controls) if mark in unread else ():
            found = await reader.items(look_ups.calls([key])[0][1], look_ups.read, worker, [key])
            if found is None:
                return None
            account = look_ups.match([key], found.items)[0].get(key)
            if account is not None and account.certain:
                unread -= look_ups.marks(key)
                break
    return unread


def _spread(keys: Sequence[str]) -> Iterable[str]:
    """A few of them, from the whole list: the first ones may be new, and look-ups lag."""
    return keys[:: -(-len(keys) // CONTROLS_MAX) or 1]
