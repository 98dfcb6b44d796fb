"""The strategy where accounts are created: records are looked up by their keys, and the answer shows the new account.

A record has keys (e-mail, phone, ...), which no two accounts share. `core.creation_rules` say what follows from a
response or a look-up. `core.creation_match.presence_of_created` judges the accounts that a look-up finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bulkdel.core.account_match import Instant, Presence
from bulkdel.core.chunk_state import ChunkState, Evidence, Found, LookUp, LookUpReason, Send
from bulkdel.core.creation_match import Created, Keys, presence_of_created
from bulkdel.core.creation_rules import CreationRules
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.log_entries import MADE
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.redaction import IdRedactor, RecordRedactor
from bulkdel.engine.creation_context import Creations
from bulkdel.engine.session_context import SessionContext
from bulkdel.engine.strategy import Strategy
from bulkdel.http.account_reader import STRANGER
from bulkdel.http.client import WorkerStatus
from bulkdel.job import Account, ByKeys


class CreationStrategy(Strategy):
    """How the accounts of one chunk are looked up and created.

    noted: `made`: the id that the API gave. `reason`: what the account lacks. `detail`: the keys that are taken.
    """

    def __init__(self, chunk: Chunk, worker: WorkerStatus, context: SessionContext, creations: Creations) -> None:
        super().__init__(chunk, worker, context)
        self._creations, look_ups = creations, creations.look_ups
        self._all_keys = look_ups.for_records(chunk.records)
        self._one_key = look_ups.for_records(chunk.records, one_key=True)  # finds what was created
        self._keys = {key for id_ in chunk.records.ids for key in self._all_keys.keys_of(id_)}
        self._keys_reserved = False  # whether no other chunk in hand has one of these keys
        self._unused: set[str] = set()  # ids of the records whose keys this session has seen to be free
        self._left_out: dict[str, str] = {}  # by id, what is left out of a record because it does not exist any more
        deleted_at = creations.deleted_at
        self._rules = CreationRules(
            creations.reductions,
            looks_again_max=LOOKS_AGAIN_MAX if context.tally.waits_for_lag else 0,
            deletion_lags=deleted_at is not None and not context.lag_is_over(deleted_at),
            resend_unproven=context.in_doubt_resend and not chunk.protected,
        )
        groups = _apart(chunk.records, self._all_keys)
        self.state = ChunkState(chunk, self._rules, groups=groups, look_first=True, old_doubt=self._old_doubt)

    @property
    def _proven(self) -> bool:
        """Whether a look-up that finds nothing shows that the keys are free.

        It does once look-ups have found an account. It also does while the pool lists no account, because all may be
        gone. But when an account may have been created, one has to be listed and found.
        """
        lookup, created = self._context.lookup, self._context.tally.succeeded or self._rules.unanswered(self.state)
        return lookup.control.proven or (lookup.control.none_listed and not created)

    def redactor(self, ids: Sequence[str]) -> IdRedactor:
        """See `Strategy`."""
        return RecordRedactor(self._all_keys.texts(ids))

    def as_sent(self, step: Send) -> Records:
        """Leave out the references that the API has refused in several other records.

        A record that lacks other references already is left as it is.
        """
        if (left_out := self._rules.left_out_of(step.records)) is not None:
            self._left_out |= dict.fromkeys(step.records.ids, left_out.lost)
            return step.records
        if not self._creations.gone:
            return step.records
        reduced = [self._creations.without_gone(record) for record in step.records]
        self._left_out |= {record.id: lost for record, lost in reduced if lost}
        return Records.of(record for record, _ in reduced)

    def accepted(self, step: Send, decision: Decision, intent_at: Instant | None) -> Decision:
        """Read which of the records were created: an answer about each id.

        These give no answer: an account with the keys of two records, two accounts for one record, and an account that
        existed before (an API may return the account that has a key). If the request has one record and the answer one
        account, it is the account of the record, even if it shows none of its keys.
        """
        alone = len(step.records) == len(decision.data) == 1
        moment = intent_at or self._context.now()
        claims = [
            (id_, account)
            for created in decision.data
            for id_, account in self._all_keys.match(step.records.ids, [created])[0].items()
            if (account.certain or alone)
            and account.made is not None
            and account.keys is not Keys.OTHER
            and self._judged(id_, account, moment) in {Presence.REACHED, Presence.UNDATED}
        ]
        ids, made = Counter(id_ for id_, _ in claims), Counter(account.made for _, account in claims)
        created = {id_: account for id_, account in claims if ids[id_] == made[account.made] == 1}
        for id_, account in created.items():
            self._note(id_, account)
        self._creations.note(
            [record for record in step.records if record.id in created], self._rules.left_out_of(step.records)
        )
        answers = [IdAnswer(id_, Verdict.SETTLED, decision.detail) for id_ in created]
        return decision._replace(next_step=NextStep.PER_ID, data=answers)

    def end(self) -> None:
        """Let the keys go."""
        if self._keys_reserved:
            self._creations.reserved.release(self._keys)

    def has_lagged(self, step: LookUp, found: Found) -> bool:
        """An account that was created is there now, or one that was deleted is gone."""
        gone = len(found) < len(step.records)
        return gone if step.why is LookUpReason.FIRST else bool(found)

    async def look_up(self, step: LookUp, intent_at: Instant | None) -> Evidence | None:
        """Wait until no other chunk in hand has one of these keys, and look them up."""
        if not self._keys_reserved:
            await self._creations.reserved.reserve(self._keys)
            self._keys_reserved = True
        context, ids, sent = self._context, step.records.ids, self.state.due.maybe_applied
        # Before a record is sent, any of its keys may be taken. To find a created account one key is enough.
        look_ups = self._all_keys if step.why in {LookUpReason.FIRST, LookUpReason.REFUSED} else self._one_key
        controlled = sent or not context.lookup.control.proven
        looked = await context.lookup.find_keys(
            look_ups, ids, self._worker, prove=self._rules.gives_up(self.state, step.why), controlled=controlled
        )
        if looked is None:
            return None
        self.unproven = set(looked.unproven)
        found: dict[str, Presence] = {}
        for id_, account in looked.accounts.items():
            found[id_] = self._judged(id_, account, intent_at if sent else None)
            if found[id_] in {Presence.REACHED, Presence.NEVER_GONE}:
                self._note(id_, account)
            elif found[id_] is Presence.TAKEN:
                self.noted[id_] = {"detail": {"taken": ", ".join(account.shared)}}
            if not account.certain:
                context.tally.note_uncertain(STRANGER)
        if proven := self._proven:
            self._unused.update(id_ for id_ in ids if id_ not in looked.accounts)
        return Evidence(found, proven=proven, unproven=looked.unproven)

    def _judged(self, id_: str, account: Account, moment: Instant | None) -> Presence:
        """Whether an account is the one that was created from this record. moment: see `presence_of_created`."""
        seen = Created(
            account.created_at,
            keys=account.keys,
            certain=account.certain,
            never_gone=account.never_gone,
            alike=account.alike,
            unused=id_ in self._unused,
        )
        return presence_of_created(seen, moment, self._context.now())

    def _note(self, id_: str, account: Account) -> None:
        """Note the facts of a created account for the log.

        If its record does not show what it lacks, that is what was left out of the request.
        """
        lost = self._left_out.get(id_) if account.lost is None else account.lost
        self.noted[id_] = {MADE: account.made, **({"reason": f"without {lost}"} if lost else {})}


def _apart(records: Records, look_ups: ByKeys) -> Sequence[Records]:
    """Cut records into groups, so that no two in one group may share a key.

    A record without a key is alone in its group: only the answer to its request shows its account.
    """
    groups: list[tuple[list[Record], set[str]]] = []
    for record in records:
        keys = set(look_ups.keys_of(record.id))
        for group, met in groups if keys else ():
            if not met:
                continue
            if met.isdisjoint(keys):
                group.append(record)
                met.update(keys)
                break
        else:
            groups.append(([record], keys))
    return [Records.of(group) for group, _ in groups]
