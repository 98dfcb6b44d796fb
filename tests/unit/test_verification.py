"""The arithmetic of `verify`, as tables: which rows are asked for, what an answer means, what follows for the exit."""

from __future__ import annotations

import random
from itertools import product

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.account_match import REUSE_AFTER_S, SKEW_S, Instant, Sampled
from bulkdel.core.bad_rows import BadRow, Unusable, Why
from bulkdel.core.id_type import PLAIN, IdType
from bulkdel.core.log_entries import Damaged, Intent, Outcome, Skipped, Unreadable, frame
from bulkdel.core.ranges import RangeSet, positions_in
from bulkdel.core.record import Batch
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import Ending
from bulkdel.core.verification import (
    FIRST_LINE,
    Books,
    Claim,
    Stretch,
    Tally,
    chunks_apart,
    claims_of,
    decode,
    encode_first,
    encode_found,
    exit_code,
    found_of,
    judged,
    picks,
    status_of,
)
from bulkdel.format import stamp
from tests import recorded

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


def batch(start: int, count: int) -> Batch:
    return Batch(start, [f"id{position}" for position in range(start, start + count)])


def test_claims_are_the_claimed_rows_that_are_not_known() -> None:
    bad: list[str | BadRow] = ["id0", BadRow(2, "?", Unusable(Why.EMPTY_ID)), "id2", "id3"]
    rows = [
        (Batch(0, bad), [Stretch(0, 1, Instant("t1"), replaced=False), Stretch(2, 4, Instant("t2"), replaced=True)]),
        (batch(4, 3), [Stretch(4, 7, Instant("t3"), replaced=False)]),
        (batch(7, 2), []),
    ]
    known = RangeSet(((3, 5),))
    assert list(claims_of(rows, known, None)) == [
        Claim(0, "id0", Instant("t1"), replaced=False),
        Claim(2, "id2", Instant("t2"), replaced=True),
        Claim(5, "id5", Instant("t3"), replaced=False),
        Claim(6, "id6", Instant("t3"), replaced=False),
    ]
    # Drawn are numbers among the claimed rows: 0, 2, 3, 4, 5, 6. What is known is not drawn anew.
    assert [claim.position for claim in claims_of(rows, known, iter([0, 2, 5]))] == [0, 6]
    assert [claim.position for claim in claims_of(rows, RangeSet(), iter([1, 2, 3]))] == [2, 3, 4]
    assert list(claims_of(rows, RangeSet(), iter(()))) == []


def test_no_two_ids_that_may_be_the_same_are_in_one_chunk() -> None:
    claims = [Claim(i, id_, Instant(AT), replaced=False) for i, id_ in enumerate(["a", "b", "A", "c", "d", "e", "e"])]
    chunks = [[claim.id for claim in chunk] for chunk in chunks_apart(claims, 3, IdType("email", key=str.lower))]
    assert chunks == [["a", "b"], ["A", "c", "d"], ["e"], ["e"]]
    claims = [Claim(i, id_, Instant(AT), replaced=False) for i, id_ in enumerate(["12", "2", "32", "1"])]
    number = IdType("number", forms=lambda id_: (id_, id_[1:]))
    assert [len(chunk) for chunk in chunks_apart(claims, 9, number)] == [1, 1, 2]
    assert list(chunks_apart([], 3, PLAIN)) == []


# ── what an answer means ──────────────────────────────────────────────────────────────────────────────────────────────


SAMPLED = Sampled(AT_S - 1000, 0, 0)


@pytest.mark.parametrize(
    ("reusable", "replaced", "created", "age", "finding"),
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
def test_who_is_found(reusable: bool, replaced: bool, created: float | None, age: float, finding: str | None) -> None:
    """created, age: of account and of now, seconds after the outcome."""
    created_at = None if created is None else AT_S + created
    now = Instant(stamp(AT_S + age), 0)
    assert judged(Claim(0, "x", Instant(AT, 0), replaced), created_at, SAMPLED, now, reusable=reusable) == finding


def test_clocks_that_are_not_trusted_make_no_account_a_newer_one() -> None:
    claim, now = Claim(0, "x", Instant(AT, 0), replaced=False), Instant(stamp(AT_S + 1e6), 0)
    created_at = AT_S + 1000
    assert judged(claim, created_at, SAMPLED, now, reusable=True) == "recreated"
    assert judged(claim, created_at, SAMPLED, now, reusable=True, trusted=False) is None
    assert judged(claim, created_at, SAMPLED._replace(future_s=1), now, reusable=True) is None


# ── the books ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_read() -> None:
    first = encode_first("bulkdel 1", AT, {"run_id": "r", "sample": None})
    assert first.startswith(FIRST_LINE)
    assert decode(first, 1)["pinned"] == {"run_id": "r", "sample": None}
    line = encode_found(2, AT, {"gone": ((0, 5), (7, 8)), "there": ((5, 6),), "recreated": ()})
    assert found_of(decode(line, 2)) == {"gone": ((0, 5), (7, 8)), "there": ((5, 6),), "recreated": ()}
    books = Books()
    books.apply(found_of(decode(line, 2)))
    books.apply({"recreated": ((6, 7),)})
    assert (books.gone.ranges, books.recreated.ranges, books.there.ranges) == (((0, 5), (7, 8)), ((6, 7),), ((5, 6),))
    assert books.known.ranges == ((0, 8),)
    with pytest.raises(Unreadable, match="twice"):
        books.apply({"gone": ((5, 6),)})


def entry_line(seq: int, *entries: object) -> bytes:
    return frame(seq, [orjson.dumps(entry) for entry in entries])


@pytest.mark.parametrize(
    ("line", "seq", "error"),
    [
        (encode_found(2, AT, {})[:-1], 2, Damaged),
        (encode_found(2, AT, {}), 3, Damaged),
        (encode_found(2, AT, {}), 1, Damaged),
        (entry_line(1, {"type": "header"}), 1, Unreadable),
        (entry_line(1, {"type": "verify", "format": 2}), 1, Unreadable),
        (entry_line(1, {"type": "verify"}), 1, Unreadable),
        (entry_line(2, {"type": "verify", "format": 1}), 2, Unreadable),
        (entry_line(2), 2, Unreadable),
        (entry_line(2, 5), 2, Unreadable),
    ],
)
def test_lines_that_are_not_ours(line: bytes, seq: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(line, seq)


@pytest.mark.parametrize("ranges", [5, [5], [[1]], [["a", 2]], [[2, 2]], [[3, 1]], [[-1, 1]]])
def test_garbled_ranges(ranges: object) -> None:
    with pytest.raises(Unreadable, match="garbled"):
        found_of({"gone": ranges})


# ── the result ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tally_adds_up() -> None:
    progress = Progress(recorded.header(20))
    progress.apply(Outcome(AT, 1, "done", ((0, 10),)))
    progress.apply(Outcome(AT, 1, "absent", ((10, 12),)))
    progress.apply(Outcome(AT, 1, "refused", ((12, 13),)))
    progress.apply(Skipped("excluded", ((13, 15),)))
    books = Books()
    books.apply({"gone": ((0, 5),), "there": ((5, 6),), "recreated": ((6, 8),)})
    progress.apply(Intent(AT, ((16, 19),)))
    tally = Tally.of(progress, books, None)
    assert tally == Tally(rows=20, claimed=12, checked=12, gone=7, recreated=2, there=1, in_doubt=3)
    assert tally.could_not_tell == 4
    assert Tally.of(progress, books, 9).could_not_tell == 1
    assert Tally.of(progress, books, 99).checked == 12
    assert list(positions_in(books.known.ranges)) == list(range(8))


@pytest.mark.parametrize(
    ("there", "unknown", "signal", "file_failed", "halted"),
    list(product((0, 2), (0, 3), (None, 2, 15), (False, True), (False, True))),
)
def test_every_ending(there: int, unknown: int, signal: int | None, file_failed: bool, halted: bool) -> None:
    """5 before a signal before 4 before 1; 0 only when every one of them is gone."""
    tally = Tally(rows=20, claimed=10, checked=10, gone=10 - there - unknown, recreated=0, there=there)
    ending = Ending(signal=signal, file_failed=file_failed, halted=halted)
    code, status = exit_code(tally, ending), status_of(tally, ending)
    if file_failed:
        assert code == 5
    elif signal and unknown:
        assert (code, status) == (128 + signal, "interrupted")
    elif halted or unknown:
        assert (code, status) == (4, "halted" if halted else "incomplete")
    else:
        assert (code, status) == (1 if there else 0, "complete")
    assert (code == 0) == (tally.gone == tally.checked and not file_failed and not halted)


@pytest.mark.parametrize("checked", [0, 10])
@pytest.mark.parametrize("there", [0, 2])
def test_rows_in_doubt_are_no_complete_verification(checked: int, there: int) -> None:
    there = min(there, checked)
    tally = Tally(20, checked, checked, checked - there, 0, there, in_doubt=5)
    assert (exit_code(tally, Ending()), status_of(tally, Ending())) == (4, "incomplete")
    assert exit_code(tally, Ending(file_failed=True)) == 5
