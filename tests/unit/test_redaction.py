"""Texts of a server without ids and credentials."""

from __future__ import annotations

from typing import cast

import pytest

from bulkdel.core.decision import Decision, NextStep, NoResponse, Response
from bulkdel.core.outcome import Detail
from bulkdel.core.redaction import READ_MAX, TEXT_MAX, IdRedactor, NoDecision, RecordRedactor, decision_on, redacted

ID = "6229ffaaaaaaaaaacade3e3d"


@pytest.mark.parametrize(
    ("text", "id_", "left"),
    [
        pytest.param(f"no user {ID}.", ID, "no user [id].", id="whole"),
        pytest.param(f"%2C{ID.upper()}x", ID, "%2C[id]x", id="within others, in another case"),
        pytest.param("no user ann1, ann12, xann1", "ann1", "no user [id], ann12, xann1", id="short: whole words"),
        pytest.param("Error 422 of 1", "422", "Error 422 of 1", id="too short"),
        pytest.param("用户张三不存在", "张三", "用户[id]不存在", id="no words"),
        pytest.param("of 8613800000000", "+8613800000000", "of [id]", id="a phone without its plus"),
        pytest.param("q=a%2Bb%40x.example", "a+b@x.example", "q=[id]", id="from a query"),
        pytest.param('{"id":"a\\"b\\u00e9c"}', 'a"béc', '{"id":"[id]"}', id="from a body"),
        pytest.param('{"id":"a\\"béc"}', 'a"béc', '{"id":"[id]"}', id="from a body in UTF-8"),
        pytest.param("q=o'b%2Fc%40x.example", "o'b/c@x.example", "q=[id]", id="from a query of JavaScript"),
        pytest.param("q=%c3%a9t%C3%A9@x.example", "été@x.example", "q=[id]", id="from a query, only what must be"),
        pytest.param("%2Cann1%2Cbob1", "ann1", ",[id],bob1", id="short, from a query"),
        pytest.param("a\\/b\\u00E9.c", "a/bé.c", "[id]", id="from a body of PHP"),
        pytest.param('\\\\\\"a\\\\\\"\\\\ud83d\\\\ude00', '"a"😀', "[id]", id="escaped twice"),
        pytest.param("is a\\\\b.c there", "a\\b.c", "is [id] there", id="with a backslash"),
        pytest.param("is O&#039;B&amp;c&#x40;x there", "o'b&c@x", "is [id] there", id="from a page"),
        pytest.param("is o&#39;b\\a there", "o'b\\a", "is [id] there", id="from a page, with a backslash"),
        pytest.param("%1B[31m&#x40;a%40b.c\\n", "a@b.c", " [31m&#x40;[id]\\n", id="a control character is not undone"),
        pytest.param("all is 100% well", ID, "all is 100% well", id="not there, with a percent sign"),
        pytest.param("all is well", ID, "all is well", id="not there"),
    ],
)
def test_an_id_in_a_text(text: str, id_: str, left: str) -> None:
    assert redacted(text, IdRedactor(["another-one", id_])) == left


def test_an_id_that_another_begins_with() -> None:
    assert IdRedactor(["abcdefgh", "abcdefgh-1"])("abcdefgh-1 abcdefgh") == "[id] [id]"


def hide(text: str) -> str:
    return text.replace("secret", "[hidden]").replace("it's", "[id]")


def decided(decision: Decision) -> Decision:
    """What is decided on a response that is read as `decision`."""
    return decision_on(Response(200, b""), lambda _: decision, hide, 0.0)


def test_a_pause_that_the_server_asks_for_and_no_response() -> None:
    busy = Decision(NextStep.THROTTLED)
    assert decision_on(Response(429, b"", "7"), lambda _: busy, hide, 0.0).after_s == 7
    lost = decision_on(NoResponse("connection lost", sent=True), lambda _: busy, hide, 0.0)
    assert (lost.next_step, lost.maybe_applied) == (NextStep.RETRY, True)


def test_everything_that_was_said() -> None:
    """Also where the reason quotes the message in a wording of its own, which escapes the quotes."""
    extra = (("kind", "of secret"), ("number", 7), ("empty", ""))
    detail = Detail("secret-1", 'the secret of "it\'s"', "r-secret", extra)
    decision = decided(Decision(NextStep.HALT, detail=detail, reason=f"secret, refused ({detail})"))
    extra = (("kind", "of [hidden]"), ("number", 7), ("empty", ""))
    assert decision.detail == Detail("[hidden]-1", 'the [hidden] of "[id]"', "r-[hidden]", extra)
    assert decision.reason == f"[hidden], refused ({decision.detail})"
    assert decision.next_step is NextStep.HALT


def test_nothing_said() -> None:
    decision = Decision(NextStep.SETTLED, detail=Detail(200, message=""), data=["secret"])
    assert decided(decision) == decision


def test_hidden_first_and_cut_short_then() -> None:
    """Otherwise the cut could go through a secret, and its first half would be printed."""
    decision = decided(Decision(NextStep.HALT, detail=Detail(message="x" * (TEXT_MAX - 3) + "secret")))
    assert decision.detail.message == "x" * (TEXT_MAX - 3) + "[hi"


def test_what_is_too_long_is_not_searched() -> None:
    detail = Detail(message="secret" * READ_MAX)
    decision = decided(Decision(NextStep.HALT, detail=detail, reason=f"refused ({detail})"))
    assert decision.detail.message == "[60,000 characters]"
    assert decision.reason == "refused ('[60,000 characters]')"


def test_what_is_no_decision_names_the_function_that_made_it() -> None:
    def read(response: Response) -> Decision:
        return cast("Decision", None)

    with pytest.raises(NoDecision, match=r"read returned NoneType in the place of a Decision") as caught:
        decision_on(Response(200, b""), read, str, 0.0)
    assert caught.value.package == "tests"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann Smith is no name", "[id] is no name"),
        ("conflicts with someone.else@other.example.", "conflicts with [id]"),
        ("<a@x.example>, (b+c@y.example)", "<[id]>, ([id])"),
        ("at 5 @ noon", "at 5 @ noon"),
    ],
)
def test_a_message_about_a_whole_record_names_no_person(text: str, expected: str) -> None:
    assert RecordRedactor(["Ann Smith"])(text) == expected
