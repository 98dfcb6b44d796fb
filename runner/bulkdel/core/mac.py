"""The MAC of an entry that confirms, and of a finding: only a user with the key can have written it.

Knows no file.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from bulkdel.core.log_entries import BatchConfirmed, Entry, Found, Session, VerifyHeader, from_json, to_json

MAC = "mac"
"""The member of the entry that holds it: 64 lower-case hexadecimal digits."""

E = TypeVar("E", Session, BatchConfirmed)


def with_mac(entry: E, key: bytes | None) -> E:
    """The entry with its MAC; as it is without a key.

    Of a session it binds the whole log before it too, by `log_sha256`, which has to be filled in.
    """
    if key is None:
        return entry
    mac = _mac_of(entry, key)
    return replace(entry, facts={**entry.facts, MAC: mac}) if isinstance(entry, Session) else replace(entry, mac=mac)


def mac_holds(entry: Session | BatchConfirmed | None, key: bytes | None) -> bool:
    """Whether the entry has the MAC that it has with this key. False without a key, an entry or a MAC."""
    if key is None or entry is None:
        return False
    return _is(entry.facts.get(MAC) if isinstance(entry, Session) else entry.mac, _mac_of(entry, key))


def found_with_mac(found: Found, header: VerifyHeader, key: bytes | None) -> Found:
    """The finding with its MAC; as it is without a key. header: of its log. It names what was looked up, and where."""
    return found if key is None else replace(found, mac=_mac_of_found(found, header, key))


def found_mac_holds(found: Found, header: VerifyHeader, key: bytes | None) -> bool:
    """Whether the finding has the MAC that it has with this key in a log with this header. False without a key."""
    return key is not None and _is(found.mac, _mac_of_found(found, header, key))


def _mac_of(entry: Session | BatchConfirmed, key: bytes) -> str:
    return _hmac(_as_read(entry), key)


def _mac_of_found(found: Found, header: VerifyHeader, key: bytes) -> str:
    return _hmac({"found": _as_read(found), "verify": _as_read(header)}, key)


def _as_read(entry: Entry) -> dict[str, Any]:
    """The entry as a reader has it, and without the MAC."""
    data = to_json(from_json(orjson.loads(orjson.dumps(to_json(entry)))))
    data.pop(MAC, None)
    return data


def _is(mac: object, right: str) -> bool:
    return isinstance(mac, str) and hmac.compare_digest(mac.encode(), right.encode())


def _hmac(data: Mapping[str, Any], key: bytes) -> str:
    """HMAC-SHA256 over the JSON: sorted, without white space."""
    return hmac.new(key, orjson.dumps(data, option=orjson.OPT_SORT_KEYS), "sha256").hexdigest()
