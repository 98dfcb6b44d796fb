"""Refuses an address (s3://…) as an export, with the command that pipes it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from bulkdel.command_line import CommandLine
from bulkdel.errors import UsageError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)")
"""One slash is enough, because `Path` makes one of two."""

_READ = {
    "s3": "aws s3 cp {} -",
    "gs": "gcloud storage cat {}",
}
"""Programs that write an object to stdout, by scheme. curl knows most others."""


def check_export(export: str, line: CommandLine) -> None:
    """Raise UsageError when `export` is an address. line: the command line, printed back with a pipe before it."""
    found = _ADDRESS.fullmatch(export)
    if found is None or "://" not in export:
        return
    line = replace(line, names=(*line.names[:-1], "-"))
    if "--checkpoint" not in line.options:
        line = line.plus("--checkpoint", f"{_name(found[2])}.checkpoint.jsonl")
    raise UsageError(
        f"{export}: bulkdel reads files and pipes, not addresses. Nothing was read. To pipe it:\n"
        f"  {_reading(found)} | {line}"
    )


def check_exclude(path: str) -> None:
    """Raise UsageError when `path` is an address. An exclude file is no pipe: a resume reads it again."""
    found = _ADDRESS.fullmatch(path)
    if found is not None:
        raise UsageError(
            f"--exclude {found[1]}://{found[2]}: bulkdel reads files, not addresses. Nothing was read. Copy it first:\n"
            f"  {_reading(found)} > {shlex.quote(_name(found[2]))}"
        )


def _reading(found: re.Match[str]) -> str:
    scheme = found[1].lower()
    if scheme == "az":
        container, _, blob = found[2].partition("/")
        return f"az storage blob download -c {shlex.quote(container)} -n {shlex.quote(blob)} -f /dev/stdout"
    return _READ.get(scheme, "curl -fsSL {}").format(shlex.quote(f"{found[1]}://{found[2]}"))


def _name(rest: str) -> str:
    """The last part of an address, without a query."""
    return re.split(r"[?#]", rest)[0].rstrip("/").rpartition("/")[2] or "export"
