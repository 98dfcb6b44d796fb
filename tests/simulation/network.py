"""The simulated network: delays, requests and responses that are lost, and requests that arrive late.

Each connection checks what every request must keep: the rate, the pause after a 429.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from bulkdel.core.decision import NoResponse, Request, Response
from bulkdel.core.retry import http_date_s
from bulkdel.http.rate_limiter import BURST_SHARE
from tests.simulation.server import Server

PAUSE_S = 3.0
"""The pause after a 429 that names none."""

SLACK_S = 1e-3


@dataclass(frozen=True)
class Roads:
    """How the network is in one session. Shares are of its requests, from 0 to 1.

    unconnected: nothing leaves. lost: the request does not arrive. lost_after: the response does not. late: the request
    arrives after the program has given it up. delay_s: of each way, at most.
    """

    unconnected: float = 0.0
    lost: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    delay_s: float = 0.1


CLEAR = Roads()


@dataclass(frozen=True)
class Rules:
    """What the requests of a session must keep. on_send: called with each request as it leaves."""

    rate: float
    timeout_s: float
    on_send: Callable[[Request], None]
    wrong: Callable[[str], None]


class Network:
    """Carries the requests of all sessions. under_way: requests that may still arrive. cut: nothing leaves any more."""

    def __init__(self, server: Server, rng: Random) -> None:
        self._server = server
        self._rng = rng
        self.roads = CLEAR
        self.under_way: list[tuple[Request, Mapping[str, str]]] = []
        self.cut = False
        self.requests = 0

    @property
    def machine_is_off(self) -> bool:
        """Whether nothing leaves any more."""
        return self.cut

    def land(self) -> None:
        """Between two sessions: what was under way arrives, or is lost."""
        for request, headers in self.under_way:
            if self._rng.random() < 0.5:
                self._server.answer(request, headers, "late")
        self.under_way = []

    async def carry(self, request: Request, headers: Mapping[str, str], timeout_s: float) -> Response | NoResponse:
        """Carry one request there and its response back."""
        self.requests += 1
        draw, roads = self._rng.random(), self.roads
        out_s, back_s = (self._rng.random() * roads.delay_s for _ in range(2))
        if self.cut or draw < roads.unconnected:
            await asyncio.sleep(out_s)
            return NoResponse("no connection", sent=False)
        draw -= roads.unconnected
        if draw < roads.late:
            loop, item = asyncio.get_running_loop(), (request, headers)
            self.under_way.append(item)
            loop.call_later(timeout_s + self._rng.random() * 20, self._arrive_late, item)
            await asyncio.sleep(timeout_s)
            return NoResponse("no whole answer in time", sent=True)
        draw -= roads.late
        item = (request, headers)
        self.under_way.append(item)
        try:
            await asyncio.sleep(out_s)
        except asyncio.CancelledError:
            if self.cut:  # the machine is off, and the request is on its way
                raise
            self.under_way.remove(item)
            self._server.answer(request, headers, "late")
            raise
        if self.machine_is_off:
            return NoResponse("the machine is off", sent=True)
        self.under_way.remove(item)
        if draw < roads.lost:
            await asyncio.sleep(self._rng.choice([back_s, timeout_s - out_s]))
            return NoResponse("connection lost", sent=True)
        draw -= roads.lost
        response = self._server.answer(request, headers, "us")
        if draw < roads.lost_after:
            await asyncio.sleep(self._rng.choice([back_s, timeout_s - out_s]))
            return NoResponse("connection lost", sent=True)
        await asyncio.sleep(back_s)
        return response

    def _arrive_late(self, item: tuple[Request, Mapping[str, str]]) -> None:
        if not self.cut and any(item is one for one in self.under_way):
            self.under_way = [one for one in self.under_way if one is not item]
            self._server.answer(*item, "late")


class Connection:
    """`bulkdel.http.transport.Transport` over the network. now: seconds. wall: the clock of the program's machine."""

    def __init__(self, network: Network, rules: Rules, *, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._network = network
        self._rules = rules
        self._now = now
        self._wall = wall
        self._open_at = float("-inf")
        self._lowest = float("inf")
        self.requests = 0
        self.ahead_s: int | None = None

    async def send(self, request: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        """See `Transport`."""
        self._check_pace()
        self.requests += 1
        self._rules.on_send(request)
        response = await self._network.carry(request, headers, self._rules.timeout_s)
        if isinstance(response, Response):
            if response.date is not None and (at := http_date_s(response.date)) is not None:
                self.ahead_s = round(at - self._wall())
            if b'"statusCode":429' in response.body and not (response.retry_after or "").endswith("GMT"):
                self._open_at = max(self._open_at, self._now() + float(response.retry_after or PAUSE_S))
        return response

    def _check_pace(self) -> None:
        now, rate = self._now(), self._rules.rate
        if now < self._open_at - SLACK_S:
            self._rules.wrong(f"a request left {self._open_at - now:.3f} s before the end of the pause after a 429")
        if rate:
            # At most rate * W + 1 + 2 * BURST_SHARE * rate in any window W, of all windows that end now.
            self._lowest = min(self._lowest, self.requests - rate * now)
            beyond = self.requests - rate * now - self._lowest - 2 * BURST_SHARE * rate
            if beyond > SLACK_S * rate:
                self._rules.wrong(f"{beyond:.3f} requests beyond the rate of {rate:g} a second")
