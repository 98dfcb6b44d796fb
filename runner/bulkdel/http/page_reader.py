"""Reading requests: asked with retries, and for every page of a list. Holds nothing that could delete.

A page that fails makes the whole list fail. A shorter list would make the ids on the other pages seem absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from bulkdel.core.decision import Decision, NextStep, Request, Response, is_outage
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.retry import sends_again
from bulkdel.errors import Halted
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.job import LookUps, Paged

PAGES_MAX = 100  # pages of one list; a list that is longer does not end

ENDLESS = f"a look-up: the list has not ended after {PAGES_MAX} pages"
REPEATED = "a look-up: the list has the same page twice"

Read = Callable[[Response], Decision]


class _Page(NamedTuple):
    """One page of a list, and the request for the next one; None after the last."""

    items: list[Any]
    following: Request | None


class Listed(NamedTuple):
    """The items of a list, and the number of pages that they came in. refused: the API refuses to list any."""

    items: list[Any]
    pages: int = 1
    refused: bool = False


def spread(ids: Sequence[str], most: int) -> Sequence[str]:
    """At most so many of the ids of a list, from the whole of it: the next ones may be new, or be deleted meanwhile."""
    return ids[:: -(-len(ids) // most) or 1]


class RetryingClient:
    """Sends the reading requests of a job, and repeats each until there is a response that can be used.

    what: the requests in words, for the reason of a halt. failed: the reason of the latest failure.
    """

    def __init__(self, client: Client, chance: Callable[[], float], what: str, *, patient: bool = False) -> None:
        """patient: in an outage each is repeated for --patience, and not ATTEMPTS_MAX times: before any id is sent."""
        self._client = client
        self._chance = chance
        self._patient = patient
        self.what = what
        self.failed = ""

    def fail(self, why: str) -> None:
        """Note that what was read cannot be used."""
        self.failed = why

    async def ask(self, request: Request, read: Read, worker: WorkerStatus, ids: Sequence[str] = ()) -> Decision | None:
        """Ask, with retries. Returns a decision that is SETTLED or a refusal; None without a response.

        ids: those in the request, which are redacted in a reason.
        """
        attempts = 0
        while True:
            decision = await self._client.ask(request, read, worker, IdRedactor(ids))
            if decision is None or decision.next_step is NextStep.SETTLED:
                return decision
            self.failed = decision.reason or str(decision.detail)
            if decision.next_step is NextStep.HALT:
                raise Halted(f"{self.what}: {self.failed}")
            if decision.next_step is not NextStep.RETRY:
                return decision
            attempts += not decision.free
            waits = self._patient and self._client.patient and is_outage(self._client.transport.fault, decision)
            if self._client.draining or not (sends_again(attempts) or waits):
                return None
            await self._client.back_off(max(1, attempts), decision.after_s or 0.0, self._chance())


class PageReader(RetryingClient):
    """Reads values, and lists with all their pages. Every method may raise Halted, as `Client.ask` does."""

    def __init__(
        self, client: Client, look_ups: LookUps, chance: Callable[[], float], *, patient: bool = False
    ) -> None:
        super().__init__(client, chance, "a look-up", patient=patient)
        self._look_ups = look_ups

    async def value(self, request: Request, read: Read, worker: WorkerStatus, ids: Sequence[str]) -> Any:
        """Ask for a value that is no list. None when the API refuses, or without a response."""
        decision = await self.ask(request, read, worker, ids)
        return decision.data if decision is not None and decision.next_step is NextStep.SETTLED else None

    async def items(
        self,
        request: Request,
        read: Read,
        worker: WorkerStatus,
        ids: Sequence[str] = (),
        *,
        may_refuse: bool = False,
        may_be_absent: bool = False,
        some: bool = False,
    ) -> Listed | None:
        """Ask for a list and all its pages. some: only until a page has an item in it.

        Returns None when there is no response to one of the pages, or when the API refuses one. Raises Halted when the
        pages do not end.

        may_be_absent: an empty list when the API says of the first page that what is asked for does not exist.
        may_refuse: `refused` when the API refuses the first page otherwise.
        """
        asked: list[Request] = []
        items: list[Any] = []
        page = _Page([], request)
        while (following := page.following) is not None and not (some and items):
            if len(asked) == PAGES_MAX:
                raise Halted(ENDLESS)
            if following in asked:
                raise Halted(REPEATED)
            asked.append(following)
            decision = await self.ask(following, partial(self._page, following, read, len(items)), worker, ids)
            if decision is None:
                return None
            if decision.next_step is not NextStep.SETTLED:
                unknown = decision.next_step is NextStep.LOOK_UP and not decision.maybe_applied
                absent = unknown and may_be_absent
                return Listed([], refused=not absent) if len(asked) == 1 and (absent or may_refuse) else None
            if page.items and page.items == decision.data.items:
                raise Halted(REPEATED)
            page = decision.data
            items += page.items
        return Listed(items, len(asked))

    def _page(self, request: Request, read: Read, before: int, response: Response) -> Decision:
        """Decide on a response. SETTLED has a `_Page` as `data`. before: how many items the earlier pages had."""
        decision = read(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        try:
            paged, found = self._look_ups, before + len(decision.data)
            following = paged.next_page(request, response, found) if isinstance(paged, Paged) else None
        except Halted as error:
            return Decision(NextStep.HALT, reason=str(error))
        return decision._replace(data=_Page(decision.data, following))
