"""A resume begins to read where it left off, and gets the rows and lines that the whole export has."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkdel.core.bad_rows import BadRow
from bulkdel.core.id_type import IdSet
from bulkdel.core.record import ResumePoint
from bulkdel.errors import NotAcceptable
from bulkdel.export import Export, Preflight, ReadOptions, open_export, preflight, read_rows
from tests.examples import examples
from tests.sourcefiles import TYPES

SIZE = 5
OPTIONS = ReadOptions(TYPES["external_id"], TYPES, on_invalid="skip")
Row = tuple[int, int, str | BadRow]

ROWS = st.lists(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", "é", "", "ab", "no", "long" * 5]), min_size=1)
FORMS = st.sampled_from(["bare", "objects", "CRLF", "csv", "headless", "multi-line", "gzip", "BOM"])


def written(form: str, ids: list[str]) -> bytes:
    match form:
        case "bare" | "gzip" | "BOM":
            text = "".join(f'"{id_}"\n' for id_ in ids)
        case "objects":
            text = "".join(f'{{"id":"{id_}","n":{{"id":1}}}}\n' for id_ in ids)
        case "CRLF":
            text = "".join(f'{{"id": "{id_}"}}\r\n' for id_ in ids)
        case "csv":
            text = '"id","n"\n' + "".join(f'"{id_}","x"\n' for id_ in ids)
        case "headless":
            text = "".join(f'x,"{id_}"\n' for id_ in ids)
        case _:
            text = 'n,"x\n",id\n' + "".join(f'"{"line" * (i % 3)}\n",,"{id_}"\n' for i, id_ in enumerate(ids))
    data = text.encode()
    return gzip.compress(data) if form == "gzip" else b"\xef\xbb\xbf" + data if form == "BOM" else data


def options(form: str) -> ReadOptions:
    if form == "headless":
        return ReadOptions(TYPES["external_id"], TYPES, on_invalid="skip", id_field="2")
    return OPTIONS


def rows(export: Export, seen: Preflight, form: str, begin: ResumePoint | None) -> list[Row]:
    return [
        (parsed.batch.start + i, line, row)
        for parsed in read_rows(export, seen.dialect, options(form), seen.fingerprint, begin)
        for i, (line, row) in enumerate(zip(parsed.lines, parsed.batch.rows, strict=True))
    ]


@settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=ROWS, form=FORMS, block=st.sampled_from([64, 300, 1 << 20]), protected=st.sets(st.sampled_from("abc")))
def test_from_every_mark_on_the_rows_are_the_same(
    ids: list[str], form: str, block: int, protected: set[str], tmp_path: Path
) -> None:
    path = tmp_path / "export"
    path.write_bytes(written(form, ids))
    never = IdSet(OPTIONS.id_type, protected)
    with open_export(str(path), block_size=block) as export:
        try:
            seen = preflight(export, options(form), protected=never, rng=random.Random(0), resume_rows=SIZE)
        except NotAcceptable:  # an export of nothing but bad rows
            return
        whole = rows(export, seen, form, None)
        for mark in seen.resume_points:
            assert rows(export, seen, form, mark) == whole[mark.row :]
        invalid, excluded, met = [], [], set[str]()
        repeated = []
        for position, _, row in whole:
            if isinstance(row, BadRow):
                invalid.append(position)
            elif row in protected:
                excluded.append(position)
            elif row in met:
                repeated.append(position)
            else:
                met.add(row)
        found = {reason: [*some.between(0, len(whole))] for reason, some in seen.skipped.by_reason.items()}
        assert found == {"excluded": excluded, "duplicate": repeated, "invalid": invalid}
