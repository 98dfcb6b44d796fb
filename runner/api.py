"""One question to the API, until there is an answer that means something.

Owns the order of the gates (token, pause, limiter, token again) and the two answers that are nobody's failure: a 429
and a token that has run out. Knows no chunk and no log; a lost reply is its caller's to repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from runner.auth import Auth
from runner.core.policy import retry_after_s
from runner.core.verdicts import Act, Call, Lost, Reply, Verdict, lost
from runner.errors import Halted
from runner.throttle import Throttle
from runner.transport import Wire


@dataclass(slots=True)
class Figures:
    """What a session did on the wire, for the summary. throttled: answers 429. retries: requests sent again."""

    retries: int = 0
    throttled: int = 0


@dataclass(slots=True)
class Flight:
    """Where one worker is, for the draining.

    on_wire: a request has left and its answer is not there yet. deciding: a look-up is under way that says what an
    answer meant; it sends nothing that changes anything, and without it the answer is lost.
    """

    on_wire: bool = False
    deciding: bool = False


@dataclass(slots=True)
class Api:
    """The way to the server that everything takes: deletions, look-ups, the control.

    pause_s: how long everyone pauses after a 429 without Retry-After.
    closing: set when the run drains; from then on nothing is sent but look-ups that decide, and nothing twice.
    """

    wire: Wire
    throttle: Throttle
    auth: Auth
    pause_s: float
    patience_s: float = 900.0
    figures: Figures = field(default_factory=Figures)
    closing: bool = False
    answered_at: float = field(default_factory=time.monotonic)
    now: Callable[[], float] = time.time

    async def ask(self, call: Call, read: Callable[[Reply], Verdict], flight: Flight) -> Verdict | None:
        """Send `call` and read its answer; None when the run is draining and nothing may be sent (again).

        Raises Halted when a token is refused for good, or when the server asks for more patience than there is.
        """
        while not self.closing or flight.deciding:
            headers, generation = await self._cleared()
            if self._is_closing() and not flight.deciding:
                return None
            flight.on_wire = True
            reply = await self.wire.send(call, headers)
            verdict = lost(reply) if isinstance(reply, Lost) else read(reply)
            after_s = None if isinstance(reply, Lost) else retry_after_s(reply.retry_after, self.now())
            if verdict.act is Act.RETRY:
                # Judged while the request still counts as on the wire: if this halts, the chunk may have been touched.
                verdict = replace(verdict, after_s=self._bearable(after_s or 0.0))
            flight.on_wire = False
            if verdict.act is Act.THROTTLED:
                self.figures.throttled += 1
                self.throttle.pause(self._bearable(self.pause_s if after_s is None else after_s))
            elif verdict.act is Act.SIGN_IN:
                self.auth.rejected(generation)
            else:
                if verdict.act is not Act.RETRY:
                    self.auth.accepted(generation)
                    self.answered_at = time.monotonic()
                return verdict
            if self._is_closing():
                return None  # nothing twice any more
        return None

    async def _cleared(self) -> tuple[dict[str, str], int]:
        """Wait for token and limiter. The token is read after the limiter, which may have taken its time."""
        while True:
            await self.auth.ensure()
            await self.throttle.acquire()
            if (ready := self.auth.headers()) is not None:
                headers, generation = ready
                return dict(headers), generation

    def _is_closing(self) -> bool:
        return self.closing  # a call, because the type checker remembers the loop's condition across the wait

    def _bearable(self, seconds: float) -> float:
        if seconds > self.patience_s:
            raise Halted(
                f"the server asks to come back in {seconds:.0f} s, longer than --patience {self.patience_s:.0f}"
            )
        return seconds
