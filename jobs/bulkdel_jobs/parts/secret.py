"""Where a secret comes from: an environment variable, or a file that it or the config names. Never argv."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.command_line import quoted
from bulkdel.errors import UsageError
from bulkdel.secret_file import IN_FILE, read_secret, text_named

_HEADER_SAFE = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret. source: the variable or the file that it comes from, which may be shown."""

    value: str = field(repr=False)
    source: str


def find_secret(environ: Mapping[str, str], variable: str | None, file: str | None) -> Secret | None:
    """Read a secret from the environment, else from the file; None without one.

    Raises UsageError for a file that cannot be read or that others can read, and for a secret that fits into no header.
    """
    if variable is not None and (given := value_of(environ, variable)) is not None:
        found = given
    elif file is not None:
        found = Secret(read_private(file).strip(), file)
    else:
        return None
    if not _HEADER_SAFE.fullmatch(found.value):  # not shown: it may be the secret
        raise UsageError(f"{found.source}: is empty, or has a character that no key has")
    return found


def value_of(environ: Mapping[str, str], variable: str) -> Secret | None:
    """The value of a variable, or the text of the file that NAME_FILE names; None when neither is set.

    Raises UsageError as `text_named`.
    """
    value, path = environ.get(variable, "").strip(), environ.get(f"{variable}{IN_FILE}", "")
    if not path:
        return Secret(value, variable) if value else None
    text = text_named(variable, path, "secret", given=bool(value))
    return Secret(text.removesuffix("\n").removesuffix("\r"), f"{variable}{IN_FILE}")


def read_private(file: str) -> str:
    """The text of a file that only its owner can read (mode 0600). Raises UsageError; no message quotes the file."""
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - Path's raises without a home
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"{path}: others can read the secret in it. Fix: chmod 600 {quoted(path)}")
        return read_secret(path)
    except OSError as error:
        raise UsageError(f"credentials file {path}: {error.strerror}") from error
