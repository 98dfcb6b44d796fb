"""The strategy where ids are acted on: an id is looked up, compared with the guards, and sent as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bulkdel.core.account_match import Instant, Presence, Sampled, presences
from bulkdel.core.chunk_state import ChunkState, Evidence, Found, LookUp
from bulkdel.core.guards import Spared
from bulkdel.core.id_rules import IdRules
from bulkdel.core.record import Chunk, Record
from bulkdel.core.redaction import IdRedactor
from bulkdel.engine.session_context import SessionContext
from bulkdel.engine.strategy import WITHOUT_ROW, Strategy
from bulkdel.errors import Halted
from bulkdel.http.account_reader import LookupResult
from bulkdel.http.client import WorkerStatus
from bulkdel.job import Account


class IdStrategy(Strategy):
    """How the ids of one chunk are looked up and sent."""

    def __init__(self, chunk: Chunk, worker: WorkerStatus, context: SessionContext) -> None:
        super().__init__(chunk, worker, context)
        self._uncontrolled: set[str] = set()  # ids that were not found while there was no control
        # A server that reads an id otherwise in the path of the request would do the action to another account.
        first = context.look_first or bool(self.in_path)
        rules = IdRules(
            absence_reaches=context.job.target_state.absence_reaches,
            # Without a look-up these ids are not sent again: protected ones, and those to look up or to copy first.
            resend_unproven=(context.in_doubt_resend or not context.id_type.reusable)
            and not (chunk.protected or first),
            several_requests=context.several_requests,
        )
        possible = context.lookup.look_ups.possible
        self.state = ChunkState(
            chunk, rules, look_first=first, can_look_up=possible, old_doubt=self._old_doubt, to_check=context.to_check
        )

    async def look_up(self, step: LookUp, intent_at: Instant | None) -> Evidence | None:  # noqa: ARG002 - of creations
        """See `Strategy`. Notes why an account is spared; raises Halted when it lacks what a guard compares."""
        context, records, ids, began = self._context, step.records, step.records.ids, self._context.clocks()
        looked = await context.lookup.find_proven(ids, self._worker)
        if looked is None:
            return None
        accounts = looked.accounts
        protected = {one.id for one in records if one.id in accounts and self._spares(one, accounts[one.id])}
        for kept in (self.unproven, self._uncontrolled, self.loose):
            kept.difference_update(ids)
        self.unproven |= looked.unproven
        if context.lookup.control.uncontrolled:
            self._uncontrolled.update(looked.empty)
        if context.guards or context.backup is not None:
            # The server found this account by a rule of its own. The action may reach another one, which a guard spares
            # or of which there is no copy.
            loose = {id_: one for id_, one in accounts.items() if not one.certain and id_ not in protected}
            accounts = {id_: one for id_, one in accounts.items() if id_ not in loose}
            self.loose.update(loose)
        if context.backup is not None:
            self.accounts.update(accounts)
        found = self._presences(accounts, looked, ids, protected)
        self.seen_at.update(dict.fromkeys(found, began))
        return Evidence(
            found,
            proven=context.lookup.control.proven,
            unproven=self.unproven | self._uncontrolled | self.loose,
            misread=(self.unproven & self.in_path) | self.loose,
        )

    def has_lagged(self, step: LookUp, found: Found) -> bool:
        """Whether an account that was there is gone now."""
        return len(found) < sum(record.id not in self.loose for record in step.records)

    def redactor(self, ids: Sequence[str]) -> IdRedactor:
        """See `Strategy`."""
        return IdRedactor(self._context.lookup.look_ups.texts(ids))

    def _presences(
        self, accounts: dict[str, Account], looked: LookupResult, ids: Sequence[str], protected: set[str]
    ) -> dict[str, Presence]:
        """What each account that a look-up has returned is to the row. protected: those that are never sent."""
        context, now, since = self._context, self._context.now(), None
        if self._chunk.doubt is not None:
            since = self._chunk.doubt.since
        missing = sum(id_ not in looked.accounts for id_ in ids)
        compare = partial(
            presences,
            {id_: account.created_at for id_, account in accounts.items()},
            missing - len(looked.unproven),
            since or now,
            Sampled.from_json(context.log.progress.header.sample),
            now,
            reusable=context.id_type.reusable and since is not None,
        )
        found = compare(resend=False)
        if context.in_doubt_resend and not self._chunk.protected:  # a protected id is not sent again
            found |= {id_: each for id_, each in compare(resend=True).items() if id_ not in protected}
        sent = since is not None or self.state.requests > 0
        for id_, each in found.items():
            # An account that was sent, and is in the target state, is settled, even if it is protected since.
            if accounts[id_].reached and each is not Presence.NEW and (sent or id_ not in protected):
                found[id_] = Presence.REACHED
            elif id_ in protected and each is Presence.OLD:
                found[id_] = Presence.PROTECTED
        return found

    def _spares(self, record: Record, account: Account) -> bool:
        """Whether an account that a look-up has found is never sent. Notes why.

        Raises Halted when its record lacks what a guard compares.
        """
        context = self._context
        self.spared.pop(record.id, None)
        if context.protects(account.ids):
            if context.administrator.meets_any(account.ids):
                self.spared[record.id] = Spared.ADMINISTRATOR
            return True
        judged = context.guards.judge(account.facts)
        if (guard := judged.missing) is not None:
            lacking = f"{guard.words} that can be read ({context.lookup.look_ups.fields.get(guard.fact, guard.fact)})"
            noun = context.job.words.noun
            raise Halted(
                f"row {record.position} (counted from 0): the {noun} that a look-up returned has no {lacking}, "
                f"and {guard.option} needs it. The chunk was not sent. {WITHOUT_ROW}"
            )
        if judged.spared is not None:
            self.spared[record.id] = judged.spared
        return judged.spared is not None
