"""The types of what a run or a batch answers over its control socket: one table, for every answer.

Another program may answer there. What the table lets through, `status`, `ctl` and the page of a batch may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkdel.core.json_types import NONE, NUMBER, TEXT, TIME, WHOLE, Each, Such, check_of, is_whole
from bulkdel.core.latency import BOUNDS_S


def _is_latency(value: Any) -> bool:
    return type(value) is list and len(value) == len(BOUNDS_S) + 1 and all(map(is_whole, value))


_BATCH = {"run_id": str}

_STARTING = {
    **_BATCH,
    **dict.fromkeys(("job", "host", "state"), str),
    **dict.fromkeys(("pool", "doing"), TEXT),
    "pid": WHOLE,
    "names": Each(str),
}

_SENDING = {
    **_STARTING,
    **dict.fromkeys(("rows", "settled", "remaining", "left_out", "requests", "retries", "throttled"), WHOLE),
    **dict.fromkeys(("in_flight", "concurrency"), WHOLE),
    **dict.fromkeys(("counts", "refused", "left_out_by"), Each(WHOLE)),
    **dict.fromkeys(("confirm", "waiting"), TEXT),
    "rate": {"allowed": NUMBER, "used": NUMBER, "binding": TEXT},
    "until": (TIME, NONE),
    "breaker": str,
    "per_s": NUMBER,
    "left_s": (*NUMBER, NONE),
    "latency": {"bounds_s": [NUMBER], "counts": Such(_is_latency), "sum_s": NUMBER},
}

_CHECKS = {
    name: check_of({"ok": bool, "text": str, "status": status})
    for name, status in {"none": NONE, "batch": _BATCH, "starting": _STARTING, "sending": _SENDING}.items()
}


def check_answer(answer: Any) -> None:
    """Raise TypeError, KeyError or Mismatch unless each member of this answer has its type, and a text or a state."""
    status = answer["status"]
    if status is not None and type(status) is not dict:
        raise TypeError("status")
    members: Mapping[str, Any] = {} if status is None else status
    if not answer["text"] and "state" not in members:
        raise KeyError("state")
    kind = "none" if status is None else "batch"
    if "state" in members:
        kind = "starting" if members.keys().isdisjoint({"rows", "rate"}) else "sending"
    _CHECKS[kind](answer)
