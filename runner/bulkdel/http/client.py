"""The client: admits a request, sends it once, and decides what follows from the response.

Owns the order of admission (token, circuit breaker, rate limiter, token again) and the two responses after which a
request is sent again at once: a 429, and a 401 to a token that has run out. Knows no chunk and no log. After any other
failure the caller decides whether to retry.
"""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.circuit_breaker import CircuitBreaker
from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response
from bulkdel.core.latency import Latency
from bulkdel.core.redaction import decision_on
from bulkdel.core.retry import backoff_s
from bulkdel.errors import Halted
from bulkdel.format import span
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel.job import Auth

POLL_S = 0.25
"""Seconds between two looks of a waiting request at the breaker (another probe may close it), or at the lease."""

TICK_S = 1.0
"""Seconds between two readings of `Uptime`."""

GAP_S = 2.0
"""A gap between two readings of `Uptime` that is longer than this means that the process was stopped: two ticks."""


class Uptime:
    """A clock like `time.monotonic` that stands still while the process is stopped. `--patience` is measured by it.

    A stopped process (Ctrl-Z, SIGSTOP, a paused virtual machine) reads no responses, which does not mean that the
    server is silent. `tick` reads the clock every second, so a longer gap between two readings means that the process
    was stopped. stopped_s: how long it has been stopped so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._read_at = clock()
        self._lock = threading.Lock()  # the thread that prints progress reads the clock too
        self.stopped_s = 0.0

    def __call__(self) -> float:
        """Read the clock: the seconds in which the process ran since it was made."""
        with self._lock:
            now = self._clock()
            if (gap_s := now - self._read_at) > GAP_S:
                self.stopped_s += gap_s - TICK_S
            self._read_at = now
            return now - self._began - self.stopped_s

    async def tick(self) -> None:
        """Read the clock every second until cancelled."""
        while True:
            self()
            await asyncio.sleep(TICK_S)


class WorkerState(enum.Enum):
    """Where one worker is. A drain waits for the last two."""

    IDLE = "idle"  # has no chunk
    SETTLING = "settling"  # has a chunk, and is between two requests: at the disk, or in a backoff
    WAITING = "waiting"  # for the token, the breaker or the rate limiter
    DECIDING = "deciding"  # is about to look up what an earlier response meant: that deletes nothing
    ON_WIRE = "on wire"  # a request has left, and its response has not been taken in


@dataclass(slots=True)
class WorkerStatus:
    """The state of one worker. The client and the engine set it; the drain and the progress read it.

    number: among the workers of a pass, from 0.
    """

    number: int = 0
    state: WorkerState = WorkerState.IDLE


class ActionRequests:
    """The requests of the job's action that are under way in this process. For one event loop.

    A control lists accounts and looks them up. A run often deletes in the order in which the API lists, so by the time
    of the look-up it may have deleted all that were listed. So a control can pause these requests.

    Many of them may be under way at once, or one pause. A pause waits for those that are under way, and new ones wait
    for the end of the pause.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send one request in this context, from before it is admitted until its response."""
        async with self._turn:
            self._under_way += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No request of the action is under way in this context. Other processes of the run go on."""
        async with self._turn:
            await self._idle.wait()
            yield


def throttled_words(left_s: float) -> str:
    """Why no request is sent after a 429."""
    return f"the server asks to wait (429), {left_s:.1f} s left"


class Rate(Protocol):
    """Requests a second that may be sent now: `AdaptiveRate` has the methods. `SharedRate` is a share of one."""

    def rate(self, now: float, /) -> float:
        """Requests a second from now on; 0 is unlimited."""
        ...

    def slowed(self, now: float, /) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        ...

    def set_ceiling(self, ceiling: float, now: float, /) -> None:
        """Go on with this ceiling; 0 is unlimited."""
        ...

    def sent(self, now: float, /) -> None:
        """Count a request."""
        ...

    def record(self, now: float, /, *, failed: bool) -> None:
        """Record whether a request failed. A 429 is no failure."""
        ...

    def throttled(self, now: float, /) -> None:
        """Record a 429."""
        ...

    def slow(self, now: float, /) -> None:
        """Halve the rate."""
        ...


@dataclass(slots=True)
class Client:
    """The one way to the server: actions, look-ups and controls.

    pause_s: how long all requests pause after a 429 without Retry-After.
    patience_s: how long the server may give no useful response.
    draining: no request is sent again, and only look-ups that decide are still sent.
    figures: for the summary: requests sent again (`retries`), and responses 429 (`throttled`).
    last_failure: the reason of the latest failure.
    clock: the time in which this process ran. answered_at: when the latest useful response came, by that clock; 0 is
        when the clock was made.
    latency: of the responses.
    action_requests: those of the job's action that are under way; the sender of a chunk enters them here.
    may_send: whether this process has the lease. The transport asks once more, last.
    """

    transport: Transport
    rate_limiter: RateLimiter
    auth: Auth
    pause_s: float
    patience_s: float
    adaptive_rate: Rate
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    figures: dict[str, int] = field(default_factory=lambda: {"retries": 0, "throttled": 0})
    draining: bool = False
    last_failure: str = ""
    now: Callable[[], float] = time.time
    clock: Uptime = field(default_factory=Uptime)
    answered_at: float = 0.0
    latency: Latency = field(default_factory=Latency)
    action_requests: ActionRequests = field(default_factory=ActionRequests)
    may_send: Callable[[], bool] = lambda: True
    _held_at: float | None = field(default=None, init=False)

    async def ask(
        self,
        request: Request,
        read: Callable[[Response], Decision],
        worker: WorkerStatus,
        redact: Callable[[str], str] = str,
        too_late: Callable[[], bool] = lambda: False,
    ) -> Decision | None:
        """Send `request` and decide what follows. None when it was not sent, or not again: drained, or too late.

        redact: takes the ids of the request out of a text of the response. The credentials are taken out too.
        too_late: called when the request may leave; if it returns True, the request is not sent.

        Raises Halted when a token is refused for good, or when the server asks for a pause beyond --patience.
        """
        before = worker.state
        decides = before is WorkerState.DECIDING
        while decides or not self.draining:
            if not decides:
                worker.state = WorkerState.WAITING
            await self._leased()
            headers, generation, sent_at = await self._admission(request)
            if (self.draining and not decides) or too_late():
                break
            worker.state = WorkerState.ON_WIRE
            self.adaptive_rate.sent(sent_at)
            stopped_s = self.clock.stopped_s
            with self.rate_limiter.on_wire():
                response = await self.transport.send(request, headers)
            if isinstance(response, NoResponse) and response.withheld:
                decides = decides and not self.draining  # the lease may never come back
                continue
            answered_at = self.clock()
            decision = decision_on(response, read, lambda text: redact(self.auth.hide(text)), self.now())
            failed = decision.next_step is NextStep.RETRY
            # A time-out that ended while this process was stopped says nothing about the server.
            stopped = isinstance(response, NoResponse) and self.clock.stopped_s > stopped_s
            if isinstance(response, Response):
                self.latency.record(answered_at - sent_at)
            if not stopped:
                self._record(decision, answered_at)
            if failed:
                self.last_failure = self.last_failure if stopped else decision.reason
                # If this halts, the worker is still on the wire, so its chunk counts as touched.
                after_s = self._within_patience(decision.after_s or 0.0)
                decision = decision._replace(after_s=after_s, free=self.breaker.open or stopped)
            if decision.next_step is NextStep.THROTTLED:
                worker.state = before
                self.figures["throttled"] += 1
                self.adaptive_rate.throttled(answered_at)
                pause_s = self.pause_s if decision.after_s is None else decision.after_s
                self.rate_limiter.pause(self._within_patience(pause_s))
            elif decision.next_step is NextStep.SIGN_IN:
                worker.state = before
                self.auth.rejected(generation)
            else:
                if isinstance(response, Response) and not failed:
                    self.auth.accepted(generation)
                    self.answered_at = answered_at
                worker.state = before
                return decision
            if self.draining:  # nothing is sent again
                break
        worker.state = before
        return None

    def _record(self, decision: Decision, now: float) -> None:
        """Count a response for the circuit breaker and the adaptive rate. now: when it came."""
        failed = decision.next_step is NextStep.RETRY
        self.breaker.record(now, failed=failed)
        if decision.next_step is not NextStep.THROTTLED:  # a 429 is no failure, but the rate was too high
            self.adaptive_rate.record(now, failed=failed)

    async def _leased(self) -> None:
        """Wait until this process may send. That time is not the silence of the server."""
        began = self.clock()
        while not (self.may_send() or self.draining):  # noqa: ASYNC110 - a commit in another thread renews it
            await asyncio.sleep(POLL_S)
        if (waited_s := self.clock() - began) > POLL_S:
            self.extend_patience(waited_s)

    async def back_off(self, attempts: int, after_s: float, chance: float) -> None:
        """Wait before a request is sent again after `attempts` without a usable response, and count it as a retry.

        after_s: how long the server asked to wait. chance: a number in [0, 1).
        """
        self.figures["retries"] += 1
        await asyncio.sleep(max(after_s, backoff_s(attempts, chance)))

    @property
    def waiting(self) -> str | None:
        """Why no request is sent, for people; None while requests are sent."""
        if self.held:
            return "paused"
        if self.rate_limiter.paused_s > 0:
            return throttled_words(self.rate_limiter.paused_s)
        if self.rate_limiter.without_share:
            return "waiting for a share of the rate, which other processes use too"
        if self.breaker.open:
            return f"the server fails, next probe in {self.breaker.wait_s(self.clock()):.1f} s"
        signing_in, fault = self.auth.waiting, self.transport.fault
        return signing_in if signing_in is None or not fault else f"{signing_in}: {fault}"

    @property
    def silent_s(self) -> float:
        """Seconds since the latest useful response, without the time in which this client was held."""
        return max(0.0, (self.clock() if self._held_at is None else self._held_at) - self.answered_at)

    @property
    def held(self) -> bool:
        """Whether `hold` was called."""
        return self._held_at is not None

    def hold(self) -> None:
        """Send nothing until `release`, look-ups and sign-ins included. Requests on the wire may finish."""
        if self._held_at is None:
            self._held_at = self.clock()
            self.rate_limiter.hold()

    def release(self) -> None:
        """End the hold. Its time is not the silence of the server."""
        if self._held_at is not None:
            self.extend_patience(self.clock() - self._held_at)
            self._held_at = None
            self.rate_limiter.release()

    def set_ceiling(self, rate: float) -> None:
        """Send at most `rate` requests a second from now on; 0 is unlimited. A rate that is lowered stays lowered."""
        now = self.clock()
        self.adaptive_rate.set_ceiling(rate, now)
        self.rate_limiter.change_rate(self.adaptive_rate.rate(now))

    def slow(self) -> float:
        """Halve the rate, down to its floor. Returns it, requests a second."""
        now = self.clock()
        self.adaptive_rate.slow(now)
        self.rate_limiter.change_rate(rate := self.adaptive_rate.rate(now))
        return rate

    def drain(self) -> None:
        """From now on send only look-ups that decide."""
        self.draining = True

    def extend_patience(self, seconds: float) -> None:
        """Do not count `seconds` as silence of the server: this machine was busy, for example with its disk."""
        self.answered_at += seconds

    def heard(self, ago_s: float) -> None:
        """Count a useful response that the server has given to another process of this run, so long ago."""
        self.answered_at = max(self.answered_at, self.clock() - ago_s)

    async def watch_patience(self) -> None:
        """Raise Halted when the server has given no useful response for --patience, for any cause.

        Reads the clock every second: only then can the clock leave out the time in which this process was stopped.
        """
        while (left_s := self.patience_s - self.silent_s) > 0:  # noqa: ASYNC110 - it moves meanwhile
            await asyncio.sleep(min(left_s, TICK_S))
        failure = self.last_failure or "none"
        raise Halted(f"no useful response for {self.patience_s:g} s (--patience); the last failure: {failure}")

    @property
    def patient(self) -> bool:
        """Whether the server has been silent for less than --patience."""
        return self.silent_s < self.patience_s

    @property
    def unanswered(self) -> str:
        """In words: the API does not respond, and how long the run waits for it. Empty while it responds."""
        if not (fault := self.transport.fault):
            return ""
        waited, most = span(self.silent_s), span(self.patience_s)
        waits = f"the API does not respond ({fault}); waiting for it, for {waited} so far, at most {most} (--patience)"
        return f"{waits}. Is the host right?" if self.transport.ahead_s is None else waits

    async def _admission(self, request: Request) -> tuple[Mapping[str, str], int, float]:
        """Wait for token, breaker and rate limiter. Token and breaker are asked again after the limiter's wait.

        Returns the headers, their generation, and the time.
        """
        while True:
            await self.auth.ensure()
            while (wait_s := self.breaker.wait_s(now := self.clock())) > 0:  # noqa: ASYNC110 - pure: it cannot wake us
                await asyncio.sleep(min(wait_s, POLL_S))
            self.rate_limiter.set_rate(self.adaptive_rate.rate(now))
            await self.rate_limiter.acquire()
            if (ready := self.auth.sign(request)) is not None and self.breaker.take(now := self.clock()):
                return *ready, now

    def _within_patience(self, seconds: float) -> float:
        if seconds > self.patience_s:
            raise Halted(
                f"the server asks to come back in {seconds:.0f} s, longer than --patience {self.patience_s:.0f}"
            )
        return seconds
