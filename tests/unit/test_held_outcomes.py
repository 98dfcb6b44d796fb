"""Outcomes that are held back: refusals in a row, and ids that only the answers call absent."""

from __future__ import annotations

from itertools import count

import pytest

from bulkdel.core.halt_limits import ABSENT_FIRST, ABSENT_SHARE_AFTER, ALL_REFUSED_MIN
from bulkdel.core.held_outcomes import HeldOutcomes
from bulkdel.core.outcome import TAKEN, Detail, Kind, Settled
from bulkdel.core.record import Record, Records
from tests.mutants import mutant
from tests.syntax import swap

_positions = count()


def part(kind: Kind, size: int = 1, code: int = 400) -> Settled:
    records = Records.of(Record(position, f"u{position}") for position, _ in zip(_positions, range(size), strict=False))
    return Settled(kind, records, Detail(code) if kind == "refused" else Detail(), None)


def halted(held: HeldOutcomes) -> bool:
    return held.halt is not None


def kinds(parts: list[Settled]) -> list[tuple[str, int]]:
    return [(one.kind, len(one.records)) for one in parts]


@mutant(
    "absent ids need no proof although look-ups have no control",
    "HeldOutcomes.take",
    swap("doubtful or not self._absent_counts", "not doubtful and not self._absent_counts"),
)
@pytest.mark.parametrize(
    ("controlled", "allowed", "reason", "halts"),
    [
        (False, False, "unproven", True),
        (True, False, "unproven", False),
        (False, True, "unproven", False),
        (False, False, None, False),  # a look-up with a control has shown it before
    ],
)
def test_absent_ids_without_a_control_halt_as_without_look_ups(
    *, controlled: bool, allowed: bool, reason: str | None, halts: bool
) -> None:
    held = HeldOutcomes(absent_allowed=allowed)
    written = held.take([part("absent", ABSENT_FIRST)._replace(reason=reason)], controlled=controlled)
    assert (halted(held), written == []) == (halts, halts)


def test_absent_ids_are_not_allowed_by_default() -> None:
    held = HeldOutcomes()
    held.take([part("absent", ABSENT_FIRST)._replace(reason="unproven")], controlled=False)
    assert halted(held)


@pytest.mark.parametrize("size", [1, 3, ALL_REFUSED_MIN])
def test_refusals_in_a_row_halt_whatever_the_size_of_the_chunks(size: int) -> None:
    held = HeldOutcomes()
    taken = 0
    while held.halt is None:
        assert held.take([part("refused", size)]) == []
        taken += size
        assert taken < 2 * ALL_REFUSED_MIN
    assert taken >= ALL_REFUSED_MIN
    assert "in a row were refused with one code (code 400)" in held.halt
    assert held.take([part("done")]) != []
    written, left = held.end()
    assert (written, kinds(left)) == ([], [("refused", size)] * (taken // size)), "they get no outcome"


@pytest.mark.parametrize("kind", ["done", "already", "absent"])
def test_a_settled_id_between_them_lets_the_refusals_go(kind: Kind) -> None:
    held = HeldOutcomes()
    for _ in range(3):
        assert held.take([part("refused", ALL_REFUSED_MIN - 1)]) == []
        assert kinds(held.take([part(kind)])) == [("refused", ALL_REFUSED_MIN - 1), (kind, 1)]
    assert held.halt is None


def test_refusals_with_several_codes_are_no_reason_to_halt() -> None:
    held = HeldOutcomes()
    for code in (400, 422, 400, 422):
        held.take([part("refused", ALL_REFUSED_MIN - 1, code)])
    assert held.halt is None
    assert kinds(held.end()[0]) == [("refused", ALL_REFUSED_MIN - 1)]
    assert held.end() == ([], [])


def test_the_first_ids_all_absent_halt() -> None:
    held = HeldOutcomes(absent_counts=False)
    for _ in range(ABSENT_FIRST - 1):
        assert held.take([part("absent")]) == []
    assert not halted(held)
    assert held.take([part("absent")]) == []
    assert held.halt is not None
    assert "all of 20 ids are absent by the answers alone" in held.halt
    assert "(no details)" in held.halt
    assert "--allow-absent" in held.halt
    refused, absent = held.end()
    assert (refused, sum(len(one.records) for one in absent)) == ([], ABSENT_FIRST)


def test_one_that_is_done_proves_the_request() -> None:
    held = HeldOutcomes(absent_counts=False)
    assert held.take([part("absent", ABSENT_FIRST - 1)]) == []
    assert kinds(held.take([part("done")])) == [("absent", ABSENT_FIRST - 1), ("done", 1)]
    assert kinds(held.take([part("absent", ABSENT_FIRST)])) == [("absent", ABSENT_FIRST)]
    assert held.halt is None


def test_all_that_is_done_counts() -> None:
    half = ABSENT_SHARE_AFTER // 2
    held = HeldOutcomes(absent_counts=False, done=half - 1)
    held.take([part("done")])
    assert len(held.take([part("absent") for _ in range(half)])) == half
    assert not halted(held)


def test_more_than_half_absent_later_halts() -> None:
    half = ABSENT_SHARE_AFTER // 2
    held = HeldOutcomes(absent_counts=False, done=half)
    assert len(held.take([part("absent") for _ in range(half)])) == half
    assert not halted(held)
    assert held.take([part("absent")]) == []
    assert held.halt is not None
    assert "101 of 201 ids are absent" in held.halt
    assert held.take([part("absent")]) == []


def test_a_resume_counts_what_earlier_sessions_settled() -> None:
    held = HeldOutcomes(absent_counts=False, done=100, absent=100)
    held.take([part("absent")])
    assert held.halt is not None


@pytest.mark.parametrize("counts", [True, False])
def test_absences_that_were_looked_up_are_no_reason_to_halt(counts: bool) -> None:
    held = HeldOutcomes(absent_counts=counts)
    assert (len(held.take([part("absent", 1000)])) == 1) is counts
    assert (held.halt is None) is counts


def test_what_was_in_the_target_state_already_proves_the_request() -> None:
    """As an id that is done: then an absent id is one, and not the first of many."""
    held = HeldOutcomes(absent_counts=False)
    assert held.take([part("absent")]) == []
    assert kinds(held.take([part("already")])) == [("absent", 1), ("already", 1)]
    assert kinds(held.take([part("absent")])) == [("absent", 1)]


def test_a_taken_key_ends_no_row_and_hides_no_outcome_behind_it() -> None:
    held = HeldOutcomes()
    taken = part("refused")._replace(reason=TAKEN)
    assert kinds(held.take([taken, part("done")])) == [("refused", 1), ("done", 1)]


def test_the_halt_says_what_is_to_be_checked() -> None:
    held = HeldOutcomes(to_check="The moon may be full")
    held.take([part("refused", ALL_REFUSED_MIN)])
    assert held.halt is not None
    assert held.halt.endswith("because of the ids. The moon may be full")
