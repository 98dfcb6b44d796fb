"""From a log that was read to the facts of a report.

Every text that bulkdel did not write itself passes `Texts`. A first pass over the facts collects these texts, so that
they can be compared with the exports; a second pass makes the facts of the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from bulkdel.checkpoint.audit import AuditedSession
from bulkdel.core.exclude_name import ExcludeKey
from bulkdel.core.guards import ACTIVE_SINCE, Guards
from bulkdel.core.log_entries import Annotation, Changed
from bulkdel.core.option import option_of
from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING
from bulkdel.core.run_state import RunState
from bulkdel.core.sign_ins import DAY_S
from bulkdel.core.summary import cause_of, name_of, state_of
from bulkdel.core.verification import Counts
from bulkdel.format import counted, printable
from bulkdel.job import SANDBOX
from bulkdel.log_words import (
    SOURCES,
    back_words,
    bad_row_words,
    change_words,
    confirmed_words,
    done_words,
    left_out_words,
    user_words,
)
from bulkdel.options import SHOWS, TEXTS
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
    SampleFacts,
    SessionFacts,
    State,
    Texts,
    VerifyFacts,
)
from bulkdel.report.read_run import Key, ReadRun
from bulkdel.run_place import name_from_home
from bulkdel.settings import Settings

CODE_BELOW = 1_000_000
"""A smaller number is a code. A larger one may be an id, and is compared like a text."""


def facts_of(run: ReadRun, texts: Texts, *, compared: bool) -> RunFacts:
    """The facts of one run. compared: whether its texts were compared with its export."""
    progress, gathered, header = run.progress, run.gathered, run.progress.header
    pinned, sandbox = header.pinned, header.pinned["host"] == SANDBOX
    outcomes = _outcomes(run, texts)
    counts = {each.kind: each.count for each in outcomes}
    verification = _verification(run, texts)
    to_look_at = _to_look_at(run, verification)
    sessions = tuple(_session(run, number, each, texts) for number, each in enumerate(run.audit.sessions, 1))
    return RunFacts(
        name=texts.file(printable(name_from_home(run.path))),
        light=_light(run, to_look_at),
        state=_state(run),
        sentence=words.sentence(counts, header.names, progress.rows, header.noun) + _back(progress),
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
        confirmed=_confirmed(header.confirmed, texts),
        note=texts.text(printable(progress.note)) if progress.note else "",
        export=FileFacts(_file(texts, header.export_path), str(pinned["sha256"])),
        export_bytes=int(pinned["bytes"]),
        rows=progress.rows,
        compared=compared,
        outcomes=outcomes,
        in_doubt=progress.in_doubt.size,
        sample=_sample(run, texts),
        parameters=_parameters(header.parameters, texts),
        guards=_guards(progress.guards, texts),
        excluded=tuple(_excluded(path, ExcludeKey.read(key), texts) for key, path in progress.excluded.items()),
        backup=bool(progress.backups),
        memberships=progress.memberships is not None,
        sessions=sessions,
        changes=tuple(
            ChangeFacts(each.at, change_words(each), SOURCES[each.source], texts.user(each.user))
            for each in gathered.changes
        ),
        changes_left_out=gathered.changes_left_out,
        annotations=tuple(_annotation(each, texts) for each in progress.annotations),
        throughput=gathered.timeline.throughput(),
        verification=verification,
        audit=_audit(run),
    )


def _session(run: ReadRun, number: int, session: AuditedSession, texts: Texts) -> SessionFacts:
    start, stop = session.start.facts, session.stop.facts if session.stop else {}
    return SessionFacts(
        number=number,
        start=session.start.at,
        stop=session.stop.at if session.stop else None,
        ended=_ended(run, session),
        exit_code=stop.get("exit"),
        by=user_words(start, texts.user),
        tool=str(start.get("tool") or "?"),
        confirmed=_confirmed(start["confirmed"], texts) if start.get("confirmed") else "",
        note=texts.text(printable(start["note"])) if start.get("note") else "",
        options=_options(start.get("options") or {}, texts),
        requests=stop.get("requests"),
        retries=stop.get("retries"),
        throttled=stop.get("throttled"),
        duration_s=stop.get("duration_s"),
    )


def _ended(run: ReadRun, session: AuditedSession) -> Ended:
    if session.stop is None and session is run.audit.sessions[-1]:
        if run.audit.fault is not None:
            return Ended.NOT_READABLE
        if run.pid is not None:
            return Ended.RUNNING
    if session.stop is None:
        return Ended.KILLED
    facts = session.stop.facts
    limit_reached, asked = bool(facts.get("limit_reached")), Changed.STOP in {each.what for each in session.changes}
    cause = cause_of(facts.get("status"), facts.get("exit"), limit_reached=limit_reached, asked=asked)
    return Ended.DONE if cause is None or facts.get("status") == "complete" else Ended[cause.name]


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
        by=user_words(facts, texts.user),
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
    if run.pid is not None:
        return State.RUNNING
    if run.audit.fault is not None and not run.progress.complete:
        return State.NOT_READABLE
    state = state_of(run.progress)
    return State(state) if state in set(State) else State.INCOMPLETE


def _back(progress: RunState) -> str:
    """What restores have brought back, as a sentence after another one."""
    return f" Restored since: {back_words(progress)}." if progress.back else ""


def _light(run: ReadRun, to_look_at: Sequence[str]) -> Light:
    """Fine: complete, and nothing is left to look at. Protected, repeated and skipped rows are as they were chosen."""
    if not run.progress.complete or run.pid is not None:
        return Light.NOT_FINISHED
    return Light.LOOK if to_look_at else Light.FINE


def _to_look_at(run: ReadRun, found: VerifyFacts | None) -> tuple[str, ...]:
    """The points that a person should look at, one sentence each."""
    progress, noun = run.progress, run.progress.header.noun
    findings = {"still": found.still_there, "untold": found.could_not_tell} if found else {}
    counts = {**progress.counts, **findings}
    sentences = {
        "refused": ("was refused by the server", "were refused by the server"),
        "unknown": ("has an unknown outcome", "have an unknown outcome"),
        "still": (f"is {run.target_state.not_reached}", f"are {run.target_state.not_reached}"),
        "untold": ("has no finding of the verification", "have no finding of the verification"),
    }
    said = []
    for kind, (one, more) in sentences.items():
        if count := counts.get(kind, 0):
            said.append(f"{counted(count, 'row' if kind in progress.counts else noun)} {one if count == 1 else more}.")
    if run.audit.fault is not None:
        said.append("The audit of the log failed.")
    if not run.findings_readable:
        said.append("The log of the verification cannot be read.")
    if progress.undo is not None:
        said.append("A restore of this run has begun: what it did is being undone.")
    return tuple(said)


def _confirmed(confirmed: Mapping[str, Any], texts: Texts) -> str:
    return confirmed_words(confirmed, texts.user, lambda pool: texts.name(printable(str(pool))))


def _annotation(entry: Annotation, texts: Texts) -> AnnotationFacts:
    done, much = done_words(entry)
    what = f"{done[0].upper()}{done[1:]}" + (f": {much}" if much else "")
    return AnnotationFacts(entry.at, what, user_words(entry.facts, texts.user))


def _outcomes(run: ReadRun, texts: Texts) -> tuple[OutcomeFacts, ...]:
    """The outcomes that the job knows."""
    progress, header = run.progress, run.progress.header
    counts = {**progress.counts, REMAINING: progress.remaining}
    found = []
    for kind in (*COUNTED, REMAINING):
        if kind in JOBS_OWN and kind not in header.names and not counts[kind]:
            continue
        meaning = words.MEANINGS[kind].format(noun=header.noun, done=name_of(progress, "done"))
        meaning += _back(progress) if kind == "done" else ""
        reasons = _reasons(run, kind, counts[kind], texts)
        found.append(OutcomeFacts(kind, name_of(progress, kind), counts[kind], meaning, reasons))
    return tuple(found)


def _reasons(run: ReadRun, kind: str, count: int, texts: Texts) -> tuple[Reason, ...]:
    """The reasons of one outcome, the most frequent first."""
    progress = run.progress
    found: Counter[str] = Counter()
    match kind:
        case "refused" | "unknown":
            for key, rows in run.gathered.refusals.items():
                if key[0] == kind:
                    found[_refusal(key, run, texts)] += rows
        case "invalid":
            for name, rows in progress.header.invalid.get("why", {}).items():
                found[bad_row_words(name)] += rows
        case _ if kind == REMAINING:
            found[words.IN_DOUBT] = progress.in_doubt.size
        case _:
            for (each, reason), rows in progress.reasons.items():
                if each == kind:
                    found[_reason(reason, run, texts)] += rows
            if kind == "excluded":
                found[_left_out(run, texts)[kind]] = count - found.total()
    return tuple(Reason(text, rows) for text, rows in found.most_common() if rows > 0)


def _reason(reason: str, run: ReadRun, texts: Texts) -> str:
    if (known := words.REASONS.get(reason)) is not None:
        return known.format(noun=run.progress.header.noun)
    return _left_out(run, texts).get(reason) or texts.text(printable(reason))


def _left_out(run: ReadRun, texts: Texts) -> Mapping[str, str]:
    """Why rows are never sent, with the values of the guards."""
    guards = run.progress.guards
    statuses = None if guards.statuses is None else frozenset(map(texts.name, guards.statuses))
    return left_out_words(replace(guards, statuses=statuses))


def _refusal(key: Key, run: ReadRun, texts: Texts) -> str:
    _, reason, code, numbers = key
    if reason == words.OTHER_CODES:
        return reason
    parts = [] if reason is None else [_reason(reason, run, texts)]
    known = {} if code is None else {"code": code}
    for name, value in (*known.items(), *numbers):
        if isinstance(value, int) and abs(value) < CODE_BELOW:
            meaning = run.code_words.get(name, {}).get(value)
            parts.append(f"{name} {value}" + (f" ({meaning})" if meaning else ""))
        else:
            parts.append(f"{name} {texts.text(str(value))}")
    return ", ".join(parts) or words.NO_CODE


def _sample(run: ReadRun, texts: Texts) -> SampleFacts | None:
    """What the look-up before the first id has found; None without one."""
    header, guards = run.progress.header, run.progress.guards
    if (sample := header.sample) is None:
        return None
    days = None
    if guards.active_since is not None:
        days = (datetime.fromisoformat(header.at).timestamp() - guards.active_since) / DAY_S
    return SampleFacts(
        asked=sample.get("asked", 0),
        found=sample.get("found", 0),
        statuses=tuple(Reason(texts.name(printable(name)), n) for name, n in sample.get("statuses", {}).items()),
        sign_ins=sample.get("sign_ins", {}),
        spared_from=", ".join(guards.typed(ACTIVE_SINCE)),
        spared_days=days,
    )


def _excluded(path: str, key: ExcludeKey, texts: Texts) -> FileFacts:
    """An exclude file, and what was read of it."""
    named = {"column": key.column, "sheet": key.sheet, "id type": key.id_type}
    parts = [f"{name} {texts.text(printable(value))}" for name, value in named.items() if value is not None]
    return FileFacts(_file(texts, path), key.sha256, ", ".join(parts))


def _options(values: Mapping[str, Any], texts: Texts) -> tuple[OptionFacts, ...]:
    """The options that differ from the default: numbers, choices, and those of `options.TEXTS`; none of SHOWS."""
    found, kinds = [], get_type_hints(Settings)
    for one in fields(Settings):
        value, kind, option = values.get(one.name), kinds[one.name], option_of(one.name)
        if value is None or value == one.default or one.name in SHOWS:
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
    """The guards that were given."""
    return tuple(OptionFacts(option, ", ".join(map(texts.name, values))) for option, values in guards.options.items())


def _file(texts: Texts, path: Path | str) -> str:
    """The name of a file, without its folder."""
    return texts.file(printable(Path(path).name))
