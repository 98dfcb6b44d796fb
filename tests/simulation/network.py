"""The network: delays, requests and responses that are lost, and requests that arrive late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from bulkdel.core.decision import NoResponse, Request, Response, fault_of
from bulkdel.core.retry import http_date_s
from tests.simulation.api import Api, Weather

LATE_MAX_S = 20.0
"""How long after its time-out a request may arrive."""


@dataclass(frozen=True)
class Roads:
    """How the network is in one session. Shares are of its requests, from 0 to 1.

    unconnected: nothing leaves. lost: the request does not arrive. lost_after: the response does not arrive.
    late: the request arrives after the program has given it up. delay_s: of each way, at most.
    """

    unconnected: float = 0.0
    lost: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    delay_s: float = 0.1


CLEAR = Roads()


class Watch(Protocol):
    """What sees every request as it leaves, and its response as it arrives."""

    def sent(self, request: Request) -> None:
        """A request leaves."""

    def answered(self, request: Request, response: Response | NoResponse) -> None:
        """Its response arrives at the program, or the program gives it up."""


@dataclass(frozen=True, eq=False)
class _UnderWay:
    """A request that has left and has not arrived."""

    request: Request
    headers: Mapping[str, str]


class Network:
    """Carries the requests of all sessions."""

    def __init__(self, server: Api, rng: Random) -> None:
        self._server = server
        self._rng = rng
        self._under_way: list[_UnderWay] = []
        self._roads = CLEAR
        self._cut = False

    def begin(self, weather: Weather, roads: Roads) -> None:
        """Begin a session."""
        self._server.begin(weather)
        self._roads, self._cut = roads, False

    def cut_off(self) -> None:
        """The machine of the program is off: nothing leaves any more."""
        self._cut = True

    def land(self) -> None:
        """Between two sessions: what is under way arrives, or is lost."""
        for item in self._under_way:
            if self._rng.random() < 0.5:
                self._server.answer(item.request, item.headers, "late")
        self._under_way = []

    async def carry(self, request: Request, headers: Mapping[str, str], timeout_s: float) -> Response | NoResponse:
        """Carry one request there and its response back."""
        draw, roads = self._rng.random(), self._roads
        out_s, back_s = (self._rng.random() * roads.delay_s for _ in range(2))
        lost_s = self._rng.choice([back_s, timeout_s - out_s])  # a broken connection is seen at once, silence is not
        if self._cut or draw < roads.unconnected:
            await asyncio.sleep(out_s)
            return NoResponse("no connection", sent=False)
        item = _UnderWay(request, headers)
        self._under_way.append(item)
        draw -= roads.unconnected
        if draw < roads.late:
            late_s = timeout_s + self._rng.random() * LATE_MAX_S
            asyncio.get_running_loop().call_later(late_s, self._arrive, item, "late")
            await asyncio.sleep(timeout_s)
            return NoResponse("no response in time", sent=True)
        draw -= roads.late
        try:
            await asyncio.sleep(out_s)
        except asyncio.CancelledError:
            self._arrive(item, "late")  # the program does not wait any more, and the request is on its way
            raise
        response = self._arrive(item, None if draw < roads.lost else "us")
        if response is None or draw < roads.lost + roads.lost_after:
            await asyncio.sleep(lost_s)
            return NoResponse("connection lost", sent=True)
        await asyncio.sleep(back_s)
        return response

    def _arrive(self, item: _UnderWay, by: str | None) -> Response | None:
        """Let a request arrive at the server; with None for `by` it is lost. After a crash it stays under way."""
        if self._cut or item not in self._under_way:
            return None
        self._under_way.remove(item)
        return None if by is None else self._server.answer(item.request, item.headers, by)


class Connection:
    """`bulkdel.http.transport.Transport` over the network, for one session.

    wall: the clock of the program's machine. timeout_s: --timeout.
    """

    def __init__(self, network: Network, watch: Watch, *, wall: Callable[[], float], timeout_s: float) -> None:
        self._network = network
        self._watch = watch
        self._wall = wall
        self._timeout_s = timeout_s
        self.requests = 0
        self.ahead_s: int | None = None
        self.fault = ""

    async def send(self, request: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        """See `Transport`."""
        self.requests += 1
        self._watch.sent(request)
        response = await self._network.carry(request, headers, self._timeout_s)
        if isinstance(response, Response) and (at := http_date_s(response.date or "")) is not None:
            self.ahead_s = round(at - self._wall())
        self._watch.answered(request, response)
        self.fault = fault_of(response)
        return response
