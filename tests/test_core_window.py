"""The duplicate window against a plain history."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.window import WINDOW, DuplicateWindow

KEYS = st.lists(st.integers(0, 30).map(str), max_size=200)


@settings(deadline=None)
@given(KEYS, st.integers(1, 12))
def test_a_repetition_within_the_window_is_found_and_nothing_else_is(keys: list[str], size: int) -> None:
    window = DuplicateWindow(size)
    for at, key in enumerate(keys):
        seen = window.seen(key)
        if key in keys[max(0, at - size) : at]:
            assert seen
        if seen:
            assert key in keys[:at]
            latest = at - 1 - keys[:at][::-1].index(key)
            assert len(set(keys[latest:at])) <= 2 * size


@settings(deadline=None)
@given(KEYS, st.integers(1, 12))
def test_two_passes_over_one_export_agree(keys: list[str], size: int) -> None:
    assert list(map(DuplicateWindow(size).seen, keys)) == list(map(DuplicateWindow(size).seen, keys))


@pytest.mark.parametrize("apart", [1, 99_999, 100_000])
def test_a_hundred_thousand_ids_apart_is_still_found(apart: int) -> None:
    window = DuplicateWindow()
    assert WINDOW == 100_000
    assert not window.seen("x")
    assert not any(window.seen(str(i)) for i in range(apart - 1))
    assert window.seen("x")


def test_an_id_that_comes_again_is_remembered_from_then_on() -> None:
    window = DuplicateWindow(3)
    assert [window.seen(key) for key in "abcaxyzaq"] == [False, False, False, True, False, False, False, True, False]
