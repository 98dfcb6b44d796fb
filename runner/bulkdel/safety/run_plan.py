"""The arguments of a run and its plan, as frozen values. Each step takes the plan and returns a new one.

Nothing here reads, sends or deletes. `safety.plan_facts` describes the plan, for people and for programs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine, quoted
from bulkdel.core.account_match import Instant, Sampled
from bulkdel.core.address import shown_address
from bulkdel.core.guards import Guards
from bulkdel.core.held_outcomes import LEAVE_OUT
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import Saved
from bulkdel.core.mac import mac_holds
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Record
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import cuts_of
from bulkdel.core.sign_ins import sign_ins_by_age
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.core.summary import Ending
from bulkdel.errors import UsageError
from bulkdel.export.download import Source
from bulkdel.export.file import Fingerprint
from bulkdel.export.invalid_file import InvalidRows
from bulkdel.export.preflight import EXAMPLES, Preflight
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.format import located
from bulkdel.http.membership_reader import MembershipCost
from bulkdel.http.positive_control import NOTHING_SEEN, SeenBefore
from bulkdel.input.frames import Input
from bulkdel.input.run_input import NewInput
from bulkdel.job import Account, Job, LookUps, Target
from bulkdel.options import CONFIRMING
from bulkdel.person import Person, this_person
from bulkdel.run_place import home_of, logged_name
from bulkdel.safety.exclude import ExcludeFile, exclude_path
from bulkdel.safety.exclude_look_up import LookedUp
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.settings import SHA256_SHOWN, Settings
from bulkdel.times import is_time_of_day, until_of


@dataclass(frozen=True, slots=True)
class Coming:
    """Counts over the records of a derived export.

    statuses: how many have which status, the most frequent first. lacking: by its name, how many lack a part.
    """

    statuses: tuple[tuple[str, int], ...] = ()
    lacking: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of the texts of `restore --only`, of which each means one account at most.

    found: the account of each text that comes back. others: the texts whose account another restore has, each with the
    number of that restore, and whether the account is back. missing: the texts that no copy has. not_done: those whose
    account the run has not carried out.
    """

    found: Mapping[str, str]
    others: Mapping[str, tuple[int, bool]]
    missing: Sequence[str]
    not_done: Sequence[str]

    @property
    def lost(self) -> int:
        """How many texts name nothing that can be restored."""
        return len(self.missing) + len(self.not_done)


@dataclass(frozen=True, slots=True)
class RunToUndo:
    """The run that a `restore` undoes. Its export is derived from that run's log and backup.

    run: its place. job, pool: as its header pins them. line: the command line of the restore.
    done: how many rows it carried out. not_restorable: how many of them cannot be restored: they have no record in a
    backup, or a membership with an unknown end. With any, the exit code is 1.
    in_doubt: how many of its rows are in doubt; they are not restored.
    memberships: how many the copy of them holds, of all users; None without a copy.
    put_back_by: the job that puts these back after the accounts; None when they are left out.
    confirmed: when memberships follow the accounts: whether this user has confirmed the run of these; None before.
    coming: counts over its records. backups: the files that they are read from.
    settled_at: when its latest outcome was written; None without one. others: how many accounts other restores have;
    they are left out. only: how many ids --only names; None for a restore of all. chosen: what became of
    each; None once the restore has begun.
    """

    run: Path
    job: str
    pool: str
    line: CommandLine
    done: int
    not_restorable: int
    in_doubt: int
    memberships: int | None = None
    put_back_by: Job | None = None
    confirmed: bool | None = None
    coming: Coming = Coming()
    backups: Sequence[str] = ()
    settled_at: Instant | None = None
    others: int = 0
    only: int | None = None
    chosen: Chosen | None = None


@dataclass(frozen=True, slots=True, repr=False)
class RunArguments:
    """The arguments of the caller. Its repr has none of them that may be a secret.

    config: all tables of the config file. environ: the environment, with settings and credentials.
    command: `run`, `plan` or `restore`. parameters: an instance of the job's `parameters`; None for a job without any.
    undoes: the run that a `restore` undoes; None for `run` and `plan`.
    approved: the plan that a `run` goes by (--plan); None without. claimed: the user of --as.
    rows: the descriptor of a file with the rows of a caller of the library; None for an export with a name.
    """

    job: Job
    export: str
    settings: Settings
    config: Mapping[str, Any]
    environ: Mapping[str, str]
    command: str = "run"
    parameters: Any = None
    undoes: RunToUndo | None = None
    approved: PlanFile | None = None
    claimed: str | None = None
    rows: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.command}, {self.job.name})"

    @property
    def run(self) -> Path:
        """Where the run is, or will be. Raises UsageError when standard input gives no name to derive it from."""
        return self.settings.place_of(self.job.name, self.export)

    @property
    def folder(self) -> Path:
        """Where files without a name are made."""
        return home_of(self.run).absolute()

    @property
    def backup(self) -> Path | None:
        """Where a copy of every record goes; None without a backup."""
        return self.settings.backup_in(self.run)

    @property
    def excluded_paths(self) -> list[str | Path]:
        """The exclude files without their columns and types."""
        return [exclude_path(name, self.job.id_types) for name in self.settings.exclude or ()]

    @property
    def line(self) -> CommandLine:
        """The command line with these arguments. Every printed command is made from it."""
        return self.whole_line if self.approved is None else self.approved.shortened(self.whole_line)

    @property
    def whole_line(self) -> CommandLine:
        """The same, with what a plan gives too."""
        if self.undoes is not None:
            return self.undoes.line
        names = (self.job.name, shown_address(self.export))
        own = CommandLine(self.command, names).plus_parameters(self.parameters)
        return own.plus_settings(self.settings, environ=self.environ, config=self.config)

    @property
    def planning_line(self) -> CommandLine:
        """The command that makes a plan of this run for another user's approval, in a new file."""
        line = replace(self.whole_line, command="plan").without(*CONFIRMING, "--plan", "--out", "--as", "--json")
        if self.approved is None:
            return line.plus("--out", "plan.json")
        before = self.approved.path
        return self.approved.keeping(line).plus("--out", before.with_name(f"{before.stem}-new.json"))

    @property
    def not_restorable(self) -> int:
        """How many rows a `restore` cannot restore."""
        return 0 if self.undoes is None else self.undoes.not_restorable


@dataclass(frozen=True, slots=True, repr=False)
class OpenedRun:
    """A run after its log was opened, before its exclude files and its export are read.

    arguments: with the [protect] of the last session too, and a date for each age of --spare. target: the API; None for
    the sandbox, which is filled from the export. log: of the run; None for a new one. now: the time. own_key: of the
    person at this process, if there is one.
    """

    arguments: RunArguments
    target: Target | None
    id_type: IdType
    log: RunState | None
    now: datetime
    own_key: bytes | None

    @property
    def complete(self) -> bool:
        """Whether every row has its outcome already."""
        return self.log is not None and self.log.complete

    @property
    def log_trusted(self) -> bool:
        """Whether the log is to be believed: this user has begun its last session, or nothing can be lost by it."""
        log = self.log
        return log is None or log.complete or self.arguments.settings.sandbox or mac_holds(log.start, self.own_key)

    @property
    def until(self) -> datetime | None:
        """When the run has to stop (--not-after). Raises UsageError for a time that cannot be read."""
        text = self.arguments.settings.not_after
        return None if self.complete or text is None else until_of(text, self.now)


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """The export, after the preflight, or on a resume as the log has it.

    path: for messages. counts: rows, ids, excluded, duplicate, invalid, as in the header. skipped: the rows that are
    never sent. rows: to read them; None for a plan that reads none again, and for a complete run that was forgotten.
    state: of a file, as its file system shows it; else empty.
    source: of an export that lies elsewhere, which version was read. hidden: the hidden sheets of a workbook.
    preflight: its result; None where a log has it. sample: records that are looked up before the first id is sent.
    met: how many protected ids are, or may be, in the export; None where that is not known any more. perhaps: how many
    excluded rows have an id that only may be a protected one.
    new: the input of a run without a log. invalid_to: the file that gets the bad rows when a run begins; None without
    bad rows. invalid: these rows. gone: whether the export is not read: it is not there, or need not be read again.
    """

    path: str
    options: ReadOptions
    dialect: Dialect
    fingerprint: Fingerprint
    counts: Mapping[str, int]
    skipped: SkippedRows
    rows: Input | None = None
    state: tuple[int, ...] = ()
    source: Source | None = None
    hidden: Sequence[str] = ()
    preflight: Preflight | None = None
    sample: Sequence[Record] = ()
    met: int | None = None
    perhaps: int = 0
    new: NewInput | None = None
    invalid_to: Path | None = None
    invalid: InvalidRows | None = None
    gone: bool = False

    @property
    def examples(self) -> tuple[str, ...]:
        """Some of the ids that would be sent, where the rows were read by this command."""
        if self.preflight is not None:
            return self.preflight.examples
        return tuple(record.id for record in self.sample[:EXAMPLES])

    def ids(self) -> Iterator[str]:
        """The ids of the rows that are not skipped."""
        for rows in () if self.rows is None else self.rows.rows():
            for position, id_ in zip(*rows.usable, strict=True):
                if position not in self.skipped.rows:
                    yield id_


STATUSES_MAX = 10
"""When the accounts have more different ones, the field is no status: it may name a person."""

STATUS = re.compile(r"[\w .:-]{1,40}")
"""A status. A longer text may be a message."""

OTHER = "other"


@dataclass(frozen=True, slots=True)
class SampleCheck:
    """The result of the sample check.

    pool: from the token; None when not signed in. asked, found: ids of the sample. requests: how many it took.
    owner: whether an id of the run's type is known of the account that the credentials belong to, so that it is kept.
    owner_unknown: whether such an account was named, and no look-up shows an id of the run's type of it.
    unproven: how many of the others are not proven absent (`core.absence`). sampled: the `createdAt` values.
    moment: the time of the look-up; None when not signed in.
    memberships: what their copy takes; None when none is to be made.
    administrator: the ids of the one that the pool keeps; empty when the API lists none, or cannot list them.
    seen: what all look-ups have shown, in this process or in the one that started it.
    blind: how many accounts the API lists of which look-ups find none; 0 when any look-up has found an account.
    """

    pool: str | None = None
    asked: int = 0
    found: Mapping[str, Account] = field(default_factory=dict)
    requests: int = 0
    owner: bool = False
    unproven: int = 0
    sampled: Sampled = field(default_factory=Sampled)
    moment: Instant | None = None
    memberships: MembershipCost | None = None
    administrator: Sequence[str] = ()
    seen: SeenBefore = NOTHING_SEEN
    owner_unknown: bool = False
    blind: int = 0

    @property
    def statuses(self) -> dict[str, int]:
        """How many of the accounts have each status, the most frequent first. What is no status is `OTHER`."""
        given = [account.status for account in self.found.values() if account.status]
        counts = Counter(status if STATUS.fullmatch(status) else OTHER for status in given)
        return dict(counts.most_common()) if len(counts) <= STATUSES_MAX else {OTHER: len(given)}

    @property
    def sign_ins(self) -> dict[str, int]:
        """The last sign-ins of the accounts by age (`core.sign_ins`); empty when none is known."""
        times = (account.last_seen_at for account in self.found.values())
        return {} if self.moment is None else sign_ins_by_age(times, self.moment.ours)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the header."""
        some = {"unproven": self.unproven, "statuses": self.statuses, "sign_ins": self.sign_ins}
        known = {name: value for name, value in some.items() if value}
        return {"asked": self.asked, "found": len(self.found), **known, **self.sampled.to_json()}


NOT_SIGNED_IN = SampleCheck()


@dataclass(frozen=True, slots=True, repr=False)
class RunPlan:
    """Everything that is known before the confirmation. Its repr has what is confirmed, and neither ids nor secrets.

    progress: of the log; None for a new run.
    excluded: the exclude files.
    protected: ids that must never be sent: of the exclude files and, after the sign-in, of the key's own user.
    more_excluded: whether there are exclude files that the earlier sessions did not have.
    excluded_file: of a new run, the file that keeps the ids of its exclude files; empty without any.
    more_guards: whether the guards spare more than before.
    ages: whether this session has counted a date of a guard from the clock of this machine.
    host_word: the extra word that confirms a run on this host; None when none is needed.
    backup_known: the part of the backup that an earlier session made durable; None for a new file.
    memberships: where the copy of the memberships is, or will be; None without --backup-memberships.
    until: --not-after.
    parameters: those of the job, as the header pins them.
    read_anew: of a resume, whether the export was read again, because the log may be forged.
    to_look_up: protected ids of other types, by type. looked_up: what look-ups of them have found; None before.
    rows_known: whether all rows of protected accounts are known. Look-ups may find more accounts; then the export has
    to be read once more.
    server: the result of the sample check. own_ids: of `protected`, those that only the server knows: of the key's own
    user, and of an administrator that the pool keeps.
    person: at this process. own_key: of that person, if there is one.
    shows_ids: whether its lines and notes may have ids and texts of rows.
    """

    arguments: RunArguments
    id_type: IdType
    target: Target
    export: CheckedExport
    progress: RunState | None
    excluded: Sequence[ExcludeFile]
    protected: IdSet
    more_excluded: bool = False
    excluded_file: bytes = b""
    more_guards: bool = False
    ages: bool = False
    host_word: str | None = None
    backup_known: Saved | None = None
    memberships: Path | None = None
    until: datetime | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    server: SampleCheck = NOT_SIGNED_IN
    own_ids: Sequence[str] = ()
    person: Person = field(default_factory=this_person)
    own_key: bytes | None = None
    to_look_up: Mapping[str, Sequence[str]] = field(default_factory=dict)
    looked_up: LookedUp | None = None
    rows_known: bool = True
    read_anew: bool = False
    shows_ids: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.arguments.job.name}, ids={self.ids}, pool={self.pool!r})"

    @property
    def run(self) -> Path:
        """Where the run is, or will be."""
        return self.arguments.run

    @property
    def words(self) -> OutcomeWords:
        """The job's words for what it does."""
        return self.arguments.job.words

    @property
    def guards(self) -> Guards:
        """Which of the looked-up accounts are spared."""
        return self.arguments.settings.guards

    @property
    def chunk_size(self) -> int:
        """How many ids are in one request, at most."""
        return self.arguments.settings.chunk_size or self.arguments.job.chunk_max

    @property
    def look_first(self) -> bool:
        """Whether every id is looked up before it is sent: on request, or because the run needs what is found."""
        settings = self.arguments.settings
        needed = settings.keeps_backup or bool(self.guards) or self.arguments.job.target_state.created
        return settings.look_first or needed

    @property
    def ids(self) -> int:
        """How many ids of the whole export are to be sent: the number to confirm."""
        return self.export.counts["ids"]

    @property
    def remaining(self) -> int:
        """How many of these ids have no outcome yet."""
        if (log := self.progress) is None:
            return self.ids
        more = self.export.skipped.by_reason["excluded"] if self.more_excluded else PositionSet()  # not in the log yet
        return log.remaining - log.untouched(more).size

    @property
    def pool(self) -> str | None:
        """The user pool of the ids: the other value to confirm. None when not signed in."""
        return self.server.pool

    @property
    def shards(self) -> tuple[int, ...]:
        """The first row of the second shard of the run, of the third, and so on; empty for a run in one process."""
        if self.progress is not None:
            return self.progress.header.shards
        return cuts_of(self.export.counts["rows"], self.arguments.settings.shard_count)

    @property
    def copies_memberships(self) -> bool:
        """Whether the memberships have to be copied before the first id is sent."""
        copied = self.progress is not None and self.progress.sent  # until then the log alone says that there is one
        return self.memberships is not None and not copied and self.ids > 0 and not self.complete

    @property
    def replaces_memberships(self) -> bool:
        """Whether an earlier session began that copy, so that a file of its name is this run's own."""
        known = self.progress.memberships_to if self.progress else None
        return self.memberships is not None and known == logged_name(self.memberships, self.run)

    @property
    def look_ups(self) -> LookUps:
        """The look-ups of ids of its type."""
        return self.target.look_ups(self.id_type)

    @property
    def has_look_ups(self) -> bool:
        """Whether the API can be asked which ids exist."""
        return self.look_ups.possible

    @property
    def sample(self) -> list[str]:
        """The ids that are looked up before the first id is sent: of rows that the log, if there is one, leaves."""
        sample = self.export.sample
        if self.progress is None:
            return [record.id for record in sample]
        left = self.progress.untouched(PositionSet((record.position, record.position + 1) for record in sample))
        return [record.id for record in sample if record.position in left]

    @property
    def complete(self) -> bool:
        """Whether every row has its outcome already."""
        return self.progress is not None and self.progress.complete

    @property
    def requests(self) -> int:
        """How many requests the rest takes, without retries, splits and `LookUps.state_calls`."""
        job = self.arguments.job
        a_chunk = job.chunk_requests(self.arguments.parameters) + (job.look_up_requests if self.look_first else 0)
        return -(-self.remaining // self.chunk_size) * a_chunk

    @property
    def line(self) -> CommandLine:
        """The command line that resumes this run.

        It has --not-after with its date, so that it means the same on the next day.
        """
        line = self.whole_line
        return line if self.arguments.approved is None else self.arguments.approved.shortened(line)

    @property
    def whole_line(self) -> CommandLine:
        """The same, with what a plan gives too."""
        # --take-over was for the session before this one.
        line = self.arguments.whole_line.without("--take-over", "--out")
        if self.arguments.command == "plan":  # another user may run it
            line = line.without("--as")
        return line.plus("--not-after", self.until.isoformat()) if self.until else line

    @property
    def by_another(self) -> str | None:
        """The user of the last session, in words, unless it was this user on this machine; None for a new run."""
        log = self.progress
        if log is None or log.start is None:
            return None
        before = Person.of(log.start.facts)
        if before == self.person:
            return None
        return "names no user" if before is None else f"was that of {before}"

    @property
    def begun_by_me_or_new(self) -> bool:
        """Whether this user on this machine has begun the last session: its MAC shows it. True where there is none."""
        return self.progress is None or self.progress.start is None or self.begun_by_me

    @property
    def begun_by_me(self) -> bool:
        """Whether there is a last session, and its MAC shows that this user has begun it on this machine."""
        log = self.progress
        return log is not None and self.by_another is None and mac_holds(log.start, self.own_key)

    @property
    def confirming_line(self) -> CommandLine:
        """The command line that runs this plan without a question."""
        if self.arguments.approved is not None and self.begun_by_me_or_new:
            return self.line.without(*CONFIRMING)
        command = "run" if self.arguments.undoes is None else self.line.command
        line = replace(self.line, command=command).without(*CONFIRMING)
        given = {"--confirm": self.ids, "--pool": self.pool or "POOL", "--confirm-host": self.host_word}
        may_differ = self.progress is None and not self.export.state  # a pipe or an object is read once more
        sha256 = self.export.fingerprint.sha256[:SHA256_SHOWN] if may_differ else None
        return line.plus_given({**given, "--confirm-export": sha256})

    def line_after(self, ending: Ending, now: datetime) -> CommandLine:
        """The command that resumes the run after a session with this ending.

        Once --not-after has come, the run is confirmed again; a time of day becomes that of the next day. Where a plan
        has set it, another plan has to be made.
        """
        line = self.line.without("--limit") if ending.limit_reached else self.line
        if self.until is None or now < self.until:
            return line
        approved = self.arguments.approved
        if approved is not None and approved.values["not_after"] is not None:
            return self.arguments.planning_line.without("--not-after")
        line = line.without(*CONFIRMING, "--not-after")
        text = self.arguments.settings.not_after or ""
        if is_time_of_day(text):
            with suppress(UsageError):  # the clocks change about then
                line = line.plus("--not-after", until_of(text, now).isoformat())
        return line

    @property
    def to_check(self) -> str:
        """What to check when the API refuses ids one after the other: the request, and why not the ids.

        Then how to go on without the ids.
        """
        found, asked = len(self.server.found), self.server.asked
        there = f"Look-ups have found {found:,} of {asked:,} sampled ids. " if found else ""
        first = f"Check the request first{f': {self.arguments.job.request}' if self.arguments.job.request else ''}"
        return f"{there}{first}. {LEAVE_OUT if self.may_exclude else self._without_lines}"

    @property
    def may_exclude(self) -> bool:
        """Whether the command has --exclude. `restore` has none."""
        return self.arguments.undoes is None

    @property
    def _without_lines(self) -> str:
        """How a restore goes on without some of its rows."""
        arguments = self.arguments
        line = CommandLine("run", (arguments.job.name, "FILE")).plus_parameters(arguments.parameters)
        line = line.plus("--host", self.target.pinned_host)
        return (
            "Only when the fault is theirs, go on without them: copy the lines of the other rows that remain from "
            f"{quoted(arguments.export)} into a new FILE, and run the job on it ({line}; docs/restore.md, Which "
            "users)"
        )

    def excluded_files(self) -> dict[str, str]:
        """The path of each exclude file by its key, as the log keeps it."""
        return {file.key: located(file.path) for file in self.excluded}
