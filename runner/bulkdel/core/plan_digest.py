"""The digest of a plan: SHA-256 over the values that a confirmation covers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def digest_of(values: Mapping[str, Any]) -> str:
    """SHA-256 over the values, in hex. Neither their order nor that of a table in them matters."""
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def digest_of_all(digests: Iterable[tuple[str, str]]) -> str:
    """The digest of several plans, each with the name of its run."""
    return digest_of(dict(digests))
