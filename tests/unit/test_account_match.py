"""Is an account found under an id in doubt the one that was meant? The whole table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.account_match import (
    REUSE_AFTER_S,
    SKEW_S,
    ZONE_MAX_S,
    Instant,
    Presence,
    Sampled,
    age_s,
    known_age_s,
    lag_is_over,
    latest_s,
    presence,
    presences,
)
from bulkdel.core.log_entries import stamp
from bulkdel.core.look_up_lag import LAG_MAX_S
from tests.mutants import mutant
from tests.syntax import swap

OLD, NEW, UNDATED = Presence.OLD, Presence.NEW, Presence.UNDATED

INTENT = 1_700_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
MIDNIGHT = INTENT - INTENT % DAY
NEWEST = INTENT - 1000
"""The latest createdAt of the sample."""
SAMPLED = Sampled(NEWEST, 0, 0)


def at(after_s: float, ahead_s: int | None = 0) -> Instant:
    """An instant so long after the intent, by our clock."""
    return Instant(stamp(INTENT + after_s), ahead_s)


def test_the_numbers_are_those_of_the_design() -> None:
    assert (SKEW_S, REUSE_AFTER_S, ZONE_MAX_S) == (5 * 60, DAY, 14 * HOUR)


@mutant(
    "midnight stands for no day",
    "latest_s",
    swap("at % DAY_S == 0", "at % DAY_S < 0"),
)
@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (MIDNIGHT, UNDATED),  # the day of the intent, and of the newest account of the sample
        (MIDNIGHT - DAY, OLD),  # it ended before the newest account of the sample was created
        (MIDNIGHT + 1, OLD),
        (MIDNIGHT + DAY, NEW),
    ],
)
def test_a_day_without_a_time_lasts_until_its_end(created: float, expected: Presence) -> None:
    """Some APIs give the day only, which arrives as midnight in UTC."""
    moment = Instant(stamp(MIDNIGHT + HOUR), 0)
    sampled, now = Sampled(MIDNIGHT + 2, 0, 0), Instant(stamp(MIDNIGHT + 2 * DAY), 0)
    assert presence(created, moment, sampled, now) is expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (None, UNDATED),
        # no younger than what the sample has seen, or older than any time zone could make it seem
        (NEWEST, OLD),
        (NEWEST - 365 * DAY, OLD),
        (NEWEST + 1, UNDATED),
        # around the intent: a time zone in the west would make a newer account look so old
        (INTENT - 1, UNDATED),
        (INTENT, UNDATED),
        (INTENT + SKEW_S, UNDATED),
        (INTENT + SKEW_S + 1, NEW),
        # up to now and beyond
        (INTENT + HOUR, NEW),
        (INTENT + HOUR + SKEW_S, NEW),
        (INTENT + HOUR + SKEW_S + 1, UNDATED),
    ],
)
def test_clocks_that_agree(created: float | None, expected: Presence) -> None:
    assert presence(created, at(0), SAMPLED, at(HOUR)) is expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [(INTENT - ZONE_MAX_S - 1, OLD), (INTENT - ZONE_MAX_S, UNDATED), (INTENT - 1, UNDATED), (INTENT + HOUR, UNDATED)],
)
def test_without_a_dated_sample_only_zones_tell(created: float, expected: Presence) -> None:
    assert presence(created, at(0), Sampled(None, 0, 0), at(HOUR)) is expected


@pytest.mark.parametrize("created", [NEWEST - DAY, NEWEST, INTENT + HOUR])
@pytest.mark.parametrize(("then", "sampled", "now"), [(None, None, None), (None, None, 0), (0, 0, None)])
def test_without_a_date_nothing_can_be_told(
    created: float, then: int | None, sampled: int | None, now: int | None
) -> None:
    seen = presence(created, at(0, then), SAMPLED._replace(ahead_s=sampled), at(HOUR, now))
    assert seen is UNDATED


@pytest.mark.parametrize(
    ("created", "expected"), [(NEWEST, OLD), (NEWEST + 1, UNDATED), (INTENT + HOUR, UNDATED), (INTENT + 9e4, UNDATED)]
)
def test_something_speaks_against_the_clocks(created: float, expected: Presence) -> None:
    """A sampled createdAt in the future: what was there before the run is still known, a newer account is not."""
    assert presence(created, at(0), SAMPLED._replace(future_s=60), at(DAY)) is expected
    assert presence(created, at(0), SAMPLED, at(DAY), trusted=False) is expected


@pytest.mark.parametrize(
    ("then", "created", "now", "expected"),
    [
        # Our clock was two hours behind and is right now. The server's decides, and is not early by ours.
        (7200, INTENT + 7200 + SKEW_S + 1, at(3 * HOUR, 0), NEW),
        (7200, INTENT + 7200, at(3 * HOUR, 0), UNDATED),
        (7200, INTENT + SKEW_S + 1, at(3 * HOUR, 0), UNDATED),
        (7200, INTENT - 1, at(3 * HOUR, 0), UNDATED),
        # Our clock is two hours ahead, or the server's is two hours behind: both have to say that it is later.
        (-7200, INTENT - 7200 + SKEW_S + 1, at(HOUR, -7200), UNDATED),
        (-7200, INTENT + SKEW_S + 1, at(3 * HOUR, -7200), NEW),
        # Our clock began in 1970: only the sample tells what is old, and only while our clock stays as it is.
        (10**9, INTENT + 10**9 + SKEW_S + 1, at(HOUR, 10**9), NEW),
        (10**9, INTENT + 10**9 - 1000, at(HOUR, 10**9), OLD),
        (10**9, INTENT + 10**9 - 1, at(HOUR, 10**9), UNDATED),
        (10**9, INTENT + 10**9 - DAY, at(HOUR + 10**9, 0), UNDATED),
    ],
)
def test_our_clock_and_the_servers_are_apart(then: int, created: float, now: Instant, expected: Presence) -> None:
    assert presence(created, at(0, then), Sampled(NEWEST + then, 0, then), now) is expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (NEWEST, UNDATED),
        (NEWEST - HOUR, OLD),
        (NEWEST - HOUR + 1, UNDATED),
    ],
)
def test_a_server_clock_that_was_set_back_moves_the_limits(created: float, expected: Presence) -> None:
    """Two clocks came an hour nearer: was ours set, or the server's? An account created now would be dated earlier."""
    sampled = SAMPLED._replace(ahead_s=7200)
    assert presence(created, at(0, 7200), sampled, at(HOUR, 3600)) is expected


@pytest.mark.parametrize(("back_s", "expected"), [(-9000, OLD), (1, OLD), (SKEW_S, OLD), (SKEW_S + 1, UNDATED)])
def test_a_date_that_differs_a_little_is_no_clock_that_was_set_back(back_s: float, expected: Presence) -> None:
    assert presence(NEWEST, at(0), SAMPLED, at(HOUR, -int(back_s))) is expected


def test_a_server_clock_that_was_set_back_by_days() -> None:
    then = int(3 * DAY)
    created = INTENT - ZONE_MAX_S - 1  # older than the intent by both clocks, and perhaps new by the clock of now
    assert presence(created, at(0, then), Sampled(None, 0, then), at(HOUR, then)) is OLD
    assert presence(created, at(0, then), Sampled(None, 0, then), at(HOUR, 0)) is UNDATED
    assert presence(INTENT - 4 * DAY, at(0, then), Sampled(None, 0, then), at(HOUR, 0)) is OLD


# The time zones of the world


@pytest.mark.parametrize("zone_h", [-12, -5, -1, 1, 5.5, 8, 14])
@given(age_s=st.floats(0, 10 * DAY), later_s=st.floats(1, DAY), new_s=st.floats(1, DAY))
def test_local_time_with_a_z_neither_deletes_a_new_account_nor_says_deleted_of_an_old_one(
    zone_h: float, age_s: float, later_s: float, new_s: float
) -> None:
    """A whole chunk, untouched by its request; and one that had effect, with one account created since."""
    zone_s = zone_h * HOUR
    old = INTENT - 2000 - age_s
    now = at(later_s)
    for sampled in (Sampled.of([old + zone_s], at(-1000)), Sampled.of([old - DAY + zone_s], at(-1000))):
        seen = presences(
            {"a": old + zone_s, "b": old - 1 + zone_s}, 0, at(0), sampled, now, reusable=True, resend=False
        )
        assert NEW not in seen.values()
        new = INTENT + 1 + min(new_s, later_s) + zone_s
        (found,) = presences({"a": new}, 49, at(0), sampled, now, reusable=True, resend=False).values()
        assert found is not OLD


# A whole look-up


def look(
    created: dict[str, float | None],
    gone: int = 9,
    *,
    age_s: float = HOUR,
    reusable: bool = True,
    resend: bool = False,
) -> list[Presence]:
    seen = presences(created, gone, at(0), SAMPLED, at(age_s), reusable=reusable, resend=resend)
    assert [*seen] == [*created]
    return [*seen.values()]


@pytest.mark.parametrize("created", [None, NEWEST, INTENT, INTENT + HOUR, INTENT + 9 * DAY])
def test_an_id_that_is_never_reused_is_the_account_that_was_meant(created: float | None) -> None:
    assert look({"a": created}, reusable=False) == [OLD]
    assert presences({"a": created}, 0, at(0, None), Sampled(), at(9 * DAY, None), reusable=False, resend=False) == {
        "a": OLD
    }


@pytest.mark.parametrize(
    ("created", "gone", "expected"),
    [
        ([INTENT + 1000], 1, [NEW]),
        ([INTENT + 1000, INTENT + 2000, None], 1, [NEW, NEW, UNDATED]),
        ([INTENT + 1000], 0, [UNDATED]),  # none is gone: nothing shows that the request had effect
        ([INTENT + 1000, NEWEST], 48, [UNDATED, OLD]),  # one is still there: the request had no effect on it
        ([INTENT + 1000, INTENT + DAY], 48, [UNDATED, UNDATED]),  # one from the future: the clock is wrong
        ([NEWEST, None], 0, [OLD, UNDATED]),
        ([], 2, []),
    ],
)
def test_a_newer_account_counts_only_where_the_request_had_effect(
    created: list[float | None], gone: int, expected: list[Presence]
) -> None:
    named = {f"u{i}": one for i, one in enumerate(created)}
    assert look(named, gone) == expected
    resent = [OLD if one is UNDATED else one for one in expected]
    assert look(named, gone, resend=True) == resent


def test_after_a_day_a_newer_account_may_have_come_by_another_way() -> None:
    assert look({"a": INTENT + 1000}, age_s=REUSE_AFTER_S) == [NEW]
    assert look({"a": INTENT + 1000}, age_s=REUSE_AFTER_S + 1) == [UNDATED]
    assert look({"a": NEWEST}, age_s=365 * DAY) == [OLD]


def test_age_is_measured_by_the_servers_clock_where_it_is_known() -> None:
    assert age_s(at(0, 7200), at(HOUR, 0)) == HOUR - 7200
    assert age_s(at(0, None), at(HOUR, 0)) == age_s(at(0, 0), at(HOUR, None)) == HOUR


def test_no_look_up_can_lag_once_ten_minutes_have_passed_by_both_clocks() -> None:
    assert lag_is_over(at(0, 0), at(LAG_MAX_S + 1, 0))
    assert not lag_is_over(at(0, 0), at(LAG_MAX_S - 1, 30)), "by the server's clock alone"
    assert not lag_is_over(at(0, 30), at(LAG_MAX_S + 1, 0)), "by our clock alone"


# The sample


@pytest.mark.parametrize(
    ("created", "now", "expected"),
    [
        ([], at(0), Sampled(None, 0, 0)),
        ([None, None], at(0, None), Sampled(None, 0, None)),
        ([INTENT - 5, None, INTENT - 9], at(0, 7), Sampled(INTENT - 5, 0, 7)),
        ([INTENT + SKEW_S], at(0), Sampled(INTENT + SKEW_S, 0, 0)),
        ([INTENT + SKEW_S + 1, INTENT - 9], at(0), Sampled(INTENT - 9, 301, 0)),
        ([INTENT + 7200], at(0, 7200), Sampled(INTENT + 7200, 0, 7200)),
        ([INTENT + 7200], at(0, None), Sampled(None, 7200, None)),
    ],
)
def test_what_a_sample_says(created: list[float | None], now: Instant, expected: Sampled) -> None:
    assert Sampled.of(created, now) == expected
    assert Sampled.from_json(expected.to_json()) == expected
    assert expected.trusted is (expected.newest is not None and expected.future_s == 0)


def test_midnight_stands_for_the_whole_day() -> None:
    assert [latest_s(each) for each in (0.0, 1.0, DAY)] == [DAY - 1, 1.0, 2 * DAY - 1]


@pytest.mark.usefixtures("berlin")
def test_the_newest_account_of_a_sample_is_written_in_utc() -> None:
    assert Sampled(0.0, 0, 0).to_json()["newest"] == "1970-01-01T00:00:00+00:00"


def test_a_header_without_a_sample() -> None:
    assert Sampled.from_json(None) == Sampled.from_json({"asked": 1, "found": 0}) == Sampled()


@pytest.mark.parametrize(
    ("then", "now", "one_clock", "expected"),
    [
        (at(0), at(HOUR), True, HOUR),
        (at(0, None), at(HOUR, None), True, HOUR),
        (at(0, None), at(HOUR), False, None),
        (at(0), at(HOUR, None), False, None),
        (at(0), at(HOUR, 60), False, HOUR + 60),
        (at(0), at(1), False, 1.0),  # less than two correct clocks may be apart
        (at(0, int(SKEW_S)), at(0), False, -SKEW_S),
        (at(0, int(SKEW_S) + 1), at(0), False, None),  # the server's clock was set back
    ],
)
def test_an_age_that_a_clock_can_tell(then: Instant, now: Instant, one_clock: bool, expected: float | None) -> None:
    assert known_age_s(then, now, one_clock=one_clock) == expected
