"""The entries of the checkpoint log, and the lines that hold them. Owns the format; knows no file.

A line is one commit: `{"seq":1,"entries":[…],"nonce":"…","crc":"1a2b3c4d"}` and a newline. docs/log-format.md is the
specification. Ranges are half-open `[start, stop)` pairs of positions. Times are UTC, ISO 8601 with milliseconds.
"""

from __future__ import annotations

import enum
import reprlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import orjson

from bulkdel.core.entry_types import check_types
from bulkdel.core.guards import NO_GUARDS, Guards, Spared
from bulkdel.core.outcome import KINDS, SKIPS, USER, Kind, Skip
from bulkdel.core.ranges import Ranges

FORMAT = 3
"""Grows when an older version could misread the log."""

UNRELEASED = 2
"""The format of a version that was never released. It is refused by name."""

MADE = "made"
"""The member of an outcome's exception that holds the id which the API gave."""

LINE_START = b'{"seq":'
CRC_MEMBER = b',"crc":"'
FACTS_BESIDE = frozenset({"type", "event", "at", "log_sha256"})
"""The members of a session entry and of an annotation that are no facts."""

TAIL = len(CRC_MEMBER) + 8 + len(b'"}')


def stamp(epoch: float) -> str:
    """UTC, ISO 8601, milliseconds: how the log writes a time."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Damaged(Exception):
    """A line is not as a commit wrote it: torn, changed, or with another number."""


class Unreadable(Exception):
    """A sound line that this version must not interpret: an unknown entry, a newer format, a contradiction."""


class Shard(NamedTuple):
    """Which part of a run a log is about. number: from 1. first: the position of its first row."""

    number: int
    first: int


@dataclass(frozen=True, slots=True)
class InputPins:
    """Which input a run has. index: SHA-256 of its index. content: of its rows, however they are compressed."""

    index: str
    content: str


@dataclass(frozen=True, slots=True)
class Header:
    """First entry of a log. What it pins must be the same on a resume; none of it is a secret.

    pinned: job, host, pool, id type, how the export is read, SHA-256 and length of its bytes; compared one by one.
    export_path: a hint for people, not compared.
    export_state: of a file, what changes with its bytes as far as its file system shows it; else empty.
    invalid: of the bad rows, how many there are by reason (`why`), and of both files that hold them (`rows`, `reasons`)
        the SHA-256 and the length; else empty.
    export_object: of an export that lies elsewhere, which version the run has of it; else empty.
    excluded: the path of every exclude file by the SHA-256 of its bytes. May only grow.
    counts: rows, ids, excluded, duplicate, invalid, as the preflight found them.
    sample: {"asked": n, "found": n} and more that the look-up before the first id was sent found; None when skipped.
    confirmed: what was confirmed and how, e.g. {"ids": 5000, "pool": "…", "how": "options"}.
    input: the rows of the run, as the preflight has read them.
    parameters: the job's parameters (`Job.parameters`) as JSON; compared on a resume like what is pinned.
    names: what people call `done`, `already` and `absent` in this job (`OutcomeWords`).
    keys: what scripts call them, where that is not the same; else empty.
    noun: what an id means in this job, for people.
    skipped_sha256: of the file with the rows that are never sent; None when all are. excluded_sha256: of that with the
    ids of the exclude files; None without any.
    guards: those of the first session. A later one may add some or tighten them.
    shards: of a run in several processes, the first row of the second shard, of the third, and so on. Each shard has a
        log of its own; this log has the sessions.
    shard: of the log of a shard. Its counts and skipped rows are those of its own rows. None otherwise.
    """

    tool: str
    run_id: str
    at: str
    pinned: Mapping[str, Any]
    export_path: str
    excluded: Mapping[str, str]
    counts: Mapping[str, int]
    sample: Mapping[str, Any] | None
    confirmed: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    input: InputPins = field(kw_only=True)
    skipped_sha256: str | None = None
    excluded_sha256: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    noun: str = USER
    guards: Guards = NO_GUARDS
    export_object: Mapping[str, Any] = field(default_factory=dict)
    invalid: Mapping[str, Any] = field(default_factory=dict)
    export_state: tuple[int, ...] = ()
    shards: tuple[int, ...] = ()
    shard: Shard | None = None

    @property
    def first(self) -> int:
        """The position of the first row: 0, but in the log of a shard."""
        return 0 if self.shard is None else self.shard.first

    @property
    def end(self) -> int:
        """The position after the last row."""
        return self.first + self.counts["rows"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows that are never sent, and why.

    why: of rows that a guard or the sign-in excluded, which of them; None for all others.
    """

    reason: Skip
    ranges: Ranges
    why: Spared | None = None


class Saved(NamedTuple):
    """The durable part of a backup: its length in bytes, and their CRC-32."""

    size: int = 0
    crc: int = 0


@dataclass(frozen=True, slots=True)
class MembershipsSaved:
    """The copy of the memberships is complete and durable (--backup-memberships). No intent is written before it.

    at: when its reading began. path: of the file. size, crc: its length in bytes, and their CRC-32.
    groups, roles, members: how many it holds; a user counts once for each of its memberships.
    """

    at: str
    path: str
    size: int
    crc: int
    groups: int
    roles: int
    members: int


class Intent(NamedTuple):
    """These rows may be sent from now on. Durable before the first byte of the request.

    backup: with --backup, what of it is durable: every account that these rows may delete. A resume finds there whether
    the file is still the one that was written.
    ahead_s: how far the server's clock was ahead of ours (`account_match.Instant`).
    """

    at: str
    ranges: Ranges
    backup: Saved | None = None
    ahead_s: int | None = None


class Outcome(NamedTuple):
    """These rows are settled.

    exceptions: for refused and unknown rows only: position, id and the response's details. No other entry has ids.
    ahead_s: how far the server's clock was ahead of ours (`account_match.Instant`).
    """

    at: str
    attempts: int
    kind: Kind
    ranges: Ranges
    request_id: str | None = None
    reason: str | None = None
    exceptions: tuple[Mapping[str, Any], ...] = ()
    ahead_s: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """An intent that is withdrawn: the server provably did not touch these rows."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Session:
    """A run starts or stops.

    log_sha256: of every byte of the log before the line that holds this entry.
    facts: start: version, user, machine, pid, options, what was confirmed anew; stop: why, status, exit code, figures.
    """

    event: Literal["start", "stop"]
    at: str
    log_sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Changed(enum.StrEnum):
    """What a change changes, and what its value is."""

    RATE = "rate"
    """--rate, until the session ends. Requests a second; 0 is unlimited."""

    CONCURRENCY = "concurrency"
    """--concurrency, until the session ends."""

    UNTIL = "until"
    """--not-after, until the session ends: a time, ISO 8601 with its zone."""

    PAUSED = "paused"
    """True: nothing is sent from now on. False: the session continues."""

    STOP = "stop"
    """The session drains. The value is True."""

    SCHEDULE = "schedule"
    """The limit of --schedule from now on. Requests a second; null without a limit."""

    SLOWED = "slowed"
    """The rate that --slow-while has halved it to. Requests a second."""


class ChangedBy(enum.StrEnum):
    """Where a change came from."""

    CTL = "ctl"
    PAGE = "page"
    PAUSE_FILE = "pause-file"
    SCHEDULE = "schedule"
    SLOW_WHILE = "slow-while"
    LIBRARY = "library"


Value = float | str | bool | None
"""The value of a change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A running session was changed. It ends with the session: the next one begins with its command line.

    user: who asked for it, as the operating system names them; None when the program itself did.
    confirmed: what was confirmed anew, as in the header: a long pause asks for it.
    """

    at: str
    what: Changed
    value: Value
    source: ChangedBy
    user: str | None = None
    confirmed: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """So many requests were answered 429 since the last such entry of the session. responses: at least 1."""

    at: str
    responses: int


Event = Literal["undo", "forget", "handover"]
"""undo: another run restores what this run did. forget: files of this run that hold personal data are removed.
handover: the run goes on from another copy of its files, and not from this log."""

EVENTS: tuple[Event, ...] = ("undo", "forget", "handover")


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that was done about a run, outside of its sessions. It changes no row and no session.

    log_sha256: as in `Session`. facts: version, user, machine, pid, and what was done.
    """

    event: Event
    at: str
    log_sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_restored(self) -> bool:
        """Whether this is the end of a restore of which nothing remains."""
        left = self.facts.get("remaining"), self.facts.get("memberships_remaining", 0)
        return self.event == "undo" and self.facts.get("state") == "ended" and left == (0, 0)

    @property
    def lost(self) -> int:
        """How many rows of a restore did not come back, and will not."""
        return int(self.facts.get("refused", 0) + self.facts.get("unknown", 0))


@dataclass(frozen=True, slots=True)
class VerifyHeader:
    """First entry of the log of a verification. pinned: what must be the same on a resume."""

    tool: str
    at: str
    pinned: Mapping[str, Any]
    format: int = FORMAT


Finding = Literal["gone", "recreated", "there"]
"""recreated: gone, and a newer account has the id. there: still there. A row without a finding is looked up again."""

FINDINGS: tuple[Finding, ...] = ("gone", "recreated", "there")


@dataclass(frozen=True, slots=True)
class Found:
    """What a verification has found out about these rows. mac: see `core.mac`."""

    at: str
    finding: Finding
    ranges: Ranges
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """First entry of the log of a batch. file: of its runs; a hint for people."""

    tool: str
    at: str
    file: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class BatchConfirmed:
    """These runs of a batch were confirmed, all at once.

    ids: of all of them. digest: of their plans. how: as of a run. user: of the system.
    runs: by name; of each the digest of its plan, its ids, job, host, pool and place. mac: see `core.mac`.
    """

    at: str
    ids: int
    digest: str
    how: str
    user: str
    runs: Mapping[str, Mapping[str, Any]]
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class BatchPlanned:
    """These runs of a batch were planned, and can be confirmed by the digest of all their plans.

    ids: of all of them. digest: of their plans. runs: by name; of each the digest of its plan, and its ids.
    """

    at: str
    ids: int
    digest: str
    runs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class BatchRunBegun:
    """The process of one run of a batch is about to start. On the disk before it does."""

    at: str
    name: str


@dataclass(frozen=True, slots=True)
class BatchRunEnded:
    """The process of one run of a batch has ended. facts: the summary of that run, as far as there is one."""

    at: str
    name: str
    exit: int
    facts: Mapping[str, Any]


Entry = (
    Header
    | Skipped
    | MembershipsSaved
    | Intent
    | Outcome
    | Released
    | Session
    | Change
    | Throttled
    | Annotation
    | VerifyHeader
    | Found
    | BatchHeader
    | BatchPlanned
    | BatchConfirmed
    | BatchRunBegun
    | BatchRunEnded
)


_TYPES = {
    Skipped: "skipped",
    MembershipsSaved: "memberships",
    Released: "released",
    Session: "session",
    Change: "change",
    Throttled: "throttled",
    Annotation: "annotation",
    VerifyHeader: "verify",
    Found: "found",
    BatchHeader: "batch",
    BatchPlanned: "planned",
    BatchConfirmed: "confirmed",
    BatchRunBegun: "run_begun",
    BatchRunEnded: "run_ended",
}


def _ranges(value: Any) -> Ranges:
    found: Ranges = tuple(map(tuple, value))
    last = -1
    for start, stop in found:
        if not (type(start) is int and type(stop) is int and last < start < stop):
            raise ValueError(f"ranges must ascend: {value!r}")
        last = stop - 1
    return found


def to_json(entry: Entry) -> dict[str, Any]:
    """The entry as an object of a line, with its `type`."""
    match entry:
        case Intent(at, ranges, saved, ahead_s):
            data: dict[str, Any] = {"type": "intent", "at": at, "ranges": ranges}
            if saved is not None:
                data["backup"] = list(saved)
            if ahead_s is not None:
                data["ahead_s"] = ahead_s
            return data
        case Outcome():
            data = {
                "type": "outcome",
                "at": entry.at,
                "attempts": entry.attempts,
                "kind": entry.kind,
                "ranges": entry.ranges,
            }
            if entry.request_id is not None:
                data["request_id"] = entry.request_id
            if entry.reason is not None:
                data["reason"] = entry.reason
            if entry.exceptions:
                data["exceptions"] = [dict(exception) for exception in entry.exceptions]
            if entry.ahead_s is not None:
                data["ahead_s"] = entry.ahead_s
            return data
        case Session(event, at, log_sha256, facts) | Annotation(event, at, log_sha256, facts):
            if taken := FACTS_BESIDE & facts.keys():
                raise ValueError(f"facts named like members of the entry: {sorted(taken)}")
            return {"type": _TYPES[type(entry)], "event": event, "at": at, "log_sha256": log_sha256, **facts}
        case Header():
            return {
                "type": "header",
                "format": entry.format,
                "tool": entry.tool,
                "run_id": entry.run_id,
                "at": entry.at,
                "pinned": dict(entry.pinned),
                "export_path": entry.export_path,
                **({"export_object": dict(entry.export_object)} if entry.export_object else {}),
                **({"export_state": list(entry.export_state)} if entry.export_state else {}),
                "excluded": dict(entry.excluded),
                "counts": dict(entry.counts),
                **({"invalid": dict(entry.invalid)} if entry.invalid else {}),
                "sample": None if entry.sample is None else dict(entry.sample),
                "confirmed": dict(entry.confirmed),
                "names": dict(entry.names),
                **({"keys": dict(entry.keys)} if entry.keys else {}),
                **({"noun": entry.noun} if entry.noun != USER else {}),
                "parameters": dict(entry.parameters),
                "input": asdict(entry.input),
                "skipped_sha256": entry.skipped_sha256,
                **({"excluded_sha256": entry.excluded_sha256} if entry.excluded_sha256 else {}),
                **({"guards": entry.guards.to_json()} if entry.guards else {}),
                **({"shards": list(entry.shards)} if entry.shards else {}),
                **({"shard": list(entry.shard)} if entry.shard is not None else {}),
            }
        case _:  # its members are named like its attributes
            members = ((field.name, getattr(entry, field.name)) for field in fields(entry))
            return {"type": _TYPES[type(entry)], **{name: value for name, value in members if value is not None}}


_OF_ROWS = frozenset({"skipped", "intent", "outcome", "released", "found"})
"""Entries about rows. They are many, and only their reports show a text of them."""

_WITH_FORMAT = frozenset({"header", "verify", "batch"})
"""Entries that begin a log. A newer format may have other types."""

_EXACT = frozenset({"table", "source"})
"""Pinned members that a config file or an option describes: they are compared, and shown with escapes."""


DEPTH_MAX = 200
"""How deep a value may be nested. What writes JSON gives up at 254."""


def _on_one_line(value: Any, depth: int = 0) -> Any:
    """The value with the escape of a line feed in place of each, in all its texts. Raises ValueError: see DEPTH_MAX."""
    if depth > DEPTH_MAX:
        raise ValueError("a value is nested too deep")
    match value:
        case str():
            return value.replace("\n", "\\n")
        case list():
            return [_on_one_line(each, depth + 1) for each in value]
        case dict():
            lines = {name: _on_one_line(each, depth + 1) for name, each in value.items()}
            return {_on_one_line(name): value[name] if name in _EXACT else each for name, each in lines.items()}
        case _:
            return value


def _check_format(data: Mapping[str, Any]) -> None:
    if data["format"] <= UNRELEASED:
        raise Unreadable(
            f"log format {data['format']}: written by an unreleased bulkdel. Finish it with that version, or start "
            "anew with another file"
        )
    if data["format"] != FORMAT:
        raise Unreadable(f"log format {data['format']} (this version reads {FORMAT}): use the newer bulkdel")


def _header(data: Mapping[str, Any]) -> Header:
    return Header(
        tool=data["tool"],
        run_id=data["run_id"],
        at=data["at"],
        pinned=data["pinned"],
        export_path=data["export_path"],
        excluded=data["excluded"],
        counts={name: data["counts"][name] for name in ("rows", "ids", *SKIPS)},
        sample=data["sample"],
        confirmed=data["confirmed"],
        names=data["names"],
        parameters=data["parameters"],
        input=InputPins(**data["input"]),
        skipped_sha256=data["skipped_sha256"],
        excluded_sha256=data.get("excluded_sha256"),
        keys=data.get("keys", {}),
        noun=data.get("noun", USER),
        guards=Guards.from_json(data.get("guards", {})),
        export_object=data.get("export_object", {}),
        invalid=data.get("invalid", {}),
        export_state=tuple(data.get("export_state", ())),
        shards=_shards(data.get("shards", ()), data["counts"]["rows"]),
        shard=_shard(data.get("shard")),
    )


def _shards(firsts: Sequence[int], rows: int) -> tuple[int, ...]:
    if not all(before < first < rows for before, first in pairwise((0, *firsts))):
        raise ValueError(f"the first rows of shards must ascend: {firsts!r}")
    return tuple(firsts)


def _shard(value: Any) -> Shard | None:
    if value is None:
        return None
    shard = Shard(*value)
    if set(map(type, shard)) != {int} or shard.number < 1 or shard.first < 0:
        raise ValueError(f"not a shard: {value!r}")
    return shard


def _saved(value: Any) -> Saved | None:
    if value is None:
        return None
    return Saved(*value)


def _outcome(data: Mapping[str, Any]) -> Outcome:
    if data["kind"] not in KINDS:
        raise Unreadable(f"unknown outcome {data['kind']!r}: written by a newer bulkdel?")
    return Outcome(
        data["at"],
        data["attempts"],
        data["kind"],
        _ranges(data["ranges"]),
        data.get("request_id"),
        data.get("reason"),
        tuple(data.get("exceptions", ())),
        data.get("ahead_s"),
    )


def _skipped(data: Mapping[str, Any]) -> Skipped:
    if data["reason"] not in SKIPS:
        raise Unreadable(f"unknown reason {data['reason']!r}: written by a newer bulkdel?")
    why = data.get("why")
    if why is not None and (why not in set(Spared) or data["reason"] != "excluded"):
        raise Unreadable(f"rows that are {data['reason']} by {why!r}: written by a newer bulkdel?")
    return Skipped(data["reason"], _ranges(data["ranges"]), why and Spared(why))


def _memberships(data: Mapping[str, Any]) -> MembershipsSaved:
    counts = (data[name] for name in ("size", "crc", "groups", "roles", "members"))
    return MembershipsSaved(data["at"], data["path"], *counts)


def _session(data: Mapping[str, Any]) -> Session:
    if data["event"] not in {"start", "stop"}:
        raise Unreadable(f"unknown session event {data['event']!r}: written by a newer bulkdel?")
    return Session(data["event"], data["at"], data["log_sha256"], _facts(data))


def _change(data: Mapping[str, Any]) -> Change:
    if data["what"] not in set(Changed) or data["source"] not in set(ChangedBy):
        raise Unreadable(f"unknown change {data['what']!r} by {data['source']!r}: written by a newer bulkdel?")
    return Change(
        data["at"],
        Changed(data["what"]),
        data.get("value"),
        ChangedBy(data["source"]),
        data.get("user"),
        data.get("confirmed"),
    )


def _count(value: int) -> int:
    if not value:
        raise ValueError(f"not a number of responses: {value!r}")
    return value


def _annotation(data: Mapping[str, Any]) -> Annotation:
    if data["event"] not in EVENTS:
        raise Unreadable(f"unknown annotation {data['event']!r}: written by a newer bulkdel?")
    return Annotation(data["event"], data["at"], data["log_sha256"], _facts(data))


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in FACTS_BESIDE}


def _verify_header(data: Mapping[str, Any]) -> VerifyHeader:
    return VerifyHeader(data["tool"], data["at"], data["pinned"])


def _found(data: Mapping[str, Any]) -> Found:
    if data["finding"] not in FINDINGS:
        raise Unreadable(f"unknown finding {data['finding']!r}: written by a newer bulkdel?")
    return Found(data["at"], data["finding"], _ranges(data["ranges"]), data.get("mac"))


def _batch_header(data: Mapping[str, Any]) -> BatchHeader:
    return BatchHeader(data["tool"], data["at"], data["file"])


def _planned(data: Mapping[str, Any]) -> BatchPlanned:
    return BatchPlanned(data["at"], data["ids"], data["digest"], data["runs"])


def _confirmed(data: Mapping[str, Any]) -> BatchConfirmed:
    how, user, mac = data["how"], data["user"], data.get("mac")
    return BatchConfirmed(data["at"], data["ids"], data["digest"], how, user, data["runs"], mac)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Entry]] = {
    "header": _header,
    "skipped": _skipped,
    "memberships": _memberships,
    "intent": lambda data: Intent(data["at"], _ranges(data["ranges"]), _saved(data.get("backup")), data.get("ahead_s")),
    "outcome": _outcome,
    "released": lambda data: Released(_ranges(data["ranges"])),
    "session": _session,
    "change": _change,
    "throttled": lambda data: Throttled(data["at"], _count(data["responses"])),
    "annotation": _annotation,
    "verify": _verify_header,
    "found": _found,
    "batch": _batch_header,
    "confirmed": _confirmed,
    "planned": _planned,
    "run_begun": lambda data: BatchRunBegun(data["at"], data["name"]),
    "run_ended": lambda data: BatchRunEnded(data["at"], data["name"], data["exit"], data["facts"]),
}


def from_json(data: Any) -> Entry:
    """Inverse of `to_json`. Raises Unreadable for an entry that this version does not know completely.

    Another person may have written the log. So no text of it has a line feed, which could fake a line of an output;
    `output` escapes the others. But the ids and messages of rows are as they were, and so is what a config file
    describes.
    """
    try:
        kind = data["type"]
        reader = _READERS[kind]
    except (KeyError, TypeError) as error:
        raise Unreadable(f"unknown entry {reprlib.repr(data)}: written by a newer bulkdel?") from error
    try:
        if kind in _WITH_FORMAT:
            _check_format(data)
        check_types(data)
        if kind in _OF_ROWS:
            _on_one_line(data.get("exceptions"))  # only to see how deep they are
            return reader(data)
        return reader({name: _on_one_line(value) for name, value in data.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"{data['type']} entry lacks or garbles a member: {error!r}") from error


def frame(seq: int, parts: Sequence[bytes], nonce: str) -> bytes:
    """Encoded entries as one line, newline included. nonce: of the session."""
    body = b'%s%d,"entries":[%s],"nonce":"%s"' % (LINE_START, seq, b",".join(parts), nonce.encode())
    return b'%s%s%08x"}\n' % (body, CRC_MEMBER, zlib.crc32(body))


def sound(line: bytes) -> bool:
    """Whether `line` (newline included) is complete and its checksum matches."""
    # Compared as bytes: as numbers `A` and `a` are equal, so a flipped bit between them would not be noticed.
    return line[-TAIL - 1 :] == b'%s%08x"}\n' % (CRC_MEMBER, zlib.crc32(line[: -TAIL - 1]))


class Commit(NamedTuple):
    """The content of one line. nonce: of the session that wrote it."""

    nonce: str
    entries: list[Entry]


def decode_line(line: bytes, seq: int) -> Commit:
    """Read one line (newline included) that must be number `seq`. Raises Damaged or Unreadable."""
    if not sound(line):
        raise Damaged("its checksum does not match" if line.endswith(b"\n") else "it has no end")
    try:
        data = orjson.loads(line)
        found, entries = data["seq"], [*data["entries"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no commit of bulkdel, although the checksum matches: {error!r}") from error
    if found != seq:
        raise Damaged(f"it is commit {found} where {seq} was due")
    commit = Commit(data.get("nonce"), [from_json(entry) for entry in entries])  # first, the header says which format
    if type(commit.nonce) is not str:
        raise Unreadable("the line has no nonce")
    return commit
