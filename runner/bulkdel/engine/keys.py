"""A chunk of accounts that are created: what its look-ups and responses show of their keys (e-mail, phone, ...).

`core.creation_state` decides what follows. `core.account_match.creation` judges the accounts that are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkdel.core.account_match import Created, Instant, Presence, creation
from bulkdel.core.chunk_state import Found
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.record import Records
from bulkdel.job import Account, Job, LookUps


@dataclass(slots=True)
class KeysInHand:
    """The keys of one chunk.

    look_ups: those of its records. free: ids of the records whose keys this session has seen to be free.
    seen: by id, what the log has to say of a row besides its outcome: `made`, the id that the API gave; a `reason`,
    when a part of the row is missing in the account; in `detail`, the keys that are taken.
    """

    look_ups: LookUps
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

    def _note(self, id_: str, account: Account) -> None:
        lost = {"reason": f"without {account.lost}"} if account.lost else {}
        self.seen[id_] = {"made": account.made, **lost}


def keys_in_hand(job: Job, look_ups: LookUps | None, records: Records) -> KeysInHand | None:
    """The keys of the records of a chunk, for a job that creates accounts; None for any other job."""
    if not job.target_state.created or look_ups is None:
        return None
    return KeysInHand(look_ups.for_records(records))
