"""The people of the sandbox: the same on every day but for the dates, and none of them from the future."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from bulkdel_jobs.sandbox import People, Pool
from bulkdel_jobs.sandbox.people import KINDS
from bulkdel_jobs.sandbox.users import iso

START = datetime(2026, 2, 28, 0, 0, 1, tzinfo=UTC)


def test_every_hundred_users_have_each_kind() -> None:
    pool = Pool.generated(300, People(START))
    users = [pool.user(number) for number in pool.alive()]
    wanted = Counter({kind.status: 0 for kind in KINDS})
    for kind in KINDS:
        wanted[kind.status] += kind.share
    for first in (0, 100, 200):
        assert Counter(user["status"] for user in users[first : first + 100]) == wanted
    assert [pool.status(number) for number in pool.alive()] == [user["status"] for user in users]
    assert len({user["email"] for user in users}) == 300
    assert all(user["email"].isascii() for user in users)
    assert [pool.find("email", user["email"].upper()) for user in users] == list(range(300))


@pytest.mark.parametrize("hour", [0, 23])
def test_no_time_is_later_than_the_start(hour: int) -> None:
    start = START.replace(hour=hour)
    pool = Pool.generated(2_000, People(start))
    users = [pool.user(number) for number in pool.alive()]
    assert all(user["createdAt"] < (user["lastLogin"] or iso(start)) <= iso(start) for user in users)
    assert max(user["lastLogin"] or "" for user in users)[:10] == "2026-02-28"
    assert {user["loginsCount"] for user in users if user["lastLogin"] is None} == {0}


def test_a_guard_spares_the_same_users_on_another_day() -> None:
    """What README.md prints holds when midnight passes between the sandbox and the plan, and in every year."""

    def spared(start: datetime, later: timedelta) -> list[int]:
        pool, midnight = Pool.generated(1_000, People(start)), (start + later).replace(hour=0, minute=0, second=0)
        since, after = iso(midnight - timedelta(days=90)), iso(midnight - timedelta(days=30))
        users = [(number, pool.user(number)) for number in pool.alive()]
        return [n for n, user in users if (user["lastLogin"] or "") >= since or user["createdAt"] > after]

    first = spared(START, timedelta())
    assert len(first) == 230
    for start in (START, datetime(2031, 12, 31, 23, 59, 59, tzinfo=UTC)):
        assert spared(start, timedelta(days=1)) == first


def test_a_user_that_is_added_keeps_the_id_and_the_date_that_it_was_given() -> None:
    pool = Pool.from_ids(["Boss@X.example"], "email", created_at="2026-01-01T00:00:00.000Z", people=People(START))
    assert (pool.user(0)["email"], pool.user(0)["createdAt"]) == ("boss@x.example", "2026-01-01T00:00:00.000Z")
