"""How many examples hypothesis tries: in `make test` one in four, with EXAMPLES=all (`make soak`, mutants) all."""

from __future__ import annotations

import os

ALL = os.environ.get("EXAMPLES") == "all"


def examples(count: int) -> int:
    """The number to try of `count`."""
    return count if ALL else max(1, count // 4)
