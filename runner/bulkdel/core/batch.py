"""A batch of runs: the plan of each run, the confirmations, and the common exit code. Pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bulkdel.core.account_match import REUSE_AFTER_S
from bulkdel.core.log_entries import (
    BatchConfirmed,
    BatchHeader,
    BatchPlanned,
    BatchRunBegun,
    BatchRunEnded,
    Entry,
    Session,
    Unreadable,
)
from bulkdel.core.mac import mac_holds
from bulkdel.core.plan_digest import digest_of, digest_of_all
from bulkdel.core.plan_file import AHEAD_S
from bulkdel.core.summary import EXIT_COMPLETE, EXIT_FILE, EXIT_REFUSED, EXIT_REMAINING, EXIT_SIGNAL, EXIT_STOPPED

EXIT_USAGE = 2
EXIT_NOT_ACCEPTABLE = 3

FAILURES = frozenset({EXIT_USAGE, EXIT_NOT_ACCEPTABLE, EXIT_REMAINING, EXIT_FILE})
"""Exit codes of a run that count for --stop-after-failures."""

COMPLETE = frozenset({EXIT_COMPLETE, EXIT_REFUSED})
"""Exit codes of a run that may be complete. 0 is also that of a run which has reached its --limit."""

STOPPED_BY = {-1: 129, -2: 130, -15: 143}
"""The exit code for a process that a signal has ended, by the return code of Python."""


BESIDE = ("window", "place")
"""Values of a run that only the file of the batch has, not its plan. A run in another place would begin anew."""


def exit_code_of(returncode: int) -> int:
    """The exit code for the return code of a process. One that was killed leaves ids remaining."""
    return returncode if returncode >= 0 else STOPPED_BY.get(returncode, EXIT_REMAINING)


def first_that_applies(codes: Iterable[int]) -> int:
    """The exit code of a batch: the first of 5, signal, 4, 3, 2, 6, 1, 0 that one of its runs has."""
    return min(codes, key=_place, default=EXIT_COMPLETE)


def _place(code: int) -> tuple[int, int]:
    """The place of an exit code in that order. An unknown code counts as 4: the process has failed."""
    order = (EXIT_FILE, EXIT_SIGNAL, EXIT_REMAINING, EXIT_NOT_ACCEPTABLE, EXIT_USAGE, EXIT_STOPPED, EXIT_REFUSED, 0)
    known = EXIT_SIGNAL if code in STOPPED_BY.values() else code if code in order else EXIT_REMAINING
    return order.index(known), code


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What `plan` found about one run, or why the run cannot begin.

    values: as `plan --json` prints them; empty without a plan. complete: the run is, so it was not planned again.
    trouble: why the run cannot begin; empty when it can. exit: the exit code that this trouble would give the run.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    exit: int = 0
    complete: bool = False

    @property
    def ids(self) -> int:
        """How many ids of the whole export are to be sent; 0 without a plan."""
        return int(self.values.get("ids", 0))

    @property
    def remaining(self) -> int:
        """How many of these ids have no outcome yet."""
        return 0 if self.complete else int(self.values.get("remaining", self.ids))

    @property
    def digest(self) -> str:
        """The digest that is confirmed: over the plan, and the values that only the file of the batch has."""
        digest = str(self.values["digest"])
        said = {name: value for name in BESIDE if (value := self.values.get(name)) is not None}
        return digest_of({"digest": digest, **said}) if said else digest

    @property
    def drain_s(self) -> float:
        """How long its requests may take to finish when it drains, seconds."""
        return float(self.values["drain_s"])

    @property
    def group(self) -> str:
        """The host and the pool: runs with the same ones share a rate."""
        return f"{self.values['host']} {self.values['pool']}"

    @property
    def needs_confirmation(self) -> bool:
        """Whether ids of a real pool would be sent."""
        return not self.trouble and self.ids > 0 and self.values["host"] != "sandbox"


def planned_run(
    name: str, wanted: Mapping[str, Any], values: Mapping[str, Any], exit_code: int, error: str
) -> PlannedRun:
    """Judge what `plan` has found: whether the run can begin.

    wanted: the options of the run, its export, its window, its place, and the hosts that the user has typed. values: of
    the plan. exit_code, error: how the process of the plan has ended.
    """
    ended = PlannedRun(name, values, error or f"its plan ended with exit code {exit_code}", exit_code or EXIT_REMAINING)
    if not values:
        return ended
    found = PlannedRun(name, {**values, **{each: wanted.get(each) for each in BESIDE}}, *_trouble(wanted, values))
    return found if found.trouble or not exit_code else ended


def _trouble(wanted: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, int]:
    """Why the run of a plan cannot begin, and its exit code; an empty text and 0 when it can."""
    kinds = values.get("trouble", ())
    pool, word = wanted.get("pool"), values.get("confirm_host")
    if "not_signed_in" in kinds:
        return "it has no credentials", EXIT_USAGE
    if pool is not None and not values["complete"] and values["pool"] != pool:
        return f"its credentials are of pool {values['pool']}, not {pool}", EXIT_NOT_ACCEPTABLE
    if "sample" in kinds:
        return "too few of its sampled ids exist: wrong pool or column?", EXIT_REMAINING
    if word is not None and values["host"] not in wanted.get("typed_hosts", ()):
        return "its host is protected: type --host URL", EXIT_USAGE
    return "", 0


class Due(enum.StrEnum):
    """Why a run has to be confirmed."""

    NEW = "new"
    CHANGED = "changed"
    OTHERS = "not confirmed by this user on this machine"
    OLD = "confirmed over a day ago"
    GONE = "without the log that it had"


class BatchState:
    """The state that the log of a batch describes. It is the fold of that log.

    given: the numbers of ids and digests that were confirmed. planned: the lists of plans that can be confirmed, by the
    same. ended: of each run that has ended, the latest end.
    start, stop: the latest session entries. under_way: the latest session; None when it has stopped.
    """

    def __init__(self, header: BatchHeader) -> None:
        self.header = header
        self._confirmed_by: dict[str, BatchConfirmed] = {}
        self.given: set[tuple[int, str]] = set()
        self.planned: dict[tuple[int, str], BatchPlanned] = {}
        self.ended: dict[str, BatchRunEnded] = {}
        self._begun: set[str] = set()
        self._with_log: set[str] = set()
        self.start: Session | None = None
        self.stop: Session | None = None
        self.under_way: Session | None = None

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Raises Unreadable for one that no batch writes."""
        match entry:
            case BatchConfirmed():
                self.given.add((entry.ids, entry.digest))
                for name in entry.runs:
                    self._confirmed_by[name] = entry
                    self.ended.pop(name, None)  # an end counts for the plan that was confirmed before it
            case BatchPlanned():
                self.planned[entry.ids, entry.digest] = entry
            case BatchRunBegun():
                self._begun.add(entry.name)
            case BatchRunEnded():
                self.ended[entry.name] = entry
                self._begun.discard(entry.name)
                if "rows" in entry.facts or entry.facts.get("status") == "unknown":  # a log that cannot be read is one
                    self._with_log.add(entry.name)
            case Session(event="start"):
                self.start, self.stop, self.under_way = entry, None, entry
            case Session():
                self.stop, self.under_way = entry, None
            case _:
                raise Unreadable("an entry that no batch writes")

    @property
    def confirmed(self) -> dict[str, Mapping[str, Any]]:
        """Of each run that was confirmed, its values of the latest confirmation."""
        return {name: entry.runs[name] for name, entry in self._confirmed_by.items()}

    def is_complete(self, name: str, spec: str) -> bool:
        """Whether this run is complete, and is the one that the file still describes. spec: the digest of that."""
        ended, run = self.ended.get(name), self.confirmed.get(name)
        return (
            ended is not None
            and run is not None
            and run["spec"] == spec
            and ended.exit in COMPLETE
            and ended.facts.get("status") == "complete"
        )

    def _had_log(self, name: str) -> bool:
        """Whether a process of this run had a log: it has ended with a summary, or nothing says that it has ended.

        No later confirmation changes that.
        """
        return name in self._with_log or name in self._begun

    def valid_list(self, given: tuple[int, str], now: float) -> BatchPlanned | None:
        """The list of plans with this number of ids and digest. None where it is missing, over a day old, or later.

        It confirms nothing then. now: epoch seconds.
        """
        listed = self.planned.get(given)
        if listed is None:
            return None
        age_s = now - datetime.fromisoformat(listed.at).timestamp()
        return listed if -AHEAD_S <= age_s <= REUSE_AFTER_S else None

    def covered(
        self, given: tuple[int, str], planned: Sequence[PlannedRun], due: Mapping[str, Due], now: float
    ) -> frozenset[str]:
        """Which of the runs that are due a list of plans confirms: each that is in it as it is now. now: epoch seconds.

        A list counts for a day, and only if the digest is that of its runs: another person may have written the log. A
        run whose log is gone is confirmed by a plan that knows it.

        given: the number of ids and the digest of the list.
        """
        listed = self.valid_list(given, now)
        if listed is None or given[1] != digest_of_all(
            (name, str(run.get("digest"))) for name, run in listed.runs.items()
        ):
            return frozenset()
        return frozenset(
            run.name
            for run in planned
            if run.name in due
            and (in_list := listed.runs.get(run.name, {})).get("digest") == run.digest
            and (due[run.name] is not Due.GONE or in_list.get("gone") is True)
        )

    def due(self, planned: Sequence[PlannedRun], now: float, own_key: bytes | None) -> dict[str, Due]:
        """The runs that have to be confirmed, each with the reason. now: epoch seconds.

        own_key: of this user on this machine. Without it, no run counts as confirmed before.
        """
        found = {}
        for run in planned:
            if run.complete or not run.needs_confirmation:
                continue
            before = self._confirmed_by.get(run.name)
            is_gone = self._had_log(run.name) and not run.values["run_exists"]
            if before is None:
                found[run.name] = Due.NEW
            elif not mac_holds(before, own_key):
                found[run.name] = Due.GONE if is_gone else Due.OTHERS
            elif before.runs[run.name]["digest"] != run.digest:
                found[run.name] = Due.CHANGED
            elif run.values["id_reusable"] and now - datetime.fromisoformat(before.at).timestamp() > REUSE_AFTER_S:
                found[run.name] = Due.OLD
            elif is_gone:
                found[run.name] = Due.GONE
        return found


@dataclass(frozen=True, slots=True)
class ToConfirm:
    """What has to be confirmed at once. ids: of all these runs. digest: of their plans. runs: their names.

    gone: the runs that had a log and have none now.
    """

    ids: int
    digest: str
    runs: tuple[str, ...]
    gone: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[int, str]:
        """What --confirm and --plan have."""
        return self.ids, self.digest

    @classmethod
    def of(cls, runs: Sequence[PlannedRun], due: Mapping[str, Due]) -> ToConfirm:
        """Add the runs up. due: why each has to be confirmed."""
        digest = digest_of_all((run.name, run.digest) for run in runs)
        names = tuple(run.name for run in runs)
        return cls(
            sum(run.ids for run in runs), digest, names, frozenset(name for name in names if due.get(name) is Due.GONE)
        )


def twins(planned: Sequence[PlannedRun]) -> tuple[str, str] | None:
    """Two runs that would send one export to one pool; None when there are none."""
    seen: dict[tuple[Any, ...], str] = {}
    for run in planned:
        if run.trouble or run.values.get("host") == "sandbox":
            continue
        key = tuple(run.values[name] for name in ("host", "pool", "sha256"))
        if key in seen:
            return seen[key], run.name
        seen[key] = run.name
    return None


@dataclass(frozen=True, slots=True)
class NightState:
    """The facts that decide whether another run may begin.

    failures: runs that have failed. failures_max: --stop-after-failures; None for never. signal: the number of the
    signal that came. file_failed: whether the log of the batch could not be written. engine_failed: whether no process
    can be placed any more. stopped: whether it was stopped as planned (`ctl stop`). until: --not-after.
    """

    failures: int = 0
    failures_max: int | None = None
    signal: int | None = None
    file_failed: bool = False
    engine_failed: bool = False
    stopped: bool = False
    until: datetime | None = None

    def closed(self, now: datetime) -> int | None:
        """The exit code of a run that may not begin any more; None while one may."""
        if self.file_failed:
            return EXIT_FILE
        if self.signal is not None:
            return EXIT_SIGNAL + self.signal
        if self.engine_failed or (self.failures_max is not None and self.failures >= self.failures_max):
            return EXIT_REMAINING
        return EXIT_STOPPED if self.stopped or (self.until is not None and now >= self.until) else None


def plan_groups(marks: Mapping[str, Collection[Hashable]]) -> dict[str, str]:
    """The rate group of each run while the runs are planned: the name of one run of the group.

    marks: of each run, such as its key and its pool. Runs with a mark in common are in one group, and so are two runs
    that share marks with a third one.
    """
    shares = {name: name for name in marks}
    owners: dict[Hashable, str] = {}

    def root(name: str) -> str:
        while shares[name] != name:
            shares[name] = name = shares[shares[name]]
        return name

    for name, own in marks.items():
        for mark in own:
            before = root(owners.setdefault(mark, name))
            shares[root(name)] = before
    return {name: root(name) for name in marks}


def group_rates(groups: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The rate of each group: the lowest of its runs, requests a second. 0 is unlimited.

    groups: of each run its group and its own rate.
    """
    rates: dict[str, float] = {}
    for group, rate in groups:
        before = rates.get(group, 0.0)
        rates[group] = min(before, rate) if before and rate else before or rate
    return rates
