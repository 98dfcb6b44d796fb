"""What must hold of a run of any job: at every request, at every entry that becomes safe, and of its summaries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import orjson

from bulkdel.core.decision import NoResponse, Request, Response
from bulkdel.core.retry import http_date_s
from bulkdel.http.rate_limiter import BURST_SHARE
from bulkdel.library import Summary
from tests.recorded import MAY_LAG
from tests.simulation.safe import RELEASED, SENT, STARTED, SafeLog
from tests.simulation.sessions import Session
from tests.simulation.trace import Trace

PAUSE_S = 3.0
"""The pause after a 429 that names none."""

SLACK_S = 1e-3

UNTOUCHED_CODES = frozenset({401, 429})
"""Responses that prove that the request had no effect."""

UNKNOWN_CODE = 404
"""A response that proves it for a request with one id, in a job in which it calls the id unknown."""

OUTCOMES = frozenset({"done", "already", "absent", "refused", "unknown"})


class RunPromises(ABC):
    """Watches one run. A subclass knows its job. wrong: what must not have happened. log: what is safe of the log.

    names: what the summary calls an outcome, by the engine's word, where it has another one.
    now: seconds since the world began.
    """

    names: Mapping[str, str] = MappingProxyType({})

    def __init__(self, rows: int, trace: Trace, now: Callable[[], float], folder: Path | None = None) -> None:
        """folder: as for `SafeLog`."""
        self._row_count = rows
        self._folder = folder
        self._trace = trace
        self._now = now
        self._maybe_applied: set[int] = set()
        self._settled_before: int | None = None  # in this session; None until its start entry is safe
        self._session = Session()
        self.log = SafeLog(folder)
        self.wrong: list[str] = []

    def note_wrong(self, what: str) -> None:
        """Note what must not have happened."""
        self._trace.note(f"WRONG: {what}")
        self.wrong.append(f"{self._now():.3f} s: {what}")

    def begin(self, session: Session, rate: float, pid: int = 0) -> ProcessPromises:
        """A process begins a session. rate: --rate. Returns what watches its requests."""
        self._session, self._settled_before = session, None
        return ProcessPromises(self, rate, pid, self._trace, self._now)

    # --- what a subclass knows ---

    @abstractmethod
    def changed_rows(self, request: Request) -> Sequence[int | str] | None:
        """The rows that a request changes, and ids that are no row; None for a request that changes nothing."""

    def settled(self) -> bool:
        """Whether every row is settled that can be."""
        return len(self.log.kinds) == self._row_count

    def may_wait(self, why: str, lag_s: float) -> bool:
        """Whether a session that stopped for this reason may leave rows to a later one: look-ups lag for so long."""
        return lag_s > 0 and MAY_LAG in why

    def check(self, request: Request, pid: int) -> None:
        """Check what only the job knows of a request: by default nothing. pid: of the process that sends it."""
        del request, pid

    def proves_untouched(self, code: int | None, rows: int) -> bool:
        """Whether a response with this code proves that the request for so many rows had no effect."""
        del rows
        return code in UNTOUCHED_CODES

    def request_words(self, request: Request) -> str:
        """What a request asks, for the trace."""
        rows = self.changed_rows(request)
        return request.path if rows is None else f"{request.path} rows {numbers(rows)}"

    # --- at every request ---

    def sent(self, request: Request, pid: int) -> list[int]:
        """A request leaves. Returns the rows of it that no request may have reached before."""
        self.check(request, pid)
        if (rows := self.changed_rows(request)) is None:
            return []
        for at in rows:
            if isinstance(at, str):
                self.note_wrong(f"{at} is sent, which was not meant")
            elif (state := self.log.rows.get(at)) != SENT:
                self.note_wrong(f"row {at} is sent, and its safe state is: {state}")
        fresh = [at for at in rows if isinstance(at, int) and at not in self._maybe_applied]
        self._maybe_applied.update(fresh)
        return fresh

    def untouched(self, rows: Iterable[int]) -> None:
        """It is proven that the request had no effect on these rows."""
        self._maybe_applied.difference_update(rows)

    # --- at every entry that becomes safe ---

    def entry_is_safe(self, state: str, rows: Sequence[int]) -> None:
        """Check what only the job knows of an entry: by default nothing. state: of these rows, or their outcome."""
        del state, rows

    def log_is_safe(self, data: bytes, again: bool) -> None:
        """More of the log is safe. again: other bytes than before; they are read from the beginning."""
        if again:
            self.log = SafeLog(self._folder)
        for state, rows in self.log.follow(data):
            if state == STARTED:
                self._settled_before = self._settled()  # a resume may make entries of the session before safe
            if again:
                continue
            self._trace.note(f"  safe: {state} {numbers(rows)}")
            self.entry_is_safe(state, rows)
            if state == RELEASED and (applied := self._maybe_applied.intersection(rows)):
                self.note_wrong(f"rows {numbers(applied)} are released, and a request for them may have been applied")

    # --- after every session ---

    def check_summary(self, summary: Summary) -> None:
        """The summary counts what is safe, --limit holds, and a session in which nothing goes wrong settles all."""
        safe, words = Counter(self.log.kinds.values()), {name: word for word, name in self.names.items()}
        for name, count in summary.counts.items():
            if name != "remaining" and count != safe[words.get(name, name)]:
                self.note_wrong(f"the summary has {dict(summary.counts)}, safe is {dict(safe)}")
                return
        if sum(summary.counts.values()) != self._row_count:
            self.note_wrong(f"{dict(summary.counts)} do not add up to {self._row_count}")
        if self._session.end == "limit" and self._settled_before is not None:  # a complete run is not started again
            settled = self._settled() - self._settled_before
            if settled > self._session.at:
                self.note_wrong(f"{settled} ids were settled with --limit {self._session.at}")
        may_wait = self.may_wait(summary.why, self._session.weather.lag_s)
        if self._session.calm and not self.settled() and not may_wait:
            self.note_wrong(f"nothing went wrong but a lag, and not all is settled: {summary.why}")

    def _settled(self) -> int:
        return sum(kind in OUTCOMES for kind in self.log.kinds.values())


class ProcessPromises:
    """Watches the requests of one process of a run: `network.Watch`.

    no_change_from: the time from which on no change may leave, because the process was drained.
    """

    def __init__(self, run: RunPromises, rate: float, pid: int, trace: Trace, now: Callable[[], float]) -> None:
        self._run = run
        self._rate = rate
        self._pid = pid
        self._trace = trace
        self._now = now
        self._pace = Pace(rate)
        self._on_wire: dict[int, list[int]] = {}
        self._quiet = self._paused = False
        self._no_change_from = float("inf")

    def connect(self) -> None:
        """The program opens a way to the server, with a rate limiter of its own."""
        self._pace = Pace(self._rate)

    def switch_off(self) -> None:
        """The machine is off: the last steps of the program do not count."""
        self._quiet = True

    def pause(self, *, paused: bool) -> None:
        """The process is told to send nothing, or to go on."""
        self._paused = paused

    def change_rate(self, rate: float) -> None:
        """The process is told another rate."""
        self._rate = rate
        self._pace.changed(rate)

    def drain_at(self, at: float) -> None:
        """The process is told to stop at this time."""
        self._no_change_from = at

    def sent(self, request: Request) -> None:
        """A request leaves: within the rate, in no pause; a change after its intent."""
        if self._quiet:
            return
        self._trace.note(f"→ {self._run.request_words(request)}")
        if self._paused:
            self._run.note_wrong("a request left while the run was paused")
        if (broken := self._pace.sent(self._now())) is not None:
            self._run.note_wrong(broken)
        if self._now() > self._no_change_from + SLACK_S and self._run.changed_rows(request) is not None:
            self._run.note_wrong("a request that changes something left after the run was drained")
        self._on_wire[id(request)] = self._run.sent(request, self._pid)

    def answered(self, request: Request, response: Response | NoResponse) -> None:
        """The response arrives, or the program gives the request up."""
        self._trace.note(f"← {_words_of(response)}")
        code = code_of(response)
        if isinstance(response, Response) and code == 429:
            self._pace.throttled(self._now(), response)
        fresh = self._on_wire.pop(id(request), [])
        never_left = isinstance(response, NoResponse) and not response.sent
        if never_left or self._run.proves_untouched(code, len(self._run.changed_rows(request) or ())):
            self._run.untouched(fresh)


class Pace:
    """When requests may leave: one rate limiter, watched from outside."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._open_at = float("-inf")
        self._lowest = float("inf")
        self._requests = 0

    def changed(self, rate: float) -> None:
        """Another rate, which holds from now on."""
        self._rate, self._requests, self._lowest = rate, 0, float("inf")

    def throttled(self, now: float, response: Response) -> None:
        """A 429 arrives. The longest pause counts."""
        self._open_at = max(self._open_at, now + pause_s_of(response))

    def sent(self, now: float, *, limiters: int = 1) -> str | None:
        """A request leaves. Returns what is wrong with that. limiters: how many rate limiters share this rate."""
        self._requests += 1
        if now < self._open_at - SLACK_S:
            return f"a request left {self._open_at - now:.3f} s before the end of the pause after a 429"
        if not self._rate:
            return None
        # At most rate * W + limiters + 2 * BURST_SHARE * rate in any window W; here in all windows that end now.
        level = self._requests - self._rate * now
        self._lowest = min(self._lowest, level - 1)
        beyond = level - limiters - self._lowest - 2 * BURST_SHARE * self._rate
        too_many = beyond > SLACK_S * self._rate
        return f"{beyond:.3f} requests beyond the rate of {self._rate:g} a second" if too_many else None


def pause_s_of(response: Response) -> float:
    """How long a 429 asks to wait."""
    if (header := response.retry_after) is None:
        return PAUSE_S
    until, date = http_date_s(header), http_date_s(response.date or "")
    return float(header) if header.isdigit() else 0.0 if until is None or date is None else until - date


def code_of(response: Response | NoResponse) -> int | None:
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
    return f"{code_of(response) or 'a broken response'}{again}"


def numbers(rows: Iterable[object]) -> str:
    """Rows in words."""
    return " ".join(sorted(map(str, rows), key=lambda each: (len(each), each)))
