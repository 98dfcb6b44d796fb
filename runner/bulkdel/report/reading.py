"""From the log of a run to the facts of a report. Reads each log once, in flat memory.

Every text that bulkdel did not write itself passes `Texts`. A first pass over the facts collects these texts, so that
they can be compared with the exports; a second pass makes the facts of the report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from bulkdel.checkpoint.audit import Audit, AuditedSession, audit
from bulkdel.checkpoint.lock import holder
from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.command_line import is_restored, option_of
from bulkdel.core.bad_rows import Why
from bulkdel.core.change_words import SOURCES, change_words
from bulkdel.core.guards import Guards
from bulkdel.core.log_entries import MADE, Annotation, Change, Changed, Entry, Outcome, Session
from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING
from bulkdel.core.ranges import size_of
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import EXIT_FILE, EXIT_SIGNAL, HOW, name_of
from bulkdel.core.target_state import GONE, TargetState
from bulkdel.core.verification import Counts, Findings
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import counted, printable
from bulkdel.job import SANDBOX, load_job
from bulkdel.parameters import by_option
from bulkdel.report import words
from bulkdel.report.facts import (
    AnnotationFacts,
    AuditFacts,
    ChangeFacts,
    Ended,
    FileFacts,
    Light,
    OptionFacts,
    OutcomeFacts,
    Reason,
    RunFacts,
    SessionFacts,
    State,
    VerifyFacts,
)
from bulkdel.report.texts import TextCheck
from bulkdel.report.timeline import Timeline
from bulkdel.settings import Settings
from bulkdel.verify.findings import STATE, findings_log

CODES_MAX = 100
"""Different codes of refused rows that are listed; a server may invent one for each row."""

CHANGES_MAX = 200
"""Changes that are listed: --slow-while may write many."""

TEXTS = frozenset({"id_type", "id_field", "id_pattern", "max_refused", "max_invalid", "not_after", "schedule"})
"""Options whose value is a text and is shown. Others name files, hosts or secrets, or are shown elsewhere."""

OF_THE_OUTPUT = frozenset({"json", "log_level", "log_format", "progress_every"})
"""Options that change nothing but what is printed. They are not shown."""

CODE_BELOW = 1_000_000
"""A smaller number is a code. A larger one may be an id, and is compared like a text."""

_CODE = re.compile(r"[\w.:-]{1,40}")
"""A code that is a text. A longer one may be a message."""

Key = tuple[str, str | None, int | str | None, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Texts:
    """What a report shows of a text that bulkdel did not write.

    text: free text, such as a note. file: the name of a file. name: of a host or a pool. person: of a user or a
    machine.
    """

    text: Callable[[str], str]
    file: Callable[[str], str]
    name: Callable[[str], str]
    person: Callable[[str], str]


@dataclass(slots=True)
class Gathered:
    """What the entries of a log add up to, beside its `Progress`.

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
    """A log that was read. pid: of the process that writes it now. findings: of its verification."""

    path: Path
    audit: Audit
    progress: Progress
    gathered: Gathered
    pid: int | None
    findings: Findings | None
    findings_readable: bool
    target_state: TargetState

    @classmethod
    def read(cls, path: Path) -> ReadRun:
        """Read the log and that of its verification. Raises NotAcceptable for a file that is no log of a run."""
        gathered = Gathered()
        found = audit(path, gathered.take)
        progress = found.progress
        if progress is None:
            raise NotAcceptable(f"{found.fault or path}: there is nothing to report")
        findings, readable = _findings(path, progress)
        try:
            target_state = load_job(progress.header.pinned["job"]).target_state
        except UsageError:  # the job is not installed here
            target_state = GONE
        pid = holder(path, progress)
        return cls(path, found, progress, gathered, pid, findings, readable, target_state)

    def see_made(self, check: TextCheck) -> None:
        """Compare the ids of the accounts that the run created: they are in the log only."""
        if not self.gathered.made:
            return
        # What stands after a fault of the log is in no report, so it need not be compared.
        with suppress(NotAcceptable), reading(self.path, RUN) as reader:
            for entries in reader.commits():
                for entry in entries:
                    for each in entry.exceptions if isinstance(entry, Outcome) else ():
                        check.see(str(each.get(MADE, "")), is_id=True)


def _findings(path: Path, progress: Progress) -> tuple[Findings | None, bool]:
    """The verification beside the log, and whether it could be read. None when there is none of this run."""
    state = Path(f"{path}{STATE}")
    if not state.is_file():
        return None, True
    try:
        with reading(state, findings_log(lambda _: progress.skipped.rows)) as reader:
            findings = reader.replay()
    except NotAcceptable:
        return None, False
    mine = findings.header.pinned.get("run_id") == progress.header.run_id
    return (findings, True) if mine and findings.start is not None else (None, True)


def facts_of(run: ReadRun, texts: Texts, bad_rows: Mapping[Why, int] | None) -> RunFacts:
    """The facts of one run. bad_rows: how many, by reason; None when the export was not compared."""
    progress, gathered, header = run.progress, run.gathered, run.progress.header
    pinned, sandbox = header.pinned, header.pinned["host"] == SANDBOX
    outcomes = _outcomes(run, texts, bad_rows)
    counts = {each.kind: each.count for each in outcomes}
    audited = _audit(run)
    verification = _verification(run, texts)
    to_look_at = _to_look_at(run, verification)
    sessions = tuple(_session(run, number, each, texts) for number, each in enumerate(run.audit.sessions, 1))
    return RunFacts(
        log=_file(texts, run.path),
        light=_light(run, to_look_at),
        state=_state(run),
        sentence=words.sentence(counts, header.names, progress.rows, header.noun),
        proof=words.proof(verification, readable=run.findings_readable, sandbox=sandbox),
        by_whom=words.by_whom(sessions),
        to_look_at=to_look_at,
        job=str(pinned["job"]),
        noun=header.noun,
        host=texts.name(str(pinned["host"])),
        pool=texts.name(str(pinned["pool"] or "not signed in")),
        sandbox=sandbox,
        id_type=str(pinned["id_type"]),
        run_id=header.run_id,
        begun=header.at,
        tool=header.tool,
        confirmed=_confirmed(header.confirmed),
        note=texts.text(printable(progress.note)) if progress.note else "",
        export=FileFacts(_file(texts, header.export_path), str(pinned["sha256"])),
        export_bytes=int(pinned["bytes"]),
        rows=progress.rows,
        compared=bad_rows is not None,
        outcomes=outcomes,
        in_doubt=progress.in_doubt.size,
        parameters=_parameters(header.parameters, texts),
        guards=_guards(progress.guards, texts),
        excluded=tuple(FileFacts(_file(texts, path), sha256) for sha256, path in progress.excluded.items()),
        backup=bool(progress.backups),
        memberships=progress.memberships is not None,
        sessions=sessions,
        changes=tuple(
            ChangeFacts(each.at, change_words(each), SOURCES[each.source], _user(each.user, texts))
            for each in gathered.changes
        ),
        changes_left_out=gathered.changes_left_out,
        annotations=tuple(_annotation(each, texts) for each in progress.annotations),
        throughput=gathered.timeline.throughput(),
        verification=verification,
        audit=audited,
    )


def _outcomes(run: ReadRun, texts: Texts, bad_rows: Mapping[Why, int] | None) -> tuple[OutcomeFacts, ...]:
    progress, header = run.progress, run.progress.header
    counts = {**progress.counts, REMAINING: progress.remaining}
    found = []
    for kind in (*COUNTED, REMAINING):
        if kind in JOBS_OWN and kind not in header.names and not counts[kind]:
            continue
        meaning = words.MEANINGS[kind].format(noun=header.noun, done=name_of(progress, "done"))
        reasons = _reasons(run, kind, counts[kind], texts, bad_rows)
        found.append(OutcomeFacts(kind, name_of(progress, kind), counts[kind], meaning, reasons))
    return tuple(found)


def _reasons(
    run: ReadRun, kind: str, count: int, texts: Texts, bad_rows: Mapping[Why, int] | None
) -> tuple[Reason, ...]:
    """The reasons of one outcome, the most frequent first."""
    progress = run.progress
    found: Counter[str] = Counter()
    match kind:
        case "refused" | "unknown":
            for key, rows in run.gathered.refusals.items():
                if key[0] == kind:
                    found[_refusal(key, progress.header.noun, texts)] += rows
        case "invalid":
            found.update({words.bad_row_words(why): rows for why, rows in (bad_rows or {}).items()})
        case _ if kind == REMAINING:
            found[words.IN_DOUBT] = progress.in_doubt.size
        case _:
            for (each, reason), rows in progress.reasons.items():
                if each == kind:
                    found[_reason(reason, progress.header.noun, texts)] += rows
            if kind == "excluded":
                found[words.BY_A_FILE] = count - found.total()
    return tuple(Reason(text, rows) for text, rows in found.most_common() if rows > 0)


def _reason(reason: str, noun: str, texts: Texts) -> str:
    known = words.REASONS.get(reason)
    return known.format(noun=noun) if known is not None else texts.text(printable(reason))


def _refusal(key: Key, noun: str, texts: Texts) -> str:
    _, reason, code, numbers = key
    if reason == words.OTHER_CODES:
        return reason
    parts = [] if reason is None else [_reason(reason, noun, texts)]
    known = {} if code is None else {"code": code}
    for name, value in (*known.items(), *numbers):
        is_short = isinstance(value, int) and abs(value) < CODE_BELOW
        parts.append(f"{name} {value if is_short else texts.text(str(value))}")
    return ", ".join(parts) or words.NO_CODE


def _session(run: ReadRun, number: int, session: AuditedSession, texts: Texts) -> SessionFacts:
    start, stop = session.start.facts, session.stop.facts if session.stop else {}
    return SessionFacts(
        number=number,
        start=session.start.at,
        stop=session.stop.at if session.stop else None,
        ended=_ended(run, session),
        exit_code=stop.get("exit"),
        user=_user(start.get("user"), texts),
        machine=_user(start.get("machine"), texts),
        tool=str(start.get("tool") or "?"),
        confirmed=_confirmed(start["confirmed"]) if start.get("confirmed") else "",
        note=texts.text(printable(start["note"])) if start.get("note") else "",
        options=_options(start.get("options") or {}, texts),
        requests=stop.get("requests"),
        retries=stop.get("retries"),
        throttled=stop.get("throttled"),
        duration_s=stop.get("duration_s"),
    )


def _ended(run: ReadRun, session: AuditedSession) -> Ended:  # noqa: PLR0911 - one class a line
    if session.stop is None and session is run.audit.sessions[-1]:
        if run.audit.fault is not None:
            return Ended.NOT_READABLE
        if run.pid is not None:
            return Ended.RUNNING
    if session.stop is None:
        return Ended.KILLED
    facts = session.stop.facts
    status, code = facts.get("status"), facts.get("exit")
    if status == "complete":
        return Ended.DONE
    if status == "stopped" and any(change.what is Changed.STOP for change in session.changes):
        return Ended.ASKED
    if status == "interrupted":
        return Ended.SIGNAL if isinstance(code, int) and code > EXIT_SIGNAL else Ended.ASKED
    if code == EXIT_FILE:
        return Ended.FILE
    if facts.get("limit_reached"):
        return Ended.LIMIT
    return {"stopped": Ended.NOT_AFTER, "halted": Ended.HALTED}.get(str(status), Ended.LEFT)


def _options(values: Mapping[str, Any], texts: Texts) -> tuple[OptionFacts, ...]:
    """The options that differ from the default: numbers, choices, and the texts that are in TEXTS."""
    found, kinds = [], get_type_hints(Settings)
    for one in fields(Settings):
        value, kind, option = values.get(one.name), kinds[one.name], option_of(one.name)
        if value is None or value == one.default or one.name in OF_THE_OUTPUT:
            continue
        if one.name in TEXTS:
            found.append(OptionFacts(option, texts.text(printable(str(value)))))
        elif isinstance(value, bool):
            found.append(OptionFacts(option, ""))
        elif isinstance(value, int | float) or (get_origin(kind) is Literal and isinstance(value, str)):
            found.append(OptionFacts(option, repr(value).removesuffix(".0").strip("'")))
    return tuple(found)


def _parameters(values: Mapping[str, Any], texts: Texts) -> tuple[OptionFacts, ...]:
    """The job's own options; of a file only the name and the SHA-256."""
    named = {
        name: {**value, "path": Path(str(value["path"])).name} if isinstance(value, dict) and "path" in value else value
        for name, value in values.items()
    }
    return tuple(OptionFacts(option, texts.text(printable(value))) for option, value in by_option(named))


def _guards(guards: Guards, texts: Texts) -> tuple[OptionFacts, ...]:
    return tuple(OptionFacts(each.option, texts.text(", ".join(guards.typed(each)))) for each in guards.given)


def _verification(run: ReadRun, texts: Texts) -> VerifyFacts | None:
    findings = run.findings
    if findings is None or findings.start is None:
        return None
    pinned, facts = findings.header.pinned, findings.start.facts
    counts = Counts.of(run.progress, findings, pinned.get("sample"))
    return VerifyFacts(
        at=findings.stop.at if findings.stop else findings.start.at,
        ended=findings.stop is not None,
        of_this_log=pinned.get("log_sha256") == run.audit.sha256,
        user=_user(facts.get("user"), texts),
        machine=_user(facts.get("machine"), texts),
        reached=run.target_state.claimed if run.progress.counts["absent"] else run.target_state.reached,
        not_reached=run.target_state.not_reached,
        gone=counts.gone,
        still_there=counts.still_there,
        could_not_tell=counts.could_not_tell,
        recreated=counts.recreated,
        checked=counts.checked,
        claimed=counts.claimed,
    )


def _audit(run: ReadRun) -> AuditFacts:
    found = run.audit
    torn = 0 if run.pid is not None else found.damaged_tail  # half a commit of a run that is under way is none
    return AuditFacts(found.fault is None, found.commits, len(found.sessions), found.sha256, torn)


def _state(run: ReadRun) -> State:
    progress = run.progress
    if run.pid is not None:
        return State.RUNNING
    if progress.complete:
        return State.COMPLETE
    if run.audit.fault is not None:
        return State.NOT_READABLE
    if progress.stop is None:
        return State.KILLED if progress.start else State.NOT_BEGUN
    status = progress.stop.facts.get("status")
    return State(status) if status in set(State) else State.INCOMPLETE


def _light(run: ReadRun, to_look_at: Sequence[str]) -> Light:
    """Fine: complete, and nothing is left to look at. Protected and repeated rows are as intended."""
    if not run.progress.complete or run.pid is not None:
        return Light.NOT_FINISHED
    return Light.LOOK if to_look_at else Light.FINE


def _to_look_at(run: ReadRun, found: VerifyFacts | None) -> tuple[str, ...]:
    """What a person should look at, one sentence each."""
    progress, noun = run.progress, run.progress.header.noun
    findings = {"still": found.still_there, "untold": found.could_not_tell} if found else {}
    counts = {**progress.counts, **findings}
    sentences = {
        "refused": ("was refused by the server", "were refused by the server"),
        "unknown": ("has an unknown outcome", "have an unknown outcome"),
        "invalid": ("row has no usable id: correct it and run it", "rows have no usable id: correct them and run them"),
        "still": (f"is {run.target_state.not_reached}", f"are {run.target_state.not_reached}"),
        "untold": ("has no finding of the verification", "have no finding of the verification"),
    }
    said = []
    for kind, (one, more) in sentences.items():
        if count := counts.get(kind, 0):
            what = f"{count:,}" if kind == "invalid" else counted(count, noun)
            said.append(f"{what} {one if count == 1 else more}.")
    if run.audit.fault is not None:
        said.append("The audit of the log failed.")
    if not run.findings_readable:
        said.append("The log of the verification cannot be read.")
    if progress.undo is not None:
        said.append("A restore of this run has begun: what it did is being undone.")
    return tuple(said)


def _annotation(entry: Annotation, texts: Texts) -> AnnotationFacts:
    facts = entry.facts
    numbers = {name: f"{facts[name]:,}" if isinstance(facts.get(name), int) else "?" for name in RESTORED}
    match entry.event, facts.get("state"):
        case "undo", "ended":
            done = "A restore has ended" if is_restored(entry) else "A restore has stopped"
            what = f"{done}: {numbers['restored']} of {numbers['rows']} rows are back"
        case "undo", _:
            what = f"A restore has begun: {numbers['rows']} rows"
        case _, "ended":
            what = f"Files with personal data were removed: {numbers['removed']}"
        case _:
            what = "The removal of files with personal data has begun"
    return AnnotationFacts(entry.at, what, _user(facts.get("user"), texts), _user(facts.get("machine"), texts))


RESTORED = ("restored", "rows", "removed")


def _confirmed(confirmed: Mapping[str, Any]) -> str:
    if not isinstance(ids := confirmed.get("ids"), int):
        return "nothing was confirmed"
    return f"{counted(ids, 'id')}, {HOW.get(str(confirmed.get('how', '')), 'in another way')}"


def _user(name: Any, texts: Texts) -> str:
    return texts.person(printable(name)) if isinstance(name, str) and name else "?"


def _file(texts: Texts, path: Path | str) -> str:
    return texts.file(printable(Path(path).name))
