"""The log's entries and lines: every value survives, every damage shows."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import (
    DEPTH_MAX,
    EVENTS,
    FINDINGS,
    FORMAT,
    Annotation,
    BatchConfirmed,
    BatchHeader,
    BatchPlanned,
    BatchRunBegun,
    BatchRunEnded,
    Change,
    Changed,
    ChangedBy,
    Damaged,
    Entry,
    Found,
    Header,
    InputPins,
    Intent,
    MembershipsSaved,
    Outcome,
    Released,
    Saved,
    Session,
    Skipped,
    Throttled,
    Unreadable,
    VerifyHeader,
    decode_line,
    from_json,
    sound,
    to_json,
)
from bulkdel.core.outcome import KINDS, SKIPS
from bulkdel.core.ranges import ranges_of
from tests import recorded
from tests.mutants import mutant
from tests.recorded import AT, NONCE, encode_line
from tests.syntax import only_if

# orjson refuses lone surrogates, as JSON does. The reader gives the escape of a line feed: test_forged_log.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12)
COUNT = st.integers(0, 2**53)
PATH = TEXT.filter(lambda text: "\0" not in text)
JSON = st.recursive(st.none() | st.booleans() | COUNT | TEXT, lambda of: st.lists(of) | st.dictionaries(TEXT, of))
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
TIME = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001
RANGES = st.sets(st.integers(0, 400), min_size=1, max_size=40).map(lambda found: ranges_of(sorted(found)))
FACTS = st.dictionaries(TEXT.filter(lambda name: name not in {"type", "event", "at", "log_sha256"}), JSON, max_size=3)
COUNTS = st.fixed_dictionaries(dict.fromkeys(("rows", "ids", *SKIPS), COUNT))
NAMES = st.dictionaries(TEXT, TEXT, max_size=3)
PINNED = st.fixed_dictionaries(
    {
        **dict.fromkeys(("job", "host", "id_type", "sha256"), TEXT),
        "pool": TEXT | st.none(),
        "bytes": COUNT,
        "source": st.just({"trim": True}),
    },
    optional={"more": JSON, "table": OBJECT},
)
PARAMETER = (
    st.none() | st.booleans() | COUNT | TEXT | st.lists(TEXT) | st.fixed_dictionaries({"path": TEXT, "sha256": TEXT})
)
EXCEPTION = st.fixed_dictionaries({"position": COUNT, "id": TEXT}, optional={"code": JSON, "detail": OBJECT})
LISTED = st.fixed_dictionaries({"digest": TEXT, "ids": COUNT})
CONFIRMED_RUN = st.fixed_dictionaries(
    {
        **dict.fromkeys(("job", "host", "pool", "sha256", "digest", "spec"), TEXT),
        **dict.fromkeys(("ids", "rows"), COUNT),
        "id_reusable": st.booleans(),
    }
)
SUMMARY: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.tuples(COUNT, COUNT, COUNT, TEXT).map(
    lambda found: dict(zip(("deleted", "rows", "remaining", "status"), found, strict=True))
)
RATE = st.floats(0, 100_000)
CHANGES: dict[Changed, st.SearchStrategy[Any]] = {
    Changed.RATE: RATE,
    Changed.CONCURRENCY: st.integers(1, 4_096),
    Changed.UNTIL: TIME,
    Changed.PAUSED: st.booleans(),
    Changed.STOP: st.just(value=True),
    Changed.SCHEDULE: st.none() | RATE,
    Changed.SLOWED: RATE,
}
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
HEADERS = st.builds(
    *(Header, TEXT, st.uuids().map(str), TIME, PINNED, PATH, NAMES, COUNTS, st.none() | OBJECT, OBJECT),
    input=st.builds(InputPins, SHA256, SHA256),
    names=NAMES,
    parameters=st.dictionaries(TEXT, PARAMETER, max_size=3),
    keys=NAMES,
    noun=TEXT,
)
AHEAD = st.none() | st.integers(-(2**40), 2**40)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Intent, TIME, RANGES, st.none() | st.builds(Saved, COUNT, COUNT), AHEAD),
    st.builds(
        Outcome,
        TIME,
        COUNT,
        st.sampled_from(KINDS),
        RANGES,
        st.none() | TEXT,
        st.none() | TEXT,
        st.lists(EXCEPTION, max_size=3).map(tuple),
        AHEAD,
    ),
    st.builds(Skipped, st.sampled_from(SKIPS), RANGES),
    st.builds(Released, RANGES),
    st.builds(MembershipsSaved, TIME, PATH, COUNT, COUNT, COUNT, COUNT, COUNT),
    st.builds(Session, st.sampled_from(["start", "stop"]), TIME, TEXT, FACTS),
    *(
        st.builds(Change, TIME, st.just(what), values, st.sampled_from(ChangedBy), st.none() | TEXT, st.none() | OBJECT)
        for what, values in CHANGES.items()
    ),
    st.builds(Throttled, TIME, st.integers(1, 2**53)),
    st.builds(Annotation, st.sampled_from(EVENTS), TIME, TEXT, FACTS),
    st.builds(VerifyHeader, TEXT, TIME, OBJECT),
    st.builds(Found, TIME, st.sampled_from(FINDINGS), RANGES),
    st.builds(BatchHeader, TEXT, TIME, TEXT),
    st.builds(BatchPlanned, TIME, COUNT, TEXT, st.dictionaries(TEXT, LISTED, max_size=3)),
    st.builds(BatchConfirmed, TIME, COUNT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, CONFIRMED_RUN, max_size=3)),
    st.builds(BatchRunBegun, TIME, TEXT),
    st.builds(BatchRunEnded, TIME, TEXT, COUNT, SUMMARY),
    HEADERS,
)


def sealed(body: bytes) -> bytes:
    """`body` as a line with a checksum that matches."""
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


@settings(deadline=None)
@given(st.integers(1, 10**9), st.lists(ENTRIES, max_size=5))
def test_every_entry_survives_its_line(seq: int, entries: list[Entry]) -> None:
    line = encode_line(seq, entries)
    assert decode_line(line, seq) == (NONCE, entries)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.count(b'{"seq":') == 1 + sum(b'{"seq":' in orjson.dumps(to_json(entry)) for entry in entries)
    assert orjson.loads(line).keys() == {"seq", "entries", "nonce", "crc"}


def test_a_line_reads_as_documented() -> None:
    entries: list[Entry] = [
        Intent(AT, ((0, 50), (60, 61))),
        Intent(AT, ((61, 62),), None, -3),
        Outcome(AT, 2, "refused", ((7, 8),), "q", None, ({"position": 7, "id": "x", "code": 403},)),
        Outcome(AT, 1, "absent", ((8, 9),), None, "unproven", ahead_s=0),
        Released(((9, 10),)),
        Skipped("duplicate", ((10, 11),)),
        Skipped("excluded", ((11, 12),), Spared.ACTIVE),
        Session("stop", AT, "ab", {"why": "done"}),
        Annotation("undo", AT, "cd", {"state": "begun"}),
    ]
    assert encode_line(3, entries) == sealed(
        b'{"seq":3,"entries":['
        b'{"type":"intent","at":"2026-03-01T12Z","ranges":[[0,50],[60,61]]},'
        b'{"type":"intent","at":"2026-03-01T12Z","ranges":[[61,62]],"ahead_s":-3},'
        b'{"type":"outcome","at":"2026-03-01T12Z","attempts":2,"kind":"refused","ranges":[[7,8]],"request_id":"q",'
        b'"exceptions":[{"position":7,"id":"x","code":403}]},'
        b'{"type":"outcome","at":"2026-03-01T12Z","attempts":1,"kind":"absent","ranges":[[8,9]],"reason":"unproven","ahead_s":0},'
        b'{"type":"released","ranges":[[9,10]]},'
        b'{"type":"skipped","reason":"duplicate","ranges":[[10,11]]},'
        b'{"type":"skipped","reason":"excluded","ranges":[[11,12]],"why":"active since"},'
        b'{"type":"session","event":"stop","at":"2026-03-01T12Z","log_sha256":"ab","why":"done"},'
        b'{"type":"annotation","event":"undo","at":"2026-03-01T12Z","log_sha256":"cd","state":"begun"}],"nonce":"0123456789abcdef"'
    )


LINE = encode_line(12, [Intent(AT, ((0, 50),)), recorded.deleted(0, 50), Skipped("invalid", ((50, 51),))])


@pytest.mark.parametrize("at", range(len(LINE)))
def test_every_flipped_bit_of_a_line_shows(at: int) -> None:
    for bit in range(8):
        flipped = bytearray(LINE)
        flipped[at] ^= 1 << bit
        assert not sound(bytes(flipped))
        with pytest.raises(Damaged):
            decode_line(bytes(flipped), 12)


def test_every_truncation_of_a_line_shows() -> None:
    for length in range(len(LINE)):
        with pytest.raises(Damaged, match="it has no end"):
            decode_line(LINE[:length], 12)


def test_a_line_without_a_nonce_is_not_interpreted() -> None:
    for member in (b"", b',"nonce":7', b',"nonce":null'):
        with pytest.raises(Unreadable, match="the line has no nonce"):
            decode_line(sealed(b'{"seq":1,"entries":[{"type":"released","ranges":[[0,1]]}]' + member), 1)


def test_a_line_out_of_sequence_shows() -> None:
    with pytest.raises(Damaged, match="it is commit 12 where 13 was due"):
        decode_line(LINE, 13)


@pytest.mark.parametrize("body", [b"[1,2", b'{"seq":1', b'{"entries":[]', b'"seq', b'{"seq":1,"entries":[}', b"{]"])
def test_a_matching_checksum_does_not_make_a_commit(body: bytes) -> None:
    with pytest.raises(Unreadable, match="no commit of bulkdel"):
        decode_line(sealed(body), 1)


RUN = {
    **dict.fromkeys(("job", "host", "pool", "sha256", "digest", "spec"), "x"),
    "ids": 5,
    "rows": 6,
    "id_reusable": True,
}

WRITTEN: dict[str, dict[str, Any]] = {
    "intent": to_json(Intent(AT, ((0, 5),))),
    "outcome": to_json(recorded.deleted(0, 5)),
    "skipped": to_json(Skipped("invalid", ((0, 5),))),
    "spared": to_json(Skipped("excluded", ((0, 5),), Spared.STATUS)),
    "released": to_json(Released(((0, 5),))),
    "memberships": to_json(MembershipsSaved(AT, "users.memberships.jsonl", 9, 8, 1, 2, 3)),
    "session": to_json(Session("start", AT, "ab")),
    "change": to_json(Change(AT, Changed.RATE, 10.0, ChangedBy.CTL)),
    "throttled": to_json(Throttled(AT, 3)),
    "annotation": to_json(Annotation("undo", AT, "ab")),
    "header": to_json(recorded.header()),
    "verify": to_json(VerifyHeader("t", AT, {"run_id": "r"})),
    "found": to_json(Found(AT, "gone", ((0, 5),))),
    "batch": to_json(BatchHeader("t", AT, "night.toml")),
    "planned": to_json(BatchPlanned(AT, 5, "d", {"a": {"digest": "x", "ids": 5}})),
    "confirmed": to_json(BatchConfirmed(AT, 5, "d", "typed", "me", {"a": RUN})),
    "run_begun": to_json(BatchRunBegun(AT, "a")),
    "run_ended": to_json(BatchRunEnded(AT, "a", 0, {"status": "complete"})),
}

GOOD: dict[str, dict[str, Any]] = {kind: orjson.loads(orjson.dumps(entry)) for kind, entry in WRITTEN.items()}
"""As a reader has them."""


@pytest.mark.parametrize(
    "data", [{"type": "vow"}, {}, {"type": None}, {"type": ["intent"]}, [], "intent", 1, None, {"ranges": [[0, 1]]}]
)
def test_an_unknown_entry_is_not_interpreted(data: object) -> None:
    with pytest.raises(Unreadable, match="unknown entry"):
        from_json(data)
    with pytest.raises(Unreadable, match="unknown entry"):
        decode_line(sealed(b'{"seq":1,"entries":[%s]' % orjson.dumps(data)), 1)


@pytest.mark.parametrize("kind", GOOD)
def test_an_entry_that_lacks_a_member_is_not_interpreted(kind: str) -> None:
    for member in GOOD[kind].keys() - {"type", "why", "names"}:
        with pytest.raises(Unreadable, match=f"{GOOD[kind]['type']} entry lacks or garbles a member"):
            from_json({name: value for name, value in GOOD[kind].items() if name != member})


@pytest.mark.parametrize(
    "ranges",
    [
        [[5, 5]],
        [[5, 4]],
        [[-1, 4]],
        [[0, 5], [4, 6]],
        [[6, 8], [0, 5]],
        [[0.0, 5.0]],
        [[False, True]],
        [["0", "5"]],
        [[0]],
        [[0, 1, 2]],
        [5, 6],
        "05",
        None,
        7,
        {"0": 5},
    ],
)
def test_garbled_ranges_are_not_interpreted(ranges: object) -> None:
    for kind in ("intent", "outcome", "skipped", "released", "found"):
        with pytest.raises(Unreadable):
            from_json({**GOOD[kind], "ranges": ranges})


@pytest.mark.parametrize(
    ("kind", "member", "value", "words"),
    [
        ("outcome", "kind", "postponed", "unknown outcome 'postponed'"),
        ("skipped", "reason", "bored", "unknown reason 'bored'"),
        ("skipped", "why", "status", "rows that are invalid by 'status'"),
        ("spared", "why", "bored", "unknown reason of a guard 'bored'"),
        ("header", "guards", {"active_since": 5}, "header entry lacks or garbles"),
        ("header", "format", FORMAT + 1, f"log format {FORMAT + 1}"),
        ("intent", "backup", [1, "x"], "intent entry lacks or garbles"),
        ("intent", "backup", 7, "intent entry lacks or garbles"),
        ("intent", "ahead_s", "3", "intent entry lacks or garbles"),
        ("outcome", "ahead_s", True, "outcome entry lacks or garbles"),
        ("header", "counts", {"rows": 1}, "header entry lacks or garbles"),
        *(("header", "shards", firsts, "the first rows of shards must ascend") for firsts in ([5, 5], [0], [2**53])),
        ("session", "event", "nap", "unknown session event 'nap'"),
        ("annotation", "event", "nap", "unknown annotation 'nap'"),
        ("verify", "format", FORMAT + 1, f"log format {FORMAT + 1}"),
        ("verify", "pinned", 7, "verify entry lacks or garbles"),
        ("found", "finding", "lost", "unknown finding 'lost'"),
    ],
)
def test_words_of_a_newer_version_are_not_interpreted(kind: str, member: str, value: object, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        from_json({**GOOD[kind], member: value})


def test_facts_cannot_hide_an_entrys_own_members() -> None:
    facts = {"type": "intent", "at": "then", "pid": 1}
    for entry in (Session("start", AT, "", facts), Annotation("undo", AT, "", facts)):
        with pytest.raises(ValueError, match=r"\['at', 'type'\]"):
            to_json(entry)


def test_the_numbers_of_a_copy_of_memberships_are_numbers() -> None:
    entry = to_json(MembershipsSaved(AT, "users.memberships.jsonl", 9, 8, 1, 2, 3))
    with pytest.raises(Unreadable, match="garbles"):
        from_json({**entry, "size": "9"})


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("rate", "10"),
        ("rate", True),
        ("concurrency", 1.5),
        ("until", 6),
        ("paused", 1),
        ("stop", None),
        ("slowed", None),
    ],
)
def test_the_value_of_a_change_has_its_type(what: str, value: object) -> None:
    with pytest.raises(Unreadable, match="change entry lacks or garbles a member"):
        from_json({**GOOD["change"], "what": what, "value": value})


@pytest.mark.parametrize(("member", "word"), [("what", "change"), ("source", "source of a change")])
def test_an_unknown_change_is_not_interpreted(member: str, word: str) -> None:
    with pytest.raises(Unreadable, match=f"unknown {word} 'x'"):
        from_json({**GOOD["change"], member: "x"})


@pytest.mark.parametrize("responses", [0, -1, 1.0, "3", True])
def test_a_number_of_responses_is_a_number(responses: object) -> None:
    with pytest.raises(Unreadable, match="throttled entry lacks or garbles a member"):
        from_json({**GOOD["throttled"], "responses": responses})


def test_a_number_of_responses_is_read() -> None:
    assert to_json(from_json({**GOOD["throttled"], "responses": 3}))["responses"] == 3


@pytest.mark.parametrize("name", ["job", "host", "id_type", "sha256", "pool"])
@pytest.mark.parametrize("value", [5, ["x"], {"x": "y"}, KeyError])
def test_what_is_pinned_is_a_text(name: str, value: Any) -> None:
    """Another person may have written the log."""
    entry = to_json(recorded.header())
    entry["pinned"] = {key: each for key, each in {**entry["pinned"], name: value}.items() if each is not KeyError}
    with pytest.raises(Unreadable, match="lacks or garbles a member"):
        from_json(entry)


@pytest.mark.parametrize(
    "more",
    [
        *({"names": {"done": 5}}, {"keys": {"done": []}}, {"noun": 5}, {"export_path": None}, {"confirmed": []}),
        *({"confirmed": {"ids": "many"}}, {"pinned": None}, {"pinned": [["job", "x"]]}),
        *({"sample": "x"}, {"counts": {**dict.fromkeys(("rows", "ids", *SKIPS), 0), "rows": "5"}}),
    ],
)
def test_a_header_with_another_type_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="lacks or garbles a member"):
        from_json({**to_json(recorded.header()), **more})


@pytest.mark.parametrize(("member", "value"), [("id_field", ["x"]), ("trim", 1), ("format", None), ("id_column", True)])
def test_how_the_export_is_read_has_its_types(member: str, value: Any) -> None:
    pinned = {**recorded.header().pinned, "source": {"id_column": None, "format": "csv", "trim": False}}
    entry = to_json(replace(recorded.header(), pinned=pinned))
    assert from_json(entry) == replace(recorded.header(), pinned=pinned)
    entry["pinned"] = {**pinned, "source": {member: value}}
    with pytest.raises(Unreadable, match=f"{member}: "):
        from_json(entry)


@pytest.mark.parametrize(
    "facts",
    [
        *({"asked": "x"}, {"asked": {}}, {"asked": None}, {"excluded": ["x"]}, {"confirmed": True}, {"note": 5}),
        *({"backup": ["x"]}, {"backup_was": {}}, {"memberships": 5}, {"options": []}),
    ],
)
def test_the_facts_of_a_start_have_their_types(facts: dict[str, Any]) -> None:
    entry = to_json(Session("start", AT, "ab", facts))
    with pytest.raises(Unreadable, match="session entry lacks or garbles a member"):
        from_json(entry)
    stop = Session("stop", AT, "ab", facts)
    assert from_json(to_json(stop)) == stop


def test_an_exception_of_a_row_is_an_object() -> None:
    entry = {**to_json(recorded.deleted(0, 1)), "exceptions": ["reason"]}
    with pytest.raises(Unreadable, match="lacks or garbles a member"):
        from_json(entry)


ODD: list[tuple[str, dict[str, Any]]] = [
    ("session", {"verdicts": 5}),
    ("session", {"cwd": None}),
    *(("session", {member: value}) for member in ("cwd", "run", "backup") for value in (5, "a\0b")),
    *(("session", {"protect": {"rate_max": value}}) for value in (0, True, "9", math.inf)),
    *(("session", {"protect": {name: "x"}}) for name in ("pools", "hosts", "max_ids", "require_other_user")),
    ("session", {"event": "stop", "not_after": "x"}),
    ("session", {"event": "stop", "not_after": "2026-01-01T00:00"}),
    ("session", {"event": "stop", "shards": {"1": [5, None]}}),
    ("annotation", {"event": "forget", "files": [5]}),
    ("annotation", {"event": "forget", "files": [{"path": "x"}]}),
    ("annotation", {"event": "undo", "done": -1}),
    ("annotation", {"event": "undo", "run": "a\0b"}),
    ("header", {"export_path": "a\0b"}),
    ("annotation", {"at": "0001-01-01T00:00Z"}),
    ("header", {"excluded": {"x": ["y"]}}),
    ("header", {"parameters": {"x": {}}}),
    ("header", {"parameters": {"x": [5]}}),
    ("header", {"sample": {"found": "x"}}),
    *(("header", {"run_id": id_}) for id_ in ("", "r1", "/home/app/database", f"../{recorded.RUN_ID}", 5, None)),
    ("outcome", {"exceptions": [{"id": "x"}]}),
    ("outcome", {"attempts": 1 << 63}),
    ("planned", {"runs": {"a": 5}}),
]


@mutant("a member of a log has any type", "_Form.read", only_if("name not in data", "check(data[name])"))
@pytest.mark.parametrize(("kind", "more"), ODD)
def test_a_member_of_another_type_is_named(kind: str, more: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=f"{kind} entry lacks or garbles a member: "):
        from_json({**GOOD[kind], **more})


@pytest.mark.parametrize("kind", GOOD)
def test_each_member_has_its_type(kind: str) -> None:
    assert orjson.loads(orjson.dumps(to_json(from_json(GOOD[kind])))) == GOOD[kind]
    for member, value in GOOD[kind].items():
        with pytest.raises(Unreadable):
            from_json({**GOOD[kind], member: 5 if isinstance(value, str) else "x"})


@pytest.mark.parametrize(("kind", "member"), [("session", "more"), ("header", "pinned"), ("outcome", "exceptions")])
@pytest.mark.parametrize("depth", [190, 240, 990])
def test_how_deep_a_value_may_be(kind: str, member: str, depth: int) -> None:
    deep = orjson.loads(b"[" * depth + b"]" * depth)
    values = {
        "more": deep,
        "pinned": {**GOOD["header"]["pinned"], "x": deep},
        "exceptions": [{"position": 1, "x": deep}],
    }
    entry = {**GOOD[kind], member: values[member]}
    if depth < DEPTH_MAX:
        assert from_json(entry)
        return
    with pytest.raises(Unreadable, match="nested too deep"):
        from_json(entry)
    with pytest.raises(Unreadable, match="unknown entry"):
        from_json(deep)


def test_a_run_that_has_not_signed_in_has_no_pool() -> None:
    pinned = {**recorded.header().pinned, "host": "sandbox", "pool": None}
    header = replace(recorded.header(0), pinned=pinned)
    assert from_json(to_json(header)) == header
