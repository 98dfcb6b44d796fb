"""Reading the lists of groups and roles, and of their members, page by page. Holds nothing that could change them.

Knows no file. `engine.memberships` writes what is read (--backup-memberships); the plan asks what the reading costs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.errors import Halted
from bulkdel.format import counted
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.page_reader import RetryingClient
from bulkdel.job import GroupOrRole, MembershipPage, Memberships

READINGS_MIN = 2  # of a list that has more than one page
READINGS_MAX = 5  # of one list that changes while it is read
COSTED_MAX = 100  # groups and roles whose first page is read for the plan; what the others cost follows from these

OPTION = "the memberships (--backup-memberships)"

ReadPage = Callable[[Request, Response], Decision]


class Outline(NamedTuple):
    """The groups and roles that there are, each once, and how many requests it took to list them."""

    found: Sequence[GroupOrRole]
    requests: int

    @property
    def counts(self) -> dict[str, int]:
        """How many groups, roles, and namespaces with roles there are."""
        namespaces = {of.namespace for of in self.found if of.kind == "role"}
        groups = sum(of.kind == "group" for of in self.found)
        return {"groups": groups, "roles": len(self.found) - groups, "namespaces": len(namespaces)}

    @property
    def words(self) -> str:
        """The same in words."""
        groups, roles, namespaces = self.counts.values()
        words = f"{counted(groups, 'group')}, {counted(roles, 'role')}"
        return f"{words} in {counted(namespaces, 'namespace')}" if roles else words


class MembershipCost(NamedTuple):
    """What the copy of the memberships takes. requests: about, lists included. members: about, of all of them."""

    outline: Outline
    requests: int
    members: int


class ListReading:
    """One reading of one list: what its pages held.

    pages: how many were read. content: the sum of the hashes of the items. Readings with the same items, in any order,
    have the same sum. It takes no memory for the items.
    """

    def __init__(self) -> None:
        self.pages = 0
        self.content = 0
        self._items = 0
        self._totals: set[int | None] = set()

    def add(self, page: MembershipPage, new: int) -> None:
        """Take in one page. new: how many of its items were on no earlier page."""
        self.pages += 1
        self.content += sum(map(_hashed, page.items))
        self._items += new + page.left_out
        self._totals.add(page.total)

    @property
    def fits(self) -> bool:
        """Whether each page named one total, and they had so many items. Without a total nothing contradicts."""
        return self._totals <= {None} or self._totals == {self._items}


def _hashed(item: object) -> int:
    return int.from_bytes(blake2b(repr(item).encode(), digest_size=16).digest(), "big")


async def read_until_equal(read: Callable[[], Awaitable[Sequence[ListReading]]], what: str) -> None:
    """Read lists until a reading is sure to have every item that stayed in them. Raises Halted after READINGS_MAX.

    When one item leaves while another one joins, the items behind it move up. An item may move from an unread page to a
    page that was read. Then the count fits, and the reading lacks the item. So two readings in a row have to be equal.
    A list of one page cannot change between pages: it is read once.

    read: reads the lists anew. what: the lists, in words.
    """
    before: list[int] = []
    for _ in range(READINGS_MAX):
        lists = await read()
        content = [each.content for each in lists]
        if all(each.fits for each in lists):
            if content == before or all(each.pages <= 1 for each in lists):
                return
            before = content
        else:
            before = []
    raise Halted(
        f"{OPTION} cannot be read: {what} changed in each of {READINGS_MAX} readings, or the list does not hold what "
        "its count says. Run the same command again when fewer changes are made"
    )


class MembershipReader:
    """Reads the lists. Every method may raise Halted: otherwise a copy with a gap would count as whole."""

    def __init__(self, client: Client, memberships: Memberships, chance: Callable[[], float]) -> None:
        self._memberships = memberships
        self._client = RetryingClient(client, chance, OPTION, patient=True)

    async def outline(self, worker: WorkerStatus) -> Outline:
        """List every group and every role."""
        found: dict[GroupOrRole, None] = {}
        waiting, requests = deque(self._memberships.lists()), 0
        while waiting:
            items, asked = await self._whole_list(waiting.popleft(), worker)
            requests += asked
            waiting.extend(item for item in items if isinstance(item, Request))
            found.update((item, None) for item in items if isinstance(item, GroupOrRole))
        return Outline(tuple(found), requests)

    async def cost(self, worker: WorkerStatus) -> MembershipCost:
        """Find out how many requests the copy takes, without reading the members."""
        outline = await self.outline(worker)
        found, requests, members = outline.found, 0, 0
        some = found[:: max(1, -(-len(found) // COSTED_MAX))]
        for of in some:
            pages, again = 0, False
            for number, request in enumerate(self._memberships.members(of)):
                async for page in self.pages(request, self._memberships.read_members, worker):
                    if page is not None:
                        total, here = page.total or len(page.items), max(1, len(page.items))
                        again = again or page.following is not None
                        pages += -(-total // here) if page.following is not None else 1
                        members += 0 if number else total
                    break
            requests += pages * READINGS_MIN if again else pages
        share = len(found) / max(1, len(some))
        return MembershipCost(outline, outline.requests + round(requests * share), round(members * share))

    def members(self, of: GroupOrRole, worker: WorkerStatus) -> list[AsyncIterator[MembershipPage | None]]:
        """The lists of the members of a group or a role. A page is None when it does not exist any more."""
        requests = self._memberships.members(of)
        return [self.pages(request, self._memberships.read_members, worker) for request in requests]

    async def pages(
        self, request: Request, read: ReadPage, worker: WorkerStatus
    ) -> AsyncIterator[MembershipPage | None]:
        """Ask for every page of a list, beginning with `request`."""
        following: Request | None = request
        items, asked = 0, set[Request]()
        while following is not None:
            asked.add(following)
            decision = await self._client.ask(following, partial(read, following), worker)
            if decision is None or decision.next_step is not NextStep.SETTLED:
                failed = self._client.failed or "the run drains"
                raise Halted(f"{OPTION} cannot be read: {failed}. Nothing was sent. Run the same command again")
            page: MembershipPage | None = decision.data
            yield page
            if page is None:
                return
            here = len(page.items) + page.left_out
            items += here
            if page.following in asked or not here or (page.total is not None and items > page.total):
                return  # a list that goes round or changes: `ListReading.fits` says so
            following = page.following

    async def _whole_list(self, request: Request, worker: WorkerStatus) -> tuple[list[GroupOrRole | Request], int]:
        """Read one list of groups and roles until it has not changed meanwhile. Returns it, and the requests."""
        items: dict[GroupOrRole | Request, None] = {}
        asked = 0

        async def read() -> list[ListReading]:
            nonlocal asked
            items.clear()
            reading = ListReading()
            async for page in self.pages(request, self._memberships.read_list, worker):
                asked += 1
                if page is not None:
                    before = len(items)
                    items.update(dict.fromkeys(page.items))
                    reading.add(page, len(items) - before)
            return [reading]

        await read_until_equal(read, "the groups and roles")
        return list(items), asked
