"""Checkpoint logs for tests: a header, and a log of 44 commits with every kind of entry in it, as bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.core.log_entries import (
    Annotation,
    Entry,
    Header,
    Intent,
    Outcome,
    Released,
    Session,
    Skipped,
    frame,
    stamp,
    to_json,
)
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.input.skipped import packed
from bulkdel.place.log_place import SKIPPED, PinnedFile
from bulkdel.place.opening import log_at
from tests.inputs import NO_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bulkdel.checkpoint.writer import LogWriter

NONE = SkippedRows()
AT = "2026-03-01T12Z"
NONCE = "0123456789abcdef"
RUN_ID = "00000000-0000-4000-8000-000000000001"


async def append(log: LogWriter[Any], *entries: Entry) -> None:
    """Enqueue entries, and wait until they are durable."""
    log.enqueue(*entries)
    await log.flush()


def encode_line(seq: int, entries: Iterable[Entry], nonce: str = NONCE) -> bytes:
    """One commit as bytes, newline included."""
    return frame(seq, [orjson.dumps(to_json(entry)) for entry in entries], nonce)


def nonce_of(lines: Sequence[bytes]) -> str:
    """The nonce of the last of these lines."""
    nonce: str = orjson.loads(lines[-1])["nonce"]
    return nonce


def fold(entries: list[Entry], left_out: SkippedRows = NONE) -> RunState:
    """The progress of a log with these entries; the first is its header. left_out: of its file of skipped rows."""
    header, *others = entries
    assert isinstance(header, Header)
    progress = RunState(header, skipped=skipped(**{each: rows.ranges() for each, rows in left_out.by_reason.items()}))
    for entry in others:
        progress.apply(entry)
    return progress


def skipped(**by_reason: Iterable[tuple[int, int]]) -> SkippedRows:
    """Rows that are never sent, by reason, in ranges."""
    found = SkippedRows()
    for reason in found.by_reason:
        found.add(reason, PositionSet(by_reason.get(reason, ())))
    return found


def header(rows: int = 1000, left_out: SkippedRows = NONE) -> Header:
    ids = rows - left_out.rows.size
    counts = {"rows": rows, "ids": ids}
    counts |= {str(reason): some.size for reason, some in left_out.by_reason.items()}
    digest = hashlib.sha256(packed(left_out, rows)).hexdigest() if left_out.rows.size else None
    confirmed = {"ids": ids}
    pinned: dict[str, Any] = {
        "job": "delete-users",
        "host": "https://h",
        "pool": "p",
        "id_type": "user_id",
        "sha256": "0" * 64,
    }
    pinned |= {"bytes": 0, "source": {}}
    names = {"done": "deleted", "absent": "absent"}
    return Header(
        *("0.1.0", RUN_ID, AT, pinned, "ids.jsonl", {}, counts, None, confirmed, names),
        input=NO_INPUT,
        skipped_sha256=digest,
    )


def write_skipped(log: Path, rows: int, left_out: SkippedRows) -> None:
    """Write the file beside a log. rows: of the export."""
    data = packed(left_out, rows)
    log_at(log).at(PinnedFile(SKIPPED, hashlib.sha256(data).hexdigest())).write_bytes(data)


def deleted(start: int, stop: int) -> Outcome:
    return Outcome(AT, 1, "done", ((start, stop),))


def lines_of(commits: Iterable[list[Entry]]) -> list[bytes]:
    """What a writer would write, the hashes of sessions and annotations included, and a nonce for each annotation."""
    lines: list[bytes] = []
    sha = hashlib.sha256()
    for seq, commit in enumerate(commits, 1):
        sealed = [replace(e, log_sha256=sha.hexdigest()) if isinstance(e, Session | Annotation) else e for e in commit]
        lines.append(encode_line(seq, sealed, f"{seq:016x}" if isinstance(commit[0], Annotation) else NONCE))
        sha.update(lines[-1])
    return lines


def commits() -> list[list[Entry]]:
    refused = Outcome(AT, 2, "refused", ((390, 391),), "q", None, ({"position": 390, "id": "x", "code": 403},))
    found: list[list[Entry]] = [
        [header(400)],
        [Session("start", AT, "", {"pid": 1})],
        [Skipped("excluded", ((395, 400),))],
    ]
    for start in range(0, 380, 20):
        found += [[Intent(AT, ((start, start + 20),))], [deleted(start, start + 20)]]
    found += [
        [Intent(AT, ((380, 395),)), refused],
        [Released(((380, 385),))],
        [Session("stop", AT, "", {"why": "end"})],
    ]
    return found


def settled_by(lines: int, of: list[list[Entry]]) -> RunState:
    """The progress that the first `lines` lines describe."""
    return fold([entry for commit in of[:lines] for entry in commit])


def state(progress: RunState) -> tuple[object, ...]:
    """All of a progress that matters, comparable; sessions left out."""
    return progress.counts, progress.settled.ranges, progress.in_doubt.ranges, progress.doubts()


def read_entries(path: Path) -> Iterator[Entry]:
    """Every entry of the log of a run, in order. A damaged tail is ignored."""
    with reading(log_at(path), RUN) as reader:
        for entries in reader.commits():
            yield from entries


def rewrite(log: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change entries of a log; it stays valid: every hash and checksum is made anew."""
    log.write_bytes(changed_log(log.read_bytes(), change))


MAY_LAG = "because they may lag: go on in"
"""What a session says that has left ids because look-ups may lag. Then a test lets minutes pass."""


def let_pass(log: Path, minutes: int) -> None:
    """Let minutes pass, as far as the intents and outcomes of a log can tell."""

    def earlier(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["type"] not in {"intent", "outcome"}:
            return entry
        at = datetime.fromisoformat(entry["at"]) - timedelta(minutes=minutes)
        return {**entry, "at": stamp(at.timestamp())}

    rewrite(log, earlier)


def changed_log(data: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """The same of the bytes of a log."""
    whole = b""
    for line in map(orjson.loads, data.splitlines()):
        changed = [change(entry) for entry in line["entries"]]
        sha256 = hashlib.sha256(whole).hexdigest()
        parts = [{**entry, **({"log_sha256": sha256} if "log_sha256" in entry else {})} for entry in changed]
        whole += frame(line["seq"], [orjson.dumps(entry) for entry in parts], line["nonce"])
    return whole
