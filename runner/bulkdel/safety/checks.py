"""What must hold before anything is sent. Owns the refusals of a run that is not meant, or not meant like this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkdel.core.log_entries import Saved
from bulkdel.core.run_state import Progress
from bulkdel.engine.backup import check_known
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.settings import Settings

TABLE = "protect"
"""Of the config file."""


@dataclass(frozen=True, slots=True)
class Protection:
    """The config's table `[protect]`.

    pools: never deleted from; in lower case. hosts: need an extra word when a run is confirmed.
    """

    pools: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Protection:
        """Read the table. Raises UsageError: a word that is not understood protects nobody."""
        for name, value in table.items():
            if name not in {"pools", "hosts"}:
                raise UsageError(f"config, [{TABLE}] {name}: knows pools and hosts, each a list of strings")
            if not (isinstance(value, list) and all(isinstance(item, str) and item for item in value)):
                raise UsageError(f"config, [{TABLE}] {name}: has to be a list of strings")
        return cls(frozenset(map(_pool, table.get("pools", ()))), frozenset(map(_host, table.get("hosts", ()))))

    def check_pool(self, pool: str | None) -> None:
        """Raise NotAcceptable for a pool that may never be touched."""
        if pool is not None and _pool(pool) in self.pools:
            raise NotAcceptable(
                f"pool {pool}: the config protects it ([{TABLE}] pools). Nothing was deleted; use another key."
            )

    def word(self, host: str) -> str | None:
        """The extra word that confirms a run on `host` (a URL): its bare name; None when it needs none."""
        name = _host(host)
        return name if name in self.hosts or name.partition(":")[0] in self.hosts else None


def _pool(pool: str) -> str:
    """Two pools whose ids differ only in case or spaces: rather both are protected than neither."""
    return pool.strip().casefold()


def _host(url: str) -> str:
    """`https://api.genauth.ai/`, `API.genauth.ai.` and `api.genauth.ai` are one host; a port is part of it."""
    name, colon, port = url.rpartition("://")[2].partition("/")[0].lower().partition(":")
    return name.rstrip(".") + colon + port


def check_excluded(progress: Progress, files: Sequence[ExcludeFile], path: Path) -> bool:
    """Whether exclude files were added. Raises NotAcceptable when one that the run had is not there any more."""
    now, before = {file.sha256 for file in files}, progress.excluded
    gone = {sha256: name for sha256, name in before.items() if sha256 not in now}
    if gone and not progress.complete:
        given = {printable(Path(file.path).absolute()) for file in files}
        told = [
            f"  {name}: {'was changed since' if name in given else 'is not given now'} (its SHA-256 was {sha256})"
            for sha256, name in gone.items()
        ]
        raise NotAcceptable(
            f"{path}: this run was started with other exclude files. Nothing was sent.\n"
            + "\n".join(told)
            + "\nGive every --exclude file of that run as it was; more may be added."
        )
    return any(sha256 not in before for sha256 in now)


def check_backup(settings: Settings, progress: Progress | None) -> Saved | None:
    """What of the backup is known to be durable; None for a new file. Raises NotAcceptable before anybody is asked.

    A run that keeps a backup keeps it to its end: nobody would look for the copies that one session did not make.
    """
    known = progress.backup if progress else None
    if settings.backup is None:
        if known is not None and progress is not None and not progress.complete:
            raise NotAcceptable(
                f"this run keeps a backup in {known[0]}. Nothing was sent. Go on with --backup {known[0]}, or name a "
                "new file there"
            )
        return None
    durable = known[1] if known and known[0] == printable(settings.backup.absolute()) else None
    if progress is None or not progress.complete:
        check_known(settings.backup, durable)
    return durable


def check_apart(backup: Path | None, others: Sequence[Path]) -> None:
    """Raise UsageError when the backup would be written over another file of the run."""
    for other in others:
        if backup is not None and backup.absolute() == other.absolute():
            raise UsageError(f"--backup {backup}: is another file of this run; name one of its own")


def check_max(settings: Settings, ids: int, export: str) -> None:
    """Hold --max-delete. Raises NotAcceptable."""
    if settings.max_delete is not None and ids > settings.max_delete:
        raise NotAcceptable(
            f"{export}: asks to delete {ids:,} ids, more than --max-delete {settings.max_delete:,}. Nothing was sent. "
            "Is it the right export? If so, raise the number."
        )
