"""The content of a notification: a frozen value, and its forms: JSON, Slack, Teams, text, variables. Pure.

A notice has no field for an id, a path, a row, a message of the API or a secret, so none of them can be sent.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bulkdel.core.summary import Cause
from bulkdel.format import counted, span

VERSION = 1
"""Of the JSON form. A member may be added without a new version."""

VARIABLE = "BULKDEL_EVENT"
"""The variable with the event, and the beginning of the names of the others. No option has such a name."""

CARD = "application/vnd.microsoft.card.adaptive"

_MARKDOWN = re.compile(r"[\\`*_\[\]]")


class What(enum.StrEnum):
    """What has happened."""

    START = "start"
    """The first request will be sent."""

    OUTAGE = "outage"
    """The server has given no useful response for some minutes. The run continues to try."""

    OUTAGE_OVER = "outage-over"
    """It gives useful responses again."""

    STOP = "stop"
    """The run has stopped before its end as it was asked to: by --not-after, by `ctl`, by a signal."""

    HALT = "halt"
    """The run has halted, or was refused before its first request."""

    END = "end"
    """The run has ended: it is complete, has reached --limit, or has rows that no response settles."""

    VERIFY = "verify"
    """A verification has ended."""

    TEST = "test"
    """`bulkdel notify test`."""


CAUSES: Mapping[Cause, str] = {
    Cause.FILE: "a file of the run could not be written",
    Cause.SIGNAL: "Ctrl-C, or a signal of the system",
    Cause.ASKED: "it was asked to stop",
    Cause.HALTED: "a guard rail, an outage, a permission or the sign-in",
    Cause.LIMIT: "--limit is reached",
    Cause.NOT_AFTER: "--not-after has come",
    Cause.UNSETTLED: "rows got no response that settles them",
    Cause.USAGE: "an option or a setting is wrong",
    Cause.NOT_CONFIRMED: "it was not confirmed",
    Cause.NOT_ACCEPTABLE: "the export, the run or the pool is not acceptable",
    Cause.FAULT: "a fault of the program or of the job",
}
"""The causes for people."""

CONTINUES = "The same command resumes the run."
NEXT: Mapping[What, str] = {
    What.START: "To see its progress: bulkdel status RUN",
    What.OUTAGE: "The run continues to try until --patience. To see its progress: bulkdel status RUN",
    What.OUTAGE_OVER: "To see its progress: bulkdel status RUN",
    What.STOP: CONTINUES,
    What.HALT: "The output of the run names the cause. Correct it, then run the same command again.",
    What.END: "To see the result: bulkdel status RUN",
    What.VERIFY: "To see the result: bulkdel report RUN",
    What.TEST: "Nothing is to be done.",
}
"""What to do next. No path is in it: the name of an export may be an email address."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification. A value that is not known is None.

    at: ISO 8601, UTC. machine: the name of this computer. command: `run`, `restore` or `verify`.
    job, pool, host, run_id: as in the log. rows: of the export. counts: rows by outcome, or the counts of `verify`.
    status: as in the summary; `refused` for a run that was refused before its first request. exit_code: of the command.
    requests, duration_s: of this session. silent_s: how long the server has given no useful response.
    log_sha256: of the log at the end of this session: kept apart from the log, it shows whether that was changed since.
    """

    what: What
    at: str
    machine: str
    command: str
    job: str | None = None
    pool: str | None = None
    host: str | None = None
    run_id: str | None = None
    rows: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    status: str | None = None
    exit_code: int | None = None
    cause: Cause | None = None
    requests: int | None = None
    duration_s: float | None = None
    silent_s: float | None = None
    log_sha256: str | None = None

    @property
    def title(self) -> str:
        """The job and the event, in a few words."""
        return f"bulkdel: {self.job or self.command} {self._state}"

    @property
    def sentence(self) -> str:
        """The event with its counts, in one line."""
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.items() if count)
        why = f" ({CAUSES[self.cause]})" if self.cause is not None else ""
        rows = f" {counted(self.rows, 'row')}" if self.rows is not None else ""
        return f"{self.title}{why}.{rows}{': ' if rows and counts else ' ' if counts else ''}{counts}".rstrip(".") + "."

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The further facts, as names and values for people."""
        found = {
            "pool": self.pool,
            "host": self.host,
            "machine": self.machine,
            "run id": self.run_id,
            "requests": None if self.requests is None else f"{self.requests:,}",
            "duration": None if self.duration_s is None else span(self.duration_s),
            "exit code": None if self.exit_code is None else str(self.exit_code),
            "log sha256": self.log_sha256,
            "at": self.at,
            "next": NEXT[self.what],
        }
        return [(name, value) for name, value in found.items() if value is not None]

    @property
    def _state(self) -> str:
        silent = f" for {span(self.silent_s)}" if self.silent_s is not None else ""
        words = {
            What.START: "has begun",
            What.OUTAGE: f"gets no useful response{silent}",
            What.OUTAGE_OVER: "gets useful responses again",
            What.STOP: "has stopped",
            What.HALT: "is refused" if self.status == "refused" else "has halted",
            What.END: f"has ended: {self.status}",
            What.VERIFY: f"is verified: {self.status}",
            What.TEST: "sends a test",
        }
        return words[self.what]


def json_form(notice: Notice) -> dict[str, Any]:
    """The generic form: every value of the notice, and the sentence as `text`."""
    values = asdict(notice)
    what, cause = values.pop("what"), values.pop("cause")
    return {
        "version": VERSION,
        "event": what.value,
        **values,
        "counts": dict(notice.counts),
        "cause": None if cause is None else cause.value,
        "text": notice.sentence,
        "next": NEXT[notice.what],
    }


def slack_form(notice: Notice) -> dict[str, Any]:
    """The body for an incoming webhook of Slack. `&`, `<` and `>` are escaped, so that nothing becomes a mention."""
    return {"text": text_form(notice).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def teams_form(notice: Notice) -> dict[str, Any]:
    """The body for a workflow or an incoming webhook of Teams: an Adaptive Card of a version that phones show too.

    Characters with a meaning in Markdown are escaped, so no value becomes a link.
    """
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [
            {"type": "TextBlock", "text": _plain(notice.title), "weight": "Bolder", "size": "Medium", "wrap": True},
            {"type": "TextBlock", "text": _plain(notice.sentence), "wrap": True},
            {
                "type": "FactSet",
                "facts": [{"title": _plain(name), "value": _plain(value)} for name, value in notice.facts],
            },
        ],
    }
    return {"type": "message", "attachments": [{"contentType": CARD, "contentUrl": None, "content": card}]}


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def text_form(notice: Notice) -> str:
    """The sentence, and a line for each fact."""
    return "\n".join([notice.sentence, *(f"{name}: {value}" for name, value in notice.facts)])


def variables(notice: Notice) -> dict[str, str]:
    """The values for the environment of a command. One that is not known is empty; each count has its own."""
    values = json_form(notice)
    counts = {f"COUNT_{re.sub('[^A-Z0-9]', '_', name.upper())}": count for name, count in notice.counts.items()}
    names = ("status", "job", "pool", "run_id", "rows", "exit_code", "cause")
    known = {name.upper(): "" if values[name] is None else values[name] for name in names}
    return {
        VARIABLE: notice.what.value,
        **{f"{VARIABLE}_{name}": str(value) for name, value in {**known, **counts}.items()},
    }


def what_ended(status: str) -> What:
    """The event of a run that has ended with this status: that of its summary, or `refused`."""
    return {"halted": What.HALT, "refused": What.HALT, "stopped": What.STOP, "interrupted": What.STOP}.get(
        status, What.END
    )


class Outage:
    """Whether an outage is long. It is told once, and its end once."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._told = False

    def take(self, silent_s: float) -> What | None:
        """Take how long the server has been silent. Returns what is to be told now."""
        long = silent_s >= self._after_s
        if long == self._told:
            return None
        self._told = long
        return What.OUTAGE if long else What.OUTAGE_OVER
