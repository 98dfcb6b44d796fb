"""The check of a JSON value against a type."""

from __future__ import annotations

from typing import Any

import pytest

from bulkdel.core.json_types import NONE, NUMBER, PATH, SHA256, TEXT, TIME, WHOLE, Each, Mismatch, check_of
from tests.mutants import mutant
from tests.syntax import swap

OBJECT = {"name": str, "size?": WHOLE, "more?": {"rows": [WHOLE], "by?": Each((str, {"at": TIME}))}}
AT = "2026-11-25T15:10:35.120Z"


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        *((str, ""), (bool, False), (dict, {"x": 1}), (list, [1, "x"]), (TEXT, None), (NUMBER, 1.5), ([int], [])),
        *((WHOLE, 0), (TIME, AT), (PATH, "a/b"), (SHA256, "0" * 64), (Each(WHOLE), {"x": 1})),
        *((OBJECT, {"name": "x"}), (OBJECT, {"name": "x", "size": 1, "unnamed": {}})),
        (OBJECT, {"name": "x", "more": {"rows": [1, 2], "by": {"a": "x", "b": {"at": AT}}}}),
    ],
)
def test_a_value_of_the_type(wanted: Any, value: Any) -> None:
    check_of(wanted)(value)


@mutant("a truth value counts as a number", "check_of", swap("type(value) in classes", "isinstance(value, classes)"))
@pytest.mark.parametrize(
    ("wanted", "value", "says"),
    [
        *((int, True, "True"), (str, None, "None"), (NUMBER, "1", "'1'"), (TEXT, [], "[]"), (dict, [], "[]")),
        *((WHOLE, -1, "-1"), (WHOLE, 1 << 63, str(1 << 63)), (WHOLE, True, "True"), (SHA256, "0" * 63 + "A", "'000")),
        *((TIME, "2026-11-25", "'2026"), (TIME, "0001-01-01T00:00Z", "'0001"), (PATH, "a\0b", "'a")),
        *(([int], 5, "5"), ([int], [1, "x"], "'x'"), (Each(int), [1], "[1]"), (Each(int), {"a": None}, "None")),
        *(((str, [int]), 5, "5"), ((NONE, {"x": int}), {"x": "y"}, "{'x': 'y'}")),
        *((OBJECT, [], "not an object: []"), (OBJECT, {}, "name: is missing"), (OBJECT, {"name": 5}, "name: 5")),
        (OBJECT, {"name": "x", "size": None}, "size: None"),
        (OBJECT, {"name": "x", "more": 5}, "more: not an object: 5"),
        (OBJECT, {"name": "x", "more": {}}, "more.rows: is missing"),
        (OBJECT, {"name": "x", "more": {"rows": [1, "2"]}}, "more.rows: '2'"),
        (OBJECT, {"name": "x", "more": {"rows": [], "by": {"a": {"at": 5}}}}, "more.by: {'at': 5}"),
    ],
)
def test_a_value_of_another_type_is_named(wanted: Any, value: Any, says: str) -> None:
    with pytest.raises(Mismatch) as raised:
        check_of(wanted)(value)
    assert str(raised.value).startswith(says)
    name, colon, _ = says.partition(": ")
    assert raised.value.name == (name if colon and name != "not an object" and not name.startswith("{") else "")
