"""The seam to what runs the processes of a run or of a batch: this machine, or an engine that has several.

It has four verbs, and none of them is trusted with safety: an engine may place a process twice, lose it, or say
nothing. What keeps a row from being sent twice is the log of the run or of the shard, and what bounds the rate is its
share.

1. `place` some work: start its process, which is `bulkdel` with these words.
2. `poll` it: what it says, until it has ended.
3. `tell` it something, or send it a signal. A process that drains finishes what is on the wire and ends.
4. `kill` it.

Work has the address of the keeper of the rate as this process knows it; the engine tells the process where it finds the
keeper. `fleet.local` is the implementation for this machine.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from bulkdel.core.option import ENV_PREFIX
from bulkdel.errors import UsageError
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.variables import BETWEEN

SHARD = "_BULKDEL_SHARD"
"""The environment variable by which `bulkdel run` knows that it is a shard: the descriptor of its channel."""

KILL_AFTER_S = 10.0
"""A process that does not end so long after its requests had to be finished is killed."""

LINE_MAX = 16 << 20
"""Bytes of a line over the channel."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of a process, described so that it can be made where the process starts.

    names, beginnings: the variables that are kept of those that are set there, besides those that set a table of the
    config; without names all are. dropped: variables that are not kept. values: further ones, without a secret in them.
    sources: by the name of a variable the name of the one that has its value there. secrets: further ones, which must
    not leave this machine.
    """

    names: Collection[str] | None = None
    beginnings: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    dropped: Collection[str] = ()

    def plus(self, values: Mapping[str, str]) -> Self:
        """Set these variables too. No value is a secret."""
        return replace(self, values={**self.values, **values})

    def made(self, there: Mapping[str, str]) -> dict[str, str]:
        """The variables of the process. there: those that are set where it starts.

        Raises UsageError for one of `sources` that is not set there.
        """
        made = {**{name: value for name, value in there.items() if self._keeps(name)}, **self.values}
        for name, source in self.sources.items():
            if source not in there:
                raise UsageError(f"credentials: the variable {source} is not set. Set it where the run starts")
            made[name] = there[source]
        return {**made, **self.secrets}

    def _keeps(self, name: str) -> bool:
        if name in self.dropped:
            return False
        if self.names is None or name in self.names or name.startswith(self.beginnings):
            return True
        return name.startswith(ENV_PREFIX) and BETWEEN in name


@dataclass(frozen=True, slots=True)
class Work:
    """A process to place: this program with these words.

    words: after `bulkdel`; no secret is among them. keeper: whose rate it shares, where this process finds it.
    folder: in which it begins; None for that of this process. order: the first line over its channel. A process without
    one has no channel.
    """

    words: Sequence[str]
    environment: Environment
    keeper: KeeperAddress
    folder: Path | None = None
    order: bytes | None = None


class Stream(enum.StrEnum):
    """Where a process has said something."""

    CHANNEL = "channel"
    STDERR = "stderr"


class Said(NamedTuple):
    """A line that a process has said, with its end. A line that is too long comes in parts."""

    stream: Stream
    line: bytes


class Exited(NamedTuple):
    """How a process has ended.

    code: its exit code, or below 0 the signal that has ended it; None when it was lost with the machine that it ran on.
    result: the last line of its stdout, without its end.
    """

    code: int | None
    result: bytes = b""


class Placed(Protocol):
    """One placed process."""

    def poll(self) -> AsyncIterator[Said | Exited]:
        """What it says, in the order of each stream, and at last how it has ended. Poll it once."""
        ...

    def tell(self, line: bytes) -> None:
        """Tell it something over its channel. One that has ended does not hear it."""
        ...

    def signal(self, signum: int) -> None:
        """Send it a signal. One that has ended does not get it."""
        ...

    async def kill(self) -> None:
        """End it at once, as safe as a power failure: nothing of its log is lost. Returns when it has ended."""
        ...


class Engine(Protocol):
    """What places processes."""

    async def place(self, work: Work) -> Placed:
        """Start a process. Raises OSError when it cannot be started, UsageError for a variable that is not set.

        Raises NotAcceptable when the machine where it would run is not as it has to be.
        """
        ...

    async def failed(self) -> str:
        """Wait until the engine itself has failed, and return how. Cancel it when that no longer matters."""
        ...

    def leave(self) -> None:
        """End every process at once: for a second signal, in whose handler nothing may wait."""
        ...
