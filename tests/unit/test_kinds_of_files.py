"""CSV and JSON Lines of every class that test suites of these formats have: read as agreed, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkdel.errors import NotAcceptable
from tests.sourcefiles import ids, options, read, write

CSV_READ: dict[str, tuple[bytes, list[str]]] = {
    "a comma in quotes": (b'name,id\n"Doe, Jane",1\n"Roe, Rick",2\n', ["1", "2"]),
    "empty cells": (b'id,a,b\n1,"",""\n2,,\n', ["1", "2"]),
    "doubled quotes": (b'id,say\n1,"a ""word"" here"\n2,""""\n', ["1", "2"]),
    "JSON in a cell": (b'key,id\n"{""a"":[1,2]}",7\n', ["7"]),
    "line feeds in quotes": (b'id,text\n1,"one\ntwo\n\nthree"\n2,x\n', ["1", "2"]),
    "line feeds in quotes, CRLF": (b'id,text\r\n1,"one\r\ntwo"\r\n2,x\r\n', ["1", "2"]),
    "quotes around everything": (b'"id","n"\n"1","x"\n', ["1"]),
    "other letters": ("id,名\nü1,日本語\nß2,🙂\n".encode(), ["ü1", "ß2"]),
    "a quoted heading with a comma": (b'"a,b",id\nx,1\n', ["1"]),
    "no final line end": (b"id,a\n1,x\n2,y", ["1", "2"]),
    "spaces in other cells": (b"id, a\n1, x \n", ["1"]),
}

JSON_READ: dict[str, tuple[bytes, list[str]]] = {
    "spaces around everything": (b' { "id" : "1" , "a" : [ ] } \n', ["1"]),
    "escapes": (b'{"id":"\\u00fc\\u002f\\/","x":"\\b\\f"}\n', ["ü//"]),
    "a pair of surrogates": (b'{"id":"\\ud83d\\ude42"}\n', ["🙂"]),
    "other members of every kind": (b'{"a":[1,{"b":null}],"c":1e9,"d":-0.0,"e":true,"id":"1"}\n', ["1"]),
    "an integer of 64 bits": (b'{"id":9223372036854775807}\n{"id":-1}\n', ["9223372036854775807", "-1"]),
    "an empty name": (b'{"":0,"id":"1"}\n', ["1"]),
    "deep, but not too deep": (b'{"id":"1","x":' + b"[" * 100 + b"]" * 100 + b"}\n", ["1"]),
    "a repeated member elsewhere": (b'{"id":"1","x":1,"x":2}\n', ["1"]),
    "a null byte, escaped, elsewhere": (b'{"id":"1","x":"\\u0000"}\n', ["1"]),
}

REFUSED: dict[str, bytes] = {
    "a trailing comma": b'{"id":"1",}\n',
    "a comment": b'{"id":"1"} // one\n',
    "single quotes": b"{'id':'1'}\n",
    "no quotes": b"{id:1}\n",
    "two values": b'{"id":"1"}{"id":"2"}\n',
    "an array on many lines": b'[\n{"id":"1"}\n]\n',
    "not closed": b'{"id":"1"\n',
    "NaN": b'{"id":NaN}\n',
    "Infinity": b'{"id":-Infinity}\n',
    "a leading zero": b'{"id":012}\n',
    "a leading plus": b'{"id":+1}\n',
    "a bare point": b'{"id":1.}\n',
    "an exponent": b'{"id":1e3}\n',
    "minus zero": b'{"id":-0}\n',
    "over 64 bits": b'{"id":18446744073709551616}\n',
    "a lone surrogate": b'{"id":"\\ud800"}\n',
    "a control character": b'{"id":"a\x01"}\n',
    "a null byte": b'{"id":"a\\u0000"}\n',
    "a wrong escape": b'{"id":"\\x41"}\n',
    "the member twice": b'{"id":"1","id":"2"}\n',
    "bytes that are not UTF-8": b'{"id":"\xff"}\n',
    "an overlong form": b'{"id":"\xc0\xaf"}\n',
    "nested without end": b'{"id":"1","x":' + b"[" * 100_000 + b"\n",
    "the id is a list": b'{"id":["1"]}\n',
    "the id is an object": b'{"id":{"a":1}}\n',
    "the id is null": b'{"id":null}\n',
    "the id is a truth value": b'{"id":true}\n',
    "a quote is not closed": b'id,a\n1,"x\n',
    "text after a quote": b'id,a\n1,"x"y\n',
    "a row too short": b"id,a\n1,x\n2\n",
    "a row too long": b"id,a\n1,x,y\n",
    "a line feed in the id": b'id,a\n"1\n2",x\n',
    "the heading twice": b"id,id\n1,2\n",
    "carriage returns alone": b"id,a\r1,x\r",
}


@pytest.mark.parametrize("name", CSV_READ)
def test_csv_that_is_read(name: str, tmp_path: Path) -> None:
    data, expected = CSV_READ[name]
    for block_size in (3, 1 << 20):
        assert ids(write(tmp_path / "e.csv", data), block_size=block_size) == expected


@pytest.mark.parametrize("name", JSON_READ)
def test_json_that_is_read(name: str, tmp_path: Path) -> None:
    data, expected = JSON_READ[name]
    assert ids(write(tmp_path / "e.jsonl", data)) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotAcceptable) as caught:
        read(write(tmp_path / "e.txt", REFUSED[name]), options())
    assert "line 1" in str(caught.value) or "line 2" in str(caught.value) or "line 3" in str(caught.value)
