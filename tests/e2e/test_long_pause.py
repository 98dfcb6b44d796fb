"""A pause of over a day, by a clock that is set ahead: ids that may belong to others by now are confirmed again."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import By
from bulkdel.errors import NotConfirmed
from bulkdel.library import Run
from bulkdel.live.sources import PauseFile
from bulkdel.live.steering import Steering
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.settings import Settings
from bulkdel.world import World
from bulkdel_jobs.delete_users import DeleteUsers
from tests.harness import DELETIONS, POOL, Case, case, entries, environment, user_ids
from tests.mutants import mutant
from tests.syntax import drop, negate, swap

EMAILS = [f"leaver{number}@example.com" for number in range(60)]
ANN = By(ChangedBy.CTL, "ann")
HOUR_S = 3600.0

LONG_S = 400.0
"""Longer than a look-up or a first request counts (RETRY_MAX_S)."""

PAUSES = {
    "both clocks": (LONG_S, 0.0),
    "the wall clock is set back": (LONG_S, -HOUR_S),
    "the monotonic clock stands still": (0.0, LONG_S),
}
"""How far a long pause moves both clocks, and the wall clock alone besides."""

each_pause = pytest.mark.parametrize("clocks", PAUSES)


@dataclass
class Machine:
    """The clocks of the machine, and a run on it.

    ahead_s: how far both are ahead. set_s: how far the wall clock alone is ahead besides.
    """

    it: Case
    id_type: str
    backup: Path | None = None
    ahead_s: float = field(default=0.0, init=False)
    set_s: float = field(default=0.0, init=False)

    @asynccontextmanager
    async def sending(self, *, confirmed: bool = True) -> AsyncIterator[tuple[Run, RunPlan, Steering]]:
        url, backup = self.it.served.url, self.backup
        settings = Settings(host=url, rate=20.0, chunk_size=1, id_type=self.id_type, backup_to=backup)
        arguments = RunArguments(DeleteUsers(), str(self.it.export), settings, {}, environment())
        world = World(
            wall=lambda: time.time() + self.ahead_s + self.set_s, steady=lambda: time.monotonic() + self.ahead_s
        )
        async with Run(arguments, world=world) as run:
            plan = await run.run_plan()
            if confirmed:
                await run.confirm(ids=plan.ids, pool=plan.pool)
            run.start()
            before = self.it.served.pool.deleted
            await asyncio.to_thread(self.it.wait_until_deleted, before + 3)
            yield run, plan, Steering(run, plan)


@contextmanager
def machine(folder: Path, id_type: str, ids: list[str]) -> Iterator[Machine]:
    with case(folder, ids, id_type=id_type) as it:
        yield Machine(it, id_type)


async def quiet(run: Run, it: Case) -> None:
    """What was on the wire has come back, and nothing more is sent."""
    snapshot = run.snapshot()
    assert snapshot is not None
    while snapshot.in_flight:
        await asyncio.sleep(0.02)
        snapshot = run.snapshot()
        assert snapshot is not None
    before = len(it.served.ledger.arrivals)
    await asyncio.sleep(0.2)  # of four requests
    assert len(it.served.ledger.arrivals) == before


@mutant(
    "a pause of over a day needs no confirmation",
    "SessionControl.due",
    negate("not id_type.reusable"),
)
@mutant(
    "a long pause ends with any number",
    "SessionControl._resume",
    swap(
        "wish.confirmed != (wanted.ids, wanted.pool, wanted.host)", "wish.confirmed[1:] != (wanted.pool, wanted.host)"
    ),
)
async def test_after_a_day_the_rest_is_confirmed_by_number_and_pool_for_the_session(tmp_path: Path) -> None:
    with machine(tmp_path, "email", EMAILS) as on:
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("pause", ANN)).ok
            on.ahead_s = 23 * HOUR_S
            assert (await steering.apply("resume", ANN)).ok, "within a day"
            assert (await steering.apply("pause", ANN)).ok
            await quiet(run, on.it)
            on.ahead_s = 48 * HOUR_S
            moment = run.snapshot()
            assert moment is not None
            left = moment.rows - moment.settled
            asked = f"resume --confirm {left} --pool {POOL}"
            assert moment.confirm is not None
            assert moment.confirm.endswith(asked)
            for wrong in (
                "resume",
                f"resume --confirm {left + 1} --pool {POOL}",
                f"resume --confirm {left} --pool other",
            ):
                refused = await steering.apply(wrong, ANN)
                assert (refused.ok, asked in refused.text) == (False, True), refused
            await quiet(run, on.it)
            assert (await steering.apply(asked, ANN)).ok
            deleted = on.it.served.pool.deleted
            await asyncio.to_thread(on.it.wait_until_deleted, deleted + 1)
            run.stop(ANN)
            assert (await run.finished()).status == "stopped"
        changes = [entry for entry in entries(on.it.log) if entry["type"] == "change"]
        given = [change.get("confirmed") for change in changes if change["what"] == "paused"]
        assert given[:-1] == [None] * 3
        assert given[-1] == {"ids": left, "pool": POOL, "how": "options"}
        with pytest.raises(NotConfirmed):
            async with on.sending(confirmed=False):
                pass
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("rate 0", ANN)).ok
            assert (await run.finished()).counts["deleted"] == len(EMAILS)
        assert on.it.effects(EMAILS, "email") == [1] * len(EMAILS)


async def test_ids_that_are_never_given_again_need_no_new_confirmation(tmp_path: Path) -> None:
    ids = user_ids(60, seed=17)
    with machine(tmp_path, "user_id", ids) as on:
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("pause", ANN)).ok
            on.ahead_s = 1_000 * HOUR_S
            moment = run.snapshot()
            assert moment is not None
            assert moment.confirm is None
            assert (await steering.apply("resume", ANN)).ok
            assert (await steering.apply("rate 0", ANN)).ok
            assert (await run.finished()).counts["deleted"] == len(ids)


@mutant(
    "a request that leaves long after its intent is not noted",
    "ChunkInHand._renew_intent",
    swap(
        "self._enqueued_at is None or self._context.age_s(self._enqueued_at) > INTENT_AGE_MAX_S",
        "self._enqueued_at is None",
    ),
    case="both clocks",
)
@mutant(
    "the age of an intent is that of the monotonic clock",
    "ChunkInHand._renew_intent",
    swap("self._context.age_s(self._enqueued_at)", "self._context.log.place.world.steady() - self._enqueued_at[1]"),
    case="the monotonic clock stands still",
)
@each_pause
async def test_a_request_that_leaves_after_a_pause_has_an_intent_of_that_time(clocks: str, tmp_path: Path) -> None:
    """Look-ups may lag behind it for ten minutes from then on."""
    ids = user_ids(60, seed=17)
    with machine(tmp_path, "user_id", ids) as on:
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("pause", ANN)).ok
            await quiet(run, on.it)
            on.ahead_s, on.set_s = PAUSES[clocks]
            assert (await steering.apply("resume", ANN)).ok
            assert (await steering.apply("rate 0", ANN)).ok
            assert (await run.finished()).counts["deleted"] == len(ids)
        intents = Counter(row for each in entries(on.it.log) if each["type"] == "intent" for row in rows_of(each))
        assert 0 < sum(count > 1 for count in intents.values()) < len(ids), "those whose intent was older"


def rows_of(intent: dict[str, Any]) -> Iterator[int]:
    return chain.from_iterable(range(*each) for each in intent["ranges"])


@mutant(
    "an account that was given the id after its look-up is deleted without a copy",
    "ChunkInHand._is_stale",
    swap("not context.guards and (context.backup is None or not context.id_type.reusable)", "not context.guards"),
    case="both clocks",
)
@mutant(
    "a wall clock that is set back hides how old a look-up is",
    "SessionContext.age_s",
    swap("max(now - then for now, then in zip(self.clocks(), since, strict=True))", "max(self.clocks()) - max(since)"),
    case="the wall clock is set back",
)
@mutant(
    "a look-up is as old as the slower clock says",
    "SessionContext.age_s",
    swap(
        "max(now - then for now, then in zip(self.clocks(), since, strict=True))",
        "min(now - then for now, then in zip(self.clocks(), since, strict=True))",
    ),
    case="the monotonic clock stands still",
)
@mutant(
    "the copy of a record is not made anew after a renewed look-up",
    "ChunkInHand._renew_look_up",
    drop("self._saved.clear()"),
    case="both clocks",
)
@each_pause
async def test_an_account_that_has_the_id_since_a_long_pause_is_in_the_backup(clocks: str, tmp_path: Path) -> None:
    """The copies were made before the pause. In it each account that is left gives its email to another one."""
    with machine(tmp_path, "email", EMAILS) as on:
        on.backup, pool = tmp_path / "backup.jsonl", on.it.served.pool
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("pause", ANN)).ok
            await quiet(run, on.it)
            left = [number for email in EMAILS if (number := pool.find_alive("email", email)) is not None]
            for number in left:
                pool.delete(number)
            pool.add_ids(EMAILS[-len(left) :], "email")
            on.ahead_s, on.set_s = PAUSES[clocks]
            assert (await steering.apply("resume", ANN)).ok
            assert (await steering.apply("rate 0", ANN)).ok
            assert (await run.finished()).counts["deleted"] == len(EMAILS)
        gone = {pool.user(number)["userId"] for number in range(pool.users_ever) if number not in left}
        assert not list(pool.alive())
        assert gone <= {json.loads(line)["userId"] for line in on.backup.read_text().splitlines()}


@mutant(
    "an email was sent first as long ago as the monotonic clock says",
    "ChunkInHand._id_may_be_reused",
    swap("self._context.age_s(self._sent_at)", "self._context.log.place.world.steady() - self._sent_at[1]"),
    case="the monotonic clock stands still",
)
@mutant(
    "an email was sent first as long ago as the wall clock says",
    "ChunkInHand._id_may_be_reused",
    swap("self._context.age_s(self._sent_at)", "self._context.log.place.world.wall() - self._sent_at[0]"),
    case="the wall clock is set back",
)
@each_pause
async def test_an_account_that_has_the_id_since_a_long_pause_is_not_deleted_by_a_repetition(
    clocks: str, tmp_path: Path
) -> None:
    """The responses before the pause are lost. In it each email of a deleted account is given to a new one."""
    with machine(tmp_path, "email", EMAILS) as on:
        pool = on.it.served.pool
        on.it.switch(share_drop_after=1.0, fault_paths=DELETIONS)
        async with on.sending() as (run, _, steering):
            assert (await steering.apply("pause", ANN)).ok
            await quiet(run, on.it)
            given = list(pool.deleted_ids("email"))
            pool.add_ids(given, "email", created_at=on.it.served.created_at)
            on.it.switch(share_drop_after=0.0)
            on.ahead_s, on.set_s = PAUSES[clocks]
            assert (await steering.apply("resume", ANN)).ok
            assert (await steering.apply("rate 0", ANN)).ok
            counts = (await run.finished()).counts
        assert on.it.effects(EMAILS, "email") == [1] * len(EMAILS)
        assert counts["deleted"] + counts["unknown"] == len(EMAILS)


@mutant(
    "a pause file whose folder cannot be read has gone",
    "PauseFile.look",
    swap(
        "try:\n"
        "    self._path.lstat()\n"
        "    there = True\n"
        "except (FileNotFoundError, NotADirectoryError):\n"
        "    there = False\n"
        "except OSError:\n"
        "    return",
        "try:\n"
        "    self._path.lstat()\n"
        "    there = True\n"
        "except (FileNotFoundError, NotADirectoryError):\n"
        "    there = False\n"
        "except OSError:\n"
        "    there = False",
    ),
)
async def test_a_pause_file_that_goes_after_a_day_leaves_the_run_paused_for_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one whose folder cannot be looked into for a while has not gone."""
    folder = tmp_path / "pause"
    folder.mkdir()
    (folder / "file").touch()
    with machine(tmp_path, "email", EMAILS) as on:
        async with on.sending() as (run, _, steering):
            file = PauseFile(run, folder / "file")
            file.look()
            folder.rename(tmp_path / "kept")
            folder.symlink_to(folder)  # looking into it fails, as for a server of files that does not answer
            file.look()
            await quiet(run, on.it)
            folder.unlink()
            on.ahead_s = 25 * HOUR_S
            file.look()
            await quiet(run, on.it)
            moment = run.snapshot()
            assert moment is not None
            assert moment.confirm is not None
            printed = moment.confirm.partition(" --confirm ")[0]  # an outcome that came since has changed the number
            assert printed in capsys.readouterr().err, "the command that ends it is printed"
            command = moment.confirm.partition("resume")
            assert (await steering.apply("".join(command[1:]), ANN)).ok
            assert (await steering.apply("rate 0", ANN)).ok
            assert (await run.finished()).counts["deleted"] == len(EMAILS)
        assert on.it.effects(EMAILS, "email") == [1] * len(EMAILS)
