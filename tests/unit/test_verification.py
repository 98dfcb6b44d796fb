"""The arithmetic of `verify`, as tables: which rows are asked for, what an answer means, what follows for the exit."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.checkpoint.index import RowResult
from bulkdel.core.account_match import REUSE_AFTER_S, SKEW_S, Instant, Sampled
from bulkdel.core.log_entries import (
    Entry,
    Found,
    Intent,
    Outcome,
    Session,
    Unreadable,
    VerifyHeader,
    from_json,
    stamp,
    to_json,
)
from bulkdel.core.mac import found_with_mac
from bulkdel.core.skipped_rows import PositionSet, RowSet
from bulkdel.core.summary import Ending, exit_code, status_of
from bulkdel.core.verification import Counts, Findings, GoneRow, judged, picks
from bulkdel.verify.session import gone_rows
from tests import recorded
from tests.inputs import rows_of
from tests.mutants import mutant
from tests.syntax import swap

AT = "2026-01-01T00:00:00.000Z"
AT_S = 1_767_225_600.0


# ── which rows ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(0, 9))
def test_picks_are_as_many_as_asked_for_ascending_and_evenly_spread(total: int, count: int, seed: int) -> None:
    drawn = list(picks(total, count, random.Random(seed).random))
    assert len(drawn) == min(total, count)
    assert drawn == sorted(set(drawn))
    assert all(0 <= one < total for one in drawn)
    for part, one in enumerate(drawn):  # no part of the export is left out
        assert abs(one - part * total / len(drawn)) <= total / len(drawn) + 1
    assert drawn == list(picks(total, count, random.Random(seed).random))


def test_every_row_may_be_picked() -> None:
    """The first and the last too, each about as often as the size of its part says (2 or 3 of 10)."""
    times = dict.fromkeys(range(10), 0)
    for seed in range(2_000):
        for one in picks(10, 4, random.Random(seed).random):
            times[one] += 1
    assert all(600 < count < 1_100 for count in times.values()), times


AFTER = "2026-01-02T00:00:00.000Z"


def settled(start: int, stop: int, at: str = AT, kind: Any = "done", reason: str | None = None) -> RowResult:
    return RowResult(start, stop, kind, Outcome(at, 1, kind, ((start, stop),), reason=reason))


def test_the_gone_rows_are_those_with_an_outcome_that_says_so_and_without_a_finding() -> None:
    rows = [
        (
            rows_of(["id0", None, "id2", "id3"]),
            [settled(0, 1), RowResult(1, 2, "invalid"), settled(2, 4, AFTER, "absent", "re-created")],
        ),
        (rows_of(["id4", "id5", "id6"], 4), [settled(4, 7)]),
        (rows_of(["id7", "id8"], 7), [settled(7, 8, kind="refused"), RowResult(8, 9, "remaining", in_doubt=True)]),
    ]
    known = RowSet(ranges=((3, 5),))
    assert list(gone_rows(rows, known, None)) == [
        GoneRow(0, "id0", Instant(AT), recreated=False),
        GoneRow(2, "id2", Instant(AFTER), recreated=True),
        GoneRow(5, "id5", Instant(AT), recreated=False),
        GoneRow(6, "id6", Instant(AT), recreated=False),
    ]
    # The numbers of a sample count the rows 0, 2, 3, 4, 5 and 6. A row that has a finding is not replaced by another.
    assert [row.position for row in gone_rows(rows, known, iter([0, 2, 5]))] == [0, 6]
    assert [row.position for row in gone_rows(rows, RowSet(), iter([1, 2, 3]))] == [2, 3, 4]
    assert list(gone_rows(rows, RowSet(), iter(()))) == []


# ── what an answer means ──────────────────────────────────────────────────────────────────────────────────────────────


SAMPLED = Sampled(AT_S - 1000, 0, 0)


@pytest.mark.parametrize(
    ("reusable", "recreated", "created", "age", "finding"),
    [
        # An id that is never used twice is the account that was meant, whatever its record or the outcome says.
        (False, False, None, 10, "there"),
        (False, False, -1e6, 10, "there"),
        (False, False, SKEW_S + 1, 1e6, "there"),
        (False, True, 1.0, 1e6, "there"),
        # One that may be used again is a newer account when it is younger than the outcome by more than the skew.
        (True, False, -1e6, 10, "there"),
        (True, False, -1000.0, 10, "there"),
        (True, False, -999.0, 10, None),
        (True, False, 0.0, 10, None),
        (True, False, SKEW_S, 1e6, None),
        (True, False, SKEW_S + 1, 1e6, "recreated"),
        (True, False, 1e9, 1e6, None),  # created in the future: a clock is wrong
        (True, False, None, 10, None),
        (True, False, None, REUSE_AFTER_S + 1, None),
        # The run itself saw a newer account there.
        (True, True, None, 1e6, "recreated"),
        (True, True, -999.0, 1e6, "recreated"),
        (True, True, -1000.0, 1e6, "there"),  # no: it is no younger than what existed before the run
    ],
)
def test_which_account_is_found(
    reusable: bool, recreated: bool, created: float | None, age: float, finding: str | None
) -> None:
    """created, age: of account and of now, seconds after the outcome."""
    created_at = None if created is None else AT_S + created
    now = Instant(stamp(AT_S + age), 0)
    assert judged(GoneRow(0, "x", Instant(AT, 0), recreated), created_at, SAMPLED, now, reusable=reusable) == finding


def test_clocks_that_are_not_trusted_make_no_account_a_newer_one() -> None:
    row, now = GoneRow(0, "x", Instant(AT, 0), recreated=False), Instant(stamp(AT_S + 1e6), 0)
    created_at = AT_S + 1000
    assert judged(row, created_at, SAMPLED, now, reusable=True) == "recreated"
    assert judged(row, created_at, SAMPLED, now, reusable=True, trusted=False) is None
    assert judged(row, created_at, SAMPLED._replace(future_s=1), now, reusable=True) is None


@mutant(
    "an account whose state is not known is called still there",
    "judged",
    swap("reached is None", "reached is None and reusable"),
    case="None-False-None",
)
@pytest.mark.parametrize(
    ("reached", "created", "finding"),
    [(True, False, "gone"), (False, False, "there"), (None, False, None), (False, True, "gone"), (None, True, "gone")],
)
def test_an_account_in_the_target_state_is_as_good_as_gone(
    reached: bool | None, created: bool, finding: str | None
) -> None:
    row = GoneRow(0, "x", Instant(AT, 0), recreated=False)
    assert judged(row, None, SAMPLED, Instant(AT, 0), reusable=False, reached=reached, created=created) == finding


# ── the findings ──────────────────────────────────────────────────────────────────────────────────────────────────────


HEADER, KEY = VerifyHeader("t", AT, {"host": "a\nb"}), bytes(range(32))


def findings(*entries: Entry, duplicates: PositionSet = recorded.NONE.rows) -> Findings:
    found = Findings(HEADER, duplicates, KEY)
    for entry in entries:
        found.apply(entry)
    return found


def test_the_findings_are_those_of_all_entries() -> None:
    start, stop = Session("start", AT, ""), Session("stop", AT, "")
    gone, there = Found(AT, "gone", ((0, 5), (7, 8))), Found(AT, "there", ((5, 6),))
    found = findings(start, gone, there, Found(AT, "recreated", ((6, 7),)), stop)
    assert {name: rows.ranges for name, rows in found.rows.items()} == {
        "gone": ((0, 5), (7, 8)),
        "recreated": ((6, 7),),
        "there": ((5, 6),),
    }
    assert found.known.ranges == ((0, 8),)
    assert (found.start, found.stop) == (start, stop)
    found.apply(start)
    assert found.stop is None


def test_duplicates_leave_no_gaps_and_do_not_count() -> None:
    entries = (Found(AT, "gone", ((0, 1), (2, 3))), Found(AT, "gone", ((4, 5),)))
    found = findings(*entries, duplicates=PositionSet([(1, 2)]))
    assert (found.known.ranges, found.known.size, found.rows["gone"].size) == (((0, 3), (4, 5)), 3, 3)


def test_they_are_proven_while_each_has_its_mac() -> None:
    first, second = Found(AT, "gone", ((0, 5),)), Found(AT, "there", ((5, 6),))
    mine = found_with_mac(first, HEADER, KEY)
    assert findings(Session("start", AT, "")).proven
    assert findings(from_json(orjson.loads(orjson.dumps(to_json(mine))))).proven
    assert not findings(second, mine).proven
    without = Findings(HEADER, recorded.NONE.rows)
    assert (without.with_mac(second), findings().with_mac(first)) == (second, mine)
    assert not findings(replace(mine, mac=None)).proven
    without.apply(mine)
    assert not without.proven


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Found(AT, "there", ((3, 6),)), "rows 3-5 are found twice"),
        (VerifyHeader("t", AT, {}), "no verification writes"),
        (recorded.deleted(7, 8), "no verification writes"),
    ],
)
def test_findings_that_contradict_each_other_are_refused(entry: Entry, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        findings(Found(AT, "gone", ((0, 5),)), entry)


# ── the result ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_counts_add_up() -> None:
    skipped = recorded.skipped(excluded=[(13, 15)])
    progress = recorded.fold([recorded.header(20, skipped)], skipped)
    progress.apply(Outcome(AT, 1, "done", ((0, 10),)))
    progress.apply(Outcome(AT, 1, "absent", ((10, 12),)))
    progress.apply(Outcome(AT, 1, "refused", ((12, 13),)))
    found = findings(Found(AT, "gone", ((0, 5),)), Found(AT, "there", ((5, 6),)), Found(AT, "recreated", ((6, 8),)))
    progress.apply(Intent(AT, ((16, 19),)))
    counts = Counts.of(progress, found, None)
    assert counts == Counts(
        gone=7,
        still_there=1,
        could_not_tell=4,
        in_doubt=3,
        recreated=2,
        checked=12,
        claimed=12,
        not_claimed=8,
        rows=20,
    )
    assert Counts.of(progress, found, 9).could_not_tell == 1
    assert Counts.of(progress, found, 99).checked == 12


def result(checked: int, there: int, unknown: int = 0, in_doubt: int = 0) -> Counts:
    return Counts(checked - there - unknown, there, unknown, in_doubt, 0, checked, checked, 20 - checked, 20)


@pytest.mark.parametrize(
    ("there", "unknown", "signal", "file_failed", "halted"),
    list(product((0, 2), (0, 3), (None, 2, 15), (False, True), (False, True))),
)
def test_every_ending(there: int, unknown: int, signal: int | None, file_failed: bool, halted: bool) -> None:
    """5 before a signal before 4 before 1; 0 only when every one of them is gone."""
    counts = result(10, there, unknown)
    ending = Ending(signal=signal, file_failed=file_failed, halted=halted)
    complete = counts.complete(ending)
    code, status = exit_code(ending, complete=complete, refused=there), status_of(ending, complete=complete)
    if file_failed:
        assert code == 5
    elif signal and (unknown or halted):
        assert (code, status) == (128 + signal, "interrupted")
    elif halted or unknown:
        assert (code, status) == (4, "halted" if halted else "incomplete")
    else:
        assert (code, status) == (1 if there else 0, "complete")
    assert (code == 0) == (counts.gone == counts.checked and not file_failed and not halted)


@pytest.mark.parametrize("checked", [0, 10])
@pytest.mark.parametrize("there", [0, 2])
def test_rows_in_doubt_are_no_complete_verification(checked: int, there: int) -> None:
    assert not result(checked, min(there, checked), in_doubt=5).complete(Ending())
