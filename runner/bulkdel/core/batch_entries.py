"""The members of the log of a batch that are read one by one, and their types. Another person may have written it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from bulkdel.core.batch_status import rows_of
from bulkdel.core.log_entries import BatchConfirmed, BatchPlanned, BatchRunEnded, Entry, Session, Unreadable

Fits = Callable[[Any], bool]

INTEGER_MAX = 2**63
"""A larger number of a log is no integer for a reader of JSON."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < INTEGER_MAX


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _time(value: Any) -> bool:
    """Whether it is a time with its zone."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _time_or_none(value: Any) -> bool:
    return value is None or _time(value)


def _times(value: Any) -> bool:
    """Whether it has a time by the name of each run."""
    return isinstance(value, dict) and all(map(_time, value.values()))


def _runs(**members: Fits) -> Fits:
    """Whether each of the runs has these members."""

    def fits(runs: Mapping[str, Mapping[str, Any]]) -> bool:
        return all(has(run.get(name)) for run in runs.values() for name, has in members.items())

    return fits


def _summary(value: Mapping[str, Any]) -> bool:
    """Whether it is the summary of a run, as far as it is read: its rows by outcome are numbers."""
    if not _text(value.get("status", "")):
        return False
    return "rows" not in value or all(map(_count, (value["rows"], value.get("remaining"), *rows_of(value).values())))


_MEMBERS: Mapping[type, Mapping[str, Fits]] = {
    BatchConfirmed: {
        "at": _time,
        "ids": _count,
        "digest": _text,
        "runs": _runs(
            **dict.fromkeys(("job", "host", "pool", "sha256", "digest", "spec"), _text),
            **dict.fromkeys(("ids", "rows"), _count),
            id_reusable=_flag,
        ),
    },
    BatchPlanned: {"at": _time, "ids": _count, "digest": _text, "runs": _runs(digest=_text, ids=_count)},
    BatchRunEnded: {"name": _text, "exit": _count, "facts": _summary},
}
"""Of each entry, by its type."""

_OF_STOP: Mapping[str, Fits] = {"not_after": _time_or_none, "stopped": _times}
"""Facts of the end of a session. Each may be missing."""


def check_entry(entry: Entry) -> None:
    """Refuse an entry with a member of another type than a batch writes. Raises Unreadable, naming the member."""
    wanted: Mapping[str, Fits]
    if isinstance(entry, Session):
        found, wanted = entry.facts, {name: fits for name, fits in _OF_STOP.items() if name in entry.facts}
    else:
        wanted = _MEMBERS.get(type(entry), {})
        found = {name: getattr(entry, name) for name in wanted}
    for name, fits in wanted.items():
        if not fits(found[name]):
            raise Unreadable(f"{name} of the entry is not what a batch writes")
