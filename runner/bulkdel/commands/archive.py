"""`--archive`: what a run has written is copied to a store at each stop, for a machine that may be lost.

The copies of one stop lie under one name, with its time and the beginning of the log's SHA-256. Nothing is overwritten.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bulkdel.checkpoint.reader import read_log
from bulkdel.commands.report import ReportArguments, report
from bulkdel.commands.results import kinds_of, read_key, write_rows
from bulkdel.durable import write_all
from bulkdel.errors import BulkdelError
from bulkdel.export.reopen import Reopened
from bulkdel.output import say
from bulkdel.place.log_place import shard_log
from bulkdel.place.opening import log_place
from bulkdel.settings import CommonSettings
from bulkdel.store.certain import repeated
from bulkdel.store.objects import open_objects
from bulkdel.store_path import store_path
from bulkdel.verify.findings import findings_path

PATIENCE_S = 60.0
"""An object that cannot be written for so long is given up, and a message says so."""


def archive(log: Path, url: str, settings: CommonSettings, patience_s: float = PATIENCE_S) -> None:
    """Copy what the run with this log has written to this URL. A failure is a message: the run itself has ended."""
    to = store_path(url)
    try:
        objects = open_objects(to, ca_file=settings.ca_file, proxy=settings.proxy)
        # Two stops may have the same log: that of a run, and that of its verification.
        found = read_log(log_place(log))
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{found.sha256[:16]}-{secrets.token_hex(3)}"
        with tempfile.TemporaryDirectory() as folder:
            for path in _files(log, found.shards, settings, Path(folder)):
                repeated(partial(objects.upload, f"{name}/{path.name}", path), patience_s)
    except (BulkdelError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        say(
            f"{to}: the archive could not be written: {why}. The run is not affected. The same command archives again.",
            "archive_failed",
            level="warning",
        )
    else:
        say(f"The archive is in {to / name}.", "archived")


def _files(log: Path, shards: Iterable[int], settings: CommonSettings, folder: Path) -> Iterator[Path]:
    """Yield the files to copy; those that are made for it are in `folder`. shards: those that have begun."""
    for name in ("report.html", "report.json"):
        report(ReportArguments((log,), folder / name))
        yield folder / name
    if (key := settings.archive_key) is not None:
        results = folder / "results.csv"
        with ExitStack() as stack, results.open("wb") as file:
            reopened = Reopened.open(log, None, stack)
            write = partial(write_all, file.fileno())
            write_rows(reopened, kinds_of(None, reopened.job.words), write, csv=True, key=read_key(key.expanduser()))
        yield results
    if (state := findings_path(log)).is_file():
        yield state
    if not settings.archive_no_ids:
        yield log
        yield from (shard_log(log, number) for number in shards)
