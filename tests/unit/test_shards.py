"""Cuts of an export: where they are, and that the shards together send the rows that one process sends."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkdel.core.chunker import chunks_of
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import (
    Header,
    Intent,
    Outcome,
    Released,
    Saved,
    Session,
    Shard,
    Skipped,
    Unreadable,
    from_json,
    to_json,
)
from bulkdel.core.record import Record
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import cuts_of, names_engine, shard_header, shards_of, spans_of, without_engine
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.export.file import open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.rows import ReadOptions
from bulkdel.input.frames import Input
from bulkdel.input.run_input import NewInput
from bulkdel.place.spool import Spool
from bulkdel_jobs.genauth.id_types import ID_TYPES
from tests.examples import examples
from tests.inputs import NO_INPUT
from tests.mutants import mutant
from tests.recorded import RUN_ID
from tests.syntax import swap

USER_ID = ID_TYPES["user_id"]


@pytest.mark.parametrize(
    ("rows", "shards", "cuts"),
    [
        (1_000, 1, ()),
        (0, 4, ()),
        (49, 2, ()),
        (99, 2, ()),
        (100, 2, (50,)),
        (1_000, 4, (250, 500, 750)),
        (1_001, 3, (333, 667)),
        (199, 8, (66, 132)),
    ],
)
def test_shards_are_equal_parts_of_the_rows_and_not_too_small(rows: int, shards: int, cuts: Sequence[int]) -> None:
    assert cuts_of(rows, shards) == cuts


def header(rows: int, skipped: SkippedRows, cuts: Sequence[int]) -> Header:
    counts = {"rows": rows, "ids": rows - skipped.rows.size}
    counts |= {str(reason): each.size for reason, each in skipped.by_reason.items()}
    return Header(
        tool="bulkdel",
        run_id=RUN_ID,
        at="2026-01-01T00:00:00.000Z",
        pinned={"job": "j", "host": "h", "pool": "p", "id_type": "user_id", "sha256": "0", "bytes": 5, "source": {}},
        export_path="e",
        excluded={},
        counts=counts,
        sample=None,
        confirmed={},
        input=NO_INPUT,
        shards=tuple(cuts),
    )


def test_a_shard_has_the_counts_and_the_skipped_rows_of_its_own_rows() -> None:
    skipped = SkippedRows()
    skipped.add("duplicate", PositionSet([(3, 6), (48, 53)]))
    skipped.add("invalid", PositionSet([(99, 100)]))
    of_run = header(100, skipped, (50,))
    assert spans_of(of_run) == [(0, 50), (50, 100)]
    first, own = shard_header(of_run, skipped, 1)
    assert first.counts == {"rows": 50, "ids": 45, "excluded": 0, "duplicate": 5, "invalid": 0}
    assert (first.shard, first.shards) == (Shard(1, 0), ())
    assert list(own.rows.ranges()) == [(3, 6), (48, 50)]
    second, own = shard_header(of_run, skipped, 2)
    assert second.counts == {"rows": 50, "ids": 46, "excluded": 0, "duplicate": 3, "invalid": 1}
    assert second.shard == Shard(2, 50)
    assert list(own.rows.ranges()) == [(50, 53), (99, 100)]


def progress_of_shard() -> RunState:
    skipped = SkippedRows()
    part, own = shard_header(header(100, skipped, (50,)), skipped, 2)
    progress = RunState(part, skipped=own)
    progress.apply(Session("start", part.at, "", {}))
    return progress


@mutant(
    "a shard accepts entries about rows of another shard",
    "RunState._holds",
    swap("self.first <= ranges[0][0] and ranges[-1][1] <= self.end", "ranges[-1][1] <= self.end"),
)
@pytest.mark.parametrize("ranges", [((49, 51),), ((99, 101),), ((0, 10),), ((60, 61), (100, 101))])
def test_a_shard_refuses_entries_about_rows_of_another_shard(ranges: tuple[tuple[int, int], ...]) -> None:
    for entry in (
        Intent("2026-01-01T00:00:00.000Z", ranges),
        Outcome("2026-01-01T00:00:00.000Z", 1, "done", ranges),
        Skipped("excluded", ranges),
    ):
        with pytest.raises(Unreadable):
            progress_of_shard().apply(entry)


def test_a_header_with_shards_survives_the_log() -> None:
    of_run = header(100, SkippedRows(), (50,))
    part, _ = shard_header(of_run, SkippedRows(), 2)
    for each in (of_run, part):
        assert from_json(json.loads(json.dumps(to_json(each)))) == each


@pytest.mark.parametrize("shard", [[0, 5], [1, -1], [1], ["1", 0], [True, 0], 7])
def test_a_shard_that_no_run_writes_is_not_interpreted(shard: object) -> None:
    data = {**to_json(header(100, SkippedRows(), ())), "shard": shard}
    with pytest.raises(Unreadable, match="lacks or garbles a member"):
        from_json(json.loads(json.dumps(data)))


def test_the_run_takes_in_what_a_shard_says_about_rows_and_nothing_else() -> None:
    skipped = SkippedRows()
    skipped.add("duplicate", PositionSet([(99, 100)]))
    run = RunState(header(100, skipped, (50,)), skipped=skipped)
    at = run.header.at
    run.apply(Session("start", at, "", {}))
    part, own = shard_header(run.header, skipped, 2)
    shard = RunState(part, skipped=own)
    taken = [
        run.take(entry, shard)
        for entry in (
            Session("start", at, "", {"backup": "x"}),
            Intent(at, ((50, 60),), Saved(7, 8)),
            Outcome(at, 1, "done", ((50, 55),)),
            Released(((55, 57),)),
            Skipped("excluded", ((55, 57),)),
            Session("stop", at, "", {}),
        )
    ]
    assert taken == [False, True, True, True, True, False]
    assert (run.counts["done"], run.counts["excluded"], run.remaining, run.in_doubt.size) == (5, 2, 92, 3)
    assert (run.sessions, run.stop, run.backups) == (1, None, ())
    run.join(shard)
    assert run.backups == (("x", Saved(7, 8)),)
    for ranges in ((49, 51),), ((99, 101),):
        with pytest.raises(Unreadable, match="shard 2 has the rows 50-99"):
            run.take(Intent(at, ranges), shard)


def ids_of(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    pool = [f"{draw.getrandbits(96):024x}" for _ in range(count)]
    return [draw.choice(pool[: i + 1]) if draw.random() < 0.3 else pool[i] for i in range(count)]


def written(ids: Sequence[str], form: str, draw: random.Random) -> bytes:
    """An export with everything that makes a cut hard: quotes, line breaks in them, CRLF, a BOM."""
    end = draw.choice(["\n", "\r\n"])
    bom = draw.choice(["", "\ufeff"])
    if form == "jsonl":
        lines = [json.dumps({"id": each, "note": "x" * draw.randrange(60)}) for each in ids]
        text = bom + end.join(lines) + draw.choice(["", end])
    else:
        kinds = ["plain", f'"two{end}lines"', f'"say ""so"", {end}{end}"', '"a,b"']
        notes = [draw.choice(kinds) for _ in ids]
        text = bom + f"note,id{end}" + end.join(f"{note},{each}" for note, each in zip(notes, ids, strict=True)) + end
    return text.encode()


def sent_by(rows: Input, progress: RunState) -> list[Record]:
    blocks = rows.rows(progress.begin)
    return [record for chunk in chunks_of(blocks, progress, 7, IdSet(USER_ID)) for record in chunk.records]


@mutant(
    "a shard ignores the duplicates of the log",
    "shard_header",
    swap("rows.ranges(first, end)", 'rows.ranges(first, first if reason == "duplicate" else end)'),
)
@mutant(
    "a shard sends rows of the next shard",
    "Header.end",
    swap('self.first + self.counts["rows"]', 'self.first + self.counts["rows"] + 1'),
)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 120),
    form=st.sampled_from(["jsonl", "csv"]),
    shards=st.integers(2, 7),
    block=st.sampled_from([40, 64, 200, 1000]),
    packed=st.booleans(),
)
def test_any_cut_of_any_export_sends_the_rows_that_one_process_sends(
    tmp_path: Path, *, seed: int, count: int, form: str, shards: int, block: int, packed: bool
) -> None:
    draw = random.Random(seed)
    ids = ids_of(seed, count)
    plain, path = written(ids, form, draw), tmp_path / "export"
    path.write_bytes(gzip.compress(plain) if packed else plain)
    options = ReadOptions(id_type=USER_ID, id_types=ID_TYPES, id_field="id")
    with ExitStack() as stack:
        export = stack.enter_context(open_export(str(path), block_size=block))
        new = NewInput(Spool.unnamed(tmp_path), "x")
        found = preflight(export, options, rng=draw, temporary=tmp_path, to=lambda parsed: new.add(parsed.for_input()))
        new.finish()
        cuts = sorted({draw.randrange(1, found.rows) for _ in range(shards - 1)} if found.rows > 1 else ())
        of_run = header(found.rows, found.skipped, cuts)
        one = RunState(of_run, skipped=found.skipped)
        whole = sent_by(new.rows, one)
        assert {record.id for record in whole} == set(ids)
        parts: list[Record] = []
        counts: dict[str, Any] = dict.fromkeys(of_run.counts, 0)
        for number, (first, end) in enumerate(spans_of(of_run), 1):
            part, own = shard_header(of_run, found.skipped, number)
            progress = RunState(part, skipped=own)
            sent = sent_by(new.rows, progress)
            assert all(first <= record.position < end for record in sent)
            assert len(sent) == progress.remaining == part.counts["ids"]
            counts = {name: counts[name] + part.counts[name] for name in counts}
            parts += sent
        assert sorted(parts) == sorted(whole)
        assert counts == of_run.counts


@pytest.mark.parametrize(
    ("text", "found"),
    [("8", (8, "local")), (" 2@ray ", (2, "ray")), ("99999@local", (99_999, "local")), ("1,000", (1_000, "local"))],
)
def test_shards_as_they_are_typed(text: str, found: tuple[int, str]) -> None:
    assert shards_of(text) == found


def test_a_plan_keeps_the_number_of_shards_alone() -> None:
    options = {"--shards": ["8@ray"], "--as": ["a@b"], "--limit": ["5"]}
    assert without_engine(options) == {**options, "--shards": ["8"]}
    assert without_engine({"--shards": ["8"]}) == {"--shards": ["8"]}


@pytest.mark.parametrize("text", ["", "0", "-1", "8@", "@ray", "8@k8s", "100000", "8 @ray", "٣", "1_0"])
def test_what_is_no_number_of_shards(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) or "^$"):
        shards_of(text)


@pytest.mark.parametrize(
    ("option", "values", "names"), [("--shards", ["8"], False), ("--shards", ["8@ray"], True), ("--as", ["a@b"], False)]
)
def test_only_the_user_of_a_machine_names_an_engine(option: str, values: list[str], names: bool) -> None:
    assert names_engine(option, values) is names
