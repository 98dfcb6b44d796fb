"""Where a secret comes from: an environment variable, or a file that only its owner can read. Never argv."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.command_line import quoted
from bulkdel.errors import UsageError

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
    if variable is not None and (value := environ.get(variable, "").strip()):
        found = Secret(value, variable)
    elif file is not None:
        found = Secret(read_private(file).strip(), file)
    else:
        return None
    if not _HEADER_SAFE.fullmatch(found.value):  # not shown: it may be the secret
        raise UsageError(f"{found.source}: is empty, or has a character that no key has")
    return found


def read_private(file: str) -> str:
    """The text of a file that only its owner can read (mode 0600). Raises UsageError; no message quotes the file."""
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - Path's raises without a home
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"{path}: others can read the secret in it. Fix: chmod 600 {quoted(path)}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"credentials file {path}: {reason}") from error
