"""What must hold of a deletion: at every request, at every entry that becomes safe, and at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import orjson

from bulkdel.core.decision import Request
from bulkdel.core.retry import RETRY_MAX_S
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, READ_PATH
from tests import second_reader
from tests.recorded import MAY_LAG
from tests.simulation.clock import EPOCH
from tests.simulation.drawing import Drawn
from tests.simulation.ids import account_key, row_key
from tests.simulation.run_promises import SLACK_S, UNKNOWN_CODE, RunPromises, numbers
from tests.simulation.safe import RELEASED, SafeCopies, SafeLog
from tests.simulation.server import Account, Server
from tests.simulation.trace import Trace

OURS = frozenset({"us", "late"})
"""What `deleted_by` says of the program's own deletions."""

CLAIMED = frozenset({"done", "absent"})
"""Outcomes that say: the id is gone. A verification looks these rows up."""

FINDINGS = frozenset({"gone", "recreated", "there"})


class Promises(RunPromises):
    """Watches a run that deletes accounts, and its verification."""

    names: Mapping[str, str] = MappingProxyType({"done": "deleted"})

    def __init__(self, drawn: Drawn, server: Server, trace: Trace, now: Callable[[], float], folder: Path) -> None:
        super().__init__(len(drawn.rows), trace, now, folder)
        self._drawn = drawn
        self._server = server
        self._rows = {row_key(drawn.id_type, id_): at for at, id_ in reversed(list(enumerate(drawn.rows)))}
        kept = (*drawn.excluded, *([drawn.owner] if drawn.owner else []))
        self._kept = frozenset(map(self._key, kept))
        self._guarded = False
        self.copies = SafeCopies(packed=False)
        self.findings = SafeLog()
        self.again: set[str] = set()

    def guard(self, *, guarded: bool) -> None:
        """Whether the next session spares accounts."""
        self._guarded = guarded

    def may_wait(self, why: str, lag_s: float) -> bool:
        """See `RunPromises`. With a clock that is set back, look-ups may lag for as much longer."""
        return super().may_wait(why, lag_s) or (self._drawn.set_back and MAY_LAG in why)

    # --- at every request ---

    def changed_rows(self, request: Request) -> Sequence[int | str] | None:
        """See `RunPromises`."""
        if request.path != DELETE_PATH:
            return None
        return [self._rows.get(row_key(self._drawn.id_type, id_), id_) for id_ in _ids_of(request)]

    def check(self, request: Request, pid: int) -> None:
        """A deletion reaches no account that is kept or spared, and none without its copy."""
        del pid
        if request.path != DELETE_PATH:
            return
        for id_ in _ids_of(request):
            if self._key(id_) in self._kept:
                self.note_wrong(f"{id_} is sent, which was not meant")
            account = self._server.alive(id_)
            if self._drawn.backup and account is not None and account.user_id not in self.copies.users:
                self.note_wrong(f"{id_} is sent before its copy is safe")
            if self._guarded and account is not None and self._spared(account, self._now() - RETRY_MAX_S - SLACK_S):
                self.note_wrong(f"{id_} is sent, and a guard spares its account: {account}")

    def asked_rows(self, request: Request) -> list[int]:
        """The rows that a request looks up."""
        if request.path != READ_PATH:
            return []
        keys = (row_key(self._drawn.id_type, value) for name, value in request.query if name == "userIds")
        return [self._rows[key] for key in keys if key in self._rows]

    def proves_untouched(self, code: int | None, rows: int) -> bool:
        """See `RunPromises`."""
        return super().proves_untouched(code, rows) or (code == UNKNOWN_CODE and rows == 1)

    def request_words(self, request: Request) -> str:
        """See `RunPromises`."""
        if request.path == READ_PATH:
            return f"look up rows {numbers(self.asked_rows(request))}"
        rows = self.changed_rows(request)
        return request.path if rows is None else f"delete rows {numbers(rows)}"

    # --- at every entry that becomes safe ---

    def copies_are_safe(self, data: bytes, again: bool) -> None:
        """More of the backup is safe."""
        del again
        self.copies = SafeCopies(packed=str(self._drawn.backup).endswith(".gz"))
        self.copies.read(data)

    def findings_are_safe(self, data: bytes, again: bool) -> None:
        """More of the verification's log is safe. Each finding is true."""
        if again:
            self.findings = SafeLog()
        for finding, rows in self.findings.follow(data):
            if again:
                continue
            self._trace.note(f"  safe: {finding} {numbers(rows)}")
            for at in rows:
                if finding in FINDINGS and finding != (true := self._true_finding(self._drawn.rows[at])):
                    self.note_wrong(f"row {at} ({self._drawn.rows[at]}) is found {finding}, and is {true}")

    # --- after every session ---

    def keys_ahead(self) -> set[str]:
        """The accounts of rows that are not sent yet. A newer account with such an id is deleted, as the user knows."""
        rows = enumerate(self._drawn.rows)
        return {self._key(id_) for at, id_ in rows if self.log.rows.get(at, RELEASED) == RELEASED}

    def settled(self) -> bool:
        """Whether every row is settled, but those whose absence no look-up can prove."""
        rows = enumerate(self._drawn.rows)
        return all(at in self.log.kinds or self._never_proven(id_) for at, id_ in rows)

    def claims(self) -> bool:
        """Whether the log calls a row gone, so that there is something to verify."""
        return not CLAIMED.isdisjoint(self.log.kinds.values())

    def _never_proven(self, id_: str) -> bool:
        """Whether look-ups can never show that this id is absent: it has a comma."""
        control = any("," in stranger for stranger in self._drawn.strangers)
        return "," in id_ and (self._drawn.customs.commas == "each" or not control)

    # --- at the end ---

    def judge(self, log: Path) -> None:
        """Hold every row against the server, and every account that was deleted against what was meant."""
        self.judge_rows(log)
        meant = {self._key(id_) for id_ in self._drawn.rows} - self._kept
        for account in self._server.every():
            if account.deleted_by not in OURS:
                continue
            if account.key not in meant or self._server.accounts[account.key][0] is not account:
                self.note_wrong(f"{account} was deleted, which was not meant")
            if self._drawn.backup and account.user_id not in self.copies.users:
                self.note_wrong(f"{account} was deleted, and the backup has no copy")

    def judge_rows(self, log: Path, *, may_remain: bool = False) -> None:
        """Hold every row against the server. may_remain: the run has not come to its end."""
        try:
            ends = second_reader.read(log).ends
        except second_reader.Refused as error:
            self.note_wrong(f"the second reader refuses the log: {error}")
            return
        words = {mark[0]: word for word, mark in second_reader.MARKS.items()}
        reasons = _reasons(log)
        for at, id_ in enumerate(self._drawn.rows):
            word = words.get(ends[at], "remaining")
            may_be = [*self._true_outcomes(at, id_, reasons.get(at)), *(["remaining"] if may_remain else [])]
            if word not in may_be:
                accounts = self._server.accounts.get(self._key(id_))
                self.note_wrong(f"row {at} ({id_}) is {word} {reasons.get(at)}, may be {may_be}: {accounts}")

    def judge_findings(self, log: Path) -> None:
        """Hold the findings of a whole verification against the server."""
        try:
            found = second_reader.read(log).found
        except second_reader.Refused as error:
            self.note_wrong(f"the second reader refuses the findings: {error}")
            return
        for at, id_ in enumerate(self._drawn.rows):
            finding = next((name for name, rows in found.items() if at in rows), None)
            true = self._true_finding(id_) if self.log.kinds.get(at) in CLAIMED else None
            # An empty response about a comma proves nothing, and no date says which of two accounts is the younger one.
            open_too = true is not None and ("," in id_ or (true != "gone" and self._drawn.reusable))
            if finding != true and not (finding is None and open_too):
                accounts = self._server.accounts.get(self._key(id_))
                self.note_wrong(f"row {at} ({id_}) was found {finding}, and is {true}: {accounts}")

    def _true_finding(self, id_: str) -> str:
        """What a verification has to find of an id that the log calls gone."""
        first, alive = self._server.first(id_), self._server.alive(id_)
        return "gone" if alive is None else "there" if alive is first else "recreated"

    def _true_outcomes(self, at: int, id_: str, reason: str | None) -> Sequence[str]:
        """What a row may end as."""
        drawn, key = self._drawn, self._key(id_)
        first = self._rows[row_key(drawn.id_type, id_)]
        if key in self._kept:
            return ("excluded",) if first == at else ("excluded", "duplicate")
        if first != at:
            return ("duplicate",)
        account = self._server.first(id_)
        gone = account is None or account.deleted_at is not None
        by = account.deleted_by if account is not None else ""
        ours = by in OURS
        # A phone number with and without its country code are two rows of one account: one of them comes second.
        second = ours and any(self._key(row) == key for row in drawn.rows if row != id_)
        unknown = drawn.customs.unknown
        found = []
        # A request that was given up may have its effect after the row was spared.
        if self._drawn.guards and account is not None and by != "us" and self._spared(account, self._now()):
            found.append("excluded")
        if gone and (ours or drawn.maybe_applied or unknown == "accept"):
            found.append("done")
        if gone and (not ours or second or (reason == "unproven" and unknown == "partial")):
            found.append("absent")
        if by != "us" and (key in drawn.customs.poisonous or drawn.unsuccessful):
            found.append("refused")
        if (by == "others" or second) and unknown in ("refuse", "partial") and drawn.lagging:
            found.append("refused")  # the API calls it unknown, and a look-up that lags still finds it
        if ours and unknown == "partial" and drawn.lagging and drawn.options["chunk_size"] > 1:
            found.append("refused")  # the same, after a request that deletes some and calls another one unknown
        if ours and drawn.unclear_again:
            found.append("refused")  # its second response that says nothing clear counts as a refusal
        # A blind sample has no createdAt, and an account as young as the run may then be another one.
        young = key in map(self._key, drawn.young) and any(session.weather.goes_blind for session in drawn.sessions)
        if drawn.reusable and (key in self.again or drawn.clocks_apart or young):
            found.append("unknown")
        if self._never_proven(id_):
            found.append("remaining")
        return found

    def _spared(self, account: Account, now: float) -> bool:
        """Whether a guard of this run spares an account. now: seconds since the world began."""
        name, _, date = self._drawn.guards["spare"][0].partition("=")
        at = datetime.fromisoformat(date).timestamp()
        if name == "created-after":
            return self._server.created_at(account) > at
        seen = account.last_sign_in(EPOCH + now)
        return seen is not None and seen >= at

    # --- words ---

    def _key(self, id_: str) -> str:
        return account_key(self._drawn.id_type, id_)


def _ids_of(request: Request) -> list[str]:
    ids: list[str] = orjson.loads(request.body or b"")["userIds"]
    return ids


def _reasons(log: Path) -> dict[int, str]:
    """The reason of each row's outcome."""
    found: dict[int, str] = {}
    for line in log.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"}\n"):
            break  # a torn tail: the last session could not write its end
        for entry in orjson.loads(line)["entries"]:
            for start, stop in entry.get("ranges", ()):
                found.update(dict.fromkeys(range(start, stop), str(entry.get("reason"))))
    return found
