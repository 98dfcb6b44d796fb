"""Records that a look-up by their keys may have missed, although their accounts exist. See `core.absence`.

The absence of a key is proven when every server reads the key alike, or when a look-up finds another account that has a
key with the same characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from bulkdel.core.absence import CAPITAL
from bulkdel.http.client import WorkerStatus
from bulkdel.http.page_reader import PageReader, spread
from bulkdel.job import ByKeys, LookUps

MARK_CONTROLS_MAX = 3  # accounts whose id or key has one character that may be misread; one that is found suffices


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
