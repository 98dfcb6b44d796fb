"""The limits of the rate and the pauses, as tables."""

from __future__ import annotations

import pytest

from bulkdel.core.log_entries import Change, Changed, ChangedBy
from bulkdel.core.pace import Pause, Pauses, RateLimits
from bulkdel.log_words import with_origin


@pytest.mark.parametrize(
    ("limits", "ceiling", "binding"),
    [
        (RateLimits(50.0), 50.0, "rate"),
        (RateLimits(0.0), 0.0, "rate"),
        (RateLimits(10.0, ChangedBy.CTL), 10.0, "ctl"),
        (RateLimits(50.0, None, 10.0), 10.0, "schedule"),
        (RateLimits(0.0, None, 10.0), 10.0, "schedule"),
        (RateLimits(0.0, ChangedBy.PAGE, 10.0), 10.0, "schedule"),
        (RateLimits(5.0, ChangedBy.LIBRARY, 10.0), 5.0, "library"),
        (RateLimits(10.0, None, 10.0), 10.0, "rate"),
    ],
)
def test_the_smallest_limit_of_the_rate_holds(limits: RateLimits, ceiling: float, binding: str) -> None:
    assert (limits.ceiling, limits.binding) == (ceiling, binding)
    assert limits.named[binding] == ceiling


def test_every_limit_has_a_name() -> None:
    assert RateLimits(50.0).named == {"rate": 50.0}
    assert RateLimits(20.0, ChangedBy.CTL, 10.0).named == {"ctl": 20.0, "schedule": 10.0}


HAND, OTHER = Pause(ChangedBy.CTL, "ann", 5.0), Pause(ChangedBy.LIBRARY, "bob", 7.0)
FILE = Pause(ChangedBy.PAUSE_FILE, None, 6.0)


def test_a_pause_is_ended_by_its_own_kind() -> None:
    paused = Pauses().begun(HAND).begun(FILE).begun(OTHER)
    assert (paused.by_hand, paused.by_file, paused.since) == (HAND, FILE, 5.0)
    assert paused.first is HAND
    only_file = paused.ended(ChangedBy.PAGE)
    assert (only_file.first, only_file.since) == (FILE, 5.0), "paused all the time since the first"
    assert only_file.ended(ChangedBy.LIBRARY) == only_file
    assert only_file.ended(ChangedBy.PAUSE_FILE) == Pauses()
    assert Pauses().begun(FILE).begun(FILE).since == 6.0
    assert Pauses().first is None


def test_a_pause_whose_file_has_gone_is_left_to_a_person() -> None:
    kept = Pauses().begun(FILE).kept_for_a_person()
    assert kept.ended(ChangedBy.PAUSE_FILE) == kept
    assert kept.ended(ChangedBy.CTL) == Pauses()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change("", Changed.RATE, 10.0, ChangedBy.CTL, "ann"), "10 requests a second, by ann (bulkdel ctl)"),
        (Change("", Changed.PAUSED, True, ChangedBy.PAUSE_FILE), "Paused, by the pause file"),
        (Change("", Changed.SCHEDULE, None, ChangedBy.SCHEDULE), "No limit by --schedule, by the schedule"),
        (
            Change("", Changed.CONCURRENCY, 3, ChangedBy.PAGE, "bob"),
            "3 requests at the same time, by bob (the live page)",
        ),
    ],
)
def test_a_change_in_words_has_its_origin(change: Change, words: str) -> None:
    assert with_origin(change) == words
