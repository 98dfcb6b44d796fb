"""How deeply a JSON value is nested. What is nested too deeply ends the recursion of a parser."""

from __future__ import annotations

from typing import Any

RECORD_DEPTH_MAX = 500
"""Objects and lists of a record may be nested so deeply. One parser ends at 1,024 and the other before 1,000, less the
functions that are under way: what is read once is then read, copied and sent by all."""


def is_deep_record(line: bytes, record: Any) -> bool:
    """Whether a record is nested too deeply. line: its text, which has a bracket for each level."""
    return line.count(b"{") + line.count(b"[") > RECORD_DEPTH_MAX and is_deep(record, RECORD_DEPTH_MAX)


def is_deep(value: Any, depth_max: int) -> bool:
    """Whether a value is nested more deeply than that. No recursion."""
    level = [value]
    for _ in range(depth_max):
        level = [each for one in level for each in _below(one)]
    return bool(level)


def _below(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
