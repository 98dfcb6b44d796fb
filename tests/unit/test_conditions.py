"""The conditions of --spare: dates and ages, and what an age means on a resume."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bulkdel.conditions import conditions_of, with_instants
from bulkdel.core.guards import ACTIVE_SINCE, CREATED_AFTER, NO_GUARDS, Guards
from bulkdel.errors import UsageError
from bulkdel.settings import Settings
from tests.mutants import mutant
from tests.syntax import swap

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["active-since=90d"], ["active-since=2025-12-01"]),
        (["active-since= 1d "], ["active-since=2026-02-28"]),
        (["created-after=30d", "active-since=2026-01-31"], ["created-after=2026-01-30", "active-since=2026-01-31"]),
        (["active-since=2026-01-31T06:00+02:00"], ["active-since=2026-01-31T06:00+02:00"]),
    ],
)
def test_an_age_becomes_a_midnight_in_utc(texts: list[str], found: list[str]) -> None:
    assert with_instants(texts, NOW, NO_GUARDS) == found
    assert with_instants(found, NOW + timedelta(days=400), NO_GUARDS) == found, "once"


def test_the_day_of_an_age_is_that_of_utc() -> None:
    ahead = NOW.replace(hour=23).astimezone(timezone(timedelta(hours=9)))
    assert ahead.day == 2
    assert with_instants(["active-since=1d"], ahead, NO_GUARDS) == ["active-since=2026-02-28"]


@mutant(
    "an age spares fewer accounts on a resume",
    "with_instants",
    swap("at if logged is None else min(at, logged)", "at"),
)
@pytest.mark.parametrize(
    ("logged", "found"),
    [
        (Guards(active_since=epoch("2025-11-20T00:00:00")), "2025-11-20"),  # the run began eleven days ago
        (Guards(active_since=epoch("2025-12-24T00:00:00")), "2025-12-01"),  # it had a shorter age: this spares more
        (Guards(created_after=epoch("2025-01-01T00:00:00")), "2025-12-01"),  # another guard
        (NO_GUARDS, "2025-12-01"),
    ],
)
def test_an_age_means_the_instant_of_the_log_unless_its_own_spares_more(logged: Guards, found: str) -> None:
    assert with_instants(["active-since=90d"], NOW, logged) == [f"active-since={found}"]


def test_each_guard_is_known_by_its_name() -> None:
    assert conditions_of(["created-after=a", " active-since =b=c"]) == {CREATED_AFTER: "a", ACTIVE_SINCE: "b=c"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["active-since"], "--spare 'active-since': write active-since=DATE or created-after=DATE"),
        (["last-login=90d"], "--spare 'last-login=90d': write active-since=DATE"),
        (["active-since>90d"], "write active-since=DATE"),
        (["active-since=1d", "active-since=2d"], "--spare active-since: is given twice"),
        (["active-since=0d"], "or an age such as 90d"),
        (["active-since=90"], "or an age such as 90d"),
        (["active-since=3w"], "or an age such as 90d"),
        (["active-since=100000d"], "or an age such as 90d"),
        (["active-since="], "or an age such as 90d"),
    ],
)
def test_what_is_no_condition_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(spare=texts).check()


def test_the_statuses_of_one_word() -> None:
    settings = Settings(only_status=["Suspended, Archived", "Left"])
    settings.check()
    assert settings.guards.statuses == frozenset({"Suspended", "Archived", "Left"})


def test_the_options_of_the_guards_give_them_again() -> None:
    guards = Guards(epoch("2026-01-31T00:00:00"), epoch("2026-01-31T06:00:00.500"), frozenset({"a", "b"}))
    options = guards.options
    assert options == {
        "--spare": ("active-since=2026-01-31", "created-after=2026-01-31T06:00:00.500000Z"),
        "--only-status": ("a", "b"),
    }
    assert Settings(spare=list(options["--spare"]), only_status=list(options["--only-status"])).guards == guards
