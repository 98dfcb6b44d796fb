"""The limits of the rate and the pauses, as tables."""

from __future__ import annotations

import pytest

from bulkdel.core.log_entries import Change, Changed, Source
from bulkdel.core.pace import Pause, Pauses, RateLimits
from bulkdel.log_words import with_origin


@pytest.mark.parametrize(
    ("limits", "ceiling", "binding"),
    [
        (RateLimits(50.0), 50.0, "rate"),
        (RateLimits(0.0), 0.0, "rate"),
        (RateLimits(10.0, Source.CTL), 10.0, "ctl"),
        (RateLimits(50.0, None, 10.0), 10.0, "schedule"),
        (RateLimits(0.0, None, 10.0), 10.0, "schedule"),
        (RateLimits(0.0, Source.PAGE, 10.0), 10.0, "schedule"),
        (RateLimits(5.0, Source.LIBRARY, 10.0), 5.0, "library"),
        (RateLimits(10.0, None, 10.0), 10.0, "rate"),
    ],
)
def test_the_smallest_limit_of_the_rate_holds(limits: RateLimits, ceiling: float, binding: str) -> None:
    assert (limits.ceiling, limits.binding) == (ceiling, binding)
    assert limits.named[binding] == ceiling


def test_every_limit_has_a_name() -> None:
    assert RateLimits(50.0).named == {"rate": 50.0}
    assert RateLimits(20.0, Source.CTL, 10.0).named == {"ctl": 20.0, "schedule": 10.0}


HAND, OTHER = Pause(Source.CTL, "ann", 5.0), Pause(Source.LIBRARY, "bob", 7.0)
FILE = Pause(Source.PAUSE_FILE, None, 6.0)


def test_a_pause_is_ended_by_its_own_kind() -> None:
    paused = Pauses().begun(HAND).begun(FILE).begun(OTHER)
    assert (paused.by_hand, paused.by_file, paused.since) == (HAND, FILE, 5.0)
    assert paused.first is HAND
    only_file = paused.ended(Source.PAGE)
    assert (only_file.first, only_file.since) == (FILE, 5.0), "paused all the time since the first"
    assert only_file.ended(Source.LIBRARY) == only_file
    assert only_file.ended(Source.PAUSE_FILE) == Pauses()
    assert Pauses().begun(FILE).begun(FILE).since == 6.0
    assert Pauses().first is None


def test_a_pause_whose_file_has_gone_is_left_to_a_person() -> None:
    kept = Pauses().begun(FILE).kept_for_a_person()
    assert kept.ended(Source.PAUSE_FILE) == kept
    assert kept.ended(Source.CTL) == Pauses()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change("", Changed.RATE, 10.0, Source.CTL, "ann"), "10 requests a second, by ann (bulkdel ctl)"),
        (Change("", Changed.PAUSED, True, Source.PAUSE_FILE), "Paused, by the pause file"),
        (Change("", Changed.SCHEDULE, None, Source.SCHEDULE), "No limit by --schedule, by the schedule"),
        (Change("", Changed.CONCURRENCY, 3, Source.PAGE, "bob"), "3 requests at the same time, by bob (the live page)"),
    ],
)
def test_a_change_in_words_has_its_origin(change: Change, words: str) -> None:
    assert with_origin(change) == words
