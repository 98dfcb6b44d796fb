"""The sieve decides the same whether it goes the quick way or looks at each row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from runner.core.window import DuplicateWindow

from runner.core.alike import Alike
from runner.core.idtypes import IdType
from runner.core.records import Record
from runner.core.rows import BadRow, Batch, Sieve
from runner.core.unusable import Unusable, Why

ROW = st.sampled_from(["a", "A", "b", "c", "d"])
BAD = BadRow(1, "", Unusable(Why.EMPTY_ID))


@given(
    st.lists(st.lists(ROW | st.just(BAD), max_size=6), max_size=6),
    st.booleans(),
    st.frozensets(st.sampled_from("abx")),
    st.none() | st.integers(1, 4),
)
def test_like_a_plain_loop(
    batches: list[list[str | BadRow]], fold: bool, protected: frozenset[str], size: int | None
) -> None:
    def sieve() -> Sieve:
        window = None if size is None else DuplicateWindow(size)
        id_type = IdType("id", key=str.lower if fold else str)
        return Sieve(id_type, window, Alike(id_type, protected))

    quick, counting = sieve(), sieve()
    window = None if size is None else DuplicateWindow(size)
    position = 0
    for rows in batches:
        batch = Batch(position, rows)
        wanted: list[Record] = []
        why: dict[str, list[int]] = {"excluded": [], "duplicate": [], "invalid": []}
        for row in rows:
            if isinstance(row, BadRow):
                why["invalid"].append(position)
            else:
                key = row.lower() if fold else row
                if key in protected:
                    why["excluded"].append(position)
                elif window is not None and window.seen(key):
                    why["duplicate"].append(position)
                else:
                    wanted.append(Record(position, row))
            position += 1
        sifted = quick.sift(batch)
        assert sifted.records == wanted
        assert all(type(record) is Record for record in sifted.records)
        assert sifted.skipped == counting.skipped(batch) == why
