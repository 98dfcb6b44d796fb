"""A second reader of the logs, the input and the skipped rows, written from docs/log-format.md and docs/input-format.md
alone. It imports nothing of bulkdel."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINE_MAX = 8 << 20
FRAME_MAX = 16 << 20
KINDS = ("done", "already", "absent", "refused", "unknown")
SKIPS = ("excluded", "duplicate", "invalid")
WHYS = ("active since", "created after", "status", "administrator")
REMAINING = b"r"
MARKS = {word: bytes([number]) for number, word in enumerate((*KINDS, *SKIPS))}


class Refused(Exception):
    """A log that the page says must not be believed."""


@dataclass
class Log:
    """What a log says. ends: for each row, a byte that stands for its word. doubtful: for each row, 1 when in doubt.

    found: the rows by finding, of a verification; its log has nothing else. spared: excluded rows by what spares them.
    """

    header: dict[str, Any]
    ends: bytearray
    doubtful: bytearray
    torn: int = 0
    sha256: str = ""
    begun: bool = False
    found: dict[str, set[int]] = field(default_factory=lambda: {"gone": set(), "recreated": set(), "there": set()})
    spared: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """Rows by word, with the job's names; words that do not occur in the job are left out."""
        names, counts = (
            self.header.get("keys") or self.header.get("names", {}),
            {word: self.ends.count(mark) for word, mark in MARKS.items()},
        )
        left = (word for word, count in counts.items() if count or word in names or word not in KINDS[:3])
        return {**{names.get(word, word): counts[word] for word in left}, "remaining": self.ends.count(REMAINING)}

    @property
    def in_doubt(self) -> int:
        """How many rows are in doubt."""
        return self.doubtful.count(1)


def sound(line: bytes) -> bool:
    """Whether the line ends as described, and its CRC fits."""
    body, found, tail = line.rpartition(b',"crc":"')
    return bool(found) and tail == b'%08x"}\n' % zlib.crc32(body)


def good_lines(data: bytes) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The end and the entries of each good line. Raises Refused when what follows them is no torn tail."""
    at, seq, nonces, annotates = 0, 0, list[str](), False
    while at < len(data):
        end = data.find(b"\n", at) + 1
        line = data[at:end] if 0 < end - at <= LINE_MAX else b""
        if not sound(line) or not good(commit := json.loads(line), seq + 1, nonces, annotates):
            break
        types = [entry["type"] for entry in commit["entries"]]
        annotates = types == ["annotation"]
        if "annotation" in types and not annotates:
            raise Refused(f"the annotation in line {commit['seq']} is not alone")
        nonces += [commit["nonce"]] * (commit["nonce"] not in nonces)
        hashed = (entry for entry in commit["entries"] if entry["type"] in ("session", "annotation"))
        if any(entry["log_sha256"] != hashlib.sha256(data[:at]).hexdigest() for entry in hashed):
            raise Refused(f"the bytes before line {commit['seq']} were changed")
        yield end, commit["entries"]
        at, seq = end, seq + 1
    tail = data[at:]
    if len(tail) > LINE_MAX or tail.count(b'{"seq":') > 1 or any(map(sound, tail.splitlines(keepends=True))):
        raise Refused(f"corruption at line {seq + 1} (byte {at})")
    if not at:
        raise Refused("the log was never created")


def good(commit: dict[str, Any], seq: int, nonces: Sequence[str], annotates: bool) -> bool:
    """Whether this sound line follows those before it. annotates: the line before is an annotation."""
    first = commit["entries"][0] if commit["entries"] else {}
    annotation = first.get("type") == "annotation"
    begins = annotation or (first.get("type"), first.get("event")) == ("session", "start")
    goes_on = not nonces or (commit["nonce"] == nonces[-1] and annotation == annotates)
    return bool(commit["seq"] == seq and (goes_on or (begins and commit["nonce"] not in nonces)))


def read(path: Path) -> Log:
    """Read the log of a run, or of a verification. Raises Refused."""
    data = path.read_bytes()
    entries = ((end, entry) for end, some in good_lines(data) for entry in some)
    size, header = next(entries)
    if header["type"] not in ("header", "verify") or header["format"] != 3:
        raise Refused("no header of format 3")
    rows = header["counts"]["rows"] if header["type"] == "header" else 0
    log = Log(header, bytearray(REMAINING * rows), bytearray(rows))
    if header.get("skipped_sha256"):
        take_skipped(log, path)
    for end, entry in entries:
        size = end
        apply(log, entry)
    log.torn, log.sha256 = len(data) - size, hashlib.sha256(data[:size]).hexdigest()
    return log


def take_skipped(log: Log, path: Path) -> None:
    """Give the rows of the file of skipped rows their words. Raises Refused unless it is the one of the header."""
    sha256, counts = log.header["skipped_sha256"], log.header["counts"]
    data = path.with_name(f"skipped{shard_of(path)}.zst").read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refused("the skipped rows are not those of the header")
    for word, rows in read_skipped(data).items():
        settle(log, [(row, row + 1) for row in rows], word)
        if len(rows) != counts[word]:
            raise Refused("the header counts other skipped rows")


def shard_of(path: Path) -> str:
    """What the names of the files of a shard have: `.7` of `log.7.jsonl`; nothing of `log.jsonl`."""
    found = re.fullmatch(r"log(\.\d+)\.jsonl", path.name)
    return found[1] if found else ""


def apply(log: Log, entry: dict[str, Any]) -> None:
    """Take in the next entry after the header."""
    match entry:
        case {"type": "session", "event": "start" | "stop"}:
            log.begun = True
        case {"type": "memberships", "path": _, "size": _, "crc": _} if log.begun:
            if any(map(log.ends.count, map(MARKS.get, KINDS))) or log.in_doubt:  # type: ignore[arg-type]
                raise Refused("the copy of the memberships is not older than the first intent")
        case {"type": "change", "what": _, "source": _} | {"type": "throttled", "responses": _} if log.begun:
            pass
        case {"type": "annotation", "event": "undo" | "forget"} if log.header["type"] == "header":
            pass
        case {"type": "outcome", "kind": word, "ranges": ranges} if word in KINDS and log.begun:
            settle(log, ranges, word)
        case {"type": "skipped", "reason": "excluded", "ranges": ranges} if log.begun and entry.get("why") in (
            None,
            *WHYS,
        ):
            settle(log, ranges, "excluded")
            if "why" in entry:
                log.spared[entry["why"]] += sum(stop - start for start, stop in ranges)
        case {"type": "intent", "ranges": ranges} if log.begun:
            for start, stop in ranges:
                if log.ends[start:stop] != REMAINING * (stop - start):
                    raise Refused(f"rows {start} to {stop} are sent after they were settled")
                log.doubtful[start:stop] = b"\1" * (stop - start)
        case {"type": "found", "finding": word, "ranges": ranges} if (
            word in log.found and log.header["type"] == "verify"
        ):
            rows = {row for start, stop in ranges for row in range(start, stop)}
            if rows & set[int]().union(*log.found.values()):
                raise Refused("rows are found twice")
            log.found[word] |= rows
        case {"type": "released", "ranges": ranges} if log.begun:
            for start, stop in ranges:
                log.doubtful[start:stop] = bytes(stop - start)
        case _:
            raise Refused(f"an entry that cannot be interpreted here: {str(entry)[:80]}")


def settle(log: Log, ranges: Sequence[Sequence[int]], word: str) -> None:
    """Give rows their word. Raises Refused for rows that have one, or are not in the export."""
    for start, stop in ranges:
        if not 0 <= start < stop or log.ends[start:stop] != REMAINING * (stop - start):
            raise Refused(f"rows {start} to {stop} are settled twice, or are not in the export")
        log.ends[start:stop] = MARKS[word] * (stop - start)
        log.doubtful[start:stop] = bytes(stop - start)


@dataclass
class Input:
    """Every row of an input. ids: None for a bad row. lines: where each row starts. records: empty without any."""

    ids: list[str | None] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    why: dict[int, str] = field(default_factory=dict)


def input_of(log: Log, path: Path) -> Input:
    """Read the rows of the run with this log. Raises Refused unless they are those that its header pins."""
    pins = log.header["input"]
    index = path.with_name("input.index.jsonl").read_bytes()
    if (
        hashlib.sha256(index).hexdigest() != pins["index"]
        or json.loads(index.splitlines()[-1])["content"] != pins["content"]
    ):
        raise Refused("the index is not the one of the header")
    found = read_input(path.with_name("input.jsonl.zst").read_bytes(), index)
    bad = [row for row, id_ in enumerate(found.ids) if id_ is None]
    if len(found.ids) != log.header["counts"]["rows"] or any(log.ends[row] != MARKS["invalid"][0] for row in bad):
        raise Refused("the header counts other rows")
    return found


def read_input(packed: bytes, index: bytes) -> Input:
    """Read an input by its index. Raises Refused for what docs/input-format.md forbids."""
    *frames, last = [json.loads(line) for line in index.splitlines()]
    found, byte = Input(), 0
    for frame in frames:
        begins = (frame["at"], frame["byte"]) == (len(found.ids), byte)
        content = (
            zstd.decompress(packed[byte : byte + frame["size"]]) if begins and frame["length"] <= FRAME_MAX else b""
        )
        if len(content) != frame["length"] or hashlib.sha256(content).hexdigest() != frame["sha256"]:
            raise Refused(frame)
        for line in content.splitlines():
            _add_block(found, json.loads(line))
        byte += frame["size"]
        if len(found.ids) != frame["at"] + frame["rows"]:
            raise Refused(frame)
    content = hashlib.sha256("".join(frame["sha256"] for frame in frames).encode()).hexdigest().encode()
    if last != {"rows": len(found.ids), "bytes": len(packed), "content": content.decode()} or byte != len(packed):
        raise Refused(last)
    return found


def _add_block(found: Input, block: dict[str, Any]) -> None:
    at, ids, steps = block["at"], block["ids"], dict(map(tuple, block.get("steps", [])))
    if at != len(found.ids) or not 0 < len(ids) <= 1_000:
        raise Refused(block)
    line = block["line"]
    for i in range(len(ids)):
        line += steps.get(i, 1) if i else 0
        found.lines.append(line)
    found.ids += ids
    found.records += block.get("records", [])
    found.why |= {at + i: words for i, words in block.get("why", [])}
    if {at + i for i, id_ in enumerate(ids) if id_ is None} != {row for row in found.why if row >= at}:
        raise Refused(block)


def read_skipped(packed: bytes) -> dict[str, set[int]]:
    """The skipped rows by reason. Raises Refused for what docs/log-format.md forbids."""
    head, _, bits = zstd.decompress(packed).partition(b"\n")
    rows, reasons = json.loads(head)["rows"], json.loads(head)["bitmaps"]
    size = (rows + 7) // 8
    if len(bits) != size * len(reasons):
        raise Refused(head)
    found = {}
    for number, reason in enumerate(reasons):
        bitmap = bits[number * size : (number + 1) * size]
        found[reason] = {p for p in range(size * 8) if bitmap[p // 8] >> p % 8 & 1}
    if sum(map(len, found.values())) != len(set().union(*found.values())):
        raise Refused(head)
    if max((max(each, default=0) for each in found.values()), default=0) >= max(rows, 1):
        raise Refused(head)
    return found
