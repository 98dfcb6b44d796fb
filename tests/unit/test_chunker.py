"""One pass over the export as work: nothing twice, nothing lost, what is in doubt never beside what is fresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bulkdel.core.chunker as feed_module
from bulkdel.core.account_match import Doubt, Instant
from bulkdel.core.chunker import chunks_of
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import Entry, Intent, Outcome, Released
from bulkdel.core.ranges import ranges_of
from bulkdel.core.record import Chunk
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import SkippedRows
from tests import recorded
from tests.inputs import rows_of
from tests.recorded import fold

BAD = None
MAIL = IdType("email", key=str.lower)
NUMBER = IdType("number", forms=lambda id_: (id_, id_[1:]))
"""Made up: the first digit may be missing."""


def progress_of(rows: int, *entries: Entry, skipped: SkippedRows = recorded.NONE) -> RunState:
    progress = fold([recorded.header(rows, skipped)], skipped)
    for entry in entries:
        progress.apply(entry)
    return progress


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def batches_of(rows: Sequence[str | None], size: int) -> list[Rows]:
    return [rows_of(rows[start : start + size], start) for start in range(0, len(rows), size)]


def ids(count: int) -> list[str | None]:
    return [f"u{i}" for i in range(count)]


def shape(work: Iterable[Chunk]) -> list[tuple[Instant | None, list[int]]]:
    """(in doubt since, positions) of each chunk."""
    return [(item.doubt and item.doubt.since, [record.position for record in item.records]) for item in work]


def deleted(*ranges: tuple[int, int]) -> Outcome:
    return Outcome(at(0), 1, "done", ranges)


def test_fresh_ids_in_chunks() -> None:
    work = chunks_of(batches_of(ids(7), 4), progress_of(7), 3, IdSet())
    assert shape(work) == [(None, [0, 1, 2]), (None, [3, 4, 5]), (None, [6])]


def test_rows_that_the_job_keeps_apart_share_no_chunk() -> None:
    """Also where they change in the middle of what is read at once, and where rows are in doubt."""
    rows: list[str | None] = ["a1", "a2", "a3", "b1", "b2", "b3", "b4", "c1", "a4"]
    doubt = Intent(at(3), ((2, 4),))
    found = chunks_of(batches_of(rows, 4), progress_of(9, doubt), 3, IdSet(), in_common=lambda record: record.id[0])
    since = Instant(at(3), None)
    assert shape(found) == [(since, [2]), (since, [3]), (None, [0, 1]), (None, [4, 5, 6]), (None, [7]), (None, [8])]
    whole = chunks_of(batches_of(rows[:7], 2), progress_of(7), 2, IdSet(), in_common=lambda record: record.id[0])
    assert shape(whole) == [(None, [0, 1]), (None, [2]), (None, [3, 4]), (None, [5, 6])]


def test_settled_is_passed_over() -> None:
    progress = progress_of(8, deleted((0, 3), (5, 6)))
    assert shape(chunks_of(batches_of(ids(8), 3), progress, 2, IdSet())) == [(None, [3, 4]), (None, [6, 7])]


def test_in_doubt_comes_by_itself_and_by_its_intent() -> None:
    progress = progress_of(9, Intent(at(1), ((1, 3),)), Intent(at(2), ((3, 4), (7, 8))))
    assert shape(chunks_of(batches_of(ids(9), 9), progress, 3, IdSet())) == [
        (Instant(at(1)), [1, 2]),
        (Instant(at(2)), [3]),
        (Instant(at(2)), [7]),
        (None, [0, 4, 5]),
        (None, [6, 8]),
    ]


def test_in_doubt_is_cut_by_the_present_chunk_size() -> None:
    progress = progress_of(6, Intent(at(1), ((0, 5),)))
    assert shape(chunks_of(batches_of(ids(6), 6), progress, 2, IdSet())) == [
        (Instant(at(1)), [0, 1]),
        (Instant(at(1)), [2, 3]),
        (Instant(at(1)), [4]),
        (None, [5]),
    ]


def test_what_was_released_is_fresh_again() -> None:
    progress = progress_of(4, Intent(at(1), ((0, 4),)), Released(((1, 3),)))
    work = shape(chunks_of(batches_of(ids(4), 2), progress, 9, IdSet()))
    assert sorted(work, key=str) == sorted([(Instant(at(1)), [0]), (Instant(at(1)), [3]), (None, [1, 2])], key=str)


def test_skipped_rows_are_passed_over() -> None:
    rows: list[str | None] = ["a", BAD, "a", "b", "p", BAD, "c"]
    skipped = recorded.skipped(excluded=[(4, 5)], duplicate=[(2, 3)], invalid=[(1, 2), (5, 6)])
    work = chunks_of(batches_of(rows, 4), progress_of(7, skipped=skipped), 9, IdSet())
    assert shape(work) == [(None, [0, 3, 6])]
    done = progress_of(7, deleted((0, 1), (3, 4), (6, 7)), skipped=skipped)
    assert shape(chunks_of(batches_of(rows, 4), done, 9, IdSet())) == []


def test_a_bad_row_that_the_log_does_not_list_is_not_sent() -> None:
    """Another version of the program found an id there."""
    assert shape(chunks_of(batches_of(["a", BAD, "b"], 3), progress_of(3), 9, IdSet())) == [(None, [0, 2])]


def test_a_fresh_id_that_is_protected_makes_a_chunk_that_is_not_sent() -> None:
    """The key's own user, whose ids are known after the sign-in only. It takes up nothing of the limit."""
    rows: list[str | None] = ["a", "OWN", "b", "c"]
    work = list(chunks_of(batches_of(rows, 4), progress_of(4), 9, IdSet(MAIL, ["own"]), 2))
    assert shape(work) == [(None, [1]), (None, [0, 2])]
    assert [item.protected for item in work] == [True, False]


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, []), (1, [1]), (3, [1, 2, 3]), (4, [1, 2, 3, 5]), (99, [1, 2, 3, 5])]
)
def test_limit_counts_what_is_handed_out_in_doubt_or_not(limit: int, expected: list[int]) -> None:
    progress = progress_of(6, deleted((0, 1), (4, 5)), Intent(at(1), ((2, 3),)))
    work = shape(chunks_of(batches_of(ids(6), 2), progress, 2, IdSet(), limit))
    assert sorted(position for _, positions in work for position in positions) == expected


def test_a_limit_of_nothing_hands_out_nothing() -> None:
    assert shape(chunks_of(batches_of(ids(6), 2), progress_of(6), 2, IdSet(), 0)) == []


def test_progress_is_looked_at_once() -> None:
    progress = progress_of(4, deleted((0, 1)))
    work = chunks_of(batches_of(ids(4), 4), progress, 1, IdSet())
    assert shape([next(work)]) == [(None, [1])]
    progress.apply(deleted((2, 3)))
    progress.apply(Intent(at(9), ((3, 4),)))
    assert shape(work) == [(None, [2]), (None, [3])]


# ── any log, any cut ──────────────────────────────────────────────────────────────────────────────────────────────────

Kinds = Sequence[str]
"""What each row is, a letter: s settled, f fresh, d or e in doubt by two intents, i invalid, u duplicate, x excluded,
k protected and fresh, K protected and in doubt."""


def check(kinds: Kinds, batch_size: int, chunk_size: int, limit: int | None) -> None:
    rows: list[str | None] = []
    for i, kind in enumerate(kinds):
        rows.append(BAD if kind == "i" else "dup" if kind == "u" else f"p{i}" if kind in "xkK" else f"u{i}")
    rows = ["dup", *rows]  # row 0 is what the others repeat
    kinds = ["s", *kinds]

    def positions(letters: str) -> list[int]:
        return [i for i, kind in enumerate(kinds) if kind in letters]

    def skips(letter: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in positions(letter)]

    entries: list[Entry] = [deleted(*ranges_of(positions("s")))]
    entries += [Intent(at(n), ranges_of(positions(letters))) for n, letters in ((1, "dK"), (2, "e"))]
    skipped = recorded.skipped(excluded=skips("x"), duplicate=skips("u"), invalid=skips("i"))
    progress = progress_of(len(rows), *entries, skipped=skipped)
    protected = IdSet(ids=(f"p{i - 1}" for i in positions("xkK")))
    items = list(chunks_of(batches_of(rows, batch_size), progress, chunk_size, protected, limit))
    given_out = [(item, record) for item in items for record in item.records]
    told = Counter(record.position for _, record in given_out)
    assert all(count == 1 for count in told.values()), "nothing is handed out twice"
    due = positions("fde")
    sent = sorted(record.position for item, record in given_out if not item.protected)
    assert sent == due[: len(due) if limit is None else limit], "nothing due is left out, and nothing else given"
    kept = {record.position for item, record in given_out if item.protected}
    assert kept == {*positions("kK")} if limit is None else kept <= {*positions("kK")}
    assert all(rows[record.position] == record.id for _, record in given_out)
    for item, record in given_out:
        expected = {"f": None, "k": None, "d": Instant(at(1)), "K": Instant(at(1)), "e": Instant(at(2))}
        assert (item.doubt and item.doubt.since) == expected[kinds[record.position]], (
            "in doubt and fresh never share a chunk, nor do two intents"
        )
    for item in items:
        assert 1 <= len(item.records) <= chunk_size
        assert [*item.records] == sorted(item.records)


@given(
    st.lists(st.sampled_from("sfdeiuxkK"), max_size=60),
    st.integers(1, 20),
    st.integers(1, 10),
    st.none() | st.integers(0, 30),
)
@settings(deadline=None)
@example(list("fdfedfe"), 3, 2, None)
def test_whatever_the_log_says(kinds: list[str], batch_size: int, chunk_size: int, limit: int | None) -> None:
    check(kinds, batch_size, chunk_size, limit)


@pytest.mark.parametrize("doubt", [None, Doubt(Instant(at(1)), Instant(at(1)))])
def test_the_check_fails_where_doubt_and_fresh_are_mixed(doubt: Doubt | None, monkeypatch: pytest.MonkeyPatch) -> None:
    check(list("fdfedfe"), 3, 2, None)
    monkeypatch.setattr(feed_module, "_split", lambda _, start, stop: [(start, stop, doubt)])
    with pytest.raises(AssertionError, match="never share a chunk"):
        check(list("fdfedfe"), 3, 2, None)


def test_the_same_id_twice_is_never_in_one_chunk() -> None:
    """Whatever the list of duplicates says."""
    rows = ["a", "b", "A", "c", "a"]
    progress = progress_of(5)
    assert shape(chunks_of(batches_of(rows, 5), progress, 50, IdSet(MAIL))) == [
        (None, [0, 1, 3]),
        (None, [2]),
        (None, [4]),
    ]


def test_two_ids_that_may_be_the_same_are_sent_in_two_chunks() -> None:
    """`2` may be `12` or `32`, which differ from each other: these two share a chunk, fresh and in doubt alike."""
    rows = ["12", "2", "32", "12"]
    apart = [[0, 2], [1], [3]]
    work = chunks_of(batches_of(rows, 4), progress_of(4), 50, IdSet(NUMBER))
    assert shape(work) == [(None, positions) for positions in apart]
    in_doubt = progress_of(4, Intent(at(1), ((0, 4),)))
    work = chunks_of(batches_of(rows, 4), in_doubt, 50, IdSet(NUMBER))
    assert shape(work) == [(Instant(at(1)), positions) for positions in apart]


def test_ids_that_only_share_a_shortened_form_share_a_chunk() -> None:
    work = chunks_of(batches_of(["12", "32", "42"], 4), progress_of(3), 50, IdSet(NUMBER))
    assert shape(work) == [(None, [0, 1, 2])]


def test_in_doubt_and_protected_since_is_looked_up_by_itself() -> None:
    """An exclude file that was added names rows that may have been sent: they are looked up before they are skipped."""
    rows: list[str | None] = ["a", "KEEP1", "b", "keep2", "keep3", "keep4"]
    progress = progress_of(6, Intent(at(1), ((0, 4),)), Intent(at(2), ((4, 5),)))
    keep = IdSet(MAIL, ["keep1", "keep2", "keep3", "keep4"])
    work = list(chunks_of(batches_of(rows, 6), progress, 2, keep))
    protected = [item for item in work if item.protected]
    assert shape(protected) == [(Instant(at(1)), [1, 3]), (Instant(at(2)), [4]), (None, [5])]
    assert [record.id for item in protected for record in item.records] == ["KEEP1", "keep2", "keep3", "keep4"]
    assert shape(item for item in work if item not in protected) == [(Instant(at(1)), [0, 2])]
