"""What the chunks of a session share where accounts are created: reserved keys, and references that do not exist."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from bulkdel.core.account_match import Instant
from bulkdel.core.outcome import Reduction
from bulkdel.core.record import Record
from bulkdel.job import FindsCreated, Job

GONE_AFTER = 3
"""After so many records that the API refuses with a reference and accepts without it, the reference counts as gone."""


class ReservedKeys:
    """The keys of the chunks that are in hand, where accounts are created. No two of these chunks share one."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._released = asyncio.Event()

    async def reserve(self, keys: Collection[str]) -> None:
        """Wait until no other chunk has one of these keys, and reserve them."""
        while not self._keys.isdisjoint(keys):
            await self._released.wait()
        self._keys.update(keys)

    def release(self, keys: Collection[str]) -> None:
        """End the reservation of these keys."""
        self._keys.difference_update(keys)
        self._released.set()  # all chunks that wait compare again
        self._released.clear()


@dataclass(slots=True)
class Creations:
    """What the chunks of a session share.

    look_ups: those of the job. deleted_at: when the run that this one undoes settled its last row; None when it undoes
        none.
    reserved: the keys of the chunks in hand.
    refused: by reference, how many records the API has refused with it and accepted without it.
    accepted: references that it has accepted in another record since the first refusal.
    """

    job: Job
    look_ups: FindsCreated
    deleted_at: Instant | None = None
    reserved: ReservedKeys = field(default_factory=ReservedKeys)
    refused: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)

    @property
    def gone(self) -> frozenset[str]:
        """References that count as gone: refused in several records, and accepted in none since."""
        refused = (reference for reference, rows in self.refused.items() if rows >= GONE_AFTER)
        return frozenset(refused) - self.accepted

    def reductions(self, record: Record) -> list[Reduction]:
        """The reductions of a record that the API refuses: first those that leave out references to what is gone."""
        reductions = self.job.reductions(record)
        gone = self.gone.intersection(one for each in reductions for one in each.references)
        return sorted(reductions, key=lambda each: not gone.issubset(each.references))

    def without_gone(self, record: Record) -> tuple[Record, str]:
        """A record without the references that count as gone, and what was left out."""
        lost, gone = list[str](), self.gone
        while possible := [each for each in self.job.reductions(record) if gone.issuperset(each.references)]:
            left_out = max(possible, key=lambda each: len(each.references))
            record = record._replace(payload=left_out.payload)
            lost.append(left_out.lost)
        return record, " and ".join(lost)

    def note(self, created: Collection[Record], left_out: Reduction | None) -> None:
        """Note which references the API has refused, and which it has taken since then. left_out: of the records."""
        if created and left_out is not None:
            self.refused.update(left_out.references)
        for record in created if self.refused else ():
            references = {one for each in self.job.reductions(record) for one in each.references}
            self.accepted |= references - self.gone
