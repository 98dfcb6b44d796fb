"""One question to the API, until there is an answer that means something.

Owns the order of the gates (token, pause, limiter, token again) and the two answers that are nobody's failure: a 429
and a token that has run out. Knows no chunk and no log; a lost reply is its caller's to repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bulkdel.auth import Auth
from bulkdel.core.adaptive_rate import AdaptiveRate
from bulkdel.core.circuit_breaker import CircuitBreaker
from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response, lost
from bulkdel.core.redaction import TEXT_MAX, cleared, longest_run, without_ids
from bulkdel.core.retry import retry_after_s
from bulkdel.errors import Halted
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel.uptime import Uptime

Ids = Sequence[str] | Callable[[], Sequence[str]]
"""Ids, or what gives them: they are wanted only when an answer may quote one."""

BREAKER_LOOK_S = 0.25
"""How often those who wait for the breaker look again: the probe of another may have closed it."""


@dataclass(slots=True)
class Counters:
    """What a session did on the wire, for the summary. throttled: answers 429. retries: requests sent again."""

    retries: int = 0
    throttled: int = 0


@dataclass(slots=True)
class Flight:
    """Where one worker is, for the draining.

    on_wire: a request has left and its answer is not there yet. deciding: a look-up is under way that says what an
    answer meant; it sends nothing that changes anything, and without it the answer is lost. has_chunk: there is
    something to do. held: it waits for the token, a pause, the breaker or the limiter.
    """

    on_wire: bool = False
    deciding: bool = False
    has_chunk: bool = False
    held: bool = False


@dataclass(slots=True)
class Client:
    """The way to the server that everything takes: deletions, look-ups, the control.

    pause_s: how long everyone pauses after a 429 without Retry-After.
    breaker, pace: how the server is doing, and what follows.
    lost: what the last failure was. clock: the time in which this process ran. answered_at: when the last useful answer
    came, on it.
    run_min: letters and digits that every id begins with, at least; what has no such run quotes none of them.
    closing: set when the run drains; from then on nothing is sent but look-ups that decide, and nothing twice.
    """

    transport: Transport
    rate_limiter: RateLimiter
    auth: Auth
    pause_s: float
    patience_s: float
    adaptive_rate: AdaptiveRate
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    figures: Counters = field(default_factory=Counters)
    run_min: int = 0
    closing: bool = False
    lost: str = ""
    now: Callable[[], float] = time.time
    clock: Uptime = field(default_factory=Uptime)
    answered_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.answered_at = self.clock()

    async def ask(
        self,
        call: Request,
        read: Callable[[Response], Decision],
        flight: Flight,
        ids: Ids = (),
        too_late: Callable[[], bool] = lambda: False,
    ) -> Decision | None:
        """Send `call` and read its answer; None when the run is draining and nothing may be sent (again).

        too_late: asked at the last moment, after all that is waited for; if it says so, None as well.
        ids: those in the call. Neither they nor the credentials are in what the verdict says: a server may quote both.

        Raises Halted when a token is refused for good, or when the server asks for more patience than there is.
        """
        while not self.closing or flight.deciding:
            flight.held = True
            try:
                headers, generation = await self._cleared()
            finally:
                flight.held = False
            if (self._is_closing() and not flight.deciding) or too_late():
                return None
            flight.on_wire = True
            self.adaptive_rate.sent(self.clock())
            stopped_s = self.clock.stopped_s
            response = await self.transport.send(call, headers)
            self.clock()
            # Lost while this process was stopped: its time-outs ended then, which says nothing about the server.
            asleep = isinstance(response, NoResponse) and self.clock.stopped_s > stopped_s
            decision = lost(response) if isinstance(response, NoResponse) else self._cleared_of(ids, read(response))
            after_s = (
                None
                if isinstance(response, NoResponse)
                else retry_after_s(response.retry_after, response.date, self.now())
            )
            if not asleep:
                self._learn(decision)
            if decision.next_step is NextStep.RETRY:
                # Judged while the request still counts as on the wire: if this halts, the chunk may have been touched.
                decision = decision._replace(after_s=self._bearable(after_s or 0.0), free=self.breaker.open or asleep)
            flight.on_wire = False
            if decision.next_step is NextStep.THROTTLED:
                self.figures.throttled += 1
                self.rate_limiter.pause(self._bearable(self.pause_s if after_s is None else after_s))
            elif decision.next_step is NextStep.SIGN_IN:
                self.auth.rejected(generation)
            else:
                if isinstance(response, Response) and decision.next_step is not NextStep.RETRY:
                    self.auth.accepted(generation)
                    self.answered_at = self.clock()
                return decision
            if self._is_closing():
                return None  # nothing twice any more
        return None

    @property
    def waiting(self) -> str | None:
        """Why nothing goes out, for people; None while it does."""
        if self.rate_limiter.paused_s > 0:
            return f"throttled, {self.rate_limiter.paused_s:.1f} s"
        if self.breaker.open:
            return f"the server fails, next probe in {self.breaker.wait_s(self.clock()):.1f} s"
        return self.auth.waiting

    async def _cleared(self) -> tuple[Mapping[str, str], int]:
        """Wait for token, breaker and limiter. The first two are asked again behind the limiter, which waits."""
        while True:
            await self.auth.ensure()
            while (wait_s := self.breaker.wait_s(self.clock())) > 0:  # noqa: ASYNC110 - pure, so it cannot wake us
                await asyncio.sleep(min(wait_s, BREAKER_LOOK_S))
            self.rate_limiter.set_rate(self.adaptive_rate.rate(self.clock()))
            await self.rate_limiter.acquire()
            if (ready := self.auth.headers()) is not None and self.breaker.take(self.clock()):
                headers, generation = ready
                return headers, generation

    def _cleared_of(self, ids: Ids, decision: Decision) -> Decision:
        """Keep ids and credentials out of everything that is said or written from here on."""

        def hide(text: str) -> str:
            return without_ids(self.auth.hide(text), ids() if callable(ids) else ids)

        if decision.next_step is NextStep.SETTLED:
            # Of a success nothing but the request's id is ever told. This is on the way of every chunk, so an id that
            # cannot be in such a text is not looked for.
            said = decision.detail.request_id
            if said is None or (
                len(said) <= TEXT_MAX and (self.auth.hide if longest_run(said) < self.run_min else hide)(said) == said
            ):
                return decision
        return cleared(decision, hide)

    def _learn(self, decision: Decision) -> None:
        """Take note of what an answer says about the server. A 429 is no failure, but it is too fast."""
        now, failed = self.clock(), decision.next_step is NextStep.RETRY
        if failed:
            self.lost = decision.reason
        self.breaker.record(now, failed=failed)
        if decision.next_step is NextStep.THROTTLED:
            self.adaptive_rate.throttled(now)
        else:
            self.adaptive_rate.record(now, failed=failed)

    def _is_closing(self) -> bool:
        return self.closing  # a call, because the type checker remembers the loop's condition across the wait

    def _bearable(self, seconds: float) -> float:
        if seconds > self.patience_s:
            raise Halted(
                f"the server asks to come back in {seconds:.0f} s, longer than --patience {self.patience_s:.0f}"
            )
        return seconds
