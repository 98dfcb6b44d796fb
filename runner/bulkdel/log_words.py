"""Entries of a log in words: a change, a user, a confirmation, a bad row, an annotation.

The same in `status`, in its audit and in a report. A text that bulkdel did not write passes `text`: it is escaped, or
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bulkdel.core.bad_rows import Why
from bulkdel.core.guards import ACTIVE_SINCE, CREATED_AFTER, ONLY_STATUS, Guards, Spared
from bulkdel.core.log_entries import Annotation, Change, Changed, ChangedBy
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import name_of
from bulkdel.format import counted, shown

Text = Callable[[object], str]

CHANGES = {
    Changed.RATE: "{} requests a second",
    Changed.CONCURRENCY: "{} requests at the same time",
    Changed.UNTIL: "stops at {}",
    Changed.STOP: "stopped",
    Changed.SCHEDULE: "{} requests a second by --schedule",
    Changed.SLOWED: "slowed to {} requests a second by --slow-while",
}

SOURCES = {
    ChangedBy.CTL: "bulkdel ctl",
    ChangedBy.PAGE: "the live page",
    ChangedBy.PAUSE_FILE: "the pause file",
    ChangedBy.SCHEDULE: "the schedule",
    ChangedBy.SLOW_WHILE: "the watched URL",
    ChangedBy.LIBRARY: "the program that runs it",
}

BAD_ROWS = {
    Why.CONTROL: "a control character in the id",
    Why.INVISIBLE: "an invisible character in the id",
    Why.SPACES: "spaces around the id",
    Why.SHAPE: "not of the form of its id type",
    Why.SPREADSHEET: "a number that a spreadsheet rewrote",
    Why.NOT_UTF8: "not UTF-8",
    Why.NOT_JSON: "not JSON",
    Why.COLUMNS: "more or fewer columns than the first row",
    Why.NO_MEMBER: "without the member of the id",
    Why.MEMBER_TWICE: "the member of the id stands there twice",
    Why.RESULT: "a row of an earlier run's results",
}
"""Why a row is bad, where the reason's own words have a place for a text of the row."""


LEFT_OUT = {
    Spared.ACTIVE.value: "spared: signed in lately",
    Spared.CREATED.value: "spared: created lately",
    Spared.STATUS.value: "spared: another status",
    Spared.ADMINISTRATOR.value: "protected: the administrator that the pool keeps",
    "excluded": "protected: in an exclude file, or the key's own user",
    "duplicate": "duplicates: an earlier row has the same id",
    "invalid": "bad rows: no usable id",
}
"""Why rows are left out: by the reason of an excluded row where it has one, else by the engine's word."""

SPARED = {
    Spared.ACTIVE: (ACTIVE_SINCE, "spared: last sign-in on {} or later"),
    Spared.CREATED: (CREATED_AFTER, "spared: created after {}"),
    Spared.STATUS: (ONLY_STATUS, "spared: the status is not {}"),
}
"""The guard of each of these reasons, and the same words with its value."""


def left_out_words(guards: Guards) -> dict[str, str]:
    """Why rows are left out; of a guard that was given, with its value."""
    given = {reason: (guards.typed(guard), text) for reason, (guard, text) in SPARED.items() if guard in guards.given}
    return LEFT_OUT | {reason.value: text.format(" or ".join(values)) for reason, (values, text) in given.items()}


def bad_row_words(name: str) -> str:
    """Why a row is bad, without any text of the row. name: of a `Why`, as the log has it."""
    why = Why.__members__.get(name)
    return "another reason" if why is None else BAD_ROWS.get(why, why.value)


def change_words(change: Change) -> str:
    """A change in words."""
    what, value = change.what, change.value
    if what is Changed.PAUSED:
        return "paused" if value else "resumed"
    if what is Changed.SCHEDULE and value is None:
        return "no limit by --schedule"
    if what is Changed.RATE and value == 0:
        return "no limit of the rate"
    return CHANGES[what].format(f"{value:g}" if isinstance(value, float) else value)


def with_origin(change: Change) -> str:
    """A change in words, with the user and the source."""
    words = change_words(change)
    by = f"by {change.user} ({SOURCES[change.source]})" if change.user else f"by {SOURCES[change.source]}"
    return f"{words[0].upper()}{words[1:]}, {by}"


HOW = {
    "typed": "typed on a terminal",
    "options": "by --confirm and --pool",
    "library": "by the program that runs it",
    "sandbox": "not asked: a sandbox",
    "restore": "by the confirmation of the restore",
    "batch": "by the confirmation of the batch",
    "plan": "by a plan",
    "nothing to delete": "not asked: nothing to send",
}
"""How a run was confirmed (`safety.confirmation.How`)."""


def user_words(user: object, text: Text = shown) -> str:
    """A user and its machine; a question mark for what the log lacks."""
    facts: Mapping[str, Any] = user if isinstance(user, Mapping) else {}
    name, machine, claimed = (text(facts.get(member) or "?") for member in ("user", "machine", "as"))
    words = name if name == machine else f"{name} on {machine}"
    return f"{words}, as {claimed} (claimed)" if facts.get("as") else words


def confirmed_words(confirmed: Mapping[str, Any], text: Text = shown, name: Text = shown) -> str:
    """What was confirmed, and how. name: shows a pool and a hash, as `text` does a user and a machine."""
    if not isinstance(ids := confirmed.get("ids"), int):
        return "nothing"
    how = confirmed.get("how", "")
    words = f"{counted(ids, 'id')} in pool {name(confirmed.get('pool'))}, {HOW.get(how, 'in another way')}"
    if not isinstance(plan := confirmed.get("plan"), Mapping):
        return words
    return f"{words} that was made by {user_words(plan.get('planned_by'), text)}, sha256 {name(plan.get('sha256'))}"


def done_words(annotation: Annotation) -> tuple[str, str]:
    """An annotation in words, with its numbers. A missing number is a question mark."""
    facts = annotation.facts
    match annotation.event, facts.get("state"):
        case "handover", _:
            return "packed", ""
        case "undo", "ended":
            done = "restored" if facts.get("restored") else "restore ended"
            done = done if annotation.is_restored else "restore stopped"
            return f"{done}{_which(facts)}", _restored_words(facts)
        case "undo", _:
            return f"restore begun{_which(facts)}", ""
        case _, "ended":
            return "files removed", f"{_number(facts, 'removed')} of {_number(facts, 'bytes')} bytes"
        case _:
            return "removal of files begun", ""


def _which(facts: Mapping[str, Any]) -> str:
    """Which restore it is, where the annotation says it."""
    return f" (restore-{_number(facts, 'number')})" if "number" in facts else ""


def back_words(progress: RunState) -> str:
    """How many of the rows that the run has carried out were restored, and by which restores."""
    by = ", ".join(f"restore-{number}" for number in progress.back)
    return f"{sum(progress.back.values()):,} of {progress.counts['done']:,} {name_of(progress, 'done')} ({by})"


def _restored_words(facts: Mapping[str, Any]) -> str:
    """How far a restore is: its rows, then the memberships where it puts some back."""
    words = f"{_number(facts, 'restored')} of {_number(facts, 'rows')} rows, {_number(facts, 'remaining')} remaining"
    if "memberships" not in facts:
        return words
    if facts["memberships"] is None:
        return f"{words}, no membership yet"
    of, left = _number(facts, "memberships"), _number(facts, "memberships_remaining")
    return f"{words}; {_number(facts, 'memberships_restored')} of {of} memberships, {left} remaining"


def _number(facts: Mapping[str, Any], name: str) -> str:
    count = facts.get(name)
    return f"{count:,}" if isinstance(count, int) else "?"
