"""One pass over the export as work: nothing twice, nothing lost, what is in doubt never beside what is fresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bulkdel.core.chunker as feed_module
from bulkdel.core.account_match import Instant
from bulkdel.core.bad_rows import BadRow, Unusable, Why
from bulkdel.core.chunker import ChunkTask, chunk_tasks
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import Entry, Intent, Outcome, Released, Skipped
from bulkdel.core.ranges import positions_in, ranges_of
from bulkdel.core.record import Batch
from bulkdel.core.row_filter import RowFilter
from bulkdel.core.run_state import Progress
from bulkdel.core.skipped_rows import PositionSet
from tests import recorded
from tests.recorded import fold

BAD = BadRow(1, "?", Unusable(Why.EMPTY_ID))
MAIL = IdType("email", key=str.lower)
NUMBER = IdType("number", forms=lambda id_: (id_, id_[1:]))
"""Made up: the first digit may be missing."""


def progress_of(rows: int, *entries: Entry, duplicates: PositionSet = recorded.NONE) -> Progress:
    progress = fold(recorded.born(rows, duplicates))
    for entry in entries:
        progress.apply(entry)
    return progress


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def batches_of(rows: Sequence[str | BadRow], size: int) -> list[Batch]:
    return [Batch(start, list(rows[start : start + size])) for start in range(0, len(rows), size)]


def ids(count: int) -> list[str | BadRow]:
    return [f"u{i}" for i in range(count)]


def shape(work: Iterable[ChunkTask | Skipped]) -> list[tuple[str | Instant | None, list[int]]]:
    """(in doubt since, positions) of each chunk; (reason, positions) of what is skipped."""
    return [
        (item.reason, [*positions_in(item.ranges)])
        if isinstance(item, Skipped)
        else (item.in_doubt_since, [record.position for record in item.chunk.records])
        for item in work
    ]


def deleted(*ranges: tuple[int, int]) -> Outcome:
    return Outcome(at(0), 1, "done", ranges)


def test_fresh_ids_in_chunks() -> None:
    work = chunk_tasks(batches_of(ids(7), 4), RowFilter(), progress_of(7), 3)
    assert shape(work) == [(None, [0, 1, 2]), (None, [3, 4, 5]), (None, [6])]


def test_settled_is_passed_over() -> None:
    progress = progress_of(8, deleted((0, 3), (5, 6)))
    assert shape(chunk_tasks(batches_of(ids(8), 3), RowFilter(), progress, 2)) == [(None, [3, 4]), (None, [6, 7])]


def test_in_doubt_comes_by_itself_and_by_its_intent() -> None:
    progress = progress_of(9, Intent(at(1), ((1, 3),)), Intent(at(2), ((3, 4), (7, 8))))
    assert shape(chunk_tasks(batches_of(ids(9), 9), RowFilter(), progress, 3)) == [
        (Instant(at(1)), [1, 2]),
        (Instant(at(2)), [3]),
        (Instant(at(2)), [7]),
        (None, [0, 4, 5]),
        (None, [6, 8]),
    ]


def test_in_doubt_is_cut_by_the_present_chunk_size() -> None:
    progress = progress_of(6, Intent(at(1), ((0, 5),)))
    assert shape(chunk_tasks(batches_of(ids(6), 6), RowFilter(), progress, 2)) == [
        (Instant(at(1)), [0, 1]),
        (Instant(at(1)), [2, 3]),
        (Instant(at(1)), [4]),
        (None, [5]),
    ]


def test_what_was_released_is_fresh_again() -> None:
    progress = progress_of(4, Intent(at(1), ((0, 4),)), Released(((1, 3),)))
    work = shape(chunk_tasks(batches_of(ids(4), 2), RowFilter(), progress, 9))
    assert sorted(work, key=str) == sorted([(Instant(at(1)), [0]), (Instant(at(1)), [3]), (None, [1, 2])], key=str)


def test_skipped_rows_are_told_once() -> None:
    rows: list[str | BadRow] = ["a", BAD, "a", "b", "p", BAD, "c"]
    repeated = PositionSet([(2, 3)])
    fresh, row_filter = progress_of(7, duplicates=repeated), RowFilter(protected=IdSet(ids="p"), duplicates=repeated)
    assert shape(chunk_tasks(batches_of(rows, 4), row_filter, fresh, 9)) == [
        ("invalid", [1]),
        ("excluded", [4]),
        ("invalid", [5]),
        (None, [0, 3, 6]),
    ]
    later = progress_of(7, Skipped("invalid", ((1, 2),)), duplicates=repeated)
    assert shape(chunk_tasks(batches_of(rows, 4), row_filter, later, 9)) == [
        ("excluded", [4]),
        ("invalid", [5]),
        (None, [0, 3, 6]),
    ]
    entries = deleted((0, 1), (3, 4), (6, 7)), Skipped("invalid", ((1, 2), (4, 6)))
    done = progress_of(7, *entries, duplicates=repeated)
    assert shape(chunk_tasks(batches_of(rows, 4), row_filter, done, 9)) == []


def test_a_duplicate_is_neither_sent_nor_excluded_whatever_became_of_the_first_one() -> None:
    """The log lists it from its beginning; an exclude file that is added later names it too."""
    rows: list[str | BadRow] = ["b", "a", "c", "a", "d"]
    repeated = PositionSet([(3, 4)])
    row_filter = RowFilter(protected=IdSet(ids="a"), duplicates=repeated)
    fresh, settled = progress_of(5, duplicates=repeated), progress_of(5, deleted((0, 3)), duplicates=repeated)
    assert shape(chunk_tasks(batches_of(rows, 2), row_filter, fresh, 9)) == [("excluded", [1]), (None, [0, 2, 4])]
    assert shape(chunk_tasks(batches_of(rows, 2), row_filter, settled, 9)) == [(None, [4])]


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, []), (1, [1]), (3, [1, 2, 3]), (4, [1, 2, 3, 5]), (99, [1, 2, 3, 5])]
)
def test_limit_counts_what_is_handed_out_in_doubt_or_not(limit: int, expected: list[int]) -> None:
    progress = progress_of(6, deleted((0, 1), (4, 5)), Intent(at(1), ((2, 3),)))
    work = shape(chunk_tasks(batches_of(ids(6), 2), RowFilter(), progress, 2, limit))
    assert sorted(position for _, positions in work for position in positions) == expected


def test_a_limit_of_nothing_hands_out_nothing() -> None:
    assert shape(chunk_tasks(batches_of(ids(6), 2), RowFilter(), progress_of(6), 2, 0)) == []


def test_progress_is_looked_at_once() -> None:
    progress = progress_of(4, deleted((0, 1)))
    work = chunk_tasks(batches_of(ids(4), 4), RowFilter(), progress, 1)
    assert shape([next(work)]) == [(None, [1])]
    progress.apply(deleted((2, 3)))
    progress.apply(Intent(at(9), ((3, 4),)))
    assert shape(work) == [(None, [2]), (None, [3])]


# ── any log, any cut ──────────────────────────────────────────────────────────────────────────────────────────────────

Rows = Sequence[str]
"""What each row is, a letter: s settled, f fresh, d or e in doubt by two intents, i invalid, u duplicate, x excluded,
I invalid and told already."""


def check(kinds: Rows, batch_size: int, chunk_size: int, limit: int | None) -> None:
    rows: list[str | BadRow] = []
    for i, kind in enumerate(kinds):
        rows.append(BAD if kind in "iI" else "dup" if kind == "u" else f"p{i}" if kind == "x" else f"u{i}")
    rows = ["dup", *rows]  # row 0 is what the others repeat
    kinds = ["s", *kinds]

    def positions(letters: str) -> list[int]:
        return [i for i, kind in enumerate(kinds) if kind in letters]

    entries: list[Entry] = [deleted(*ranges_of(positions("s")))]
    entries += [Skipped("invalid", ranges_of(positions("I")))]
    entries += [Intent(at(n), ranges_of(positions(letter))) for n, letter in ((1, "d"), (2, "e"))]
    repeated = PositionSet((i, i + 1) for i in positions("u"))
    progress = progress_of(len(rows), *entries, duplicates=repeated)
    row_filter = RowFilter(protected=IdSet(ids=(f"p{i}" for i in range(len(rows)))), duplicates=repeated)
    items = list(chunk_tasks(batches_of(rows, batch_size), row_filter, progress, chunk_size, limit))
    given_out = [(item, record) for item in items if isinstance(item, ChunkTask) for record in item.chunk.records]
    told = Counter(record.position for _, record in given_out)
    assert all(count == 1 for count in told.values()), "nothing is handed out twice"
    due = positions("fde")
    assert sorted(told) == due[: len(due) if limit is None else limit], (
        "nothing due is left out, and nothing else given"
    )
    assert all(rows[record.position] == record.id for _, record in given_out)
    for item, record in given_out:
        expected = {"f": None, "d": Instant(at(1)), "e": Instant(at(2))}[kinds[record.position]]
        assert item.in_doubt_since == expected, "in doubt and fresh never share a chunk, nor do two intents"
    for work in items:
        if isinstance(work, ChunkTask):
            assert 1 <= len(work.chunk) <= chunk_size
            assert [*work.chunk.records] == sorted(work.chunk.records)
    skips = Counter(
        (item.reason, position) for item in items if isinstance(item, Skipped) for position in positions_in(item.ranges)
    )
    wanted = {("invalid", i) for i in positions("i")} | {("excluded", i) for i in positions("x")}
    assert set(skips) == wanted if limit is None else set(skips) <= wanted
    assert all(count == 1 for count in skips.values())


@given(
    st.lists(st.sampled_from("sfdeiuxI"), max_size=60),
    st.integers(1, 20),
    st.integers(1, 10),
    st.none() | st.integers(0, 30),
)
@settings(deadline=None)
@example(list("fdfedfe"), 3, 2, None)
def test_whatever_the_log_says(kinds: list[str], batch_size: int, chunk_size: int, limit: int | None) -> None:
    check(kinds, batch_size, chunk_size, limit)


class _NoDoubts:
    """Forgets what was in doubt."""

    def __init__(self, progress: Progress) -> None:
        pass

    def split(self, start: int, stop: int) -> Iterator[tuple[int, int, str | None]]:
        yield start, stop, None


class _OneDoubt(_NoDoubts):
    """Takes everything for in doubt since one moment."""

    def split(self, start: int, stop: int) -> Iterator[tuple[int, int, str | None]]:
        yield start, stop, at(1)


@pytest.mark.parametrize("broken", [_NoDoubts, _OneDoubt])
def test_the_check_fails_where_doubt_and_fresh_are_mixed(broken: type, monkeypatch: pytest.MonkeyPatch) -> None:
    check(list("fdfedfe"), 3, 2, None)
    monkeypatch.setattr(feed_module, "_Doubts", broken)
    with pytest.raises(AssertionError, match="never share a chunk"):
        check(list("fdfedfe"), 3, 2, None)


def test_the_same_id_twice_is_never_in_one_chunk() -> None:
    """Whatever the list of duplicates says."""
    rows = ["a", "b", "A", "c", "a"]
    progress = progress_of(5)
    row_filter = RowFilter(MAIL)
    assert shape(chunk_tasks(batches_of(rows, 5), row_filter, progress, 50)) == [
        (None, [0, 1, 3]),
        (None, [2]),
        (None, [4]),
    ]


def test_two_ids_that_may_be_the_same_are_sent_in_two_chunks() -> None:
    """`2` may be `12` or `32`, which differ from each other: these two share a chunk, fresh and in doubt alike."""
    rows = ["12", "2", "32", "12"]
    apart = [[0, 2], [1], [3]]
    work = chunk_tasks(batches_of(rows, 4), RowFilter(NUMBER), progress_of(4), 50)
    assert shape(work) == [(None, positions) for positions in apart]
    in_doubt = progress_of(4, Intent(at(1), ((0, 4),)))
    work = chunk_tasks(batches_of(rows, 4), RowFilter(NUMBER), in_doubt, 50)
    assert shape(work) == [(Instant(at(1)), positions) for positions in apart]


def test_ids_that_only_share_a_shortened_form_share_a_chunk() -> None:
    work = chunk_tasks(batches_of(["12", "32", "42"], 4), RowFilter(NUMBER), progress_of(3), 50)
    assert shape(work) == [(None, [0, 1, 2])]


def test_in_doubt_and_protected_since_is_looked_up_by_itself() -> None:
    """An exclude file that was added names rows that may have been sent: they are looked up before they are skipped."""
    rows: list[str | BadRow] = ["a", "KEEP1", "b", "keep2", "keep3", "keep4"]
    progress = progress_of(6, Intent(at(1), ((0, 4),)), Intent(at(2), ((4, 5),)))
    row_filter = RowFilter(MAIL, IdSet(MAIL, ["keep1", "keep2", "keep3", "keep4"]))
    work = list(chunk_tasks(batches_of(rows, 6), row_filter, progress, 2))
    protected = [item for item in work if isinstance(item, ChunkTask) and item.protected]
    assert shape(protected) == [(Instant(at(1)), [1, 3]), (Instant(at(2)), [4])]
    assert [record.id for item in protected for record in item.chunk.records] == ["KEEP1", "keep2", "keep3"]
    assert shape(item for item in work if item not in protected) == [(Instant(at(1)), [0, 2]), ("excluded", [5])]
