"""Checkpoint logs for tests: a header, and a log of 44 commits with every kind of entry in it, as bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from bulkdel.core.log_entries import Entry, Header, Intent, Outcome, Released, Session, Skipped, encode_entry, frame
from bulkdel.core.run_state import Progress
from bulkdel.core.skipped_rows import PositionSet, digest_of, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NONE = PositionSet()
AT = "2026-03-01T12Z"
NONCE = "0123456789abcdef"


def encode_line(seq: int, entries: Iterable[Entry], nonce: str = NONCE) -> bytes:
    """One commit as bytes, newline included."""
    return frame(seq, [encode_entry(entry) for entry in entries], nonce)


def nonce_of(lines: Sequence[bytes]) -> str:
    """The nonce of the last of these lines."""
    nonce: str = orjson.loads(lines[-1])["nonce"]
    return nonce


def fold(entries: list[Entry]) -> Progress:
    """The progress of a log with these entries; the first is its header."""
    header, *others = entries
    assert isinstance(header, Header)
    progress = Progress(header)
    for entry in others:
        progress.apply(entry)
    return progress


def header(rows: int = 1000, duplicates: PositionSet = NONE) -> Header:
    ids = rows - duplicates.size
    counts = {"rows": rows, "ids": ids, "excluded": 0, "duplicate": duplicates.size, "invalid": 0}
    digest = digest_of(duplicates)
    confirmed = {"ids": ids}
    pinned = {"pool": "p"}
    names = {"done": "deleted", "absent": "absent"}
    return Header("0.1.0", "r1", AT, pinned, "ids.jsonl", {}, counts, None, confirmed, names, duplicates_sha256=digest)


def born(rows: int, duplicates: PositionSet) -> list[Entry]:
    """The header and the list of duplicates: what a log holds before its first session."""
    return [header(rows, duplicates), *(Skipped("duplicate", ranges) for ranges in entries_of(duplicates))]


def deleted(start: int, stop: int) -> Outcome:
    return Outcome(AT, 1, "done", ((start, stop),))


def lines_of(commits: Iterable[list[Entry]]) -> list[bytes]:
    """What a writer would write, the sessions' hashes included."""
    lines: list[bytes] = []
    sha = hashlib.sha256()
    for seq, commit in enumerate(commits, 1):
        sealed = [replace(e, log_sha256=sha.hexdigest()) if isinstance(e, Session) else e for e in commit]
        lines.append(encode_line(seq, sealed))
        sha.update(lines[-1])
    return lines


def commits() -> list[list[Entry]]:
    refused = Outcome(AT, 2, "refused", ((390, 391),), "q", None, ({"position": 390, "id": "x", "code": 403},))
    found: list[list[Entry]] = [
        [header(400)],
        [Session("start", AT, "", {"pid": 1})],
        [Skipped("invalid", ((395, 400),))],
    ]
    for start in range(0, 380, 20):
        found += [[Intent(AT, ((start, start + 20),))], [deleted(start, start + 20)]]
    found += [
        [Intent(AT, ((380, 395),)), refused],
        [Released(((380, 385),))],
        [Session("stop", AT, "", {"why": "end"})],
    ]
    return found


def settled_by(lines: int, of: list[list[Entry]]) -> Progress:
    """The progress that the first `lines` lines describe, sessions left out."""
    return fold([entry for commit in of[:lines] for entry in commit if not isinstance(entry, Session)])


def state(progress: Progress) -> tuple[object, ...]:
    """All of a progress that matters, comparable; sessions left out."""
    return progress.counts, progress.settled.ranges, progress.in_doubt.ranges, progress.intents
