"""What people call the ids that need no request any more."""

from __future__ import annotations

import pytest

from bulkdel.core.target_state import CREATED, GONE, TargetState

DISABLED = TargetState("disabled", "still enabled", absence_reaches=False)


@pytest.mark.parametrize(("state", "words"), [(GONE, "gone"), (CREATED, "there"), (DISABLED, "disabled or absent")])
def test_what_is_claimed(state: TargetState, words: str) -> None:
    assert state.claimed == words
