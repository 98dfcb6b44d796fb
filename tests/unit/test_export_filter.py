"""The sieve decides the same whether it goes the quick way or looks at each row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.bad_row_reason import Unusable, Why
from bulkdel.core.duplicates import Duplicates
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Record
from bulkdel.core.row_filter import BadRow, Batch, RowFilter

ROW = st.sampled_from(["a", "A", "b", "c", "d"])
BAD = BadRow(1, "", Unusable(Why.EMPTY_ID))


@given(
    st.lists(st.lists(ROW | st.just(BAD), max_size=6), max_size=6),
    st.booleans(),
    st.frozensets(st.sampled_from("abx")),
    st.sets(st.integers(0, 35)),
)
def test_like_a_plain_loop(
    batches: list[list[str | BadRow]], fold: bool, protected: frozenset[str], repeated: set[int]
) -> None:
    every = [row for rows in batches for row in rows]
    repeated = {at for at in repeated if at < len(every) and every[at] is not BAD}

    def row_filter() -> RowFilter:
        id_type = IdType("id", key=str.lower if fold else str)
        duplicates = Duplicates((position, position + 1) for position in sorted(repeated))
        return RowFilter(id_type, IdSet(id_type, protected), duplicates)

    quick, counting = row_filter(), row_filter()
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
                if position in repeated:  # it stays one, whatever is excluded later
                    why["duplicate"].append(position)
                elif key in protected:
                    why["excluded"].append(position)
                else:
                    wanted.append(Record(position, row))
            position += 1
        sifted = quick.sift(batch)
        assert sifted.records == wanted
        assert all(type(record) is Record for record in sifted.records)
        assert sifted.skipped == counting.skipped(batch) == why
