"""How many rows were settled when: buckets, sessions, pauses."""

from __future__ import annotations

import re

import pytest

from bulkdel.core.log_entries import stamp
from bulkdel.report.pictures import curve
from bulkdel.report.timeline import BUCKETS_MAX, Timeline

EPOCH = 1_767_225_600.0


def at(seconds: float) -> str:
    return stamp(EPOCH + seconds)


def test_the_time_between_sessions_is_left_out() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    timeline.settle(at(1), 50)
    timeline.end(at(10))
    timeline.begin(at(86_400))
    timeline.settle(at(86_402), 100)
    timeline.end(at(86_405))
    shown = timeline.throughput()
    assert shown.length_s == 15
    assert list(shown.sessions) == [0, 10]
    assert shown.per_minute[1] == 50 * 60
    assert shown.per_minute[12] == 100 * 60
    assert sum(shown.per_minute) == 150 * 60


def test_a_session_that_was_killed_lasts_until_its_last_entry() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    timeline.settle(at(3), 50)
    timeline.begin(at(1_000))
    assert list(timeline.throughput().sessions) == [0, 3]


def test_memory_is_flat_and_no_row_is_lost() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    for second in range(100_000):
        timeline.settle(at(second), 3)
    timeline.end(at(100_000))
    shown = timeline.throughput()
    assert len(shown.per_minute) <= BUCKETS_MAX
    assert shown.bucket_s == 1024
    last = shown.length_s - shown.bucket_s * (len(shown.per_minute) - 1)
    rows = sum(each * shown.bucket_s / 60 for each in shown.per_minute[:-1]) + shown.per_minute[-1] * last / 60
    assert rows == pytest.approx(300_000)
    assert max(shown.per_minute) == pytest.approx(180, rel=0.01)


def test_responses_429_are_marked_in_their_buckets_also_when_these_are_widened() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    timeline.settle(at(1), 50)
    timeline.throttle(at(10), 3)
    timeline.settle(at(20), 50)
    timeline.end(at(30))
    before = timeline.throughput()
    assert list(before.throttled) == [10.5]
    drawn = curve(before)
    assert drawn is not None
    assert list(drawn.throttled) == [35]
    timeline.throttle(at(1_000), 1)
    timeline.settle(at(BUCKETS_MAX * 16 - 1), 50)
    shown = timeline.throughput()
    assert shown.bucket_s == 16
    assert list(shown.throttled) == [8.0, 1_000 // 16 * 16 + 8]


def test_pauses() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    timeline.pause(at(2), paused=True)
    timeline.pause(at(3), paused=True)  # once more: it is paused already
    timeline.pause(at(6), paused=False)
    timeline.pause(at(7), paused=False)
    timeline.pause(at(8), paused=True)
    timeline.end(at(10))
    timeline.begin(at(20))
    timeline.pause(at(21), paused=True)
    assert timeline.throughput().pauses == ((2, 6), (8, 10), (11, 11))


def test_a_clock_that_is_set_back_stays_in_its_session() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    timeline.settle(at(5), 10)
    timeline.begin(at(-3_600))
    timeline.settle(at(-7_200), 20)
    timeline.settle("no time", 30)
    shown = timeline.throughput()
    assert shown.length_s == 5
    assert list(shown.sessions) == [0, 5]


def test_a_short_last_bucket_is_no_peak() -> None:
    timeline = Timeline()
    timeline.begin(at(0))
    for second in range(10):
        timeline.settle(at(second), 100)
    timeline.settle(at(10.01), 100)
    timeline.end(at(10.02))
    assert max(timeline.throughput().per_minute) < 2 * 6_000


def test_the_curve() -> None:
    timeline = Timeline()
    assert curve(timeline.throughput()) is None
    timeline.begin(at(0))
    for second in range(30):
        timeline.settle(at(second), second)
    timeline.pause(at(30), paused=True)
    timeline.pause(at(50), paused=False)
    timeline.settle(at(60), 5)
    drawn = curve(timeline.throughput())
    assert drawn is not None
    assert re.fullmatch(r"M0,100(V[\d.]+H[\d.]+)+V100Z", drawn.path)
    assert drawn.path.endswith("H1000.00V100Z")
    assert [(round(pause.x), round(pause.width)) for pause in drawn.pauses] == [(50, 33)]
    assert [tick.words for tick in drawn.rates] == ["0", "500", "1,000", "1,500", "2,000"]  # 29 a second are 1,740
    assert [tick.words for tick in drawn.times] == ["0", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]
    timeline.begin(at(90 * 86_400))
    timeline.settle(at(150 * 86_400), 5)  # the widest distance between ticks
    drawn = curve(timeline.throughput())
    assert drawn is not None
    assert len(drawn.sessions) == 2
    assert [tick.words for tick in drawn.times][:2] == ["0", "264 h"]
