"""What a run tells the process of a shard, and what that process answers: values that travel as lines of JSON.

No secret is among them: a shard signs in with the credentials of its own environment. Whoever places the process, on
this machine or on another one, only carries the lines.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import orjson

from bulkdel.core.summary import Ending
from bulkdel.engine.progress import Snapshot
from bulkdel.engine.session import SessionResult
from bulkdel.export import Dialect, Fingerprint


@dataclass(frozen=True, slots=True)
class Order:
    """The first line to a shard.

    number: of the shard. tool: the version that has to do it. dialect, fingerprint: of the export, which the run has
    read and checked. protected: ids that must not be sent, besides those of the exclude files. proven: whether the run
    has found an account. fullest: the most accounts that a look-up has returned. administrator: ids of the one that the
    pool keeps. excluded: the keys of the exclude files, as the run has read them. until: --not-after, ISO 8601.
    concurrency: requests in flight, at most. settled_max: the session ends when so many rows of the shard have an
    outcome (--limit); those that a lost process of the shard still settles count. debug: whether each chunk is an
    event. licence_s: how long a commit to a store licenses sending. export: where a process on another machine finds
    the export; None for one that has its descriptor. take_over: whether the log in a store is taken over without a
    watch: the session of the run has that of the run, so what still writes is a lost process, or one of a frozen run.
    """

    number: int
    tool: str
    dialect: Mapping[str, Any]
    fingerprint: tuple[str, int, str]
    protected: list[str]
    pool: str | None
    proven: bool
    fullest: int
    administrator: list[str]
    excluded: list[str]
    until: str | None
    concurrency: int
    settled_max: int | None
    debug: bool
    licence_s: float
    export: Mapping[str, Any] | None = None
    take_over: bool = False

    def line(self) -> bytes:
        """As a line."""
        return line_of(asdict(self))

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Read it."""
        return cls(**orjson.loads(line))

    @property
    def bytes_checked(self) -> Fingerprint:
        """The hashes of the bytes that the shard reads."""
        sha256, size, blocks = self.fingerprint
        return Fingerprint(sha256, size, base64.b64decode(blocks))

    @property
    def read_as(self) -> Dialect:
        """How the export is read."""
        return Dialect.from_json(dict(self.dialect))


def packed(fingerprint: Fingerprint) -> tuple[str, int, str]:
    """A fingerprint for an order."""
    return fingerprint.sha256, fingerprint.size, base64.b64encode(fingerprint.blocks).decode()


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
    latency: tuple[list[int], float] = ((), 0.0)  # type: ignore[assignment]
    refused: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, moment: Snapshot, remaining: int, counts: Mapping[str, int]) -> Self:
        """Take them from a snapshot."""
        names = {each.name for each in fields(cls)} - {"remaining", "counts"}
        return cls(remaining, dict(counts), **{name: getattr(moment, name) for name in names})


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line of a shard: how its session ended."""

    ending: Mapping[str, Any]
    figures: Mapping[str, Any]
    unrecorded: Mapping[str, int]
    kept: int
    unproven: int
    blind: bool

    @classmethod
    def of(cls, result: SessionResult) -> Self:
        """Take it from the result."""
        stop = result.progress.stop
        blind = stop is not None and bool(stop.facts.get("blind"))
        ending = asdict(result.ending)
        return cls(ending, dict(result.figures), dict(result.unrecorded), result.kept, result.unproven, blind)

    @property
    def as_ending(self) -> Ending:
        """The ending of the session."""
        return Ending(**self.ending)


def line_of(values: Any) -> bytes:
    """Values as a line."""
    return orjson.dumps(values) + b"\n"
