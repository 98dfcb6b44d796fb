"""What a run says at its end: every combination of what can be true then, and the one exit code that follows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import Entry, Outcome, Session
from bulkdel.core.outcome import COUNTED, KINDS, SKIPS
from bulkdel.core.ranges import Ranges
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import Ending, Status, count_lines, counts_of, exit_code, state_of, status_of, summary_of
from tests import recorded
from tests.recorded import fold

AT = "2026-01-01T00:00:00.000Z"

KEYS = (
    *("deleted", "absent", "refused", "unknown", "excluded", "duplicate", "invalid", "remaining"),
    *("rows", "spared", "requests", "retries", "throttled", "resumed", "duration_s", "run", "log_sha256"),
    "status",
    *("job", "pool", "run_id", "exit_code"),
)
"""As docs/reference.md lists them."""


def progress_of(remaining: int = 0, **counts: int) -> RunState:
    """A log whose rows ended as `counts` says."""
    at, ranges = 0, dict[str, Ranges]()
    for name, count in counts.items():
        ranges[name] = ((at, at + count),) if count else ()
        at += count
    skipped = recorded.skipped(**{reason: ranges.get(reason, ()) for reason in SKIPS})
    progress = fold([recorded.header(at + remaining, skipped)], skipped)
    for kind in KINDS:
        if ranges.get(kind):
            progress.apply(Outcome(AT, 1, kind, ranges[kind]))
    return progress


def expected_code(
    *, remaining: bool, refused: bool, file_failed: bool, signal: int | None, halted: bool, limit: bool, planned: bool
) -> int:
    """The sentence of the design, word by word: 5 before a signal before 4 before 6 before 1."""
    if file_failed:
        return 5
    if signal is not None and remaining:
        return 128 + signal
    if remaining and (halted or not (limit or planned)):
        return 4
    if remaining and planned and not limit:
        return 6
    return 1 if refused and not remaining else 0


@pytest.mark.parametrize("file_failed", [False, True])
@pytest.mark.parametrize("signal", [None, 1, 2, 15])
def test_every_combination(file_failed: bool, signal: int | None) -> None:
    either = (False, True)
    for remaining, refused, unknown, halted, limit, planned in product((0, 3), (0, 1), (0, 1), either, either, either):
        progress = progress_of(remaining, done=5, refused=refused, unknown=unknown)
        ending = Ending("why", signal, file_failed, halted, limit, planned)
        expected = expected_code(
            remaining=bool(remaining),
            refused=bool(refused or unknown),
            file_failed=file_failed,
            signal=signal,
            halted=halted,
            limit=limit,
            planned=planned,
        )
        assert exit_code(ending, complete=progress.complete, refused=refused + unknown) == expected, ending


@pytest.mark.parametrize(
    ("code", "remaining", "counts", "ending"),
    [
        (0, 0, {"done": 4}, Ending()),
        (0, 0, {"done": 1, "absent": 1, "excluded": 1, "duplicate": 1, "invalid": 1}, Ending()),
        (0, 0, {}, Ending()),
        (0, 9, {"done": 1}, Ending(limit_reached=True)),
        (0, 9, {"done": 1, "refused": 1}, Ending(limit_reached=True)),
        (1, 0, {"done": 1, "refused": 1}, Ending()),
        (1, 0, {"unknown": 1}, Ending()),
        (1, 0, {"refused": 1}, Ending(signal=2)),  # the signal came when everything was done
        (4, 1, {"done": 1}, Ending()),
        (4, 1, {"refused": 1}, Ending(halted=True)),
        (4, 1, {}, Ending(halted=True, limit_reached=True)),
        (6, 1, {"done": 1, "refused": 1}, Ending(planned=True)),
        (0, 1, {"done": 1}, Ending(planned=True, limit_reached=True)),
        (4, 1, {}, Ending(planned=True, halted=True)),
        (143, 1, {}, Ending(planned=True, signal=15)),
        (1, 0, {"refused": 1}, Ending(planned=True)),
        (130, 1, {}, Ending(signal=2)),
        (143, 1, {"refused": 1}, Ending(signal=15, halted=True)),
        (129, 1, {}, Ending(signal=1, limit_reached=True)),
        (5, 1, {}, Ending(signal=2, file_failed=True, halted=True)),
        (5, 0, {"refused": 1}, Ending(file_failed=True)),
    ],
)
def test_by_hand(code: int, remaining: int, counts: dict[str, int], ending: Ending) -> None:
    progress = progress_of(remaining, **counts)
    refused = progress.counts["refused"] + progress.counts["unknown"]
    assert exit_code(ending, complete=progress.complete, refused=refused) == code


@pytest.mark.parametrize(
    ("status", "remaining", "ending"),
    [
        ("complete", 0, Ending()),
        ("complete", 0, Ending(signal=2, halted=True, file_failed=True)),
        ("interrupted", 1, Ending(signal=2)),
        ("interrupted", 1, Ending(signal=2, halted=True, file_failed=True)),
        ("halted", 1, Ending(halted=True)),
        ("halted", 1, Ending(file_failed=True)),
        ("incomplete", 1, Ending()),
        ("incomplete", 1, Ending(limit_reached=True)),
        ("incomplete", 1, Ending(limit_reached=True, planned=True)),
        ("stopped", 1, Ending(planned=True)),
        ("halted", 1, Ending(planned=True, file_failed=True)),
        ("interrupted", 1, Ending(planned=True, signal=15)),
        ("complete", 0, Ending(planned=True)),
        ("interrupted", 1, Ending(drained=True)),
    ],
)
def test_status(status: Status, remaining: int, ending: Ending) -> None:
    assert status_of(ending, complete=progress_of(remaining, done=1).complete) == status


@given(st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 1000)), st.integers(0, 1000))
def test_the_counts_add_up_to_the_rows_by_the_jobs_names(counts: dict[str, int], remaining: int) -> None:
    """`already` has no name in this job: it is left out, unless it occurs all the same."""
    progress = progress_of(remaining, **counts)
    told = counts_of(progress)
    assert sum(told.values()) == progress.rows
    expected = {**dict.fromkeys(COUNTED, 0), **counts, "remaining": remaining}
    already = {"already": found} if (found := expected.pop("already")) else {}
    assert told == {"deleted": expected.pop("done"), **already, **expected}


def test_scripts_and_people_read_words_of_their_own() -> None:
    names, keys = {"done": "disabled", "already": "already disabled"}, {"done": "done", "already": "already"}
    header = replace(recorded.header(3), names=names, keys=keys)
    progress = fold([header])
    progress.apply(Outcome(AT, 1, "already", ((0, 2),)))
    assert {name: count for name, count in counts_of(progress).items() if count} == {"already": 2, "remaining": 1}
    lines = [line.split() for line in count_lines(progress)]
    assert lines == [["disabled", "0"], ["already", "disabled", "2"], ["remaining", "1"]]


def test_the_summary_has_the_keys_that_scripts_rely_on_in_their_order() -> None:
    figures = {"requests": 9, "retries": 2, "throttled": 1, "resumed": True, "duration_s": 1.5, "more": "not shown"}
    summary = summary_of(progress_of(1, done=2), "incomplete", figures, run="c", log_sha256="s", exit_code=4)
    assert tuple(summary) == KEYS
    assert (summary["rows"], summary["spared"]) == (3, {})
    told = {"requests": 9, "retries": 2, "throttled": 1, "resumed": True, "duration_s": 1.5}
    assert {name: summary[name] for name in told} == told
    assert (summary["run"], summary["log_sha256"], summary["status"]) == ("c", "s", "incomplete")


def test_the_state_of_a_run_that_is_not_under_way() -> None:
    start = Session("start", AT, "")
    halted, early = Session("stop", AT, "", {"status": "halted"}), Session("stop", AT, "")
    entries: list[tuple[list[Entry], str]] = [
        ([], "not begun"),
        ([start], "killed"),
        ([start, halted], "halted"),
        ([start, early], "incomplete"),
        ([start, halted, start], "killed"),
        ([start, recorded.deleted(0, 2)], "complete"),
    ]
    for after, state in entries:
        assert state_of(fold([recorded.header(2), *after])) == state


def test_what_each_guard_has_spared_stands_below_the_excluded_rows() -> None:
    progress = progress_of(1, done=2)
    progress.counts["excluded"] = 7
    progress.reasons |= {("excluded", Spared.CREATED.value): 4, ("excluded", Spared.ADMINISTRATOR.value): 1}
    lines = [line.rsplit(maxsplit=1) for line in count_lines(progress)]
    below = [("administrator", "1"), ("created after", "4"), ("protected", "2")]
    assert [(name.strip(), count) for name, count in lines[2:-1]] == below
    progress.counts["excluded"] = 5
    assert "protected" not in "".join(count_lines(progress)), "each row is excluded by a guard"
    assert len(set(map(len, count_lines(progress)))) == 1, "in one column"
    summary = summary_of(progress, "incomplete", {}, run="c", log_sha256="s", exit_code=4)
    assert summary["spared"] == {"created after": 4, "administrator": 1}


def test_a_run_that_its_caller_drained_can_be_resumed() -> None:
    """No signal has come, so it is not 128 + n."""
    assert exit_code(Ending(drained=True), complete=False, refused=0) == 4
    assert exit_code(Ending(drained=True), complete=True, refused=0) == 0


def test_each_outcome_is_followed_by_its_reasons() -> None:
    progress = fold([recorded.header(9)])
    own = ({"position": 1, "made": "x", "reason": "without departmentIds"}, {"position": 2, "made": "y"})
    progress.apply(Outcome(AT, 1, "done", ((0, 4),), exceptions=own))
    progress.apply(Outcome(AT, 1, "done", ((4, 6),), reason="without identities"))
    progress.apply(Outcome(AT, 1, "refused", ((6, 7),), reason="taken", exceptions=({"position": 6, "id": "z"},)))
    assert [" ".join(line.split()) for line in count_lines(progress)] == [
        "deleted 6",
        "without departmentIds 1",
        "without identities 2",
        "refused 1",
        "taken 1",
        "remaining 2",
    ]
