"""What must hold: at every request, at every entry that becomes safe, after every session, and at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import orjson

from bulkdel.core.decision import NoResponse, Request, Response
from bulkdel.core.retry import RETRY_MAX_S, http_date_s
from bulkdel.http.rate_limiter import BURST_SHARE, CHANGE_S
from bulkdel.library import Summary
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, READ_PATH
from tests import second_reader
from tests.simulation.drawing import EPOCH, Drawn, Session
from tests.simulation.ids import account_key, row_key
from tests.simulation.safe import RELEASED, SENT, STARTED, SafeCopies, SafeLog
from tests.simulation.server import Account, Server
from tests.simulation.trace import Trace

PAUSE_S = 3.0
"""The pause after a 429 that names none."""

SLACK_S = 1e-3

UNTOUCHED_CODES = frozenset({401, 429})
"""Responses that prove that the request had no effect."""

UNKNOWN_CODE = 404
"""A response that proves it for a request with one id."""

OURS = frozenset({"us", "late"})
"""What `deleted_by` says of the program's own deletions."""

OUTCOMES = frozenset({"done", "absent", "refused", "unknown"})
CLAIMED = frozenset({"done", "absent"})
"""Outcomes that say: the id is gone. A verification looks these rows up."""

FINDINGS = frozenset({"gone", "recreated", "there"})


class Promises:
    """Watches one run. wrong: what must not have happened.

    now: seconds since the world began. quiet: the machine is off, and the program's last steps do not count.
    no_deletion_from: the time from which on no deletion may leave, because the run was drained.
    guarded: whether this session spares accounts.
    """

    def __init__(self, drawn: Drawn, server: Server, trace: Trace, now: Callable[[], float]) -> None:
        self._drawn = drawn
        self._server = server
        self._trace = trace
        self._now = now
        self._rows = {row_key(drawn.id_type, id_): at for at, id_ in reversed(list(enumerate(drawn.rows)))}
        kept = (*drawn.excluded, *([drawn.owner] if drawn.owner else []))
        self._kept = frozenset(map(self._key, kept))
        self._pace = Pace(0.0)
        self._on_wire: dict[int, list[int]] = {}
        self._maybe_applied: set[int] = set()
        self._settled_before: int | None = None  # in this session; None until its start entry is safe
        self._session = Session()
        self.log = SafeLog()
        self.copies = SafeCopies(packed=False)
        self.findings = SafeLog()
        self.again: set[str] = set()
        self.quiet = self.guarded = self.paused = False
        self.no_deletion_from = float("inf")
        self.wrong: list[str] = []

    def note_wrong(self, what: str) -> None:
        """Note what must not have happened."""
        if not self.quiet:
            self._trace.note(f"WRONG: {what}")
            self.wrong.append(f"{self._now():.3f} s: {what}")

    def begin(self, session: Session) -> None:
        """A session begins."""
        self._session, self._settled_before = session, None
        self.quiet = self.paused = False
        self.no_deletion_from, self._rate = float("inf"), self._drawn.options["rate"]

    def connect(self) -> None:
        """The program opens a way to the server, with a rate limiter of its own."""
        self._pace = Pace(self._rate)

    def change_rate(self, rate: float) -> None:
        """The session is told another rate."""
        self._rate = rate
        self._pace.changed(rate, self._now())

    # --- at every request ---

    def sent(self, request: Request) -> None:
        """A request leaves: within the rate, in no pause; a deletion after its intent and its copies."""
        if self.quiet:
            return
        self._trace.note(f"→ {self._words(request)}")
        if self.paused:
            self.note_wrong("a request left while the run was paused")
        if (broken := self._pace.sent(self._now())) is not None:
            self.note_wrong(broken)
        if request.path != DELETE_PATH:
            return
        if self._now() > self.no_deletion_from + SLACK_S:
            self.note_wrong("a deletion left after the run was drained")
        ids = _ids_of(request)
        for id_ in ids:
            at = self._rows.get(row_key(self._drawn.id_type, id_))
            if at is None or self._key(id_) in self._kept:
                self.note_wrong(f"{id_} is sent, which was not meant")
            elif (state := self.log.rows.get(at)) != SENT:
                self.note_wrong(f"row {at} ({id_}) is sent, and its safe state is: {state}")
            account = self._server.alive(id_)
            if self._drawn.backup and account is not None and account.user_id not in self.copies.users:
                self.note_wrong(f"row {at} ({id_}) is sent before its copy is safe")
            if self.guarded and account is not None and self._spared(account, self._now() - RETRY_MAX_S - SLACK_S):
                self.note_wrong(f"row {at} ({id_}) is sent, and a guard spares its account: {account}")
        fresh = [at for at in self._rows_of(ids) if at not in self._maybe_applied]
        self._maybe_applied.update(fresh)
        self._on_wire[id(request)] = fresh

    def answered(self, request: Request, response: Response | NoResponse) -> None:
        """The response arrives, or the program gives the request up."""
        self._trace.note(f"← {_words_of(response)}")
        code = _code(response)
        if isinstance(response, Response) and code == 429:
            self._pace.throttled(self._now(), response)
        untouched = code in UNTOUCHED_CODES or (isinstance(response, NoResponse) and not response.sent)
        if code == UNKNOWN_CODE and request.path == DELETE_PATH:
            untouched = len(_ids_of(request)) == 1
        fresh = self._on_wire.pop(id(request), [])
        if untouched:
            self._maybe_applied.difference_update(fresh)

    # --- at every entry that becomes safe ---

    def log_is_safe(self, data: bytes, again: bool) -> None:
        """More of the log is safe. again: other bytes than before; they are read from the beginning."""
        if again:
            self.log = SafeLog()
        for state, rows in self.log.follow(data):
            if state == STARTED:
                self._settled_before = self._settled()  # a resume may make entries of the session before safe
            if again:
                continue
            self._trace.note(f"  safe: {state} {_numbers(rows)}")
            if state == RELEASED and (applied := self._maybe_applied.intersection(rows)):
                self.note_wrong(f"rows {_numbers(applied)} are released, and a request for them may have been applied")

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
            self._trace.note(f"  safe: {finding} {_numbers(rows)}")
            for at in rows:
                if finding in FINDINGS and finding != (true := self._true_finding(self._drawn.rows[at])):
                    self.note_wrong(f"row {at} ({self._drawn.rows[at]}) is found {finding}, and is {true}")

    # --- after every session ---

    def check_summary(self, summary: Summary) -> None:
        """The summary counts what is safe, --limit holds, and a session in which nothing goes wrong settles all."""
        safe, names = Counter(self.log.kinds.values()), {"deleted": "done"}
        for name, count in summary.counts.items():
            if name != "remaining" and count != safe[names.get(name, name)]:
                self.note_wrong(f"the summary has {dict(summary.counts)}, safe is {dict(safe)}")
                return
        if sum(summary.counts.values()) != len(self._drawn.rows):
            self.note_wrong(f"{dict(summary.counts)} do not add up to {len(self._drawn.rows)}")
        if self._session.end == "limit" and self._settled_before is not None:  # a complete run is not started again
            settled = self._settled() - self._settled_before
            if settled > self._session.at:
                self.note_wrong(f"{settled} ids were settled with --limit {self._session.at}")
        if self._session.calm and not self.settled():
            self.note_wrong(f"nothing went wrong but a lag, and not all is settled: {summary.why}")

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

    def _settled(self) -> int:
        return sum(kind in OUTCOMES for kind in self.log.kinds.values())

    def _never_proven(self, id_: str) -> bool:
        """Whether look-ups can never show that this id is absent: it has a comma."""
        control = any("," in stranger for stranger in self._drawn.strangers)
        return "," in id_ and (self._drawn.customs.commas == "each" or not control)

    # --- at the end ---

    def judge(self, log: Path) -> None:
        """Hold every row against the server, and every account that was deleted against what was meant."""
        try:
            ends = second_reader.read(log).ends
        except second_reader.Refused as error:
            self.note_wrong(f"the second reader refuses the log: {error}")
            return
        words = {mark[0]: word for word, mark in second_reader.MARKS.items()}
        reasons = _reasons(log)
        for at, id_ in enumerate(self._drawn.rows):
            word = words.get(ends[at], "remaining")
            may_be = self._true_outcomes(at, id_, reasons.get(at))
            if word not in may_be:
                accounts = self._server.accounts.get(self._key(id_))
                self.note_wrong(f"row {at} ({id_}) is {word} {reasons.get(at)}, may be {may_be}: {accounts}")
        meant = {self._key(id_) for id_ in self._drawn.rows} - self._kept
        for account in self._server.every():
            if account.deleted_by not in OURS:
                continue
            if account.key not in meant or self._server.accounts[account.key][0] is not account:
                self.note_wrong(f"{account} was deleted, which was not meant")
            if self._drawn.backup and account.user_id not in self.copies.users:
                self.note_wrong(f"{account} was deleted, and the backup has no copy")

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
        # A blind sample has no createdAt, and an account as young as the run may then be another one.
        young = key in map(self._key, drawn.young) and any(session.weather.goes_blind for session in drawn.sessions)
        if drawn.reusable and (key in self.again or drawn.clocks_apart or young):
            found.append("unknown")
        if self._never_proven(id_):
            found.append("remaining")
        return found

    def _spared(self, account: Account, now: float) -> bool:
        """Whether a guard of this run spares an account. now: seconds since the world began."""
        guards = self._drawn.guards
        if "spare_created_after" in guards:
            return self._server.created_at(account) > datetime.fromisoformat(guards["spare_created_after"]).timestamp()
        seen = account.last_sign_in(EPOCH + now)
        return seen is not None and seen >= datetime.fromisoformat(guards["spare_active_since"]).timestamp()

    # --- words ---

    def _key(self, id_: str) -> str:
        return account_key(self._drawn.id_type, id_)

    def _rows_of(self, ids: Iterable[str]) -> list[int]:
        keys = (row_key(self._drawn.id_type, id_) for id_ in ids)
        return [self._rows[key] for key in keys if key in self._rows]

    def _words(self, request: Request) -> str:
        if request.path == DELETE_PATH:
            return f"delete rows {_numbers(self._rows_of(_ids_of(request)))}"
        if request.path == READ_PATH:
            asked = [value for name, value in request.query if name == "userIds"]
            return f"look up {len(asked)} ids, rows {_numbers(self._rows_of(asked))}"
        return request.path


class Pace:
    """When requests may leave: one rate limiter, watched from outside."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._holds_from = self._open_at = float("-inf")
        self._lowest = float("inf")
        self._requests = 0

    def changed(self, rate: float, now: float) -> None:
        """Another rate, which holds within CHANGE_S. What leaves until then is not counted."""
        self._rate, self._holds_from = rate, now + CHANGE_S
        self._requests, self._lowest = 0, float("inf")

    def throttled(self, now: float, response: Response) -> None:
        """A 429 arrives. The longest pause counts."""
        pause_s = PAUSE_S
        if (header := response.retry_after) is not None:
            until, date = http_date_s(header), http_date_s(response.date or "")
            pause_s = float(header) if header.isdigit() else 0.0 if until is None or date is None else until - date
        self._open_at = max(self._open_at, now + pause_s)

    def sent(self, now: float) -> str | None:
        """A request leaves. Returns what is wrong with that."""
        self._requests += now >= self._holds_from
        if now < self._open_at - SLACK_S:
            return f"a request left {self._open_at - now:.3f} s before the end of the pause after a 429"
        if not self._rate or now < self._holds_from:
            return None
        # At most rate * W + 1 + 2 * BURST_SHARE * rate in any window W; here in all windows that end now.
        level = self._requests - self._rate * now
        self._lowest = min(self._lowest, level - 1)
        beyond = level - 1 - self._lowest - 2 * BURST_SHARE * self._rate
        too_many = beyond > SLACK_S * self._rate
        return f"{beyond:.3f} requests beyond the rate of {self._rate:g} a second" if too_many else None


def _ids_of(request: Request) -> list[str]:
    ids: list[str] = orjson.loads(request.body or b"")["userIds"]
    return ids


def _code(response: Response | NoResponse) -> int | None:
    """The statusCode of a response; None without one."""
    if isinstance(response, NoResponse):
        return None
    try:
        code: int = orjson.loads(response.body)["statusCode"]
    except ValueError:
        return None
    return code


def _words_of(response: Response | NoResponse) -> str:
    if isinstance(response, NoResponse):
        return f"no response: {response.reason}"
    again = f", retry after {response.retry_after}" if response.retry_after else ""
    return f"{_code(response) or 'a broken response'}{again}"


def _numbers(rows: Iterable[int]) -> str:
    return " ".join(map(str, sorted(rows)))


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
