"""The client: the order of admission, and the two responses after which a request is sent again at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.adaptive_rate import AdaptiveRate
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.held_outcomes import HeldOutcomes
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import Header
from bulkdel.core.record import Chunk, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.retry import ATTEMPTS_MAX
from bulkdel.engine.drain import Drain
from bulkdel.engine.pipeline import settle_chunk
from bulkdel.engine.session_context import SessionContext
from bulkdel.engine.tally import Tally
from bulkdel.engine.workers import Workers
from bulkdel.errors import Halted
from bulkdel.http.client import Client, WorkerState, WorkerStatus
from bulkdel.http.lookup import AccountLookup
from bulkdel.http.positive_control import SeenBefore
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, TransportOptions
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_at
from bulkdel.world import World
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.endpoints import DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.responses import read_success
from tests.harness import entries
from tests.inputs import NO_INPUT
from tests.mutants import mutant
from tests.rawserver import Peer, RawServer, answer
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

CALL = Request("POST", "/delete", body=b"{}")
CUT_SHORT = answer(b"{", length=9)
SUCCESS = answer(b'{"statusCode":200,"data":{"success":true}}')
REFUSED = answer(b'{"statusCode":400}')
UNAUTHORIZED = answer(b'{"statusCode":401}')


def throttled(retry_after: str | None = None) -> bytes:
    return answer(b'{"statusCode":429}', headers={} if retry_after is None else {"retry-after": retry_after})


def unavailable(retry_after: str) -> bytes:
    return answer(b"<html>", 503, {"retry-after": retry_after})


class RecordingAuth:
    """Credentials that record each call, go stale when told to, and count their renewals."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.generation = 1
        self.stale = False
        self.rejections = 0
        self.rejections_max = 1
        self.accepted_generations: list[int] = []

    @property
    def users(self) -> tuple[str, ...]:
        return ()

    @property
    def pool(self) -> str | None:
        return "p"

    @property
    def waiting(self) -> str | None:
        return None

    async def ensure(self) -> None:
        self.log.append("ensure")
        self.stale = False

    def sign(self, request: Request) -> tuple[Mapping[str, str], int] | None:
        self.log.append("stale" if self.stale else "headers")
        return None if self.stale else ({"authorization": f"badge {self.generation}"}, self.generation)

    def rejected(self, generation: int) -> None:
        self.log.append(f"rejected {generation}")
        self.rejections += 1
        if self.rejections > self.rejections_max:
            raise Halted("the badge is refused")
        self.generation += 1

    def hide(self, text: str) -> str:
        return text.replace("badge", "[hidden]")

    def accepted(self, generation: int) -> None:
        self.accepted_generations.append(generation)


class RecordingRateLimiter(RateLimiter):
    """A rate limiter that records each pass. on_pass: called while a request waits here. closed: set by a 429."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(0)
        self.log = log
        self.on_pass: Callable[[], object] = lambda: None
        self.closed = asyncio.Event()

    def pause(self, seconds: float) -> None:
        super().pause(seconds)
        self.closed.set()

    async def acquire(self) -> None:
        await super().acquire()
        self.log.append("limiter")
        self.on_pass()


class OneClient:
    """One client and one server that answers with `responses`, in the order of the requests."""

    def __init__(self, *responses: bytes | None) -> None:
        self.responses = list(responses)
        self.log: list[str] = []
        self.badge = RecordingAuth(self.log)
        self.rate_limiter = RecordingRateLimiter(self.log)
        self.arrived = asyncio.Event()
        self.server = RawServer(self._serve)
        self.client: Client

    async def _serve(self, peer: Peer) -> None:
        while True:
            await peer.request()
            self.log.append("server")
            self.arrived.set()
            response = self.responses.pop(0)
            if response is None:
                await peer.stall()
            else:
                await peer.send(response)
            if response in (b"", CUT_SHORT):
                return  # and the connection is closed

    @contextlib.asynccontextmanager
    async def opened(self, valid: Callable[[], bool] = lambda: True, **options: Any) -> AsyncIterator[Client]:
        """valid: what the transport sees of the lease."""
        async with (
            self.server.running(),
            HttpTransport(TransportOptions(self.server.url), may_send=valid) as transport,
        ):
            settings = {
                "pause_s": 0.05,
                "patience_s": 900.0,
                "adaptive_rate": AdaptiveRate(self.rate_limiter.rate),
                **options,
            }
            self.client = Client(transport, self.rate_limiter, self.badge, **settings)
            yield self.client

    async def ask(self, worker: WorkerStatus | None = None) -> Decision | None:
        return await self.client.ask(CALL, read_success, worker or WorkerStatus())


@contextlib.asynccontextmanager
async def opened(*responses: bytes | None, **options: Any) -> AsyncIterator[OneClient]:
    """A world whose server answers with `responses`; options: of the client."""
    world = OneClient(*responses)
    async with world.opened(**options):
        yield world


async def ask_once(world: OneClient) -> None:
    decision = await world.ask()
    assert decision is not None
    assert decision.next_step is NextStep.SETTLED


async def test_the_token_is_read_after_the_limiter() -> None:
    async with opened(SUCCESS) as world:
        await ask_once(world)
        assert world.log == ["ensure", "limiter", "headers", "server"]


async def test_a_token_that_goes_stale_in_the_limiter_is_never_sent() -> None:
    async with opened(SUCCESS) as world:

        def go_stale() -> None:
            world.badge.stale = True
            world.badge.generation = 2
            world.rate_limiter.on_pass = lambda: None

        world.rate_limiter.on_pass = go_stale
        await ask_once(world)
        assert [request.headers["authorization"] for request in world.server.requests] == ["badge 2"]
    assert world.log == ["ensure", "limiter", "stale", "ensure", "limiter", "headers", "server"]


@pytest.mark.parametrize("response", [SUCCESS, REFUSED])
async def test_a_useful_response_accepts_the_token(response: bytes) -> None:
    async with opened(response) as world:
        before = world.client.answered_at
        decision = await world.ask()
        assert decision is not None
        assert decision.next_step is (NextStep.SETTLED if response is SUCCESS else NextStep.SPLIT)
        assert world.badge.accepted_generations == [1]
        assert world.client.answered_at > before


@pytest.mark.parametrize("response", [b"", unavailable("0"), answer(b"<html>"), CUT_SHORT])
async def test_a_request_without_a_response_is_the_callers_to_retry(response: bytes) -> None:
    async with opened(response) as world:
        worker = WorkerStatus()
        decision = await world.ask(worker)
        assert decision is not None
        assert (decision.next_step, decision.maybe_applied, worker.state) == (NextStep.RETRY, True, WorkerState.IDLE)
        assert world.badge.accepted_generations == []
        assert len(world.server.requests) == 1


async def test_no_connection_means_not_applied() -> None:
    async with opened() as world:
        async with HttpTransport(TransportOptions("http://127.0.0.1:1")) as nowhere:
            world.client.transport = nowhere
            decision = await world.ask()
        assert decision is not None
        assert (decision.next_step, decision.maybe_applied, decision.untouched) == (NextStep.RETRY, False, True)


@pytest.mark.parametrize(("form", "least_s", "most_s"), [("12", 12.0, 12.0), ("date", 10.9, 12.1), (None, 0.0, 0.0)])
async def test_the_pause_that_the_server_asks_for(form: str | None, least_s: float, most_s: float) -> None:
    now = 1_700_000_000.0
    header = {"12": "12", "date": formatdate(now + 12, usegmt=True)}.get(form or "")
    response = answer(b'{"statusCode":503}', headers={"retry-after": header} if header else {})

    async with opened(response, now=lambda: now) as world:
        decision = await world.ask()
        assert decision is not None
        assert decision.after_s is not None
        assert least_s <= decision.after_s <= most_s
        assert world.rate_limiter.paused_s == 0  # other requests go on


# ── 429 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_429_pauses_every_request_and_is_sent_again() -> None:
    async with opened(throttled(), SUCCESS, SUCCESS, pause_s=0.2) as world:
        first = asyncio.create_task(world.ask())
        await world.rate_limiter.closed.wait()
        began = time.monotonic()
        second = await world.ask()  # another request, which waits all the same
        assert time.monotonic() - began >= 0.15
        answered = await first
        assert answered is not None
        assert second is not None
        assert (answered.next_step, second.next_step) == (NextStep.SETTLED, NextStep.SETTLED)
        assert (world.client.figures["throttled"], world.client.figures["retries"]) == (1, 0)


@mutant(
    "429 uses up an attempt",
    "Client.ask",
    swap(
        "if self.draining:  # nothing is sent again\n    break",
        "if self.draining or decision.next_step is NextStep.THROTTLED:\n    break",
    ),
)
async def test_429_as_often_as_it_comes() -> None:
    async with opened(*[throttled("0")] * (2 * ATTEMPTS_MAX), SUCCESS) as world:
        await ask_once(world)
        assert world.client.figures["throttled"] == 2 * ATTEMPTS_MAX
        assert world.badge.accepted_generations == [1]


@pytest.mark.parametrize(("header", "pause_s"), [("70", 70.0), (None, 30.0)])
async def test_429_pauses_for_as_long_as_it_says_or_the_job_does(header: str | None, pause_s: float) -> None:
    async with opened(throttled(header), pause_s=30.0) as world:
        asking = asyncio.create_task(world.ask())
        await world.rate_limiter.closed.wait()
        assert pause_s - 10 < world.rate_limiter.paused_s <= pause_s
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize("response", [throttled("901"), unavailable("901")])
async def test_a_pause_beyond_the_patience_halts_at_once(response: bytes) -> None:
    async with opened(response, patience_s=900.0) as world:
        with pytest.raises(Halted, match="come back in 901 s, longer than --patience 900"):
            await world.ask()


# ── 401 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_401_is_sent_again_with_a_fresh_token() -> None:
    async with opened(UNAUTHORIZED, SUCCESS) as world:
        await ask_once(world)
        assert [request.headers["authorization"] for request in world.server.requests] == ["badge 1", "badge 2"]
        assert world.badge.accepted_generations == [2]
    assert world.log == [
        *("ensure", "limiter", "headers", "server", "rejected 1"),
        *("ensure", "limiter", "headers", "server"),
    ]


async def test_401_for_good_is_raised() -> None:
    async with opened(UNAUTHORIZED, UNAUTHORIZED) as world:
        worker = WorkerStatus()
        with pytest.raises(Halted, match="the badge is refused"):
            await world.ask(worker)
        assert worker.state is WorkerState.IDLE


# ── draining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_run_that_drains_sends_nothing_more() -> None:
    async with opened() as world:
        world.client.drain()
        assert await world.ask() is None
        assert world.log == []


async def test_a_drain_during_the_wait_for_the_limiter() -> None:
    async with opened() as world:
        world.rate_limiter.on_pass = world.client.drain
        worker = WorkerStatus()
        assert await world.ask(worker) is None
        assert worker.state is WorkerState.IDLE
        assert world.server.requests == []


@pytest.mark.parametrize("response", [throttled("0"), UNAUTHORIZED])
async def test_a_drain_while_a_request_is_on_the_wire_repeats_nothing(response: bytes) -> None:
    async with opened(response) as world:
        asking = asyncio.create_task(world.ask())
        await world.arrived.wait()
        world.client.drain()
        assert await asking is None
        assert len(world.server.requests) == 1


@mutant(
    "a request on the wire cannot be seen",
    "Client.ask",
    swap("WorkerState.ON_WIRE", "before"),
)
async def test_whether_a_request_is_on_the_wire_can_be_seen() -> None:
    async with opened(None) as world:
        worker = WorkerStatus()
        asking = asyncio.create_task(world.ask(worker))
        await world.arrived.wait()
        assert worker.state is WorkerState.ON_WIRE
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert worker.state is WorkerState.ON_WIRE, "the response was not taken in, so the request counts as under way"


# ── what a halt leaves behind ─────────────────────────────────────────────────────────────────────────────────────────


async def log_after(folder: Path, response: bytes) -> list[dict[str, Any]]:
    """Entries of the log after one chunk met `response`."""
    counts = {"rows": 2, "ids": 2, "excluded": 0, "duplicate": 0, "invalid": 0}
    path = folder / "log"

    async with opened(response, patience_s=900.0) as world:
        header = Header("t", "r", "2026-01-01T00:00:00.000Z", {}, "x", {}, counts, None, {}, input=NO_INPUT)
        checkpoint = Checkpoint.create(log_at(path, Terms(world=World(chance=lambda: 0.0))), header)
        id_type = ID_TYPES["user_id"]
        lookup = AccountLookup(world.client, UserLookUps(id_type), lambda: 0.0, seen=SeenBefore(proven=True))
        drain = Drain()
        context = SessionContext(
            client=world.client,
            lookup=lookup,
            job=DeleteUsers(),
            chunk_size=50,
            action=DeleteUsersBatch(id_type),
            log=checkpoint,
            id_type=id_type,
            refused_max=0,
            to_check="",
            administrator=IdSet(id_type),
            tally=Tally(IdSet(id_type), succeeded=False),
            held=HeldOutcomes(),
            drain=drain,
            backup=None,
            protected=IdSet(id_type),
        )
        workers = Workers(world.client, checkpoint, drain, concurrency=1, drain_s=1)
        chunk = Chunk(Records((0, 1), ("a", "b")))
        await workers.run(iter([chunk]), partial(settle_chunk, context))
        assert drain.stop is not None
        assert "--patience" in drain.stop.why
        await checkpoint.aclose()
        checkpoint.close()
    return [entry for entry in entries(path) if entry["type"] != "header"]


async def test_a_429_that_asks_for_too_much_released_the_chunk(tmp_path: Path) -> None:
    assert [entry["type"] for entry in await log_after(tmp_path, throttled("3600"))] == ["intent", "released"]


async def test_a_503_that_asks_for_too_much_leaves_the_chunk_in_doubt(tmp_path: Path) -> None:
    """Any 5xx may have had effect: what is gone later was deleted, and must not be called absent."""
    assert [entry["type"] for entry in await log_after(tmp_path, unavailable("3600"))] == ["intent"]


async def test_what_a_server_quotes_of_the_request_is_redacted() -> None:
    """Credentials and the ids of this request; the answer of the last failure is kept without them too."""
    said = b'"message":"badge 1: id-12345, ID-67890, id-13579","requestId":"r-id-12345"}'
    async with opened(*(answer(b'{"statusCode":%d,%s' % (code, said)) for code in (422, 500))) as world:
        for next_step in (NextStep.SPLIT, NextStep.RETRY):
            decision = await world.client.ask(CALL, read_success, WorkerStatus(), IdRedactor(["id-12345", "id-67890"]))
            assert decision is not None
            assert decision.next_step is next_step
            assert decision.detail.message == "[hidden] 1: [id], [id], id-13579"
            assert decision.detail.request_id == "r-[id]"
            assert decision.reason.endswith(f"({decision.detail})")
            assert world.client.last_failure == (decision.reason if next_step is NextStep.RETRY else "")


@mutant(
    "an id in the number of a request",
    "decision_on",
    swap("clean(detail.request_id) if detail.request_id else detail.request_id", "detail.request_id"),
)
async def test_a_success_that_quotes_an_id_as_its_request_id() -> None:
    """Ids and credentials are redacted in a success too."""
    said = [
        ("6319a15be4d9c05b8f1e9d2a", "[id]"),
        ("x-6319A15BE4D9C05B8F1E9D2A-1", "x-[id]-1"),
        ("badge-1", "[hidden]-1"),
    ]
    said += [(same, same) for same in ("9c1b2c6e-11aa-4c1d-8f1e-0123456789ab", "r", "0" * 40)]
    body = b'{"statusCode":200,"requestId":"%s","data":{"success":true}}'
    async with opened(*(answer(body % quoted.encode()) for quoted, _ in said)) as world:
        for _, told in said:
            decision = await world.client.ask(
                CALL, read_success, WorkerStatus(), IdRedactor(["6319a15be4d9c05b8f1e9d2a"])
            )
            assert decision is not None
            assert decision.next_step is NextStep.SETTLED
            assert decision.detail.request_id == told


def test_replies_are_what_they_seem() -> None:
    """The replies above mean to the job what their names say."""
    bodies = {
        SUCCESS: NextStep.SETTLED,
        REFUSED: NextStep.SPLIT,
        UNAUTHORIZED: NextStep.SIGN_IN,
        throttled(): NextStep.THROTTLED,
    }
    for response, next_step in bodies.items():
        assert read_success(Response(200, response.partition(b"\r\n\r\n")[2])).next_step is next_step


@mutant(
    "a request leaves without asking for the lease last",
    "HttpTransport.__init__",
    swap("self._host = check_host(options.host)", "self._host, may_send = check_host(options.host), lambda: True"),
)
async def test_nothing_is_written_without_a_lease() -> None:
    """The transport asks when the connection is there, with the body, and before the write. Then the request leaves."""
    answers = [False, False, True, False, True, True, True]
    asked: list[bool] = []

    def valid() -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    async with opened(SUCCESS, valid=valid) as world:
        await ask_once(world)
        assert asked == answers
        assert world.log.count("limiter") == 4, "a pass of the limiter is for sending now"
        assert world.log.count("server") == 1


@pytest.mark.parametrize("state", [WorkerState.IDLE, WorkerState.DECIDING])
async def test_a_drain_does_not_wait_for_a_lease(state: WorkerState) -> None:
    """Also not for a look-up that decides: the lease may never come back."""
    async with opened(valid=lambda: False, may_send=lambda: False) as world:
        worker = WorkerStatus(0, state)
        asking = asyncio.create_task(world.ask(worker))
        await asyncio.sleep(0.02)
        world.client.drain()
        assert await asyncio.wait_for(asking, WAIT_MAX_S) is None
        assert worker.state is state
        assert "server" not in world.log
