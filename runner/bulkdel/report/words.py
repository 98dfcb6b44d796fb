"""The fixed words of a report: the meaning of each outcome and reason, and the sentences about the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bulkdel.core.bad_rows import with_article
from bulkdel.core.creation_rules import HIDDEN, OTHERS, PERHAPS_ANOTHER
from bulkdel.core.id_rules import EXCLUDED_SINCE, PERHAPS_RE_CREATED, REFUSED_SINCE
from bulkdel.core.outcome import RE_CREATED, REMAINING, TAKEN, UNPROVEN
from bulkdel.format import counted
from bulkdel.report.facts import Light, RunFacts, SessionFacts, VerifyFacts

MEANINGS = {
    "done": "The server confirmed it, or a look-up showed it after a response was lost.",
    "already": "Nothing was left to do.",
    "absent": "There was no such {noun}.",
    "refused": "The server refused it, so nothing was changed. bulkdel results shows its messages.",
    "unknown": "Nothing shows whether it was {done}. Look at each of them.",
    "excluded": "Protected by an exclude file or a guard, and not sent since. If sent before, that had no effect.",
    "duplicate": "An earlier row has the same id, and the outcome of that row holds for both.",
    "invalid": "The row has no usable id. --skip-invalid leaves such rows out, so nothing was sent for it.",
    REMAINING: "Not settled yet. The same command goes on.",
}
"""One line for each outcome, by the engine's word."""

REASONS = {
    UNPROVEN: "nothing proves that it was so before this run: only a response of the server says so",
    RE_CREATED: "the {noun} that was meant is gone, and a newer one has the id",
    PERHAPS_RE_CREATED: "a {noun} is there, and nothing tells whether it is the one that was meant",
    EXCLUDED_SINCE: "it was excluded after a request that may have had effect",
    REFUSED_SINCE: "it was refused after a request that may have had effect",
    TAKEN: "another {noun} has one of its keys",
    OTHERS: "look-ups for it return another {noun}",
    PERHAPS_ANOTHER: "nothing tells whether this run created the {noun} that is there",
    HIDDEN: "a look-up may not find it",
}
"""The reasons that bulkdel and its jobs write, beside those of `log_words.left_out_words`. Any other reason is shown
only when it holds no value of the export."""

LIGHTS = {Light.FINE: "fine", Light.LOOK: "to look at", Light.NOT_FINISHED: "not finished"}
"""What a run is, by its light."""

USERS_MAX = 4
"""Users that the sentence about them names."""

IN_DOUBT = "sent, and no response came"
NO_CODE = "no code"
OTHER_CODES = "other codes"


def date_words(at: str) -> str:
    """The date of a time of the log: 25 Nov 2026."""
    when = datetime.fromisoformat(at).astimezone(UTC)
    return f"{when.day} {when:%b %Y}"


def sentence(counts: Mapping[str, int], names: Mapping[str, str], rows: int, noun: str) -> str:
    """The counts as a sentence. counts: by the engine's words. names: those of the job."""
    done = counts["done"]
    first = f"{counted(done, noun, 'was', 'were')} {names.get('done', 'done')}"
    if done == rows:
        return f"{first}: every row of the export."
    said = {
        "already": (names.get("already", "already done"), "was", "were"),
        "absent": (f"named {with_article(noun)} that did not exist", "", ""),
        "refused": ("refused", "was", "were"),
        "unknown": ("an unknown outcome", "has", "have"),
        "excluded": ("protected", "was", "were"),
        "duplicate": ("the same id as an earlier row", "has", "have"),
        "invalid": ("no usable id", "has", "have"),
        REMAINING: ("not settled", "is", "are"),
    }
    parts = [
        " ".join(filter(None, (f"{count:,}", one if count == 1 else more, words)))
        for kind, (words, one, more) in said.items()
        if (count := counts.get(kind, 0))
    ]
    others = "Of the other rows" if done else "Of these"
    return f"{first}, of an export of {counted(rows, 'row')}. {others}, {'; '.join(parts)}."


def proof(found: VerifyFacts | None, *, readable: bool, sandbox: bool) -> str:
    """The result of the verification as a sentence, or that there is none."""
    if sandbox:
        return "This was practice on a sandbox: no real account was touched, so there is nothing to verify."
    if not readable:
        return "The log of its verification cannot be read."
    if found is None:
        return "It has not been verified: the outcomes are those of the run's own log."
    of = f"{found.looked_up:,} of {found.checked:,}"
    sample = "" if found.checked == found.claimed else f", a sample of {found.claimed:,}"
    parts = [f"all {found.reached}"]
    if found.still_there or found.could_not_tell:
        parts = [f"{found.gone:,} {found.reached}"]
        parts += [f"{found.still_there:,} {found.not_reached}"] if found.still_there else []
        parts += [f"{found.could_not_tell:,} without a finding"] if found.could_not_tell else []
    when = f"A verification on {date_words(found.at)}" if found.ended else "A verification that has not ended"
    later = "" if found.of_this_log else " The log has grown since."
    return f"{when} looked up {of}{sample}: {', '.join(parts)}.{later}"


def by_whom(sessions: Sequence[SessionFacts]) -> str:
    """Who ran the sessions, and when; empty before the first one."""
    if not sessions:
        return ""
    users = list(dict.fromkeys(each.by for each in sessions))
    some = users if len(users) <= USERS_MAX else [*users[: USERS_MAX - 1], f"{len(users) - USERS_MAX + 1} others"]
    names = " and ".join(filter(None, (", ".join(some[:-1]), some[-1])))
    times = [sessions[0].start, *([sessions[-1].stop] if sessions[-1].stop else [])]
    return f"Run by {names} in {counted(len(sessions), 'session')}, from {' to '.join(map(time_words, times))} UTC."


def time_words(at: str) -> str:
    """A time of the log: 2026-11-25 14:03:12."""
    return at[:19].replace("T", " ")


def title(runs: Sequence[RunFacts]) -> str:
    """The heading of a report without --title."""
    if len(runs) > 1:
        return f"{len(runs)} runs of bulkdel"
    _, nouns = counted(0, runs[0].noun).split(" ", 1)
    return f"{nouns[0].upper()}{nouns[1:]} {runs[0].outcomes[0].name}: run of {date_words(runs[0].begun)}"


def of_all(lights: Mapping[Light, int], counts: Mapping[str, int], rows: int, practice: int) -> str:
    """Several runs as a sentence. lights: how many runs have each. counts: rows by outcome.

    practice: rows of runs on a sandbox, which touch no real account. They are in the counts too.
    """
    runs = sum(lights.values())
    some = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    judged = ", ".join(f"{lights[light]} {words}" for light, words in LIGHTS.items() if lights[light])
    are = "was practice on a sandbox" if practice == 1 else "were practice on a sandbox"
    less = f" {practice:,} of the rows {are}: no real account was touched." if practice else ""
    return f"{counted(runs, 'run')} with {counted(rows, 'row')}: {some}.{less} Of the runs: {judged}."
