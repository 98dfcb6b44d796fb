"""Clock, chance, network and disk, as the engine sees them. A simulation passes its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bulkdel.checkpoint.open_log import Files
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Header, Saved
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.engine.backup import Backup
from bulkdel.engine.store_backup import open_backup
from bulkdel.http.connecting import Connect, connect
from bulkdel.place.lease import LEASE_S, Terms
from bulkdel.place.log_place import LogPlace
from bulkdel.place.opening import log_place
from bulkdel.threads import InThread, in_thread

if TYPE_CHECKING:
    from bulkdel.settings import SendingSettings


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The clocks, chance, process, threads, network and files that the engine uses.

    wall: the time, epoch seconds; it may be set while the run is under way. steady: seconds that only grow.
    chance: a number in [0, 1). pid: of this process. in_thread: runs a blocking step.
    lease_s: how long a commit to a store renews the lease.
    connect: opens the way to the server. create_log, resume_log, open_backup: open the files of the run.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    pid: int = field(default_factory=os.getpid)
    in_thread: InThread = in_thread
    connect: Connect = connect
    lease_s: float = LEASE_S
    create_log: Callable[[LogPlace, Header, SkippedRows, Files], Checkpoint] = Checkpoint.create
    resume_log: Callable[[LogPlace], Checkpoint] = Checkpoint.resume
    open_backup: Callable[[Path, Saved | None, Terms], Backup] = open_backup

    def terms_of(self, settings: SendingSettings) -> Terms:
        """How a log in a store is written with these settings."""
        return Terms(self.lease_s, settings.patience, settings.take_over)

    def log_place(self, path: Path, settings: SendingSettings) -> LogPlace:
        """The log at this path, or in the store at this URL, as a run writes it."""
        return log_place(path, self.terms_of(settings))
