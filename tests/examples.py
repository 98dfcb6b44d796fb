"""How many examples are tried: in `make test` one in four, with EXAMPLES=all (`make soak`, mutants) all."""

from __future__ import annotations

import os
from collections.abc import Collection

ALL = os.environ.get("EXAMPLES") == "all"


def examples(count: int) -> int:
    """The number to try of `count`."""
    return count if ALL else max(1, count // 4)


def lengths(whole: int, ends: Collection[int] = ()) -> list[int]:
    """The lengths to which a file is cut, from 0 to `whole`: one in four and those beside `ends` of lines, or all."""
    beside = {end + by for end in ends for by in (-1, 0, 1)}
    return [length for length in range(whole + 1) if ALL or length % 4 == 0 or length in beside]
