"""An object that is not on this machine, as it is read: which version it is, and its bytes from any of them on.

A passing fault is `Broken`, and the caller reads on. Others are NotAcceptable. No message has a query, a password or
a credential.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bulkdel.core.address import BUCKETS, Address
from bulkdel.errors import NotAcceptable

WEAK = "W/"
"""The beginning of an ETag that does not promise the same bytes."""


class Broken(Exception):
    """The reading broke off, in a way that may pass. Its text is the reason."""


class ObjectChanged(NotAcceptable):
    """The object is no longer the version that was asked for."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which version an object is, as far as its server says. size: bytes. modified: a time, in the server's words."""

    size: int | None = None
    etag: str | None = None
    id: str | None = None
    modified: str | None = None

    @property
    def resumable(self) -> bool:
        """Whether a later request can ask for the rest of this very version."""
        return self.etag is not None and not self.etag.startswith(WEAK)

    def differs(self, other: Version) -> bool:
        """Whether something that both say is not the same."""
        pairs = zip(self.to_json().items(), other.to_json().items(), strict=True)
        return any(mine != theirs for (_, mine), (_, theirs) in pairs if mine is not None and theirs is not None)

    def to_json(self) -> dict[str, Any]:
        """As the log has it."""
        return {"bytes": self.size, "etag": self.etag, "version": self.id, "modified": self.modified}

    def __str__(self) -> str:
        if self.id is not None:
            return f"version {self.id}"
        if self.etag is not None:
            return f"ETag {self.etag}"
        return f"last modified {self.modified}" if self.modified else "no version"


@dataclass(frozen=True, slots=True)
class Opened:
    """The response to one request. start: the first byte of `parts`, which may be before the one that was asked for.

    parts: the bytes, as they come. Raises Broken. encoding: how the server has encoded them, such as `gzip`.
    """

    version: Version
    start: int
    parts: AsyncIterator[bytes]
    encoding: str = ""


class FarObject(Protocol):
    """One object. `open` makes one request each time."""

    def open(self, start: int, version: Version | None) -> AbstractAsyncContextManager[Opened]:
        """Ask for the bytes from `start` on, of this version. Raises Broken, ObjectChanged and NotAcceptable."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """How to reach it. ca_file, proxy: those of the options. silence_s: how long nothing may come."""

    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    silence_s: float = 30.0


def far_object(address: Address, reach: Reach) -> FarObject:
    """Make the object. Sends nothing. Raises UsageError for an option that cannot be used, and a missing package."""
    if address.scheme in BUCKETS:
        from bulkdel.store.bucket import BucketObject  # noqa: PLC0415 - an extra installs what it needs

        return BucketObject(address, reach)
    from bulkdel.store.web_object import WebObject  # noqa: PLC0415 - a run with a local export needs neither

    return WebObject(address, reach)
