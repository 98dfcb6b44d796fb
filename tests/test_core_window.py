"""The duplicate window against a plain history."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.window import OLDER, WINDOW, DuplicateWindow

KEYS = st.lists(st.integers(0, 60).map(str), max_size=300)


@settings(deadline=None)
@given(KEYS, st.integers(1, 20))
def test_a_repetition_within_the_window_is_found_and_nothing_else_is(keys: list[str], size: int) -> None:
    window = DuplicateWindow(size)
    for at, key in enumerate(keys):
        seen = window.seen(key)
        if key in keys[max(0, at - size) : at]:
            assert seen
        if seen:
            assert key in keys[:at]
            latest = at - 1 - keys[:at][::-1].index(key)
            assert len(set(keys[latest:at])) <= (OLDER + 1) * -(-size // OLDER)


@settings(deadline=None)
@given(KEYS, st.integers(1, 20))
def test_two_passes_over_one_export_agree(keys: list[str], size: int) -> None:
    assert list(map(DuplicateWindow(size).seen, keys)) == list(map(DuplicateWindow(size).seen, keys))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 60).map(str), max_size=9), max_size=40), st.integers(1, 20))
def test_many_at_once_are_as_many_one_by_one(batches: list[list[str]], size: int) -> None:
    many, single = DuplicateWindow(size), DuplicateWindow(size)
    for batch in batches:
        assert many.repeated(batch) == [i for i, key in enumerate(batch) if single.seen(key)]
        assert (many.taken, many.round_at) == (single.taken, single.round_at)


@settings(deadline=None)
@given(KEYS, st.integers(1, 20))
def test_a_window_begun_at_a_turn_is_the_same_from_the_next_turn_on(keys: list[str], size: int) -> None:
    whole, turns = DuplicateWindow(size), []
    answers = []
    for key in keys:
        answers.append(whole.seen(key))
        if whole.round_at == whole.taken:
            turns.append(whole.taken)
    for turn in turns:
        later = DuplicateWindow(size)
        for at, key in enumerate(keys[turn:], turn):
            turned = later.round_at
            assert later.seen(key) == answers[at] or not turned
            assert not later.round_at or later.round_at + turn in turns


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
