"""What a store of a log can do: create an object if there is none of its name, read it, and list what is behind it.

Objects are never overwritten or deleted. Every call blocks, may be made by several threads, and raises OSError where
its effect is not known: a time-out, a broken connection, a server that fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bulkdel.store.bucket import Remote
from bulkdel.store.directory import Directory
from bulkdel.store_path import StorePath


class Objects(Protocol):
    """The objects below one URL.

    hedged: whether a second attempt beside a slow one is likely to be faster.
    rounds: how often a probe plays, to find out whether one of several writers creates an object.
    """

    @property
    def rounds(self) -> int:
        """How often a probe plays."""
        ...

    @property
    def hedged(self) -> bool:
        """Whether a second attempt beside a slow one is likely to be faster."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Create an object; True on success, and it is durable then. False when there is one of this name."""
        ...

    def get(self, name: str) -> bytes | None:
        """Read an object; None when there is none."""
        ...

    def listed(self, after: str) -> Iterable[str]:
        """The names in the folder of `after` that are greater, in their order. A list may lack objects that exist."""
        ...


def open_objects(path: StorePath) -> Directory | Remote:
    """Open the store at this URL. Creates nothing. Raises UsageError when what it needs is not installed."""
    if path.scheme == "file":
        return Directory(path.directory)
    return Remote(path)
