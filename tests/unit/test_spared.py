"""`core.guards`: which accounts are spared, what is missing, and what a resume may change."""

from __future__ import annotations

from itertools import product

import pytest

from bulkdel.core.guards import (
    ACTIVE_SINCE,
    CREATED_AFTER,
    NO_GUARDS,
    ONLY_STATUS,
    Facts,
    Guard,
    Guards,
    Judged,
    Spared,
    untold,
)
from bulkdel.job import NEVER, Account
from tests.mutants import mutant
from tests.syntax import swap

ALL = Guards(100.0, 200.0, frozenset({"Suspended", "Archived"}))
OLD = Facts(last_seen_at=99.0, created_at=200.0, status="Suspended")


@mutant(
    "a user that is active is deleted",
    "Guards._spares",
    swap("seen_at >= self.active_since", "seen_at > self.active_since"),
)
@pytest.mark.parametrize(
    ("guards", "facts", "spared"),
    [
        (ALL, OLD, None),
        (ALL, OLD._replace(last_seen_at=100.0), Spared.ACTIVE),  # at the very moment
        (ALL, OLD._replace(last_seen_at=NEVER), None),
        (ALL, OLD._replace(created_at=200.001), Spared.CREATED),
        (ALL, OLD._replace(status="Archived"), None),
        (ALL, OLD._replace(status="suspended"), Spared.STATUS),  # exactly as the API has it
        (ALL, Facts(100.0, 201.0, "x"), Spared.ACTIVE),  # the first of several
        (NO_GUARDS, Facts(), None),
        (Guards(active_since=100.0), Facts(last_seen_at=5.0), None),  # what no guard needs may be missing
    ],
)
def test_which_account_is_spared(guards: Guards, facts: Facts, spared: Spared | None) -> None:
    assert guards.judge([facts]) == Judged(spared)


@pytest.mark.usefixtures("berlin")
def test_the_moments_of_guards_are_written_in_utc() -> None:
    assert Guards(active_since=0.0).to_json() == {"active_since": "1970-01-01T00:00:00Z"}


@mutant("a day spares from its beginning only", "Guards._spares", swap("latest_s(at)", "at"))
def test_a_day_without_a_time_spares_until_its_end() -> None:
    """`--spare-… 1970-01-11T10:00`, and an API that gives the day only: it may have been in the evening."""
    day, at_ten = 10 * 86_400.0, 10 * 86_400.0 + 36_000
    for at, spares in ((day, True), (day + 1, False), (day - 86_400, False)):
        active, created = Guards(active_since=at_ten), Guards(created_after=at_ten)
        assert active.judge([Facts(last_seen_at=at)]) == Judged(Spared.ACTIVE if spares else None)
        assert created.judge([Facts(created_at=at)]) == Judged(Spared.CREATED if spares else None)


@pytest.mark.parametrize(
    ("fact", "guard"), [("last_seen_at", ACTIVE_SINCE), ("created_at", CREATED_AFTER), ("status", ONLY_STATUS)]
)
def test_a_missing_field_is_no_answer(fact: str, guard: Guard) -> None:
    """Also where another guard, or another record of the same id, would spare the account."""
    lacks = Facts(100.0, 201.0, "x")._replace(**{fact: None})
    for records in ([lacks], [lacks, OLD], [Facts(100.0, 201.0, "x"), lacks]):
        assert ALL.judge(records) == Judged(missing=guard)
        assert ALL.only(guard).judge(records) == Judged(missing=guard)


@mutant(
    "a time of creation that was not filled is one of long ago",
    "_says",
    swap("guard is not CREATED_AFTER or value > 0", "guard is not CREATED_AFTER or value != 0"),
)
@pytest.mark.parametrize("at", [0.0, -62_135_596_800.0])
def test_a_zero_value_is_no_time_of_creation(at: float) -> None:
    """1970, and the year 1. A last sign-in then is none."""
    assert ALL.judge([OLD._replace(created_at=at)]) == Judged(missing=CREATED_AFTER)
    seen = Guards(active_since=200_000.0)
    assert seen.judge([OLD._replace(last_seen_at=at)]) == seen.judge([OLD._replace(created_at=at)]) == Judged()


@mutant(
    "an administrator with an empty id says its id",
    "untold",
    swap("not each", "each is None"),
)
@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], None),  # an honest empty list
        (["a", ""], "1 of 2 records that the server returned have no id where it is read"),
        ([""], "1 of 1 records that the server returned have no id where it is read"),
        (["a", "b"], None),
        (["a", None], "1 of 2 records that the server returned have no id where it is read"),
        ([None], "1 of 1 records that the server returned have no id where it is read"),
    ],
)
def test_a_list_with_a_record_that_does_not_say_what_is_compared_is_no_list(
    told: list[str | None], why: str | None
) -> None:
    assert untold(told) == why


@mutant(
    "only the first record of an id passes the guards",
    "Guards.judge",
    swap("spared or self._spares(facts)", "self._spares(facts)"),
)
def test_an_account_is_spared_when_one_of_its_records_is() -> None:
    assert ALL.judge([OLD, OLD._replace(status="Activated")]) == Judged(Spared.STATUS)
    assert ALL.judge([OLD._replace(status="Activated"), OLD]) == Judged(Spared.STATUS)


def test_a_further_record_of_which_the_job_says_nothing_has_no_facts() -> None:
    account = Account(last_seen_at=99.0, created_at=200.0, status="Suspended", also=({}, {}), also_facts=(OLD,))
    assert account.facts == (OLD, OLD, Facts())
    assert ALL.judge(account.facts) == Judged(missing=ACTIVE_SINCE)


@pytest.mark.parametrize(
    ("before", "now", "loosened", "tightened"),
    [
        (NO_GUARDS, NO_GUARDS, (), False),
        (ALL, ALL, (), False),
        (NO_GUARDS, ALL, (), True),
        (ALL, NO_GUARDS, (ACTIVE_SINCE, CREATED_AFTER, ONLY_STATUS), False),
        (Guards(100.0), Guards(99.0), (), True),
        (Guards(100.0), Guards(101.0), (ACTIVE_SINCE,), False),
        (Guards(None, 100.0), Guards(None, 99.0), (), True),
        (Guards(None, 100.0), Guards(None, 101.0), (CREATED_AFTER,), False),
        (Guards(statuses=frozenset("ab")), Guards(statuses=frozenset("a")), (), True),
        (Guards(statuses=frozenset("a")), Guards(statuses=frozenset("ab")), (ONLY_STATUS,), False),
        (Guards(statuses=frozenset("ab")), Guards(statuses=frozenset("ac")), (ONLY_STATUS,), True),
        (Guards(100.0), Guards(None, 100.0), (ACTIVE_SINCE,), True),
    ],
)
def test_what_a_resume_changes(before: Guards, now: Guards, loosened: tuple[Guard, ...], tightened: bool) -> None:
    assert tuple(change.guard for change in now.loosened(before)) == loosened
    assert now.tightened(before) is tightened


def test_a_change_names_the_values_as_they_are_typed() -> None:
    before = Guards(1769817600.0, 1769817600.5, frozenset({"b", "a"}))
    changes = NO_GUARDS.loosened(before)
    assert [(change.before, change.now) for change in changes] == [
        (("2026-01-31",), ()),
        (("2026-01-31T00:00:00.500000Z",), ()),
        (("a", "b"), ()),
    ]


@pytest.mark.parametrize("since", [None, 1769817600.0, 1769817600.123457])
def test_guards_come_back_from_the_log(since: float | None) -> None:
    """Exactly: a time that came back another one would look like a guard that was loosened."""
    for statuses in (None, frozenset({"a", "b"})):
        guards = Guards(since, since, statuses)
        back = Guards.from_json(guards.to_json())
        assert back == guards
        assert not back.loosened(guards)
        assert not back.tightened(guards)
        assert bool(back) is (since is not None or statuses is not None)
    assert NO_GUARDS.to_json() == {}


@pytest.mark.parametrize(
    "data",
    [
        {"active": 1},
        {"statuses": "a"},
        {"statuses": [1]},
        {"statuses": []},
        {"active_since": "2026-01-31T00:00:00"},
        {"active_since": "x"},
        {"created_after": 5},
    ],
)
def test_guards_that_no_run_wrote(data: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Guards.from_json(data)


@pytest.mark.parametrize(
    ("first", "second"), list(product([Guards(5.0), Guards(None, 5.0), Guards(statuses=frozenset("a"))], repeat=2))
)
def test_a_guard_never_replaces_another(first: Guards, second: Guards) -> None:
    assert bool(second.loosened(first)) is (first != second)
