"""The words for what becomes of a row, and what a server said about it."""

from __future__ import annotations

from bulkdel.core.outcome import COUNTED, KINDS, SKIPS, Detail, OutcomeWords


def test_the_words_are_those_of_the_design() -> None:
    assert KINDS == ("done", "already", "absent", "refused", "unknown")
    assert SKIPS == ("excluded", "duplicate", "invalid")
    assert (*KINDS, *SKIPS) == COUNTED
    assert OutcomeWords().names.keys() == {"done", "already", "absent"}


def test_a_job_has_words_for_people_and_for_scripts() -> None:
    words = OutcomeWords({"done": "disabled", "absent": "not there"}, "disable", keys={"absent": "missing"})
    assert words.nothing == "Nothing was disabled"
    assert words.named_keys == {"done": "done", "absent": "missing"}
    assert OutcomeWords({}).nothing == "Nothing was done"


def test_a_detail_is_written_by_the_names_of_the_log() -> None:
    """Only what is known; what only one API returns stands apart."""
    assert Detail(403, "no", "r-1", (("apiCode", 7),)).to_json() == {
        "code": 403,
        "message": "no",
        "request_id": "r-1",
        "detail": {"apiCode": 7},
    }
    assert Detail(0, "").to_json() == {"code": 0, "message": ""}
    assert Detail().to_json() == {}


def test_a_detail_reads_as_words() -> None:
    detail = Detail(403, "no permission", "r-1", (("apiCode", 1576),))
    assert str(detail) == "code 403, apiCode 1576, 'no permission', request r-1"
    assert str(Detail(0)) == "code 0"
    assert str(Detail()) == str(Detail(message="", request_id="")) == "no details"


def test_the_code_tells_refusals_apart_and_the_message_does_not() -> None:
    seven, eight = (("apiCode", 7),), (("apiCode", 8),)
    assert Detail(403, "a", extra=seven).refusal == Detail(403, "b", extra=seven).refusal
    assert Detail(403, "a", extra=seven).refusal != Detail(403, "a", extra=eight).refusal


def test_a_control_character_in_a_detail_is_shown_escaped() -> None:
    detail = Detail(422, "a\x1b[2J", "r\x1b[2J", (("kind", "k\x07"), ("number", 7)))
    assert str(detail) == "code 422, kind 'k\\x07', number 7, 'a\\x1b[2J', request 'r\\x1b[2J'"
