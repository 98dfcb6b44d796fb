"""The URL of a store, as a path."""

from __future__ import annotations

from pathlib import Path, PosixPath
from typing import TypeGuard

from bulkdel.core.address import Address, address_of, shown_address
from bulkdel.errors import UsageError

SCHEMES = ("s3", "gs", "az", "file")
"""The stores that may hold a run: S3, Google Cloud Storage, Azure, and a directory that machines share."""

EXAMPLES = "s3://bucket/run, gs://bucket/run, az://container/run or file:///shared/run"


class StorePath(PosixPath):
    """The URL of a store, as a path. No file has this path, so whatever opens it as a file fails.

    It is printed as the URL. `/` and `parent` work as they do for a path.
    """

    def __str__(self) -> str:
        scheme, *names = self.parts
        return f"{scheme}//{'/' if self.scheme == 'file' else ''}{'/'.join(names)}"

    def __fspath__(self) -> str:
        return str(self)

    @property
    def scheme(self) -> str:
        """s3, gs, az or file."""
        return self.parts[0].removesuffix(":")

    @property
    def directory(self) -> Path:
        """The directory of a `file` URL."""
        return Path("/", *self.parts[1:])

    def absolute(self) -> StorePath:
        """The same: a URL depends on no folder."""
        return self

    def resolve(self, strict: bool = False) -> StorePath:  # noqa: ARG002, FBT001, FBT002 - as pathlib has it
        """The same: a URL depends on no folder."""
        return self


def in_store(path: Path | None) -> TypeGuard[StorePath]:
    """Whether a path is the URL of a store: it belongs to no machine, and nothing opens it as a file."""
    return isinstance(path, StorePath)


def is_store_url(text: str) -> bool:
    """Whether a text is the URL of a store, and no path."""
    address = address_of(text)
    return address is not None and address.scheme in SCHEMES


def store_path(text: str) -> StorePath:
    """Read the URL of a store. Raises UsageError."""
    address = address_of(text)
    if address is not None and "@" in address.place:  # not shown: there is a secret in it
        raise UsageError(
            "the URL of a store has a user or a password in it. Credentials come from the environment; leave them out"
        )
    if address is None or not _is_plain(address):
        raise UsageError(
            f"{shown_address(text)!r}: is not the URL of a store. Give one like {EXAMPLES}. Its path has no ?, # or "
            "part that is empty, . or .."
        )
    place = [address.place] if address.place else []
    return StorePath(f"{address.scheme}:", *place, *address.key.strip("/").split("/"))


def _is_plain(address: Address) -> bool:
    """Whether this is the URL of a store, with nothing in it that a path or an object's name gives another meaning."""
    names = address.key.strip("/").split("/")
    odd = {"?", "#"} & set(address.text) or ":" in address.place or {".", "..", ""} & set(names)
    has_place = (address.scheme == "file") != bool(address.place)  # a directory has no host, a bucket is one
    return address.scheme in SCHEMES and address.text.isprintable() and has_place and not odd


def path_or_url(text: str) -> Path:
    """Read a path, or the URL of a store. Raises UsageError."""
    return store_path(text) if is_store_url(text) else Path(text)
