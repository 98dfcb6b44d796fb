"""A server whose endpoints are those of the sandbox, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from bulkdel.core.decision import Request, Response
from bulkdel_jobs.sandbox import Pool, Switches
from bulkdel_jobs.sandbox.api import ENDPOINTS
from bulkdel_jobs.sandbox.calls import Call
from bulkdel_jobs.sandbox.replies import Rejected, as_json
from bulkdel_jobs.sandbox.users import iso
from tests.simulation.api import Api, Weather


@dataclass(frozen=True)
class Clocks:
    """How far the clocks of a server are ahead of the true time: of its Date (None without one), of `createdAt`."""

    ahead_s: float | None = 0.0
    created_ahead_s: float = 0.0

    @property
    def apart(self) -> bool:
        """Whether one of them differs much, or is not known."""
        return self.ahead_s is None or abs(self.ahead_s) > 60 or abs(self.created_ahead_s) > 60


class PooledApi(Api):
    """One pool. customs: what kind of server it is, as switches. before: called before each change that is asked for.

    now: the true time. note: adds a line to the trace.
    """

    def __init__(
        self,
        pool: Pool,
        customs: Mapping[str, Any],
        clocks: Clocks,
        *,
        rng: Random,
        now: Callable[[], float],
        note: Callable[[str], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(rng, now, clocks.ahead_s)
        self._pool = pool
        self._customs = customs
        self._clocks = clocks
        self._note = note
        self._before = before
        self._seeing = self._unseeing = Switches()

    def begin(self, weather: Weather) -> None:
        """See `Api`."""
        super().begin(weather)
        effect = self._rng.choice(["none", "half", "all"])
        self._seeing = Switches().changed({**self._customs, "lag_s": weather.lag_s, "unsuccessful_effect": effect})
        self._unseeing = replace(self._seeing, blind=True)

    @property
    def time(self) -> str:
        """What a user that is created now gets as `createdAt`."""
        return iso(datetime.fromtimestamp(self._now() + self._clocks.created_ahead_s, UTC))

    def act(self, request: Request, headers: Mapping[str, str], by: str) -> Response:
        """See `Api`."""
        endpoint = ENDPOINTS[request.method, request.path]
        if endpoint.changes:
            self._before()
        call = Call(
            pool=self._pool,
            switches=self._unseeing if self.blind else self._seeing,
            method=request.method,
            path=request.path,
            headers={name.lower(): value for name, value in headers.items()},
            query=tuple(request.query),
            body=json.loads(request.body) if request.body else {},
            created_at=self.time,
            unsuccessful=endpoint.changes and self._rng.random() < self.weather.unsuccessful,
        )
        try:
            answer = endpoint.answer(call)
        except Rejected as refused:
            answer = refused.answer
        if endpoint.changes:
            self._note(f"  server: {by} is answered {answer.status_code}")
        shown = {"statusCode": answer.status_code, "message": "", "requestId": "r", "data": answer.data}
        if answer.api_code is not None:
            shown["apiCode"] = answer.api_code
        return self.dated(as_json(shown))
