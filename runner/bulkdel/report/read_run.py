"""The facts of a log for a report: its audit, its state, and sums over its entries. Reads it once, in flat memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.checkpoint.audit import Audit, audit
from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.checkpoint.takeover import holder
from bulkdel.core.log_entries import MADE, Change, Changed, Entry, Outcome, Session, Throttled
from bulkdel.core.ranges import size_of
from bulkdel.core.run_state import RunState
from bulkdel.core.target_state import GONE, TargetState
from bulkdel.core.verification import Findings
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.job import load_job
from bulkdel.place.opening import log_place
from bulkdel.report import words
from bulkdel.report.texts import TextCheck
from bulkdel.report.timeline import Timeline
from bulkdel.verify.findings import read_findings

CODES_MAX = 100
"""Different codes of refused rows that are listed; a server may invent one for each row."""

CHANGES_MAX = 200
"""Changes that are listed: --slow-while may write many."""

_CODE = re.compile(r"[\w.:-]{1,40}")
"""A code that is a text. A longer one may be a message."""

Key = tuple[str, str | None, int | str | None, tuple[tuple[str, int], ...]]
"""The values that distinguish refusals: outcome, reason, code, and the numbers of the detail by name."""


@dataclass(slots=True)
class Gathered:
    """Sums over the entries of a log, beside its `RunState`.

    refusals: rows by outcome, reason, code and the numbers of its detail. made: whether an entry has the id of an
    account that was created.
    """

    timeline: Timeline = field(default_factory=Timeline)
    refusals: Counter[Key] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    changes_left_out: int = 0
    made: bool = False

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in the entries of one line."""
        for entry in entries:
            match entry:
                case Outcome():
                    self.timeline.settle(entry.at, size_of(entry.ranges))
                    self._note_exceptions(entry)
                case Session(event="start"):
                    self.timeline.begin(entry.at)
                case Session():
                    self.timeline.end(entry.at)
                case Change():
                    self._change(entry)
                case Throttled():
                    self.timeline.throttle(entry.at, entry.responses)
                case _:
                    pass

    def _note_exceptions(self, entry: Outcome) -> None:
        for each in entry.exceptions:
            self.made = self.made or MADE in each
            if entry.kind in {"refused", "unknown"}:
                detail = each.get("detail", {})
                numbers = tuple((name, value) for name, value in detail.items() if type(value) is int)
                code = each.get("code")
                known = code if type(code) is int or (type(code) is str and _CODE.fullmatch(code)) else None
                key = (entry.kind, each.get("reason", entry.reason), known, numbers)
                other = (entry.kind, words.OTHER_CODES, None, ())
                self.refusals[key if key in self.refusals or len(self.refusals) < CODES_MAX else other] += 1

    def _change(self, entry: Change) -> None:
        if entry.what is Changed.PAUSED:
            self.timeline.pause(entry.at, paused=bool(entry.value))
        if len(self.changes) < CHANGES_MAX:
            self.changes.append(entry)
        else:
            self.changes_left_out += 1


@dataclass(frozen=True, slots=True)
class ReadRun:
    """A log that was read. pid: of the process that writes it now. findings: of its verification.

    code_words: those of the job (`Job.code_words`).
    """

    path: Path
    audit: Audit
    progress: RunState
    gathered: Gathered
    pid: int | None
    findings: Findings | None
    findings_readable: bool
    target_state: TargetState
    code_words: Mapping[str, Mapping[int, str]]

    @classmethod
    def read(cls, path: Path) -> ReadRun:
        """Read the log and that of its verification. Raises NotAcceptable for a file that is no log of a run."""
        gathered = Gathered()
        found = audit(log_place(path), gathered.take)
        progress = found.progress
        if progress is None:
            raise NotAcceptable(f"{found.fault or path}: there is nothing to report")
        findings, readable = read_findings(path, progress)
        target_state, code_words = GONE, dict[str, Mapping[int, str]]()
        with suppress(UsageError):  # the job is not installed here
            job = load_job(progress.header.pinned["job"])
            target_state, code_words = job.target_state, dict(job.code_words)
        pid = holder(log_place(path), progress)
        return cls(path, found, progress, gathered, pid, findings, readable, target_state, code_words)

    def see_made(self, check: TextCheck) -> None:
        """Compare the ids of the accounts that the run created: they are in the log only."""
        if not self.gathered.made:
            return
        # Entries after a fault of the log are in no report, so they need not be compared.
        with suppress(NotAcceptable), reading(log_place(self.path), RUN) as reader:
            for entries in reader.commits():
                for entry in entries:
                    for each in entry.exceptions if isinstance(entry, Outcome) else ():
                        check.see(str(each.get(MADE, "")), is_id=True)
