"""The interface to the engine that runs the processes of a run or of a batch: on this machine, or on several.

It has four verbs. Safety depends on none of them: an engine may place a process twice, lose it, or say nothing. The log
of the run or of the shard keeps a row from being sent twice, and the share of the process bounds its rate.

1. `place` some work: start its process, which is `bulkdel` with these words.
2. `poll` it: read its output, until it has ended.
3. `tell` it something, or send it a signal. A process that drains finishes its requests on the wire and ends.
4. `kill` it.

Work has the address of the keeper of the rate as this process knows it; the engine tells the process where it finds the
keeper. `fleet.local` is the implementation for this machine.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import orjson

from bulkdel.core.address import holds_secret
from bulkdel.core.option import ENV_PREFIX
from bulkdel.errors import UsageError
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.variables import BETWEEN

SHARD = "_BULKDEL_SHARD"
"""The environment variable with the descriptor of the channel. With it `bulkdel run` is the process of a shard."""

KILL_AFTER_S = 10.0
"""A process that does not end so long after its requests had to be finished is killed."""

LINE_MAX = 16 << 20
"""Bytes of a line over the channel."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A description of the environment of a process. The environment is made on the machine where the process starts.

    names, beginnings: which variables of that machine are kept, besides those that set a table of the config; without
    names all are kept. dropped: variables that are not kept. values: further variables, without a secret in them.
    sources: for a variable the name of the variable of that machine with its value. secrets: further variables, which
    must not leave this machine.
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

    def elsewhere(self) -> Self:
        """The description for another machine. It must have each secret in a variable of the same name."""
        return replace(self, secrets={}, sources={**self.sources, **{name: name for name in self.secrets}})

    def made(self, there: Mapping[str, str]) -> dict[str, str]:
        """The variables of the process. there: the variables of the machine where it starts.

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


def secrets_in(given: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The options with a signature in an address: the text for the variable of each. given: the values of each."""
    return {name: os.pathsep.join(values) for name, values in given.items() if any(map(holds_secret, values))}


@dataclass(frozen=True, slots=True)
class Work:
    """A process to place: this program with these words.

    words: after `bulkdel`; no secret is among them. keeper: the keeper of its rate, at the address that this process
    uses. folder: in which it begins; None for the folder of this process. order: the first line over its channel; None
    for a process without a channel.
    """

    words: Sequence[str]
    environment: Environment
    keeper: KeeperAddress
    folder: Path | None = None
    order: bytes | None = None


def object_in(line: bytes) -> Mapping[str, Any]:
    """The JSON object in a line of a process; empty without one, as in a line that was torn by its end."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(line)
        if isinstance(found, dict):
            return found
    return {}


class Stream(enum.StrEnum):
    """The stream on which a process has written a line."""

    CHANNEL = "channel"
    STDERR = "stderr"


class Said(NamedTuple):
    """A line that a process has written, with its line end.

    A line of stderr that is too long comes in parts. A line of the channel is whole, or torn by the end of the process.
    """

    stream: Stream
    line: bytes


class Exited(NamedTuple):
    """How a process has ended.

    code: its exit code, or below 0 the signal that has ended it; None when it was lost with its machine.
    result: the last line of its stdout, without its end.
    """

    code: int | None
    result: bytes = b""


class Placed(Protocol):
    """One placed process."""

    def poll(self) -> AsyncIterator[Said | Exited]:
        """Yield its lines, in the order of each stream, and at last how it has ended. Poll it once."""
        ...

    def tell(self, line: bytes) -> None:
        """Tell it something over its channel. No effect after it has ended."""
        ...

    def signal(self, signum: int) -> None:
        """Send it a signal. No effect after it has ended."""
        ...

    async def kill(self) -> None:
        """End it at once. As after a power failure, nothing of its log is lost. Returns when it has ended."""
        ...


class Engine(Protocol):
    """Places processes."""

    async def place(self, work: Work) -> Placed:
        """Start a process. Raises OSError when it cannot be started, UsageError for a variable that is not set.

        Raises NotAcceptable when the machine where it would run is not as it has to be.
        """
        ...

    async def failed(self) -> str:
        """Wait until the engine has failed, and return how. Cancel it when that no longer matters."""
        ...

    def leave(self) -> None:
        """End every process at once, without waiting: the handler of a second signal calls it."""
        ...
