"""The filters of a list of users: by status, or by the time of the last sign-in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import Any

from bulkdel_jobs.sandbox.answers import Answer, Refused, malformed
from bulkdel_jobs.sandbox.calls import Call
from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.users import STATUSES

Filter = Callable[[Pool, int], bool]
"""Whether a list shows the user of this number."""


def filters_in(call: Call) -> list[Filter]:
    """Read `advancedFilter`: the status, or the time of the last sign-in. Refused with 501 for anything else."""
    items = call.body.get("advancedFilter") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise malformed("advancedFilter")
    return [_filter(item.get("field"), item.get("operator"), item.get("value")) for item in items]


def _filter(field: Any, operator: Any, value: Any) -> Filter:
    if (field, operator) == ("status", "EQUAL"):
        if value not in STATUSES:
            raise malformed("status")
        return lambda pool, number: pool.status(number) == value
    if field == "lastLogin" and operator in ("LESSER", "GREATER", "BETWEEN"):
        bounds = value if operator == "BETWEEN" else [-inf, value] if operator == "LESSER" else [value, inf]
        if not isinstance(bounds, list) or len(bounds) != 2:  # noqa: PLR2004
            raise malformed("advancedFilter")
        first, last = map(_ms, bounds)

        def signed_in_between(pool: Pool, number: int) -> bool:
            at = pool.user(number)["lastLogin"]
            return at is not None and first <= _ms(at) <= last

        return signed_in_between
    raise Refused(Answer(501))


def _ms(moment: Any) -> float:
    """Return milliseconds since the epoch. moment: these, or ISO 8601."""
    try:
        return float(moment) if isinstance(moment, int | float) else datetime.fromisoformat(moment).timestamp() * 1000
    except (TypeError, ValueError):
        raise malformed("advancedFilter") from None
