"""The outcomes of a run with their reasons, for a report."""

from __future__ import annotations

from collections import Counter

from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING
from bulkdel.core.summary import name_of
from bulkdel.format import printable
from bulkdel.log_words import bad_row_words
from bulkdel.report import words
from bulkdel.report.facts import OutcomeFacts, Reason, Texts
from bulkdel.report.reading import Key, ReadRun

CODE_BELOW = 1_000_000
"""A smaller number is a code. A larger one may be an id, and is compared like a text."""


def outcomes_of(run: ReadRun, texts: Texts) -> tuple[OutcomeFacts, ...]:
    """The outcomes that the job knows."""
    progress, header = run.progress, run.progress.header
    counts = {**progress.counts, REMAINING: progress.remaining}
    found = []
    for kind in (*COUNTED, REMAINING):
        if kind in JOBS_OWN and kind not in header.names and not counts[kind]:
            continue
        meaning = words.MEANINGS[kind].format(noun=header.noun, done=name_of(progress, "done"))
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
                    found[_refusal(key, progress.header.noun, texts)] += rows
        case "invalid":
            for name, rows in progress.header.invalid.get("why", {}).items():
                found[bad_row_words(name)] += rows
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
