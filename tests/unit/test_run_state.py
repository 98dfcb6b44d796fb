"""Folding the log: the counts add up whatever happens, and contradictions stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.account_match import Instant
from bulkdel.core.guards import Guards, Spared
from bulkdel.core.log_entries import (
    Annotation,
    Change,
    Changed,
    ChangedBy,
    Entry,
    Intent,
    MembershipsSaved,
    Outcome,
    Released,
    Saved,
    Session,
    Skipped,
    Throttled,
    Unreadable,
)
from bulkdel.core.outcome import KINDS, SKIPS
from bulkdel.core.ranges import positions_in, ranges_of
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from tests import recorded
from tests.mutants import mutant
from tests.recorded import AT, deleted, fold
from tests.syntax import swap

ROWS = 40

OPEN = "remaining"


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Entry], SkippedRows, dict[int, str], dict[int, Instant]]:
    """Entries that a run could write, the rows that it skips, what became of each row, when each doubt began."""
    ends = dict.fromkeys(range(ROWS), OPEN)
    doubts: dict[int, Instant] = {}
    drawn = draw(st.dictionaries(st.integers(0, ROWS - 1), st.sampled_from(SKIPS), max_size=15))
    listed = {reason: [(row, row + 1) for row in drawn if drawn[row] == reason] for reason in SKIPS}
    skipped = recorded.skipped(**listed)
    entries: list[Entry] = [recorded.header(ROWS, skipped), Session("start", AT, "")]
    ends |= drawn
    for step in range(draw(st.integers(0, 30))):
        left = [row for row in ends if ends[row] == OPEN]
        if not left:
            break
        rows = sorted(draw(st.sets(st.sampled_from(left), min_size=1, max_size=8)))
        ranges = ranges_of(rows)
        action = draw(st.sampled_from(["intent", "outcome", "released", "skipped", "annotation"]))
        if action == "annotation":
            entries.append(Annotation("undo", AT, ""))
            continue
        if action == "intent":
            entries.append(Intent(f"t{step:02}", ranges, None, step))
            for row in rows:
                doubts.setdefault(row, Instant(f"t{step:02}", step))
            continue
        if action == "released":
            entries.append(Released(ranges))
        elif action == "outcome":
            kind = draw(st.sampled_from(KINDS))
            entries.append(Outcome(AT, 1, kind, ranges))
            ends |= dict.fromkeys(rows, kind)
        else:
            entries.append(Skipped("excluded", ranges))
            ends |= dict.fromkeys(rows, "excluded")
        for row in rows:
            doubts.pop(row, None)
    return entries, skipped, ends, doubts


@settings(deadline=None)
@given(histories())
def test_a_history_folds_into_what_became_of_every_row(
    history: tuple[list[Entry], SkippedRows, dict[int, str], dict[int, Instant]],
) -> None:
    entries, listed, ends, doubts = history
    progress = fold(entries, listed)
    words = list(ends.values())
    assert progress.counts == {name: words.count(name) for name in (*KINDS, *SKIPS)}
    assert progress.remaining == words.count(OPEN)
    assert sum(progress.counts.values()) + progress.remaining == progress.rows == ROWS
    assert progress.complete is (OPEN not in words)
    skipped = {row for row in ends if ends[row] in SKIPS}
    settled = {row for row in ends if ends[row] in KINDS}
    for found, rows in ((progress.settled, settled), (progress.in_doubt, set(doubts))):
        assert set(positions_in(found.ranges)) - skipped == rows
        assert found.size == len(rows)
    told = {row: doubt.since for start, stop, doubt in progress.doubts() for row in range(start, stop)}
    assert {row: at for row, at in told.items() if row not in skipped} == doubts
    untouched = progress.untouched(PositionSet([(0, ROWS)]))
    assert {*untouched.between(0, ROWS)} == {row for row in ends if ends[row] == OPEN} - set(doubts)
    starts = [start for start, _, _ in progress.doubts()]
    assert starts == sorted(starts)


@settings(deadline=None)
@given(histories(), st.integers(0, 30))
def test_a_fold_can_go_on_where_it_stopped(
    history: tuple[list[Entry], SkippedRows, dict[int, str], dict[int, Instant]], cut: int
) -> None:
    entries, listed = history[:2]
    progress = fold(entries[: cut + 1], listed)
    for entry in entries[cut + 1 :]:
        progress.apply(entry)
    assert recorded.state(progress) == recorded.state(fold(entries, listed))


def folded(*entries: Entry) -> RunState:
    return fold([recorded.header(100), Session("start", AT, ""), *entries])


def intent(at: str, start: int, stop: int) -> Intent:
    return Intent(at, ((start, stop),))


@pytest.mark.parametrize(
    ("entries", "doubts"),
    [
        ([intent("a", 0, 50), deleted(0, 50)], []),
        ([intent("a", 0, 50), deleted(10, 20)], [(0, 10, Instant("a")), (20, 50, Instant("a"))]),
        ([intent("a", 0, 50), deleted(0, 20)], [(20, 50, Instant("a"))]),
        ([intent("a", 0, 50), deleted(20, 50)], [(0, 20, Instant("a"))]),
        (
            [intent("a", 0, 50), intent("b", 50, 60), Released(((40, 55),))],
            [(0, 40, Instant("a")), (55, 60, Instant("b"))],
        ),
        ([intent("a", 0, 50), intent("b", 40, 60)], [(0, 50, Instant("a")), (50, 60, Instant("b"))]),
        ([intent("b", 50, 60), intent("a", 0, 50)], [(0, 50, Instant("a")), (50, 60, Instant("b"))]),
        ([intent("a", 0, 50), Released(((0, 50),)), intent("c", 0, 50)], [(0, 50, Instant("c"))]),
        (
            [intent("a", 0, 50), Skipped("excluded", ((10, 11),))],
            [(0, 10, Instant("a")), (11, 50, Instant("a"))],
        ),
        ([Released(((0, 50),))], []),
    ],
)
def test_what_is_in_doubt_and_since_when(entries: list[Entry], doubts: list[object]) -> None:
    assert [(start, stop, doubt.since) for start, stop, doubt in folded(*entries).doubts()] == doubts


@mutant(
    "the lag of a row that was sent again is counted from its first request",
    "RunState._renew",
    swap("self._intended[span]._replace(latest=at)", "self._intended[span]._replace(since=at)"),
)
@pytest.mark.parametrize(
    ("entries", "latest"),
    [
        ([intent("a", 0, 50)], {(0, 50): "a"}),
        ([intent("a", 0, 50), intent("b", 0, 50)], {(0, 50): "b"}),
        # Of a part of the rows: it counts for all that had one intent together.
        ([intent("a", 0, 50), intent("a", 50, 60), intent("b", 10, 20)], {(0, 50): "b", (50, 60): "a"}),
        ([intent("a", 0, 50), intent("b", 40, 60)], {(0, 50): "b", (50, 60): "b"}),
        ([intent("a", 0, 50), deleted(0, 20), intent("b", 20, 50)], {(20, 50): "b"}),
        ([intent("a", 0, 50), intent("b", 0, 50), deleted(0, 20)], {(20, 50): "b"}),
    ],
)
def test_when_rows_in_doubt_were_sent_last(entries: list[Entry], latest: dict[tuple[int, int], str]) -> None:
    doubts = folded(*entries).doubts()
    assert {(start, stop): doubt.latest.at for start, stop, doubt in doubts} == latest
    assert {doubt.since.at for start, _, doubt in doubts if start < 50} == {"a"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([deleted(0, 50), intent("a", 49, 60)], "rows 49-59 are sent after they were settled"),
        ([intent("a", 90, 101)], "rows 90-100 are sent, but the export has 100 rows"),
        ([deleted(0, 50), deleted(49, 51)], "rows 49-50 are settled twice, are skipped, or are not in the export"),
        ([Skipped("excluded", ((3, 4),)), deleted(0, 50)], "rows 0-49 are settled twice"),
        ([deleted(0, 50), Skipped("excluded", ((3, 4),))], "rows 3-3 are settled twice"),
        ([Skipped("excluded", ((3, 5),)), Skipped("excluded", ((4, 6),))], "rows 4-5 are settled twice"),
        ([Skipped("excluded", ((99, 101),))], "rows 99-100 are excluded, but the export has 100 rows"),
        ([Skipped("invalid", ((3, 4),))], "rows 3-3 are invalid, and no session says that"),
        ([deleted(99, 101)], "rows 99-100 are settled twice, are skipped, or are not in the export"),
        ([recorded.header(100)], "a second header"),
    ],
)
def test_a_log_that_contradicts_itself_is_not_folded(entries: list[Entry], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        folded(*entries)


def test_sessions_are_counted_and_a_crash_leaves_one_open() -> None:
    start, stop = Session("start", "1", ""), Session("stop", "2", "")
    again = Session("start", "3", "")
    progress = fold([recorded.header(100), start, stop])
    assert (progress.sessions, progress.start, progress.stop) == (1, start, stop)
    progress.apply(again)
    assert (progress.sessions, progress.start, progress.stop) == (2, again, None)


def test_an_annotation_changes_no_count_and_no_session_and_ends_the_one_that_was_killed() -> None:
    facts = {"pid": 7, "to_go_on": ["run"], "confirmed": {"ids": 100}, "note": "n", "backup": "b"}
    entries: list[Entry] = [Session("start", AT, "", facts), intent("t1", 0, 5), deleted(0, 2)]
    plain, progress = folded(*entries), folded(*entries)
    note = Annotation("undo", "t2", "", {"pid": 8})
    progress.apply(note)
    assert (progress.annotations, plain.annotations) == ((note,), ())
    assert (progress.under_way, plain.under_way) == (None, entries[0])
    assert recorded.state(progress) == recorded.state(plain)
    for name in ("start", "stop", "sessions", "confirmed_at", "asked", "note", "backup", "remaining"):
        assert getattr(progress, name) == getattr(plain, name), name
    progress.apply(start := Session("start", "t3", "", {"pid": 9}))
    assert progress.under_way is start
    assert progress.annotations == (note,)
    progress.apply(Session("stop", "t4", ""))
    assert progress.under_way is None


def test_a_change_ends_with_its_session_and_may_carry_a_confirmation() -> None:
    slower, faster = (Change(f"t{rate}", Changed.RATE, rate, ChangedBy.CTL, "ann") for rate in (1.0, 2.0))
    resumed = Change("t5", Changed.PAUSED, False, ChangedBy.CTL, "ann", {"ids": 100})
    progress, plain = folded(started(), slower, faster, resumed), folded(started())
    assert progress.changes == {Changed.RATE: faster, Changed.PAUSED: resumed}
    assert recorded.state(progress) == recorded.state(plain)
    assert progress.confirmed_at == plain.confirmed_at, "no MAC is over a change, so it holds for its session only"
    progress.apply(Throttled("t6", 2))
    progress.apply(started())
    assert progress.changes == {}


@pytest.mark.parametrize("before", [[], [Session("start", AT, ""), Session("stop", AT, "")]])
def test_a_change_needs_a_session(before: list[Entry]) -> None:
    with pytest.raises(Unreadable, match="responses 429, while no session was under way"):
        fold([recorded.header(100), *before, Throttled("T", 1)])
    with pytest.raises(Unreadable, match="no session was under way"):
        fold([recorded.header(100), *before, Change("T", Changed.STOP, True, ChangedBy.LIBRARY)])


def test_the_guards_of_the_latest_session_count() -> None:
    """A session without any keeps those before it: a guard is never dropped."""
    first, second = Guards(active_since=100.0), Guards(active_since=50.0, statuses=frozenset({"Suspended"}))
    progress = fold([replace(recorded.header(100), guards=first), started(guards=first.to_json())])
    assert progress.guards == first
    progress.apply(started(guards=second.to_json()))
    progress.apply(started(guards={}))
    progress.apply(started())
    assert progress.guards == second
    with pytest.raises(Unreadable, match="the guards of a session cannot be read"):
        progress.apply(started(guards={"statuses": 7}))


def test_spared_rows_are_counted_by_their_guard() -> None:
    rows = [Skipped("excluded", ((3, 5),)), Skipped("excluded", ((7, 10),), Spared.STATUS)]
    progress = folded(*rows, Skipped("excluded", ((20, 21),), Spared.STATUS))
    assert (progress.counts["excluded"], progress.spared) == (6, {"status": 4})


def test_which_files_were_forgotten_and_when() -> None:
    def files(*names: str) -> dict[str, object]:
        return {"state": "begun", "files": [{"path": name} for name in names]}

    progress = folded(
        Annotation("forget", "t1", "", files("a", "b")),
        Annotation("forget", "t2", "", {"state": "ended"}),
        Annotation("undo", "t3", "", files("c")),
        Annotation("forget", "t4", "", files("b")),
    )
    assert progress.forgotten == {"a": "t1", "b": "t4"}


def test_the_plan_of_the_latest_confirmation_counts() -> None:
    header = replace(recorded.header(100), confirmed={"ids": 100, "plan": {"sha256": "first"}})
    assert fold([header, started()]).plan == {"sha256": "first"}
    assert fold([header, started(confirmed={"ids": 100, "plan": {"sha256": "second"}})]).plan == {"sha256": "second"}
    assert fold([recorded.header(100), started(confirmed={"ids": 100})]).plan is None


def test_a_backup_that_was_moved_is_continued_and_another_one_is_a_further_one() -> None:
    progress = fold([recorded.header(100), started(backup="a")])
    progress.apply(started(backup="b", backup_was="a"))
    assert (progress.backup, progress.backups) == (("b", Saved()), (("b", Saved()),))
    progress.apply(started(backup="c", backup_was="a"))
    assert (progress.backup, progress.backups) == (("c", Saved()), (("b", Saved()), ("c", Saved())))
    progress.apply(started(backup="d", backup_was="c"))
    assert progress.backups == (("b", Saved()), ("d", Saved()))


def started(**facts: object) -> Session:
    return Session("start", "2", "", facts)


def test_what_was_confirmed_last_is_what_counts() -> None:
    """Exclude files may be added: then more is excluded, and fewer ids are asked for."""
    progress = folded()
    assert (progress.asked, progress.excluded, progress.confirmed_at) == (progress.header.counts, {}, AT)
    fewer = {**progress.header.counts, "ids": 39, "excluded": 1}
    progress.apply(started(asked=fewer, excluded={"aa": "/a", "bb": "/b"}, confirmed={"ids": 39}))
    progress.apply(started())
    assert (progress.asked, progress.excluded, progress.confirmed_at) == (fewer, {"aa": "/a", "bb": "/b"}, "2")


def test_a_session_is_about_all_rows_of_its_run() -> None:
    progress = folded()
    rows = progress.header.counts["rows"]
    with pytest.raises(Unreadable, match=f"a session was asked for {rows + 1} rows, and the run has {rows}"):
        progress.apply(started(asked={**progress.header.counts, "rows": rows + 1}))


def test_by_which_clock_and_for_which_host_a_run_was_confirmed() -> None:
    header = replace(recorded.header(100), confirmed={"ids": 100, "ahead_s": 7, "host": "a"})
    progress = fold([header, started()])
    assert (progress.confirmed_ahead_s, progress.confirmed_host) == (7, "a")
    progress.apply(started(confirmed={"ids": 100, "ahead_s": -3, "host": "b"}))
    assert (progress.confirmed_ahead_s, progress.confirmed_host) == (-3, "b")
    progress.apply(started(confirmed={"ids": 100}))
    assert (progress.confirmed_ahead_s, progress.confirmed_host) == (None, None)


def test_how_the_latest_session_left_the_logs_of_its_shards() -> None:
    progress = folded(Session("stop", AT, "", {"shards": {"1": (5, "aa")}}))
    assert progress.shards_left == {"1": (5, "aa")}
    progress.apply(started())
    progress.apply(Session("stop", AT, ""))
    assert progress.shards_left == {}


def test_rows_are_counted_by_the_reason_of_their_outcome() -> None:
    """A row with a reason of its own does not count for the reason of the others."""
    own = ({"row": 1, "reason": "taken"}, {"row": 2, "attempts": 3})
    progress = folded(Outcome(AT, 1, "refused", ((0, 4),), reason="unproven", exceptions=own))
    assert progress.reasons == {("refused", "taken"): 1, ("refused", "unproven"): 3}
    progress = folded(*(Outcome(AT, 1, "absent", ((at, at + 2),), reason="unproven") for at in (0, 2)))
    assert progress.reasons == {("absent", "unproven"): 4}


def noted(progress: RunState) -> str:
    """A call, because the type checker remembers what an attribute was compared with."""
    return progress.note


def test_the_latest_note_stays() -> None:
    progress = folded()
    assert noted(progress) == ""
    progress.apply(started(note="CHG-1"))
    progress.apply(started(note=None))
    assert noted(progress) == "CHG-1"
    progress.apply(started(note="CHG-2"))
    assert noted(progress) == "CHG-2"


def known(progress: RunState) -> tuple[str, Saved] | None:
    """A call, because the type checker remembers what an attribute was compared with."""
    return progress.backup


def test_how_much_of_the_backup_is_durable() -> None:
    """As the last session's intents say; of another file nothing is known."""
    progress = folded(Intent("a", ((0, 2),), Saved(70, 1)))
    assert known(progress) is None
    progress.apply(started(backup="b.jsonl"))
    assert known(progress) == ("b.jsonl", Saved())
    progress.apply(Intent("a", ((2, 4),), Saved(500, 3)))
    progress.apply(Intent("a", ((4, 6),), Saved(300, 2)))
    progress.apply(Intent("a", ((6, 8),)))
    assert known(progress) == ("b.jsonl", Saved(500, 3))
    progress.apply(started(backup="b.jsonl"))
    assert known(progress) == ("b.jsonl", Saved(500, 3))
    progress.apply(started(backup="c.jsonl"))
    assert known(progress) == ("c.jsonl", Saved())
    progress.apply(Intent("a", ((8, 10),), Saved(90, 4)))
    progress.apply(started())
    assert known(progress) is None
    progress.apply(started(backup="b.jsonl"))
    assert progress.backups == (("b.jsonl", Saved(500, 3)), ("c.jsonl", Saved(90, 4)), ("b.jsonl", Saved()))


COPY = MembershipsSaved(AT, "users.memberships.jsonl", 900, 7, 2, 1, 30)


def test_the_copy_of_the_memberships_is_older_than_every_intent() -> None:
    """It stays when a later session says that it keeps one, and the last one counts; it cannot follow an intent."""
    start = Session("start", AT, "", {"memberships": "users.memberships.jsonl"})
    born: list[Entry] = [recorded.header(9), start]
    progress = fold(born)
    assert (progress.memberships_to, progress.memberships) == ("users.memberships.jsonl", None)
    progress = fold([*born, Intent(AT, ((0, 5),)), Released(((0, 5),)), COPY, Session("start", AT, "")])
    assert (progress.memberships_to, progress.memberships) == ("users.memberships.jsonl", COPY)
    assert not progress.sent
    newer = replace(COPY, path="other.memberships.jsonl")
    progress = fold([*born, COPY, newer])
    assert (progress.copies, progress.memberships) == ((COPY, newer), newer)
    later: list[list[Entry]] = [[Intent(AT, ((0, 5),))], [deleted(0, 5)]]
    for entries in later:
        with pytest.raises(Unreadable, match="not older than the first intent"):
            fold([*born, *entries, COPY])


def test_a_long_run_in_order_needs_one_range() -> None:
    progress = fold([recorded.header(100_000)])
    for start in range(0, 100_000, 50):
        progress.apply(intent("a", start, start + 50))
        progress.apply(deleted(start, start + 50))
    assert progress.settled.ranges == ((0, 100_000),)
    assert progress.in_doubt.ranges == ()
    assert progress.doubts() == []
    assert progress.complete


def test_when_the_latest_outcome_was_written() -> None:
    """The logs of shards are read one after the other."""
    outcomes = [
        Outcome(f"2026-03-01T12:0{minute}:00Z", 1, "done", ((row, row + 1),), ahead_s=row)
        for row, minute in enumerate((1, 3, 2))
    ]
    start: list[Entry] = [recorded.header(ROWS), Session("start", AT, "")]
    assert fold(start).settled_at is None
    assert fold([*start, *outcomes]).settled_at == Instant("2026-03-01T12:03:00Z", 1)


def test_what_the_restores_of_a_run_say() -> None:
    """A restore of some rows leaves the run open; what was refused or is unknown did not come back."""
    none = fold([recorded.header(5)])
    assert (none.restores, none.back, none.undo) == ({}, {}, None)
    some = {"state": "ended", "number": 1, "only": 1, "restored": 2, "remaining": 0, "refused": 1, "unknown": 1}
    whole = {"state": "begun", "number": 2}
    notes = ({**some, "state": "begun", "restored": 0}, some, whole)
    progress = fold([recorded.header(5), *(Annotation("undo", AT, "", facts) for facts in notes)])
    assert [(each.facts["number"], each.lost) for each in progress.restores.values()] == [(1, 2), (2, 0)]
    assert progress.back == {1: 2}
    assert progress.undo is not None
    assert progress.undo.facts == whole
