"""The next page of a list call: by number, by cursor and by the header Link, also with values that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkdel.core.decision import NextStep, Request, Response
from bulkdel.errors import Halted
from bulkdel_jobs.parts.look_ups import URL_MAX, ListLookUps
from bulkdel_jobs.parts.pages import CURSOR_MAX, HEADER_MAX, ByCursor, ByLink, ByNumber, Pages

HOST = "https://api.example.com/v1"
FIRST = Request("GET", "/users", (("id", "a&b"), ("id", "c")))


def following(pages: Pages, body: Any, *, found: int = 0, link: str | None = None, request: Request = FIRST) -> Any:
    """The query of the next request without the ids; None after the last page."""
    response = Response(200, json.dumps(body).encode(), link=link)
    following = pages.next_page(HOST, request, response, found)
    if following is None:
        return None
    assert following._replace(query=()) == request._replace(query=())
    assert following.query[:2] == FIRST.query
    return following.query[2:]


# By number

WITH_TOTAL = ByNumber(list_at="items", total_at="meta.total")


def test_numbers_go_on_from_the_page_that_was_asked_for() -> None:
    pages = ByNumber(parameter="p", first=0, list_at="items")
    assert following(pages, {"items": [{}]}) == (("p", "1"),)
    assert following(pages, {"items": [{}]}, request=FIRST._replace(query=(*FIRST.query, ("p", "9")))) == (("p", "10"),)


def test_without_a_total_only_an_empty_page_is_the_last() -> None:
    """A short page may be all that the server shows at once."""
    pages = ByNumber(list_at="")
    assert following(pages, [{}], found=1) == (("page", "2"),)
    assert following(pages, [], found=50) is None


@pytest.mark.parametrize(
    ("items", "total", "found", "wanted"),
    [([{}], 3, 1, (("page", "2"),)), ([{}], 3, 3, None), ([], 0, 0, None), ([{}], 3, 4, None)],
)
def test_the_total_ends_it(items: list[Any], total: int, found: int, wanted: Any) -> None:
    assert following(WITH_TOTAL, {"items": items, "meta": {"total": total}}, found=found) == wanted


@pytest.mark.parametrize("total", [None, "3", 3.0, True, -1, [], {}])
def test_a_total_that_is_no_number_halts(total: Any) -> None:
    with pytest.raises(Halted, match="returned no number"):
        following(WITH_TOTAL, {"items": [{}], "meta": {"total": total}}, found=1)


def test_an_empty_page_before_the_total_halts() -> None:
    """Some servers show no more than the first thousand."""
    with pytest.raises(Halted, match="only 1,000 of 5,000 items"):
        following(WITH_TOTAL, {"items": [], "meta": {"total": 5_000}}, found=1_000)


# By cursor

CURSOR = ByCursor(parameter="after", at="meta.next")


@pytest.mark.parametrize("body", [{}, [], {"meta": None}, {"meta": {"next": None}}, {"meta": {"next": ""}}])
def test_without_a_cursor_it_was_the_last_page(body: Any) -> None:
    assert following(CURSOR, body) is None


@pytest.mark.parametrize("cursor", ["abc", "a&b=c#", "0", 7, 0, "é\n", "x" * CURSOR_MAX])
def test_a_cursor_is_sent_as_it_is(cursor: Any) -> None:
    second = FIRST._replace(query=(*FIRST.query, ("after", "first")))
    assert following(CURSOR, {"meta": {"next": cursor}}, request=second) == (("after", str(cursor)),)


@pytest.mark.parametrize(
    "cursor", [{}, {"a": 1}, [], ["x"], True, False, 1.5, "x" * 10_000, "é" * CURSOR_MAX, 10**2_000, "\ud800"]
)
def test_what_is_no_cursor_halts(cursor: Any) -> None:
    with pytest.raises(Halted, match="cursor at"):
        following(CURSOR, {"meta": {"next": cursor}})


# By the header Link

NEXT = "https://api.example.com/v1/users?id=a%26b&id=c&page=2"


@pytest.mark.parametrize(
    "link",
    [
        f'<{NEXT}>; rel="next"',
        f"<{NEXT}>;rel=next",
        f'<https://api.example.com/v1/users?page=1>; rel="prev", <{NEXT}>; title="a, b; c"; REL="last NEXT"',
        f'<{NEXT}>; rel="next", <{NEXT}>; rel="next"',
        '<?id=a%26b&id=c&page=2>; rel="next"',
        '</v1/users?id=a%26b&id=c&page=2>; rel="next"',
        '<//API.example.com:443/v1/users?id=a%26b&id=c&page=2#end>; rel="next"',
        f'<{NEXT}9>; rel="next"; anchor="/other", <{NEXT}>; rel="next"; rel="prev"',
    ],
)
def test_the_link_to_the_next_page(link: str) -> None:
    assert following(ByLink(), [], link=link) == (("page", "2"),)


@pytest.mark.parametrize("link", [None, "", " , ", f'<{NEXT}>; rel="prev"', f"<{NEXT}>", f'<{NEXT}>; rel="nextish"'])
def test_without_such_a_link_it_was_the_last_page(link: str | None) -> None:
    assert following(ByLink(), [], link=link) is None


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("<https://evil.example/v1/users?page=2>; rel=next", "host or path"),
        ("<//evil.example/v1/users?page=2>; rel=next", "host or path"),
        ("<http://api.example.com/v1/users?page=2>; rel=next", "host or path"),
        ("<https://api.example.com:8443/v1/users?page=2>; rel=next", "host or path"),
        ("<https://ann@api.example.com/v1/users?page=2>; rel=next", "host or path"),
        ("<https://api.example.com/v1/users/../groups?page=2>; rel=next", "host or path"),
        ("</users?page=2>; rel=next", "host or path"),
        ("<javascript:1>; rel=next", "host or path"),
        ("<https://[/v1/users>; rel=next", "cannot be used"),
        ("<https://api.example.com:x/v1/users>; rel=next", "cannot be used"),
        (f"<?page={'2' * 10_000}>; rel=next", "bytes"),
        ("<?page=%ff>; rel=next", "cannot be used"),
        ("<?page=2>; rel=next, <?page=3>; rel=next", "two links"),
        ("?page=2; rel=next", "cannot be read"),
        ("<?page=2; rel=next", "cannot be read"),
        ('<?page=2>; rel="next', "cannot be read"),
        ("<?page=2>; rel=next x", "cannot be read"),
        ('<?page=1>; rel="prev" <?page=2>; rel="next"', "cannot be read"),
    ],
)
def test_a_link_that_cannot_be_used_halts(link: str, why: str) -> None:
    with pytest.raises(Halted, match=why):
        following(ByLink(), [], link=link)


def test_a_header_that_is_too_long_is_not_read() -> None:
    with pytest.raises(Halted, match="cannot be read"):
        following(ByLink(), [], link=f"{'<>,' * (HEADER_MAX // 3)}<{NEXT}>; rel=next")


# Look-ups by a list call

LOOK_UPS = ListLookUps(
    one=Request("GET", "/users", (("id", "{id}"), ("limit", "100"))),
    listing=Request("GET", "/users", (("limit", "10"),)),
    list_at="items",
    at_once=2,
    pages=CURSOR,
    host=HOST,
)


def test_a_list_call_takes_several_ids() -> None:
    first, second = LOOK_UPS.calls(["a&b", "c", "d"])
    assert first == (["a&b", "c"], Request("GET", "/users", (("id", "a&b"), ("id", "c"), ("limit", "100"))))
    assert second == (["d"], Request("GET", "/users", (("id", "d"), ("limit", "100"))))
    assert LOOK_UPS.owner("me").query == (("id", "me"), ("limit", "100"))
    assert LOOK_UPS.calls([]) == []


def test_a_url_with_ids_has_a_bound() -> None:
    half = "x" * (URL_MAX // 2 - len("&id="))
    assert [group for group, _ in LOOK_UPS.calls([half, half])] == [[half, half]]
    assert [group for group, _ in LOOK_UPS.calls([f"{half}x", half])] == [[f"{half}x"], [half]]
    assert [group for group, _ in LOOK_UPS.calls(["é" * 600, "é" * 600])] == [["é" * 600], ["é" * 600]]
    assert [group for group, _ in LOOK_UPS.calls(["x" * 2 * URL_MAX])] == [["x" * 2 * URL_MAX]]


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (Response(200, b'{"items":[{"id":"a"},{"id":5}]}'), NextStep.SETTLED),
        (Response(200, b'{"items":[]}'), NextStep.SETTLED),
        (Response(200, b'{"items":[{"id":"a"},{"name":"b"}]}'), NextStep.HALT),
        (Response(200, b"[]"), NextStep.HALT),
        (Response(404, b""), NextStep.LOOK_UP),
        (Response(500, b""), NextStep.RETRY),
    ],
)
def test_a_list_is_read_where_it_stands(response: Response, step: NextStep) -> None:
    decision = LOOK_UPS.read(response)
    assert decision.next_step is step
    if step is NextStep.SETTLED:
        assert decision.data == json.loads(response.body)["items"]


def test_its_pages_are_those_of_the_part() -> None:
    response = Response(200, b'{"items":[],"meta":{"next":"x"}}')
    request = LOOK_UPS.owner("me")
    assert LOOK_UPS.next_page(request, response, 0) == request._replace(query=(*request.query, ("after", "x")))
    without = ListLookUps(one=LOOK_UPS.one, listing=LOOK_UPS.listing)
    assert without.next_page(request, response, 0) is None
