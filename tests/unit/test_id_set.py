"""Which ids may mean the same account: the relation of phone numbers as a table, and the sets against plain ones."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkdel.core.alike import all_folded, folded
from bulkdel.core.id_type import PLAIN, IdSet, IdType, TextSet, one_by_forms, surely_apart
from bulkdel_jobs.genauth.id_types import ID_TYPES
from tests.mutants import mutant
from tests.syntax import swap

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
        ("+8601380000004", "+861380000004", False, True),  # a trunk zero after the country code
        ("+8601380000004", "861380000004", False, True),
        ("008601380000004", "+861380000004", False, True),
        ("+22507123456", "+2257123456", False, True),
        ("+8601380000004", "+8601380000005", False, False),
        ("+860138", "+86", False, False),
        ("0000", "1234", False, False),
        ("0000", "00000", False, True),
    ],
)
def test_phone_numbers(one: str, other: str, certainly: bool, perhaps: bool) -> None:
    for first, second in ((one, other), (other, one)):
        alike = IdSet(PHONE, [first])
        assert (alike.holds(second), alike.meets(second), alike.meets_any([second])) == (certainly, perhaps, perhaps)
        assert not (perhaps and surely_apart(PHONE, [first, second]))


NAME, IDENTITY, RELATION = (ID_TYPES[name] for name in ("username", "identity", "sync_relation"))
NIL = "00000000-0000-0000-0000-000000000000"
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
SURELY, PERHAPS, APART = (True, True), (False, True), (False, False)


@mutant("a number counts as a text", "folded", swap("len(text) <= WHOLE_MAX", "len(text) > WHOLE_MAX"))
@mutant(
    "a UUID without hyphens is another one",
    "folded",
    swap("(uuid := _UUID.fullmatch(text)) is not None", '(uuid := _UUID.fullmatch(text)) and "-" in text'),
)
@mutant("a digit of another script is another letter", "_digit", swap(r'char <= "\uffff"', r'char > "\uffff"'))
@mutant("a katakana is another letter", "_base", swap("TO_HIRAGANA", "1"))
@mutant("characters beyond the basic plane differ", "_without_form", swap("_ANY_SUPPLEMENTARY", r'r"\g<0>"'))
@mutant(
    "what is percent-encoded is another text",
    "_text_of",
    swap('DECODINGS if "%" in text else 0', "0"),
)
@pytest.mark.parametrize(
    ("id_type", "one", "other", "same"),
    [
        (MAIL, "Ann@X.org", "ann@x.ORG", SURELY),
        (MAIL, "ann@x.org", "bob@x.org", APART),
        (MAIL, "j\u00e9r@x.org", "jer\u0301@x.org", PERHAPS),
        (MAIL, "jos\u00e9@x.org", "Jose@x.org", PERHAPS),
        (MAIL, "ann@b\u00fccher.de", "Ann@XN--BCHER-KVA.de", PERHAPS),
        (MAIL, "ann@b\u00fccher.de", "ann@bu\u0308cher\u3002de.", PERHAPS),
        (MAIL, "ann@xn--bcher-kva.de", "ann@xn--bcher-kvb.de", APART),
        (MAIL, "ann@xn--\u00fc.de", "ann@xn--\u00dc.de", SURELY),  # no ASCII form at all
        (NAME, "Ann", "ann", PERHAPS),
        (NAME, "ann@b\u00fccher.de", "ann@xn--bcher-kva.de", PERHAPS),
        (NAME, "stra\u00dfe", "STRASSE", PERHAPS),
        (NAME, "\uff21nn", "ann", PERHAPS),
        (NAME, "a\u200dn\u00adn", "ann", PERHAPS),
        (NAME, "an\u3164n\ufe0f", "ann", PERHAPS),
        (NAME, "d\u0131rk", "dirk", PERHAPS),
        (NAME, "l\u0130sa", "LISA", PERHAPS),
        (NAME, "Jos\u00e9", "jose", PERHAPS),
        (NAME, "m\u00fcller", "MULLER", PERHAPS),
        (NAME, "m\u00fcller", "mueller", APART),
        (NAME, "s\u00f8r", "SOR", PERHAPS),
        (NAME, "\u0141\u00f3d\u017a", "lodz", PERHAPS),
        (NAME, "\u0110or\u0111e", "dorde", PERHAPS),
        (NAME, "l\u00e6rke", "LAERKE", PERHAPS),
        (NAME, "\u01fd", "ae", PERHAPS),  # with an acute accent
        (NAME, "c\u0153ur", "Coeur", PERHAPS),
        (NAME, "\u00de\u00f3r\u00f0", "thord", PERHAPS),
        (NAME, "\u0127\u0167\u0180", "htb", PERHAPS),
        (NAME, "\u0439", "\u0438", PERHAPS),  # two letters of Russian
        (NAME, "\u304c", "\u304b", PERHAPS),  # two syllables of Japanese
        (NAME, "\u304d\u3087", "\u304d\u3088", PERHAPS),  # a small and a large one
        (NAME, "\u30ad\u30e7", "\u304d\u3088", PERHAPS),
        (NAME, "a\U0001f363", "A\U0001f37a", PERHAPS),  # beyond U+FFFF
        (NAME, "a\U0001f363", "a", APART),
        (NAME, "\u0e01\u0e34", "\u0e01\u0e35", PERHAPS),  # two vowels of Thai
        (NAME, "\uac00", "\u1100\u1161", PERHAPS),
        (NAME, "\uac00", "\uac01", APART),
        (NAME, "\u1fb3", "\u03b1", PERHAPS),
        (NAME, "ann lee", "annlee", APART),
        (NAME, "-0", "0", PERHAPS),
        (NAME, "+86 138-0000-0004", "13800000004", PERHAPS),
        (NAME, "+8613800000004", "+113800000004", APART),
        (NAME, "+86013800000004", "+8613800000004", PERHAPS),
        (NAME, "+86013800000004", "8613800000004", PERHAPS),
        (NAME, "008613800000004", "13800000004", PERHAPS),
        (NAME, "0086013800000004", "+8613800000004", PERHAPS),
        (NAME, "(+86)13800000004", "+86 138 0000 0004", PERHAPS),
        (NAME, "\uff08\uff0b86\uff0913800000004", "13800000004", PERHAPS),
        (NAME, "8613800000004", "13800000004", PERHAPS),
        (NAME, "86 138-0000-0004", "013800000004", PERHAPS),
        (NAME, "+44 (0)20 7946 0000", "+442079460000", PERHAPS),
        (NAME, "8613800000004", "8613800000005", APART),
        (NAME, "9913800000004", "13800000004", APART),  # numbers that are no phone numbers
        (NAME, "00123456", "123456", PERHAPS),  # a whole number, by its value
        (NAME, "+7", "7.0", PERHAPS),
        (NAME, "\u0667", "7", PERHAPS),  # a digit of Arabic
        (NAME, "user\u0661", "user1", PERHAPS),
        (NAME, "\u06f1\u0967\u0e51-x", "111-x", PERHAPS),  # of Persian, Hindi and Thai
        (NAME, "user\u0661", "user2", APART),
        (NAME, "a\U0001e951", "a\U0001f363", PERHAPS),  # a digit beyond U+FFFF
        (NAME, "-007", "-7", PERHAPS),
        (NAME, "-7", "7", APART),
        (NAME, "7.5", "7", APART),
        (NAME, "7" * 401, f"0{'7' * 401}", APART),  # no number of any server
        (PLAIN, UUID, UUID.replace("-", ""), PERHAPS),
        (PLAIN, UUID, f"{{{UUID.upper()}}}", PERHAPS),
        (PLAIN, UUID, f"urn:uuid:{UUID}", PERHAPS),
        (PLAIN, UUID, UUID.replace("-", "", 2), PERHAPS),
        (PLAIN, UUID, f"{UUID}}}", PERHAPS),
        (PLAIN, NIL, NIL.replace("-", ""), PERHAPS),
        (PLAIN, UUID, f"{UUID[:-1]}2", APART),
        (NAME, "alic%65", "Alice", PERHAPS),
        (NAME, "a%0ab", "A%0Ab", PERHAPS),  # a line feed stays encoded
        (NAME, f"%{'25' * 2_000}", "%", APART),  # it ends
        (NAME, "\u3055\u304f\u3089", "\u30b5\u30af\u30e9", PERHAPS),  # two scripts of Japanese
        (NAME, "\u0645\u0640\u062d", "\u0645\u062d", PERHAPS),  # a stretched word of Arabic
        (IDENTITY, f"{'a' * 24}:OU_1", f"{'a' * 24}:ou_1", PERHAPS),
        (RELATION, "lark:Ann", "Lark:ann", PERHAPS),
        (PHONE, "\uff0b8613800000004", "13800000004", PERHAPS),
        (PHONE, "\u06f138\u0660\u0660000004", "13800000004", PERHAPS),
        (PLAIN, "a", "a", SURELY),
        (PLAIN, "a", "b", APART),
    ],
)
def test_what_a_server_may_compare_more_loosely(id_type: IdType, one: str, other: str, same: tuple[bool, bool]) -> None:
    for first, second in ((one, other), (other, one)):
        alike = IdSet(id_type, [first])
        assert (alike.holds(second), alike.meets(second)) == same
        assert alike.meets_any([second]) is alike.meets_any(["x", second]) is same[1]
        assert not (same[1] and surely_apart(id_type, [first, second]))
    assert one_by_forms(id_type, one, other) <= same[1], "a look-up compares no more loosely"


@given(st.lists(st.text("aA7%6{\u0667\u30a2\u00e9E\u0301@.+-0\u00df\u00d8\u0152\u0345\u1fb3\uac00\u09cb", max_size=4)))
def test_many_ids_are_folded_like_each_of_them(ids: list[str]) -> None:
    found = all_folded(ids)
    assert not ids or found is None or list(found) == list(map(folded, ids))
    assert surely_apart(PLAIN, ids) is (len(set(map(folded, ids))) == len(ids))
    assert list(map(folded, map(folded, ids))) == list(map(folded, ids))


@mutant(
    "an iota below a letter is lost in lower case only",
    "_without_form",
    swap('_IOTAS.sub("", "".join(map(_base, small)))', '_IOTAS.sub("\\u03b9", "".join(map(_base, small)))'),
)
def test_a_letter_in_another_case_folds_to_the_same_text() -> None:
    """Every letter of Unicode that has another case, on a line of its own.

    An iota below a Greek letter has an upper case behind it.
    """
    cases = (str.upper, str.lower, str.title, str.casefold, str.swapcase)
    every = [char for char in map(chr, range(sys.maxunicode + 1)) if char.isalpha()]
    letters = "\n".join(char for char in every if any(case(char) != char for case in cases))
    expected = folded(letters).split("\n")
    assert len(expected) > 2_800
    assert folded("\n".join(expected)).split("\n") == expected
    for case in cases:
        assert folded(case(letters)).split("\n") == expected, case


def test_an_address_with_an_accent_written_in_two_ways() -> None:
    """Not certainly the same, so both are sent; but perhaps, so either keeps the other from being sent."""
    one, other = "J\u00e9r@x.org", "je\u0301r@x.org"
    alike = IdSet(MAIL, [one])
    assert (alike.holds(other), alike.meets(other), alike.meets_any([other])) == (False, True, True)
    assert not surely_apart(MAIL, [one, other])


def may_be_the_same(one: str, other: str) -> bool:
    """The rule in words: after plus and leading zeros, they are equal, or one is at most 3 digits and zeros longer; or
    one is the other without the zeros after its first 1, 2 or 3 digits.
    """
    short, long = sorted((one.lstrip("+0"), other.lstrip("+0")), key=len)
    before = long.removesuffix(short)
    if long == short or (short != "" and long.endswith(short) and before[3:].strip("0") == ""):
        return True
    cut = {long[:digits] + long[digits:].lstrip("0") for digits in (1, 2, 3) if long[digits:].strip("0")}
    return short in cut


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


# ── texts in little memory ────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = st.text("a1\n\r\\\u00e9\u6f22\ud800", max_size=3)
"""Texts that contain each other, with characters of several sizes, and with the line feed that separates the texts of a
bucket."""


@mutant(
    "a set of excluded ids that grows forgets some",
    "TextSet._double",
    swap("hash(text) & count", "hash(text) & 1"),
)
@given(st.lists(TEXTS), st.lists(TEXTS), st.sampled_from([0, 16, 17, 1_000]))
@example(["a", "aa", "a\n", "a\na", "", "\n", "aaa"], ["a\naa", "aaaa", "\n\n"], 0)
@settings(deadline=None)
def test_texts_like_a_plain_set(texts: list[str], asked: list[str], others: int) -> None:
    """others: how many texts are added last, so that the set grows."""
    plain, found = set[str](), TextSet()
    for text in [*texts, *(f"a{number}" for number in range(others))]:
        plain |= {text} if "\n" not in text else set()
        found.add(text)
    before, copy = set(plain), found.copy()
    assert [text in found for text in [*plain, *asked, *texts]] == [text in plain for text in [*plain, *asked, *texts]]
    for text in asked:
        plain |= {text} if "\n" not in text else set()
        copy.add(text)
    assert (copy.size, sorted(copy)) == (len(plain), sorted(plain))
    assert (found.size, sorted(found)) == (len(before), sorted(before)), "it is as it was"


def test_a_hundred_thousand_ids_and_what_is_nearly_one_of_them() -> None:
    ids = [f"{number * 0x9E3779B97F4A7C15 % (1 << 96):024x}" for number in range(100_000)]
    found = IdSet(ids=ids)
    assert len(found) == len(ids)
    assert all(map(found.holds, ids))
    assert all(found.meets_any([id_]) for id_ in ids[::1000])
    assert set(found) == set(ids)
    texts = [id_ for id_ in ids[::10] if not id_.isdecimal()]  # zeros before a number count for nothing
    nearly = [near for id_ in texts for near in (id_[1:], id_[:-1], f"{id_}0", f"0{id_}", id_.upper() + "\n")]
    assert not found.meets_any(nearly)


def test_a_text_takes_little_memory_also_while_the_set_grows() -> None:
    tracemalloc.start()
    found = TextSet()
    for number in range(70_000):
        found.add(f"{number:024x}")
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 35 * found.size
    assert peak < now + 500_000
