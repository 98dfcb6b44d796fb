"""The entries of the checkpoint log, and the lines that hold them. Owns the format; knows no file.

The class of an entry describes it. Each attribute is a member of an object in a line: its annotation has the type that
is checked (`LogMember`), and while it has its default it is left out of the line.

A line is one commit: `{"seq":1,"entries":[…],"nonce":"…","crc":"1a2b3c4d"}` and a newline. docs/log-format.md is the
specification. Ranges are half-open `[start, stop)` pairs of positions. Times are UTC, ISO 8601 with milliseconds.
"""

from __future__ import annotations

import enum
import reprlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import orjson

from bulkdel.core.entry_types import (
    CONFIRMED,
    CONFIRMED_RUN,
    COUNTS,
    EXCEPTION,
    EXPORT_OBJECT,
    INPUT,
    INVALID,
    PARAMETER,
    PINNED,
    RUN_ID,
    SAMPLE,
    SUMMARY,
    check_facts,
)
from bulkdel.core.guards import NO_GUARDS, Guards, Spared
from bulkdel.core.json_types import NONE, PATH, SHA256, TIME, WHOLE, Each, check_of
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


class LogMember(NamedTuple):
    """A member of an entry in a line. type: see `json_types`. read: makes the attribute of it. write: the opposite."""

    type: Any
    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value


def _word(what: str, words: Iterable[str]) -> LogMember:
    """One of these words. An unknown one is no damage: a newer version may have it. what: the member, for people."""
    known = {str(word): word for word in words}

    def read(value: str) -> str:
        if value not in known:
            raise Unreadable(f"unknown {what} {value!r}: written by a newer bulkdel?")
        return known[value]

    return LogMember(str, read)


def _ranges(value: Any) -> Ranges:
    found: Ranges = tuple(map(tuple, value))
    last = -1
    for start, stop in found:
        if not (type(start) is int and type(stop) is int and last < start < stop):
            raise ValueError(f"ranges must ascend: {value!r}")
        last = stop - 1
    return found


def _counts(value: Mapping[str, int]) -> Mapping[str, int]:
    return {name: value[name] for name in COUNTS}


Time = Annotated[str, LogMember(TIME)]
Whole = Annotated[int, LogMember(WHOLE)]
Rows = Annotated[Ranges, LogMember(list, _ranges)]
Ahead = Annotated[int | None, LogMember((int, NONE))]
"""How far the server's clock was ahead of ours (`account_match.Instant`), seconds."""

Names = Annotated[Mapping[str, str], LogMember(Each(str), write=dict)]

FACTS = LogMember(dict)
"""The attribute with all members of the entry that are no attributes."""

Facts = Annotated[Mapping[str, Any], FACTS]


class Shard(NamedTuple):
    """Which part of a run a log is about. number: from 1. first: the position of its first row."""

    number: int
    first: int

    @classmethod
    def read(cls, value: Any) -> Shard:
        """The shard of a member. Raises TypeError or ValueError."""
        shard = cls(*value)
        if set(map(type, shard)) != {int} or shard.number < 1 or shard.first < 0:
            raise ValueError(f"not a shard: {value!r}")
        return shard


@dataclass(frozen=True, slots=True)
class InputPins:
    """Which input a run has. index: SHA-256 of its index. content: of its rows, however they are compressed."""

    index: str
    content: str

    @classmethod
    def read(cls, value: Any) -> InputPins:
        """The pins of a member. Raises TypeError."""
        return cls(**value)


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
    run_id: Annotated[str, LogMember(RUN_ID)]
    at: Time
    pinned: Annotated[Mapping[str, Any], LogMember(PINNED, write=dict)]
    export_path: Annotated[str, LogMember(PATH)]
    excluded: Names
    counts: Annotated[Mapping[str, int], LogMember(COUNTS, _counts, dict)]
    sample: Annotated[Mapping[str, Any] | None, LogMember((SAMPLE, NONE))]
    confirmed: Annotated[Mapping[str, Any], LogMember(CONFIRMED, write=dict)]
    names: Names = field(default_factory=dict)
    parameters: Annotated[Mapping[str, Any], LogMember(Each(PARAMETER), write=dict)] = field(default_factory=dict)
    input: Annotated[InputPins, LogMember(INPUT, InputPins.read, asdict)] = field(kw_only=True)
    skipped_sha256: Annotated[str | None, LogMember(SHA256)] = None
    excluded_sha256: Annotated[str | None, LogMember(SHA256)] = None
    keys: Names = field(default_factory=dict)
    noun: str = USER
    guards: Annotated[Guards, LogMember(dict, Guards.from_json, Guards.to_json)] = NO_GUARDS
    export_object: Annotated[Mapping[str, Any], LogMember(EXPORT_OBJECT, write=dict)] = field(default_factory=dict)
    invalid: Annotated[Mapping[str, Any], LogMember(INVALID, write=dict)] = field(default_factory=dict)
    export_state: Annotated[tuple[int, ...], LogMember([int], tuple)] = ()
    shards: Annotated[tuple[int, ...], LogMember([WHOLE], tuple)] = ()
    shard: Annotated[Shard | None, LogMember(list, Shard.read, list)] = None

    def __post_init__(self) -> None:
        if not all(before < first < self.counts["rows"] for before, first in pairwise((0, *self.shards))):
            raise ValueError(f"the first rows of shards must ascend: {self.shards!r}")

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

    reason: Annotated[Skip, _word("reason", SKIPS)]
    ranges: Rows
    why: Annotated[Spared | None, _word("reason of a guard", Spared)] = None

    def __post_init__(self) -> None:
        if self.why is not None and self.reason != "excluded":
            raise ValueError(f"rows that are {self.reason} by '{self.why}'")


class Saved(NamedTuple):
    """The durable part of a backup: its length in bytes, and their CRC-32."""

    size: int = 0
    crc: int = 0

    @classmethod
    def read(cls, value: Any) -> Saved:
        """What a member says. Raises TypeError."""
        return cls(*value)

    def plus(self, blocks: Iterable[bytes]) -> Saved:
        """This part with the bytes that follow it."""
        size, crc = self
        for block in blocks:
            size, crc = size + len(block), zlib.crc32(block, crc)
        return Saved(size, crc)


@dataclass(frozen=True, slots=True)
class MembershipsSaved:
    """The copy of the memberships is complete and durable (--backup-memberships). No intent is written before it.

    at: when its reading began. path: of the file. size, crc: its length in bytes, and their CRC-32.
    groups, roles, members: how many it holds; a user counts once for each of its memberships.
    """

    at: Time
    path: Annotated[str, LogMember(PATH)]
    size: Whole
    crc: Whole
    groups: Whole
    roles: Whole
    members: Whole

    @property
    def saved(self) -> Saved:
        """All the bytes of the file."""
        return Saved(self.size, self.crc)


class Intent(NamedTuple):
    """These rows may be sent from now on. Durable before the first byte of the request.

    backup: with --backup, what of it is durable: every account that these rows may delete. A resume finds there whether
    the file is still the one that was written.
    """

    at: Time
    ranges: Rows
    backup: Annotated[Saved | None, LogMember([WHOLE], Saved.read, list)] = None
    ahead_s: Ahead = None


class Outcome(NamedTuple):
    """These rows are settled.

    exceptions: for refused and unknown rows only: position, id and the response's details. No other entry has ids.
    """

    at: Time
    attempts: Whole
    kind: Annotated[Kind, _word("outcome", KINDS)]
    ranges: Rows
    request_id: str | None = None
    reason: str | None = None
    exceptions: Annotated[tuple[Mapping[str, Any], ...], LogMember([EXCEPTION], tuple, list)] = ()
    ahead_s: Ahead = None


@dataclass(frozen=True, slots=True)
class Released:
    """An intent that is withdrawn: the server provably did not touch these rows."""

    ranges: Rows


@dataclass(frozen=True, slots=True)
class Session:
    """A run starts or stops.

    log_sha256: of every byte of the log before the line that holds this entry.
    facts: start: version, user, machine, pid, options, what was confirmed anew; stop: why, status, exit code, figures.
    """

    event: Annotated[Literal["start", "stop"], _word("session event", ("start", "stop"))]
    at: Time
    log_sha256: str
    facts: Facts = field(default_factory=dict)


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

    at: Time
    what: Annotated[Changed, _word("change", Changed)]
    value: Annotated[Value, LogMember((*get_args(Value), int))]
    source: Annotated[ChangedBy, _word("source of a change", ChangedBy)]
    user: str | None = None
    confirmed: Annotated[Mapping[str, Any] | None, LogMember((CONFIRMED, NONE))] = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """So many requests were answered 429 since the last such entry of the session. responses: at least 1."""

    at: Time
    responses: Whole

    def __post_init__(self) -> None:
        if not self.responses:
            raise ValueError(f"not a number of responses: {self.responses!r}")


Event = Literal["undo", "forget", "handover"]
"""undo: another run restores what this run did. forget: files of this run that hold personal data are removed.
handover: the run goes on from another copy of its files, and not from this log."""

EVENTS: tuple[Event, ...] = ("undo", "forget", "handover")


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that was done about a run, outside of its sessions. It changes no row and no session.

    log_sha256: as in `Session`. facts: version, user, machine, pid, and what was done.
    """

    event: Annotated[Event, _word("annotation", EVENTS)]
    at: Time
    log_sha256: str
    facts: Facts = field(default_factory=dict)

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
    at: Time
    pinned: Annotated[Mapping[str, Any], LogMember({"sample?": (WHOLE, NONE)})]


Finding = Literal["gone", "recreated", "there"]
"""recreated: gone, and a newer account has the id. there: still there. A row without a finding is looked up again."""

FINDINGS: tuple[Finding, ...] = ("gone", "recreated", "there")


@dataclass(frozen=True, slots=True)
class Found:
    """What a verification has found out about these rows. mac: see `core.mac`."""

    at: Time
    finding: Annotated[Finding, _word("finding", FINDINGS)]
    ranges: Rows
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """First entry of the log of a batch. file: of its runs; a hint for people."""

    tool: str
    at: Time
    file: str


@dataclass(frozen=True, slots=True)
class BatchConfirmed:
    """These runs of a batch were confirmed, all at once.

    ids: of all of them. digest: of their plans. how: as of a run. user: of the system.
    runs: by name; of each the digest of its plan, its ids, job, host, pool and place. mac: see `core.mac`.
    """

    at: Time
    ids: Whole
    digest: str
    how: str
    user: str
    runs: Annotated[Mapping[str, Mapping[str, Any]], LogMember(Each(CONFIRMED_RUN))]
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class BatchPlanned:
    """These runs of a batch were planned, and can be confirmed by the digest of all their plans.

    ids: of all of them. digest: of their plans. runs: by name; of each the digest of its plan, and its ids.
    """

    at: Time
    ids: Whole
    digest: str
    runs: Annotated[Mapping[str, Mapping[str, Any]], LogMember(Each({"digest": str, "ids": WHOLE}))]


@dataclass(frozen=True, slots=True)
class BatchRunBegun:
    """The process of one run of a batch is about to start. On the disk before it does."""

    at: Time
    name: str


@dataclass(frozen=True, slots=True)
class BatchRunEnded:
    """The process of one run of a batch has ended. facts: the summary of that run, as far as there is one."""

    at: Time
    name: str
    exit: Whole
    facts: Annotated[Mapping[str, Any], LogMember(SUMMARY)]


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


ENTRIES: Mapping[str, type[Entry]] = {
    "header": Header,
    "skipped": Skipped,
    "memberships": MembershipsSaved,
    "intent": Intent,
    "outcome": Outcome,
    "released": Released,
    "session": Session,
    "change": Change,
    "throttled": Throttled,
    "annotation": Annotation,
    "verify": VerifyHeader,
    "found": Found,
    "batch": BatchHeader,
    "planned": BatchPlanned,
    "confirmed": BatchConfirmed,
    "run_begun": BatchRunBegun,
    "run_ended": BatchRunEnded,
}
"""The classes of the entries, by the `type` in a line."""

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


class _Form:
    """How the entries of one class are written, and read. type: theirs in a line."""

    def __init__(self, type_: str, entry: Callable[..., Entry]) -> None:
        self._type = type_
        self._entry = entry
        hints = get_type_hints(entry, include_extras=True)
        members = {name: _member_of(hint) for name, hint in hints.items()}
        self._facts = next((name for name, member in members.items() if member is FACTS), None)
        defaults = _defaults_of(entry)
        self._members = [
            (name, member, check_of(member.type, name), defaults.get(name, MISSING))
            for name, member in members.items()
            if name != self._facts
        ]

    def write(self, entry: Entry) -> dict[str, Any]:
        """The entry as an object of a line."""
        data: dict[str, Any] = {"type": self._type}
        if self._type in _WITH_FORMAT:
            data["format"] = FORMAT
        for name, member, _, default in self._members:
            if (value := getattr(entry, name)) != default:
                data[name] = member.write(value)
        if self._facts is not None:
            facts = getattr(entry, self._facts)
            if taken := FACTS_BESIDE & facts.keys():
                raise ValueError(f"facts named like members of the entry: {sorted(taken)}")
            data |= facts
        return data

    def read(self, data: Mapping[str, Any]) -> Entry:
        """Inverse of `write`. Raises Mismatch, TypeError or ValueError, or Unreadable."""
        if self._type in _WITH_FORMAT:
            _check_format(data["format"])
        values: dict[str, Any] = {}
        for name, member, check, _ in self._members:
            if name in data:  # else its default, or a TypeError of the class
                check(data[name])
                values[name] = member.read(data[name])
        check_facts(data)
        if self._facts is not None:
            values[self._facts] = {name: value for name, value in data.items() if name not in FACTS_BESIDE}
        return self._entry(**values)


def _member_of(hint: Any) -> LogMember:
    """What is noted at an attribute; for a plain class, or one of some, that the member is of it."""
    return next(iter(getattr(hint, "__metadata__", ())), LogMember(get_args(hint) or hint))


def _defaults_of(entry: Any) -> dict[str, Any]:
    if issubclass(entry, tuple):
        return {**entry._field_defaults}
    made = {each.name: each.default_factory() for each in fields(entry) if each.default_factory is not MISSING}
    return {each.name: each.default for each in fields(entry)} | made


def _check_format(found: Any) -> None:
    if type(found) is not int:
        raise TypeError(f"format: {found!r}")
    if found <= UNRELEASED:
        raise Unreadable(
            f"log format {found}: written by an unreleased bulkdel. Finish it with that version, or start "
            "anew with another file"
        )
    if found != FORMAT:
        raise Unreadable(f"log format {found} (this version reads {FORMAT}): use the newer bulkdel")


_FORMS = {type_: _Form(type_, entry) for type_, entry in ENTRIES.items()}
_FORM_OF = {entry: _FORMS[type_] for type_, entry in ENTRIES.items()}


def to_json(entry: Entry) -> dict[str, Any]:
    """The entry as an object of a line, with its `type`. Raises ValueError for a fact with the name of a member."""
    return _FORM_OF[type(entry)].write(entry)


def from_json(data: Any) -> Entry:
    """Inverse of `to_json`. Raises Unreadable for an entry that this version does not know completely.

    Another person may have written the log. So no text of it has a line feed, which could fake a line of an output;
    `output` escapes the others. But the ids and messages of rows are as they were, and so is what a config file
    describes.
    """
    try:
        kind = data["type"]
        form = _FORMS[kind]
    except (KeyError, TypeError) as error:
        raise Unreadable(f"unknown entry {reprlib.repr(data)}: written by a newer bulkdel?") from error
    try:
        if kind in _OF_ROWS:
            _on_one_line(data.get("exceptions"))  # only to see how deep they are
            return form.read(data)
        return form.read({name: _on_one_line(value) for name, value in data.items()})
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
