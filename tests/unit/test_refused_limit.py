"""How many refused ids halt a session."""

from __future__ import annotations

import pytest

from bulkdel.core.refused_limit import RefusedLimit


@pytest.mark.parametrize(
    ("text", "refused", "settled", "exceeded"),
    [
        ("1%", 10, 1_000, False),
        ("1%", 11, 1_000, True),
        ("1%", 500, 999, False),
        ("0%", 1, 1_000, True),
        ("100%", 1_000, 1_000, False),
        ("2.5%", 26, 1_000, True),
        ("5", 5, 10, False),
        ("5", 6, 10, True),
        ("0", 1, 1, True),
    ],
)
def test_refused_limit(text: str, refused: int, settled: int, exceeded: bool) -> None:
    assert RefusedLimit.parse(text).exceeded(refused, settled) is exceeded


@pytest.mark.parametrize("text", ["", "x", "-1", "-1%", "101%", "1.5", "%", "nan%"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError):
        RefusedLimit.parse(text)
