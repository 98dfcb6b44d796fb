"""The two names of the API, and where its access key comes from: the environment, or a 0600 file that the config names.

A variable may also name a file with its value (`value_of`). The key never comes from the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bulkdel.errors import UsageError
from bulkdel_jobs.parts.secret import read_private, value_of

_EXPORT = re.compile(r"^export\s+")
"""The word before each name in a file that a shell reads too."""

KEY_ID = "GENAUTH_ACCESS_KEY_ID"
KEY_SECRET = "GENAUTH_ACCESS_KEY_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Brand:
    """One of the two names of the API.

    host: of the public cloud; a private deployment has its own. prefix: of the API's own headers, with its hyphen.
    """

    name: str
    host: str
    prefix: str


GENAUTH = Brand("genauth", "https://api.genauth.ai", "x-genauth-")
AUTHING = Brand("authing", "https://api.authing.cn", "x-authing-")

BRANDS: Mapping[str, Brand] = {brand.name: brand for brand in (GENAUTH, AUTHING)}


def brand_named(name: str) -> Brand:
    """Find a brand by its name, in upper or lower case. Raises UsageError with a list of the brands."""
    brand = BRANDS.get(name.lower())
    if brand is None:
        raise UsageError(f"no brand {name!r}. Brands: {', '.join(BRANDS)}")
    return brand


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key. Neither half of it is in a repr."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def masked(self) -> str:
        """The key id as it may be shown: enough to recognise it by."""
        return f"{self.key_id[:4]}…{self.key_id[-4:]}" if len(self.key_id) >= 12 else "…"  # noqa: PLR2004


def find_credentials(environ: Mapping[str, str], file: str | None) -> Credentials | None:
    """Read the key from the environment, else from `file`; None without a key.

    Raises UsageError for half a key, and for one that is no printable text.
    """
    found = {name: value_of(environ, name) for name in (KEY_ID, KEY_SECRET)}
    source, values = "the environment", {name: value.value for name, value in found.items() if value is not None}
    if file is not None and not values:
        source, values = file, _read(file)
    key_id, secret = values.get(KEY_ID, "").strip(), values.get(KEY_SECRET, "").strip()
    if not key_id and not secret:
        return None
    if not key_id or not secret:
        raise UsageError(f"{source} has {KEY_ID if key_id else KEY_SECRET} but not {KEY_SECRET if key_id else KEY_ID}")
    for name, value in ((KEY_ID, key_id), (KEY_SECRET, secret)):
        if not value.isprintable():  # also what is not UTF-8
            raise UsageError(f"{name} in {source} has a character that no key has")  # not shown: it may be the secret
    return Credentials(key_id, secret)


def _read(file: str) -> dict[str, str]:
    """Read NAME=VALUE lines, also with `export` before them; `#` begins a comment line. No message quotes a line."""
    values: dict[str, str] = {}
    for number, line in enumerate(read_private(file).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"credentials file {file}, line {number}: not NAME=VALUE")
        values[_EXPORT.sub("", name.strip())] = value.strip().strip("\"'")
    return values
