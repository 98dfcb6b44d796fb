"""The types of the members of entries, and of facts: every entry that is read is compared with them.

Another person may have written the log. The program may use a value that its type admits without further checks. The
types do not restrict members that they do not name: a reader accepts unknown facts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from bulkdel.core.json_types import NONE, NUMBER, PATH, SHA256, TEXT, TIME, WHOLE, Each, Such, check_of, is_whole
from bulkdel.core.outcome import SKIPS

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _is_run_id(value: Any) -> bool:
    """Whether it is a UUID. It names files, such as the control socket, so it is never a path."""
    return type(value) is str and _UUID.fullmatch(value) is not None


def _is_summary(value: Any) -> bool:
    """Whether it is the summary of a run of a batch: its rows by outcome stand before `rows`, and `remaining` too."""
    if type(value) is not dict or type(value.get("status", "")) is not str:
        return False
    names = [*value]
    counts = names[: names.index("rows") + 1] if "rows" in value else []
    return all(is_whole(value[name]) for name in counts) and (not counts or is_whole(value.get("remaining")))


def _is_rate(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and value > 0


RUN_ID = Such(_is_run_id)

COUNTS = dict.fromkeys(("rows", "ids", *SKIPS), WHOLE)

_SOURCE = {
    **dict.fromkeys(("format?", "compression?", "encoding?"), str),
    **dict.fromkeys(("delimiter?", "id_field?", "id_pattern?", "sheet?"), TEXT),
    **dict.fromkeys(("header?", "sep_line?", "trim?", "skip_invalid?"), bool),
    "id_column?": (WHOLE, NONE),
}

PINNED = {
    **dict.fromkeys(("job", "host", "id_type", "sha256"), str),
    "pool": TEXT,  # a run that has not signed in has none
    "bytes": WHOLE,
    "source": _SOURCE,
    "table?": dict,
}

CONFIRMED = {
    "ids?": WHOLE,
    "how?": str,
    **dict.fromkeys(("pool?", "host?"), TEXT),
    "ahead_s?": (int, NONE),
    "plan?": {"sha256": str, "planned_at": str, "planned_by": dict, "require_other_user": bool},
}

INPUT = {"index": SHA256, "content": SHA256}

EXPORT_OBJECT = {"bytes?": (WHOLE, NONE), **dict.fromkeys(("address?", "etag?", "version?", "modified?"), TEXT)}

_BYTES = {"sha256": SHA256, "bytes": WHOLE}

INVALID = {"why": Each(WHOLE), "rows": _BYTES, "reasons": _BYTES}

SAMPLE = {
    **dict.fromkeys(("asked?", "found?"), WHOLE),
    **dict.fromkeys(("statuses?", "sign_ins?"), Each(WHOLE)),
    "newest?": (TIME, NONE),
    "future_s?": NUMBER,
    "ahead_s?": (int, NONE),
    "read?": [str],
}

PARAMETER = (str, bool, int, float, NONE, [str], {"path": str, "sha256": str})

EXCEPTION = {"position": WHOLE, "id?": str, "detail?": dict}

CONFIRMED_RUN = {
    **dict.fromkeys(("job", "host", "pool", "sha256", "digest", "spec"), str),
    **dict.fromkeys(("ids", "rows"), WHOLE),
    "id_reusable": bool,
}

SUMMARY = Such(_is_summary)

_START = {
    **dict.fromkeys(("note?", "as?"), TEXT),
    **dict.fromkeys(("backup?", "backup_was?", "memberships?"), (PATH, NONE)),
    **dict.fromkeys(("cwd?", "run?"), PATH),
    "command?": str,
    "limit?": (WHOLE, NONE),
    "options?": {"run?": TEXT},
    "protect?": {
        "pools?": [str],
        "hosts?": [str],
        "rate_max?": Such(_is_rate),
        "max_ids?": WHOLE,
        "require_other_user?": bool,
    },
    "asked?": COUNTS,
    "excluded?": Each(str),
    "guards?": dict,
    "verdicts?": dict,
    "confirmed?": (CONFIRMED, NONE),
}

_STOP = {
    **dict.fromkeys(("why?", "status?"), str),
    "exit?": int,
    **dict.fromkeys(("limit_reached?", "blind?", "resumed?"), bool),
    **dict.fromkeys(("requests?", "retries?", "throttled?"), WHOLE),
    "duration_s?": NUMBER,
    "not_after?": (TIME, NONE),
    "shards?": Each([(WHOLE, str)]),
    "stopped?": Each(TIME),
}

_FILE = {"path": PATH, "bytes": WHOLE, **dict.fromkeys(("what?", "sha256?"), str)}

_UNDO = {
    "state?": str,
    **dict.fromkeys(("number?", "only?"), WHOLE),
    **dict.fromkeys(("run?", "cwd?"), PATH),
    **dict.fromkeys(("rows?", "done?", "without_record?", "restored?", "there?", "remaining?"), WHOLE),
    **dict.fromkeys(("refused?", "unknown?"), WHOLE),
    **dict.fromkeys(("memberships?", "memberships_restored?", "memberships_remaining?"), (WHOLE, NONE)),
}

_FORGET = {"state?": str, **dict.fromkeys(("removed?", "bytes?"), WHOLE), "files?": [_FILE]}

_HANDOVER = dict.fromkeys(("archive?", "handover?"), str)

_FACTS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("session", "start"): _START,
    ("session", "stop"): _STOP,
    ("change", "concurrency"): {"value": int},
    ("change", "until"): {"value": TIME},
    **{("change", what): {"value": bool} for what in ("paused", "stop")},
    ("change", "schedule"): {"value": (*NUMBER, NONE)},
    **{("change", what): {"value": NUMBER} for what in ("rate", "slowed")},
    ("annotation", "undo"): _UNDO,
    ("annotation", "forget"): _FORGET,
    ("annotation", "handover"): _HANDOVER,
}
"""The members that depend on a word of the entry, by the type of the entry and this word."""

_WORDS = {"session": "event", "annotation": "event", "change": "what"}
"""The member with this word, by the type of the entry."""


def check_facts(data: Mapping[str, Any]) -> None:
    """Raise Mismatch unless the members that depend on a word have their types."""
    if (member := _WORDS.get(data["type"])) is not None:
        _CHECKS[data["type"], data[member]](data)


_CHECKS = {words: check_of(members) for words, members in _FACTS.items()}
