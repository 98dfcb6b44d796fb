"""Which accounts the restores of a run have made: their logs have the new ids. Blocks, and sends nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.core.log_entries import MADE, Outcome
from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import RunState
from bulkdel.errors import NotAcceptable
from bulkdel.job import Account, Job, LookUps, NoLookUps, Target, load_job
from bulkdel.place.opening import log_place
from bulkdel.run_place import restore_place


class Restored(NamedTuple):
    """The restores of a run. A log counts if this user has begun its latest session on this machine.

    places: those in the place of the run. pinned: pool and job of each of them. look_ups: they read the ids that
    the API has given to its accounts. key: of this user; without one no log counts.
    """

    places: Sequence[Path] = ()
    pinned: Mapping[str, str] = {}
    look_ups: LookUps = NoLookUps()
    key: bytes | None = None

    @classmethod
    def of(cls, run: Path, progress: RunState, job: Job, target: Target, key: bytes | None) -> Restored:
        """The restores that the log of the run notes."""
        if not progress.back or job.undo is None:
            return cls()
        undo = load_job(job.undo)
        return cls(
            [restore_place(run, number) for number in progress.back],
            {"pool": progress.header.pinned["pool"], "job": undo.name},
            target.look_ups(job.id_types[undo.id_type_default]),
            key,
        )

    def own_ids(self, account: Account) -> tuple[str, ...]:
        """The id that the API has given to each record of the account; empty when a record does not have its id."""
        ids = [self.look_ups.ids_of(record) for record in account.records]
        return tuple(each[0] for each in ids) if all(ids) else ()

    def made(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that a restore has made. Reads each log once, in flat memory. A damaged one has none."""
        return set[str]().union(*(self._made_in(place, ids) for place in self.places))

    def _made_in(self, place: Path, ids: Collection[str]) -> set[str]:
        found = set[str]()
        with suppress(NotAcceptable), reading(log_place(place), RUN) as reader:
            for progress, entries in reader.folding():  # noqa: B007 - the last one counts
                for entry in entries:
                    if isinstance(entry, Outcome):
                        found.update(each[MADE] for each in entry.exceptions if each.get(MADE) in ids)
            if mac_holds(progress.start, self.key) and self.pinned.items() <= progress.header.pinned.items():
                return found
        return set()


NOT_RESTORED = Restored()
