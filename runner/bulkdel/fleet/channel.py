"""What a run and the process of a shard tell each other: messages, each one line of JSON over a channel.

The run gives the `Order` first. Then it tells what it wants (`Wanted`), and that the server was heard (`Heard`). The
shard tells that it is `Alive`, its `Figures`, chunks (`ChunkEvent`), and at last how it ended: `ShardEnded`, or
`Failed` when it could not begin. These are the events of the shard. The member `event` is the name of the message.

No secret is among them: a shard signs in with the credentials of its own environment. What places the process, on this
machine or on another one, only carries the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

import orjson

from bulkdel.core.summary import Ending
from bulkdel.engine.session import SessionResult
from bulkdel.engine.snapshot import Snapshot
from bulkdel.http.positive_control import SeenBefore


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the run wants of a shard. It is told again when it changes.

    held: send nothing for now. concurrency: requests in flight, at most. (The time of --not-after is not told: the run
    drains its shards then, because the clock of another machine may be wrong.)
    """

    held: bool
    concurrency: int


@dataclass(frozen=True, slots=True)
class Heard:
    """The server has given a useful response to one of the shards, so many seconds ago."""

    ago_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """The first line to a shard: what to do, and what the run has found out."""

    number: int
    """Of the shard, from 1."""
    tool: str
    """The version that has to do it."""
    index: str
    """The SHA-256 of the index of the rows, as the run has read them."""
    protected: list[str]
    """Ids that must not be sent, besides those of the exclude files."""
    pool: str | None
    seen: SeenBefore
    """What the look-ups of the run have shown."""
    administrator: list[str]
    """Ids of the account that the pool keeps."""
    excluded: list[str]
    """The keys of the exclude files, as the run has read them."""
    settled_max: int | None
    """The session ends when so many rows of the shard have an outcome (--limit). Those that a lost process of the shard
    still settles count."""
    debug: bool
    """Whether each chunk is an event."""
    lease_s: float
    """How long a commit to a store renews the lease."""
    wanted: Wanted
    """What the run wants at first."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Where a shard is: what `Snapshot` has. counts: rows by outcome of the shard, by the words of the log."""

    remaining: int
    counts: Mapping[str, int]
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    in_flight: int = 0
    busy: bool = False
    silent_s: float = 0.0
    breaker_open: bool = False
    waiting: str | None = None
    latency: tuple[Sequence[int], float] = ((), 0.0)
    refused: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, moment: Snapshot, remaining: int, counts: Mapping[str, int]) -> Self:
        """Take them from a snapshot."""
        names = {each.name for each in fields(cls)} - {"remaining", "counts"}
        return cls(remaining, dict(counts), **{name: getattr(moment, name) for name in names})


@dataclass(frozen=True, slots=True)
class Alive:
    """The process of a shard is not frozen. Told from its beginning on: before its first figures it tells no other."""


@dataclass(frozen=True, slots=True)
class ChunkEvent:
    """An event about a chunk, as `engine.snapshot.Event`."""

    level: Literal["debug", "info", "warning"]
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The last line of a shard that could not begin. exit_code: of the error. why: its text."""

    exit_code: int
    why: str


@dataclass(frozen=True, slots=True)
class ShardEnded:
    """The last line of a shard: how its session ended."""

    ending: Mapping[str, Any]
    unrecorded: Mapping[str, int]
    protected: int
    unproven: int
    blind: bool

    @classmethod
    def of(cls, result: SessionResult) -> Self:
        """Take it from the result."""
        stop = result.progress.stop
        blind = stop is not None and bool(stop.facts.get("blind"))
        ending = asdict(result.ending)
        return cls(ending, dict(result.unrecorded), result.protected, result.unproven, blind)

    @property
    def as_ending(self) -> Ending:
        """The ending of the session."""
        return Ending(**self.ending)


Message = Order | Wanted | Heard | Alive | Figures | ChunkEvent | Failed | ShardEnded

KINDS: Mapping[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def line_of(message: Message) -> bytes:
    """A message as a line."""
    return orjson.dumps({"event": type(message).__name__, **asdict(message)}) + b"\n"


def message_of(event: Mapping[str, Any]) -> Message:
    """The message in the object of a line."""
    values = {name: value for name, value in event.items() if name != "event"}
    kind = KINDS[event["event"]]
    if kind is Order:
        values |= {"wanted": Wanted(**values["wanted"]), "seen": SeenBefore(**values["seen"])}
    return kind(**values)
