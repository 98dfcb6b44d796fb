"""The content of a report, as values. No field holds an id, a message, a text of a row, or a path beyond a file's name.

`words` gives the sentences about them; `run_facts` makes them from a log. A text that bulkdel did not write has
been compared with every value of the exports before it comes here; where it holds one, `LEFT_OUT` is in its place.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bulkdel.format import printable
from bulkdel.report.timeline import Throughput

LEFT_OUT = "(left out: it holds an id or another value of the export)"
NOT_COMPARED = "(left out: the export could not be read, so it could not be compared with it)"
LIKE_AN_ADDRESS = "(left out: it looks like an e-mail address)"
HIDDEN = "(left out: --no-names)"
"""In the place of a text."""

PLACEHOLDERS = frozenset({LEFT_OUT, NOT_COMPARED, LIKE_AN_ADDRESS, HIDDEN})


@dataclass(frozen=True, slots=True)
class Texts:
    """What a report shows of a text that bulkdel did not write.

    text: free text, such as a note. file: the name of a file. name: of a host, a pool or a status. person: of a user
    or a machine.
    """

    text: Callable[[str], str]
    file: Callable[[str], str]
    name: Callable[[str], str]
    person: Callable[[str], str]

    def user(self, name: Any) -> str:
        """The name of a user or a machine; a question mark where the log has none."""
        return self.person(printable(name)) if isinstance(name, str) and name else "?"


class Light(enum.StrEnum):
    """The answer in one word."""

    FINE = "fine"
    LOOK = "look"
    NOT_FINISHED = "not finished"


class State(enum.StrEnum):
    """The state of a run."""

    COMPLETE = "complete"
    RUNNING = "running"
    KILLED = "killed"
    NOT_BEGUN = "not begun"
    NOT_READABLE = "not readable to its end"
    INCOMPLETE = "incomplete"
    STOPPED = "stopped"
    HALTED = "halted"
    INTERRUPTED = "interrupted"


class Ended(enum.StrEnum):
    """Why a session ended, in a class. The words of the log may quote a server, so a report has only this."""

    RUNNING = "it is under way"
    KILLED = "it was killed, the machine went down, or its log could not be written"
    NOT_READABLE = "the log cannot be read to its end"
    DONE = "every row has its outcome"
    LIMIT = "--limit was reached"
    NOT_AFTER = "the time of --not-after was reached"
    SIGNAL = "it was stopped by a signal"
    ASKED = "it was stopped by a user or a program"
    FILE = "a file could not be written"
    HALTED = "a guard rail, an outage or a missing permission stopped it"
    UNSETTLED = "some rows could not be settled"


@dataclass(frozen=True, slots=True)
class Reason:
    """How many rows have an outcome for one reason. words: made by bulkdel, or numbers of the API."""

    words: str
    count: int


@dataclass(frozen=True, slots=True)
class OutcomeFacts:
    """One outcome. kind: the engine's word. name: the job's."""

    kind: str
    name: str
    count: int
    meaning: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file by its name, without its folder, and by its SHA-256. part: what was read of it, where that was named."""

    name: str
    sha256: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """The look-up of some ids before the first one was sent.

    asked, found: ids. statuses: accounts by status. sign_ins: accounts by the age of their last sign-in, by the names
    of `core.sign_ins`. spared_from: the date of --spare active-since, as it is typed, and its age at the look-up.
    """

    asked: int
    found: int
    statuses: tuple[Reason, ...]
    sign_ins: Mapping[str, int]
    spared_from: str
    spared_days: float | None


@dataclass(frozen=True, slots=True)
class OptionFacts:
    """An option of the run and its value."""

    option: str
    value: str


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One session. start, stop: ISO 8601, UTC. stop, exit_code and the figures: None while there is none."""

    number: int
    start: str
    stop: str | None
    ended: Ended
    exit_code: int | None
    by: str
    tool: str
    confirmed: str
    note: str
    options: tuple[OptionFacts, ...]
    requests: int | None
    retries: int | None
    throttled: int | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """A change of a running session."""

    at: str
    change: str
    source: str
    user: str


@dataclass(frozen=True, slots=True)
class AnnotationFacts:
    """An annotation: an action on the run outside of its sessions."""

    at: str
    what: str
    by: str


@dataclass(frozen=True, slots=True)
class VerifyFacts:
    """The verification beside the log.

    at: when it ended, or began. of_this_log: whether the log is still the one that was verified. reached, not_reached:
    the job's words. The counts are those of `Counts`.
    """

    at: str
    ended: bool
    of_this_log: bool
    by: str
    reached: str
    not_reached: str
    gone: int
    still_there: int
    could_not_tell: int
    recreated: int
    checked: int
    claimed: int

    @property
    def looked_up(self) -> int:
        """Rows that have a finding."""
        return self.gone + self.still_there


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """The audit of the log. commits, sha256: of the lines that were read. torn_bytes: after them; none is used."""

    holds: bool
    commits: int
    sessions: int
    sha256: str
    torn_bytes: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run.

    name: of its place, as a command takes it. sentence: the counts. proof: the verification, or that there is none.
    by_whom: who ran it, and when. to_look_at: why the light is not green.
    compared: whether the texts were compared with the export. changes_left_out: changes beyond those that are listed.
    """

    name: str
    light: Light
    state: State
    sentence: str
    proof: str
    by_whom: str
    to_look_at: tuple[str, ...]
    job: str
    noun: str
    host: str
    pool: str
    sandbox: bool
    id_type: str
    run_id: str
    begun: str
    tool: str
    confirmed: str
    note: str
    export: FileFacts
    export_bytes: int
    rows: int
    compared: bool
    outcomes: tuple[OutcomeFacts, ...]
    in_doubt: int
    sample: SampleFacts | None
    parameters: tuple[OptionFacts, ...]
    guards: tuple[OptionFacts, ...]
    excluded: tuple[FileFacts, ...]
    backup: bool
    memberships: bool
    sessions: tuple[SessionFacts, ...]
    changes: tuple[ChangeFacts, ...]
    changes_left_out: int
    annotations: tuple[AnnotationFacts, ...]
    throughput: Throughput
    verification: VerifyFacts | None
    audit: AuditFacts


@dataclass(frozen=True, slots=True)
class Report:
    """A report. title, ticket: as they were typed; empty without. made_at: ISO 8601, UTC. tool: that made it.

    counts: rows of all runs by outcome, in the words of their jobs.
    """

    title: str
    ticket: str
    made_at: str
    tool: str
    light: Light
    sentence: str
    counts: Mapping[str, int]
    rows: int
    runs: tuple[RunFacts, ...]
