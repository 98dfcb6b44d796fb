"""The eight words, and what a server said about an id."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.outcome import COUNTED, KINDS, SKIPS, Detail, Settled
from bulkdel.core.record import Record

MAYBE_INT = st.none() | st.integers()
MAYBE_TEXT = st.none() | st.text()


def test_the_words_are_those_of_the_design() -> None:
    assert KINDS == ("deleted", "absent", "refused", "unknown")
    assert SKIPS == ("excluded", "duplicate", "invalid")
    assert (*KINDS, *SKIPS) == COUNTED


@settings(deadline=None)
@given(st.builds(Detail, MAYBE_INT, MAYBE_INT, MAYBE_TEXT, MAYBE_TEXT))
def test_a_detail_survives_its_json(detail: Detail) -> None:
    data = detail.to_json()
    assert Detail.from_json(data) == detail
    assert None not in data.values()
    assert set(data) <= {"statusCode", "apiCode", "message", "requestId"}


def test_a_detail_reads_as_words() -> None:
    assert str(Detail(403, 1576, "no permission", "r-1")) == (
        "statusCode 403, apiCode 1576, 'no permission', requestId r-1"
    )
    assert str(Detail(0)) == "statusCode 0"
    assert str(Detail()) == str(Detail(message="", request_id="")) == "no details"


def test_the_code_tells_refusals_apart_and_the_message_does_not() -> None:
    assert Detail(403, 7, "a").code == Detail(403, 7, "b").code != Detail(403, 8, "a").code


def test_settled_records_name_their_positions() -> None:
    assert Settled("deleted", [Record(1, "a"), Record(2, "b"), Record(5, "c")]).ranges == ((1, 3), (5, 6))
