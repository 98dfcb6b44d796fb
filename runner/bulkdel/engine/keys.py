"""A chunk of accounts that are created: what its look-ups and responses show of their keys (e-mail, phone, ...).

`core.creation_state` decides what follows. `core.account_match.creation` judges the accounts that are found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkdel.core.account_match import Created, Instant, Presence, creation
from bulkdel.core.chunk_state import Found
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.record import Record, Records
from bulkdel.job import Account, Job, LookUps

GONE_AFTER = 3
"""Rows that the API refuses with a part and takes without it, after which the part counts as gone."""


@dataclass(slots=True)
class KeysInHand:
    """The keys of one chunk.

    job: whose records they are. look_ups: those of its records. brief: those by one key of each.
    free: ids of the records whose keys this session has seen to be free.
    seen: by id, what the log has to say of a row besides its outcome: `made`, the id that the API gave; a `reason`,
    when a part of the row is missing in the account; in `detail`, the keys that are taken.
    left_out: by id, what is left out of a row because the API refused it in other rows.
    """

    job: Job
    look_ups: LookUps
    brief: LookUps
    left_out: dict[str, str] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judged(
        self, ids: Sequence[str], accounts: Mapping[str, Account], moment: Instant | None, now: Instant
    ) -> Found:
        """Judge the accounts that a look-up of these records has found. moment: of the intent, as `creation` has it."""
        found: dict[str, Presence] = {}
        for id_, account in accounts.items():
            seen = Created(account.created_at, account.same, account.before, id_ in self.free)
            found[id_] = creation(seen, moment, now)
            if found[id_] is Presence.REACHED:
                self._note(id_, account)
            else:
                self.seen[id_] = {"detail": {"taken": ", ".join(account.shared)}}
        self.free.update(id_ for id_ in ids if id_ not in accounts)
        return found

    def created(self, ids: Sequence[str], decision: Decision) -> Decision:
        """Read which of these records a creation has created: an answer about each id."""
        accounts, _ = self.look_ups.match(ids, decision.data)
        made: dict[str | None, str] = {}
        for id_, account in accounts.items():
            if account.certain and account.made is not None and account.made not in made:
                made[account.made] = id_
                self._note(id_, account)
        answers = [IdAnswer(id_, Verdict.SETTLED, decision.detail) for id_ in made.values()]
        return decision._replace(next_step=NextStep.PER_ID, data=answers)

    def reduced(self, records: Records, refused: Mapping[str, int]) -> Records:
        """The records as they are sent: without the parts that do not exist any more.

        refused: in how many rows the API has refused a part (`Reduction.part`).
        """
        if not (gone := {part for part, rows in refused.items() if rows >= GONE_AFTER}):
            return records
        reduced = [_without(record, self.job, gone) for record in records]
        self.left_out |= {record.id: lost for record, lost in reduced if lost}
        return Records.of(record for record, _ in reduced)

    def _note(self, id_: str, account: Account) -> None:
        lost = self.left_out.get(id_) or account.lost
        self.seen[id_] = {"made": account.made, **({"reason": f"without {lost}"} if lost else {})}


def keys_in_hand(job: Job, look_ups: LookUps | None, records: Records) -> KeysInHand | None:
    """The keys of the records of a chunk, for a job that creates accounts; None for any other job."""
    if not job.target_state.created or look_ups is None:
        return None
    return KeysInHand(job, look_ups.for_records(records), look_ups.for_records(records, one_key=True))


def _without(record: Record, job: Job, gone: Collection[str]) -> tuple[Record, str]:
    """A record without these parts, and what was left out."""
    lost: dict[str, None] = {}
    while (reduction := next((each for each in job.reductions(record) if each.part in gone), None)) is not None:
        record = record._replace(payload=reduction.payload)
        lost[reduction.lost] = None
    return record, " and ".join(lost)
