"""The table [http.auth]: which credentials, and where each secret comes from. No secret stands in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from bulkdel_jobs.http.config_table import ConfigTable
from bulkdel_jobs.parts.auth import FixedAuth, basic, key_in_header, oauth2
from bulkdel_jobs.parts.paths import PLACEHOLDER, check_path
from bulkdel_jobs.parts.secret import Secret, find_secret
from bulkdel_jobs.parts.sigv4 import KEY_ID, KEY_SECRET, aws_key, sigv4
from bulkdel_jobs.parts.target import MakeAuth, always

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PREFIX = re.compile(r"(?:[A-Za-z]{1,16}[ =:]?)?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


Source = tuple[str | None, str | None]
"""Where one secret comes from: a variable, a file, or both. The variable counts first."""


@dataclass(frozen=True, slots=True)
class FoundAuth:
    """Credentials that were found. source: where they come from, which may be shown. make: see `MakeAuth`."""

    source: str
    make: MakeAuth


Find = Callable[[str, str, Mapping[str, str]], FoundAuth | None]
"""From host, pool and environment to the credentials; None without them. Raises UsageError."""


@dataclass(frozen=True, slots=True)
class HttpAuth:
    """What the table says. hint: how to give the credentials, in a few words."""

    hint: str
    find: Find


def read_auth(table: ConfigTable | None) -> HttpAuth:
    """Read [http.auth]. Without it no credentials are sent."""
    if table is None:
        return _none(ConfigTable("http.auth", {}))
    return table.one_of("kind", _KINDS, "")(table)


def _none(table: ConfigTable) -> HttpAuth:
    table.end("kind")
    return HttpAuth("none are needed", lambda _, pool, __: FoundAuth("none", always(FixedAuth(pool=pool))))


def _bearer(table: ConfigTable) -> HttpAuth:
    source = _source(table, "token")
    table.end("kind, token_env, token_file")
    return _with_secret(source, lambda pool, key: always(key_in_header(pool, key)))


def _header(table: ConfigTable) -> HttpAuth:
    source, name, prefix = _source(table, "token"), table.needed("name"), table.text("prefix", "") or ""
    if not _HEADER.fullmatch(name):
        raise table.fault("name", "is not the name of a header")
    table.end("kind, name, prefix, token_env, token_file")
    if not _PREFIX.fullmatch(prefix):
        raise table.fault("prefix", 'is the word before the secret, such as "Bearer "')
    return _with_secret(source, lambda pool, key: always(key_in_header(pool, key, name, prefix)))


def _basic(table: ConfigTable) -> HttpAuth:
    source, user = _source(table, "password"), table.needed("user")
    if ":" in user:
        raise table.fault("user", "has a colon, which HTTP basic cannot carry")
    table.end("kind, user, password_env, password_file")
    return _with_secret(source, lambda pool, password: always(basic(pool, user, password)), f"{user}, ")


def _oauth2(table: ConfigTable) -> HttpAuth:
    source, client_id, path = _source(table, "secret"), table.needed("client_id"), table.needed("token_path")
    table.checked("token_path", check_path, path)
    if PLACEHOLDER in path:
        raise table.fault("token_path", "has no id in it")
    in_body = table.one_of("client_auth", {"header": False, "body": True}, "header")
    more = {name: value for name in ("scope", "audience") if (value := table.text(name))}
    table.end("kind, token_path, client_id, secret_env, secret_file, client_auth, scope, audience")

    def make(pool: str, secret: Secret) -> MakeAuth:
        return partial(oauth2, pool, secret, path=path, client_id=client_id, in_body=in_body, more=more)

    return _with_secret(source, make, f"client {client_id}, ")


def _aws(table: ConfigTable) -> HttpAuth:
    region, service = table.needed("region"), table.needed("service")
    table.end("kind, region, service; the key comes from the usual variables")

    def find(host: str, pool: str, environ: Mapping[str, str]) -> FoundAuth | None:
        if (key := aws_key(environ)) is None:
            return None
        return FoundAuth(KEY_ID, always(sigv4(host, pool, key, region=region, service=service)))

    return HttpAuth(f"set {KEY_ID} and {KEY_SECRET}", find)


_KINDS: Mapping[str, Callable[[ConfigTable], HttpAuth]] = {
    "none": _none,
    "bearer": _bearer,
    "header": _header,
    "basic": _basic,
    "oauth2": _oauth2,
    "aws": _aws,
}


def _source(table: ConfigTable, name: str) -> Source:
    """Where the secret comes from: the keys NAME_env and NAME_file."""
    variable, file = table.text(f"{name}_env"), table.text(f"{name}_file")
    if variable is not None and not _VARIABLE.fullmatch(variable):  # not shown: it may be the secret
        raise table.fault(f"{name}_env", "is the name of an environment variable, in capitals, and not the secret")
    if variable is None and not file:
        raise table.fault(f"{name}_env", f"is missing: the environment variable with the {name}; or {name}_file")
    return variable, file


def _with_secret(source: Source, make: Callable[[str, Secret], MakeAuth], shown: str = "") -> HttpAuth:
    """Credentials with one secret. make: from the pool and the secret. shown: before the source of the secret."""
    variable, file = source

    def find(_: str, pool: str, environ: Mapping[str, str]) -> FoundAuth | None:
        secret = find_secret(environ, variable, file)
        return None if secret is None else FoundAuth(f"{shown}{secret.source}", make(pool, secret))

    return HttpAuth(f"set {variable}" if variable else f"put it into {file} (chmod 600)", find)
