"""The address of an object that is not on this machine: s3://…, https://…. Owns its parts, and what of it is secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

BUCKETS = ("s3", "gs", "az")
"""Schemes of object stores: SCHEME://BUCKET/KEY."""

WEB = ("https", "http")

SCHEMES = (*BUCKETS, *WEB)
"""What can be read."""

HIDDEN = "[hidden]"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/?#]*)/?([^?#]*)([^#]*)(.*)", re.DOTALL)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")

_HOST = re.compile(r"https?://[^/]+", re.IGNORECASE)

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """An address and its parts.

    text: as given. scheme: in lower case. place: the bucket, container or host. key: the rest of the path, as given.
    query: of https, with its question mark; it may be a signature, so no message and no repr has it.
    """

    text: str = field(repr=False)
    scheme: str
    place: str
    key: str
    query: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The address without what may be a secret."""
        return shown_address(self.text)

    @property
    def name(self) -> str:
        """The last part of the path: the name of a file for the object."""
        name = unquote(self.key) if self.scheme in WEB else self.key
        last = name.rstrip("/").rpartition("/")[2] or "export"
        return "".join(char if char.isprintable() else "_" for char in last)

    @property
    def fault(self) -> str | None:
        """Why the address cannot be read, and what to do; None when it can be."""
        if "@" in self.place:
            return "has a user or a password in it, which others could read. Leave them out"
        if self.scheme == "http" and not _LOOPBACK.fullmatch(self.place):
            return "is not https, so the export would travel in the clear (http is for loopback)"
        if not self.place or not self.key.strip("/") or not self.text.isprintable() or " " in self.place:
            return f"names no object. Write {self.scheme}://{'HOST' if self.scheme in WEB else 'BUCKET'}/NAME"
        return None


def address_of(text: str) -> Address | None:
    """Read an address; None for the path of a file."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme in BUCKETS:  # in the key of an object, `?` and `#` are letters like any other
        place, _, key = text.partition("://")[2].partition("/")
        return Address(text, scheme, place, key)
    return Address(text, scheme, found[2], found[3], found[4])


def beginning_of(address: Address) -> str:
    """The place in which an object lies: `s3://bucket/night` of s3://bucket/night/a. No secret is in it."""
    place, folder = address.place.rpartition("@")[2], address.key.strip("/").rpartition("/")[0]
    return f"{address.scheme}://{place}{'/' if folder or not place else ''}{folder}"


def is_below(address: Address, beginning: Address) -> bool:
    """Whether an address lies where another one begins. One with a step upwards in it lies nowhere."""
    if (address.scheme, address.place) != (beginning.scheme, beginning.place):
        return False
    steps, first = (
        [step for step in unquote(each.key).split("/") if step not in {"", "."}] for each in (address, beginning)
    )
    return ".." not in steps and steps[: len(first)] == first


def shown_address(text: str) -> str:
    """The text, and of an address only what is no secret: no password, and no query, which may be a signature."""
    address = address_of(text)
    if address is None:
        return text
    place = address.place.rpartition("@")
    shown = f"{text.partition('://')[0]}://{HIDDEN + '@' if place[1] else ''}{place[2]}/{address.key}"
    return f"{shown}?{HIDDEN}" if address.query else shown


def holds_secret(text: str) -> bool:
    """Whether a text is an address with a user or a password, or with a query, which may be a signature."""
    address = address_of(text)
    return address is not None and (bool(address.query) or "@" in address.place)


def split_names(text: str, separator: str) -> list[str]:
    """The paths and addresses in a text. A colon in an address, before its port too, separates nothing."""
    names: list[str] = []
    for part in text.split(separator):
        before = names[-1] if names else ""
        if separator == ":" and (
            (part.startswith("//") and _SCHEME.fullmatch(before)) or (part[:1].isdigit() and _HOST.fullmatch(before))
        ):
            names[-1] = f"{before}:{part}"
        else:
            names.append(part)
    return names
