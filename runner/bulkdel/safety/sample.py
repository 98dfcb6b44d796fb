"""The sample check: sign in, learn the pool, look 200 ids up before the first deletion. Nothing here can delete."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bulkdel.core.account_match import Instant, Sampled
from bulkdel.core.id_type import IdType
from bulkdel.core.redaction import without_ids
from bulkdel.errors import Halted
from bulkdel.format import stamp
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connect import Connect, connect
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Account, Target
from bulkdel.job_faults import job_faults
from bulkdel.settings import Settings


@dataclass(frozen=True, slots=True)
class SampleCheck:
    """The result of the sample check.

    pool: from the token; None when not signed in. owner: ids of the account that the credentials belong to.
    asked, found: ids of the sample. unproven: how many of the others are not proven absent (ids with a comma).
    fullest: the most accounts in one response.
    sampled: the `createdAt` values. moment: the time of the look-up; None when not signed in.
    """

    pool: str | None = None
    asked: int = 0
    found: Mapping[str, Account] = field(default_factory=dict)
    requests: int = 0
    owner: tuple[str, ...] = ()
    unproven: int = 0
    fullest: int = 0
    sampled: Sampled = field(default_factory=Sampled)
    moment: Instant | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the header."""
        unproven = {"unproven": self.unproven} if self.unproven else {}
        return {"asked": self.asked, "found": len(self.found), **unproven, **self.sampled.to_json()}


NOT_SIGNED_IN = SampleCheck()


async def sample_check(
    target: Target,
    id_type: IdType,
    settings: Settings,
    sample: Sequence[str],
    group: int,
    *,
    connect: Connect = connect,
    wall: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> SampleCheck:
    """Sign in and look up `sample`, `group` ids at a time. Raises Halted when either fails."""
    async with connect(target, settings, pool=None) as (client, auth):
        await auth.ensure()
        found: dict[str, Account] = {}
        lookup = AccountLookup(client, target.look_ups(id_type), chance)
        owner: list[str] = []
        for user in auth.users:
            # The API may refuse the look-up when it is no user. Then the word itself is protected.
            owner += [user, *(await lookup.owner(user, WorkerStatus()) or ())]
        unproven = 0
        for start in range(0, len(sample), group):
            some = sample[start : start + group]
            with job_faults(partial(without_ids, ids=some)):
                looked = await lookup.find(some, WorkerStatus())
            if looked is None:
                raise _failed(target, lookup)
            found.update(looked.accounts)
            unproven += len(looked.unproven)
        now = Instant(stamp(wall()), client.transport.ahead_s)
        sampled = Sampled.of((account.created_at for account in found.values()), now)
        return SampleCheck(
            auth.pool,
            len(sample),
            found,
            client.transport.requests,
            tuple(owner),
            unproven,
            lookup.fullest,
            sampled=sampled,
            moment=now,
        )


def _failed(target: Target, lookup: AccountLookup) -> Halted:
    return Halted(
        f"{target.pinned_host}: signed in, but looking up a sample of the ids failed ({lookup.failed}). "
        "Does the key have the permission to read users? Nothing was deleted."
    )
