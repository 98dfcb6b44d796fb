"""Is an account found under an id in doubt the one that was meant? The whole table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.presence import REUSE_AFTER_S, SKEW_S, Presence, presence

OLD, NEW, UNDATED = Presence.OLD, Presence.NEW, Presence.UNDATED

INTENT = 1_700_000_000.0
DAY = 24 * 3600.0


def test_the_numbers_are_those_of_the_design() -> None:
    assert (SKEW_S, REUSE_AFTER_S) == (5 * 60, DAY)


@pytest.mark.parametrize(
    ("created", "age_s", "reusable", "resend", "expected"),
    [
        # dated: before the intent, at it, within the skew after it, at its end, beyond
        (INTENT - 1, 60, True, False, OLD),
        (INTENT - 1, 60, False, False, OLD),
        (INTENT, 60, True, False, OLD),
        (INTENT + 1, 60, True, False, UNDATED),
        (INTENT + 1, 60, True, True, OLD),
        (INTENT + 1, 60, False, False, OLD),
        (INTENT + SKEW_S, 60, True, False, UNDATED),
        (INTENT + SKEW_S, 60, False, False, OLD),
        (INTENT + SKEW_S + 1, 60, True, False, NEW),
        (INTENT + SKEW_S + 1, 60, False, False, NEW),
        (INTENT + SKEW_S + 1, 60, True, True, NEW),  # `resend` never reaches an account that is known to be another
        # from the future: some clock is wrong, so nothing can be told
        (INTENT + 60 + SKEW_S + 1, 60, True, False, UNDATED),
        (INTENT + 60 + SKEW_S + 1, 60, True, True, OLD),
        (INTENT + 60 + SKEW_S + 1, 60, False, False, OLD),
        # undated: only age and re-usability can tell
        (None, 60, True, False, OLD),
        (None, DAY, True, False, OLD),
        (None, DAY + 1, True, False, UNDATED),
        (None, DAY + 1, True, True, OLD),
        (None, 365 * DAY, False, False, OLD),
    ],
)
def test_table(created: float | None, age_s: float, reusable: bool, resend: bool, expected: Presence) -> None:
    assert presence(created, INTENT, INTENT + age_s, reusable=reusable, resend=resend) is expected


@given(st.floats(-1e6, 1e6), st.floats(0, 1e7), st.booleans(), st.booleans())
def test_an_account_older_than_the_intent_is_meant_a_younger_one_never(
    after_s: float, age_s: float, reusable: bool, resend: bool
) -> None:
    seen = presence(INTENT + after_s, INTENT, INTENT + age_s, reusable=reusable, resend=resend)
    if after_s <= 0:
        assert seen is OLD
    if SKEW_S + 1 < after_s <= age_s:
        assert seen is NEW
    if after_s > age_s + SKEW_S + 1:
        assert seen is not NEW, "an account from the future says that a clock or a zone is wrong"
    if resend or not reusable:
        assert seen is not UNDATED
