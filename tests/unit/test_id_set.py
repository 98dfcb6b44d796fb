"""Which ids may mean the same account: the relation of phone numbers as a table, and the set against the plain rule."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkdel.core.id_type import PLAIN, IdSet, IdType, surely_apart
from bulkdel_jobs.genauth.id_types import ID_TYPES

PHONE, MAIL = ID_TYPES["phone"], ID_TYPES["email"]


@pytest.mark.parametrize(
    ("one", "other", "certainly", "perhaps"),
    [
        ("+8613800000004", "+8613800000004", True, True),
        ("+8613800000004", "8613800000004", False, True),
        ("+8613800000004", "008613800000004", False, True),
        ("+8613800000004", "13800000004", False, True),
        ("+8613800000004", "013800000004", False, True),
        ("13800000004", "013800000004", False, True),
        ("+15550100000", "5550100000", False, True),  # a country code of one digit
        ("+35840123456", "040123456", False, True),  # of three
        ("+4402079460000", "02079460000", False, True),  # the trunk zero was kept after the country code
        ("+2250712345678", "0712345678", False, True),  # a zero that belongs to the number, after a code of three
        ("+8613800000004", "+113800000004", False, False),  # two country codes
        ("+8613800000004", "+13800000004", False, True),  # the second may be written without a code
        ("+8613800000004", "+8613800000005", False, False),
        ("13800000004", "3800000004", False, True),
        ("123413800000004", "13800000004", False, False),  # four digits are no country code
        ("0000", "1234", False, False),
        ("0000", "00000", False, True),
    ],
)
def test_phone_numbers(one: str, other: str, certainly: bool, perhaps: bool) -> None:
    for first, second in ((one, other), (other, one)):
        alike = IdSet(PHONE, [first])
        assert (alike.holds(second), alike.meets(second), alike.meets_any([second])) == (certainly, perhaps, perhaps)
        assert not (perhaps and surely_apart(PHONE, [first, second]))


@pytest.mark.parametrize(
    ("id_type", "one", "other", "same"),
    [
        (MAIL, "Ann@X.org", "ann@x.ORG", True),
        (MAIL, "ann@x.org", "bob@x.org", False),
        (MAIL, "j\u00e9r@x.org", "jer\u0301@x.org", False),
        (ID_TYPES["username"], "Ann", "ann", False),
        (PLAIN, "a", "a", True),
    ],
)
def test_types_that_compare_by_their_key_alone(id_type: IdType, one: str, other: str, same: bool) -> None:
    alike = IdSet(id_type, [one])
    assert (alike.holds(other), alike.meets(other), alike.meets_any([other])) == (same, same, same)
    assert surely_apart(id_type, [one, other]) is not same


def test_an_address_with_an_accent_written_in_two_ways() -> None:
    """Not certainly the same, so both are sent; but perhaps, so either keeps the other from being sent."""
    one, other = "J\u00e9r@x.org", "je\u0301r@x.org"
    alike = IdSet(MAIL, [one])
    assert (alike.holds(other), alike.meets(other), alike.meets_any([other])) == (False, True, True)
    assert not surely_apart(MAIL, [one, other])


def may_be_the_same(one: str, other: str) -> bool:
    """The rule in words: after plus and leading zeros, they are equal, or one is at most 3 digits and zeros longer."""
    short, long = sorted((one.lstrip("+0"), other.lstrip("+0")), key=len)
    before = long.removesuffix(short)
    return long == short or (short != "" and long.endswith(short) and before[3:].strip("0") == "")


NUMBERS = st.from_regex(r"\A\+?[01]{4,9}\Z")


@given(st.lists(NUMBERS, max_size=6), NUMBERS)
@example(["0000"], "0001")
def test_like_the_rule_in_words(ids: list[str], asked: str) -> None:
    alike = IdSet(PHONE, ids)
    assert alike.meets(asked) is any(may_be_the_same(id_, asked) for id_ in ids)
    assert alike.holds(asked) is (asked in ids)
    pairs = [(one, other) for i, one in enumerate(ids) for other in ids[:i]]
    if surely_apart(PHONE, ids):
        assert not any(may_be_the_same(one, other) for one, other in pairs)


def test_a_set_of_ids() -> None:
    alike = IdSet(MAIL)
    assert (len(alike), bool(alike), alike.meets_any(["a@b.c"])) == (0, False, False)
    alike.update(["A@b.c", "a@b.c", "d@b.c"])
    assert (len(alike), sorted(alike)) == (2, ["a@b.c", "d@b.c"])
    assert not IdSet(PHONE).meets_any(["1234"])


@pytest.mark.parametrize("id_type", [MAIL, PHONE])
def test_a_set_and_more_ids_is_another_set(id_type: IdType) -> None:
    before = IdSet(id_type, ["0001", "0010"])
    assert before.plus(["0001"]) is before, "nothing is new"
    both = before.plus(["0001", "0110"])
    assert [both.holds(id_) for id_ in ("0001", "0010", "0110", "1111")] == [True, True, True, False]
    assert both.meets_any(["0110"])
    assert not before.holds("0110"), "it is as it was"
