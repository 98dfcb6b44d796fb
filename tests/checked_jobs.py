"""A right job for `bulkdel job check`, with the look-alike of its API. The tests make the wrong jobs from it.

The API: POST /token with a key gives a token. POST /things/delete `{"ids": […]}` answers per id, and refuses more than
TAKES ids. GET /things?id=… looks up; with `first` it lists. GET /things/ID is one thing, DELETE
deletes it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from bulkdel.core.decision import Decision, IdAnswer, NextStep, NoResponse, Request, Response, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.errors import Halted
from bulkdel.job import Account, Job, LookUps, Target, TargetOptions
from tests.restserver import Answer, Api, Asked, served

KEY = "key-of-the-things-1234567"
TAKES = 6
"""Ids in one request, at most."""


@dataclass
class LookAlike(Api):
    """The API. things: those that are there. actions: requests that ask for a deletion. deleted: how often each was."""

    things: set[str] = field(default_factory=set)
    actions: int = 0
    deleted: Counter[str] = field(default_factory=Counter)
    tokens: Iterator[int] = field(default_factory=lambda: count(1))

    def answer(self, asked: Asked) -> Answer:
        if asked.path == ("token",):
            return 200, {"token": f"token-of-the-things-{next(self.tokens):06d}"}
        if not asked.headers["authorization"].startswith("Bearer token-of-the-things-"):
            return 401, {}
        match asked.method, asked.path:
            case "GET", ("things",):
                listed = sorted(self.things)[: int(asked.query.get("first", ["0"])[0])]
                return self.shown(asked.query.get("id", listed))
            case "GET", (_, *rest):
                return self.shown(["/".join(rest)])
        self.actions += 1
        if asked.method == "DELETE":
            self.delete(["/".join(asked.path[1:])])
            return 204, None
        return self.answer_per_id(asked.json)

    def shown(self, ids: Sequence[str]) -> Answer:
        return 200, {"things": [{"id": id_, "name": f"the thing {id_}"} for id_ in ids if id_ in self.things]}

    def answer_per_id(self, body: Mapping[str, Any]) -> Answer:
        ids = body["ids"].split(",") if isinstance(body["ids"], str) else body["ids"]
        if len(ids) > TAKES:
            return 413, {}
        results = [{"id": id_, "status": "deleted" if id_ in self.things else "unknown"} for id_ in ids]
        if not body.get("rehearsal"):
            self.delete(ids)
        return 200, {"results": results}

    def delete(self, ids: Sequence[str]) -> None:
        self.deleted.update(id_ for id_ in ids if id_ in self.things)
        self.things.difference_update(ids)


def look_alike(ids: Iterable[str]) -> AbstractContextManager[LookAlike]:
    """Serve the API while the block runs."""
    return served(LookAlike(things=set(ids)))


# --- the right job ----------------------------------------------------------------------------------------------------

LOST = Decision(NextStep.RETRY, maybe_applied=True)
BY_STATUS = {
    401: Decision(NextStep.SIGN_IN, untouched=True),
    403: Decision(NextStep.FORBIDDEN),
    404: Decision(NextStep.LOOK_UP),
    413: Decision(NextStep.SPLIT),
    429: Decision(NextStep.THROTTLED, untouched=True),
}
VERDICTS = {"deleted": Verdict.SETTLED, "unknown": Verdict.ABSENT}


def read_member(response: Response, name: str) -> Decision:
    """SETTLED with `data` = the list that a good answer has under `name`."""
    if 300 <= response.status < 400:
        return Decision(NextStep.HALT, reason="redirected")
    if response.status != 200:
        return BY_STATUS.get(response.status, LOST)
    try:
        return Decision(NextStep.SETTLED, data=json.loads(response.body)[name])
    except (ValueError, LookupError, TypeError):
        return LOST


class Delete:
    def calls(self, records: Records) -> list[Request]:
        return [Request("POST", "/things/delete", body=json.dumps({"ids": records.ids}).encode())]

    def read(self, response: Response) -> Decision:
        decision = read_member(response, "results")
        if decision.next_step is not NextStep.SETTLED:
            return decision
        answers = [IdAnswer(one["id"], VERDICTS[one["status"]]) for one in decision.data]
        return Decision(NextStep.PER_ID, data=answers)


class ThingLookUps(LookUps):
    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        return [(ids, Request("GET", "/things", tuple(("id", id_) for id_ in ids)))]

    def read(self, response: Response) -> Decision:
        return read_member(response, "things")

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        there = {thing["id"]: Account(raw=thing) for thing in found}
        return {id_: there[id_] for id_ in ids if id_ in there}, len(there.keys() - set(ids))

    def control(self) -> Request:
        return Request("GET", "/things", (("first", "5"),))

    def read_control(self, response: Response) -> Decision:
        decision = read_member(response, "things")
        if decision.next_step is not NextStep.SETTLED:
            return decision
        return decision._replace(data=[thing["id"] for thing in decision.data])

    def owner(self, user: str) -> Request:
        return Request("GET", "/things", (("id", user),))

    def read_owner(self, response: Response) -> Decision:
        return self.read_control(response)


@dataclass
class Token:
    send: Callable[[Request, Mapping[str, str]], Any]
    key: str = field(default=KEY, repr=False)
    pool: str | None = None
    users: Sequence[str] = ()
    waiting: str | None = None
    token: str | None = field(default=None, repr=False)
    generation: int = 0
    refused: bool = False

    def hide(self, text: str) -> str:
        return text.replace(self.token or self.key, "[hidden]")

    async def ensure(self) -> None:
        if self.token is None:
            self.token = self.token_of(await self.send(Request("POST", "/token", body=self.body()), {}))
            self.pool, self.generation = "things", self.generation + 1

    def body(self) -> bytes:
        return json.dumps({"key": self.key}).encode()

    def token_of(self, response: Response | NoResponse) -> str:
        try:
            assert isinstance(response, Response)
            assert response.status == 200
            return str(json.loads(response.body)["token"])
        except (AssertionError, ValueError, LookupError, TypeError):
            raise Halted("no token") from None

    def sign(self, request: Request) -> tuple[Mapping[str, str], int] | None:
        return None if self.token is None else ({"authorization": f"Bearer {self.token}"}, self.generation)

    def rejected(self, generation: int) -> None:
        if generation == self.generation:
            if self.refused:
                raise Halted("no token is accepted")
            self.token, self.refused = None, True

    def accepted(self, generation: int) -> None:
        self.refused = self.refused and generation != self.generation


@dataclass
class Things:
    host: str
    job: type[Right]
    pinned_host: str = "sandbox"
    key: str | None = "key-…"
    key_hint: str = "set THINGS_KEY"
    pause_s: float = 1.0

    def auth(self, transport: Any, rate_limiter: Any, **_: Any) -> Any:
        return self.job.token(transport.send)

    def look_ups(self, id_type: IdType, *, full: bool = False) -> LookUps:
        made: LookUps = self.job.look_ups()
        return made

    def action(self, id_type: IdType) -> Any:
        return self.job.action()


class Right(Job):
    contract = 3
    name = "right"
    summary = "delete things"
    chunk_max = TAKES
    config_table = "things"
    words = OutcomeWords(names={"done": "deleted", "absent": "absent"})
    id_types: Mapping[str, IdType] = {"thing": IdType("thing")}
    id_type_default = "thing"

    action: ClassVar[Any] = Delete
    look_ups: ClassVar[Any] = ThingLookUps
    token: ClassVar[Any] = Token

    def target(self, options: TargetOptions) -> Target:
        return Things(options.host or "https://things.example", type(self))

    @contextmanager
    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> Iterator[Target]:
        with look_alike(ids) as api:
            yield Things(api.url, type(self))
