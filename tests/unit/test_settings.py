"""What may be set and to what: defaults, durations, bounds, and where the log goes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.errors import UsageError
from bulkdel.settings import Settings, seconds_of, until_of, with_all_excluded

CHUNK_MAX = 50


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("30s", 30.0),
        (" 15m ", 900.0),
        ("15min", 900.0),
        ("2h", 7200.0),
        ("0.5h", 1800.0),
        ("1.5 m", 90.0),
        ("250ms", 0.25),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "+1", "1d", "1h30m", "1,5", "1e3", "inf", "nan", ".5", "1.", "1 0", "1M"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        seconds_of(text)


@given(st.floats(0, 1e6).map(lambda value: f"{value:.3f}"), st.sampled_from(("", "s", "m", "h", "ms")))
def test_every_plain_number_is_a_duration(number: str, unit: str) -> None:
    factor = {"": 1, "s": 1, "m": 60, "h": 3600, "ms": 0.001}[unit]
    assert seconds_of(number + unit) == pytest.approx(float(number) * factor)


def test_defaults_are_those_that_scripts_rely_on() -> None:
    settings = Settings()
    settings.check(CHUNK_MAX)
    assert dataclasses.asdict(settings) == {
        "config": None,
        "checkpoint": None,
        "host": None,
        "ca_file": None,
        "proxy": None,
        "sandbox": False,
        "rate": 50.0,
        "concurrency": 16,
        "chunk_size": None,
        "limit": None,
        "drain_s": "30",
        "patience": "15m",
        "timeout_s": 60.0,
        "id_type": None,
        "id_field": None,
        "id_pattern": None,
        "format": "auto",
        "trim": False,
        "on_invalid": "stop",
        "max_invalid": None,
        "confirm": None,
        "pool": None,
        "confirm_host": None,
        "exclude": None,
        "max_delete": None,
        "not_after": None,
        "backup": None,
        "look_first": False,
        "allow_absent": False,
        "max_refused": "1%",
        "in_doubt": "look-up",
        "json": False,
        "log_level": "info",
    }


@pytest.mark.parametrize(
    ("option", "low", "high", "beyond"),
    [
        ("rate", 0, 100_000, (-0.1, 100_001, float("nan"), float("inf"))),
        ("concurrency", 1, 4096, (0, -1, 4097)),
        ("chunk_size", 1, CHUNK_MAX, (0, 51)),
        ("limit", 1, 2**53, (0, -5)),
        ("timeout_s", 1, 3600, (0.5, 3601)),
        ("confirm", 0, 2**53, (-1,)),
        ("drain_s", "0", "1h", ("2h",)),
        ("patience", "1", "720h", ("0", "0.5s", "721h")),
    ],
)
def test_bounds(option: str, low: Any, high: Any, beyond: tuple[Any, ...]) -> None:
    for value in (low, high):
        Settings(**{option: value}).check(CHUNK_MAX)
    for value in beyond:
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} .*must be from"):
            Settings(**{option: value}).check(CHUNK_MAX)


def test_a_pattern_that_is_none() -> None:
    Settings(id_pattern=r"\d+").check(CHUNK_MAX)
    with pytest.raises(UsageError, match=r"--id-pattern '\(': "):
        Settings(id_pattern="(").check(CHUNK_MAX)


@pytest.mark.parametrize(
    ("given_path", "sandbox", "export", "expected"),
    [
        (None, False, "users.csv", "users.csv.checkpoint.jsonl"),
        (None, True, "users.csv", "users.csv.sandbox.checkpoint.jsonl"),
        (None, False, "/data/a b.jsonl.gz", "/data/a b.jsonl.gz.checkpoint.jsonl"),
        ("log", False, "users.csv", "log"),
        ("log", True, "-", "log"),
    ],
)
def test_where_the_log_goes(given_path: str | None, sandbox: bool, export: str, expected: str) -> None:
    settings = Settings(checkpoint=None if given_path is None else Path(given_path), sandbox=sandbox)
    assert settings.checkpoint_for(export) == Path(expected)


def test_standard_input_needs_a_name_for_the_log() -> None:
    with pytest.raises(UsageError, match="--checkpoint"):
        Settings().checkpoint_for("-")


def test_settings_do_not_change_under_a_run() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().rate = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(exclude=[Path("keep"), Path()]), "--exclude is empty"),
        (Settings(checkpoint=Path()), "--checkpoint is empty"),
        (Settings(backup=Path("./.")), "--backup is empty, or names a folder"),
        (Settings(ca_file=Path()), "--ca-file is empty"),
        *((Settings(max_refused=text), "write a number of ids") for text in ("nan%", "101%", "-1", "1_0%", "", "1.5")),
        (Settings(patience="\u0663m"), "not a duration"),
    ],
)
def test_what_cannot_be_meant(settings: Settings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings.check(CHUNK_MAX)


@pytest.mark.parametrize(
    ("typed", "environ", "table", "meant"),
    [
        (None, {}, {}, None),
        (["a"], {}, {}, ["a"]),
        (["a"], {"BULKDEL_EXCLUDE": "b:c"}, {"exclude": ["d"]}, ["a", "b", "c", "d"]),
        (None, {}, {"exclude": "d"}, ["d"]),
        (["a", "./b"], {"BULKDEL_EXCLUDE": "x/../b"}, {"exclude": ["a"]}, ["a", "b"]),
        (["a"], {"BULKDEL_EXCLUDE": ""}, {}, [".", "a"]),
    ],
)
def test_exclude_files_add_up(
    typed: list[str] | None, environ: dict[str, str], table: dict[str, Any], meant: list[str] | None
) -> None:
    """An empty variable stays in the list, so that `check` refuses it."""
    settings = Settings(exclude=None if typed is None else [Path(name) for name in typed])
    found = with_all_excluded(settings, environ, table).exclude
    assert (None if found is None else sorted(map(str, found))) == meant


# ── --not-after ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clocks are changed on 29 March and 25 October 2026."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "meant"),
    [
        ("06:00", "2026-11-25T22:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("06:00", "2026-11-25T05:59:59+01:00", "2026-11-25T06:00:00+01:00"),
        ("06:00", "2026-11-25T06:00:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("06:00:30", "2026-11-25T06:00:00+01:00", "2026-11-25T06:00:30+01:00"),
        ("06:00Z", "2026-11-25T06:30:00+01:00", "2026-11-25T06:00:00+00:00"),
        ("06:00+02:00", "2026-11-25T06:30:00+01:00", "2026-11-26T06:00:00+02:00"),
        ("2026-11-26T06:00", "2026-11-25T06:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("2026-11-26 06:00Z", "2026-11-25T06:00+01:00", "2026-11-26T06:00:00+00:00"),
        ("2020-01-01T06:00", "2026-11-25T06:00+01:00", "2020-01-01T06:00:00+01:00"),
        # the night in which the clocks are set back, before and after the hour that comes twice
        ("06:00", "2026-10-24T22:00+02:00", "2026-10-25T06:00:00+01:00"),
        ("03:30", "2026-10-25T02:30+02:00", "2026-10-25T03:30:00+01:00"),
        ("02:30", "2026-10-25T02:45+01:00", "2026-10-26T02:30:00+01:00"),
        ("02:30+01:00", "2026-10-25T02:45+02:00", "2026-10-25T02:30:00+01:00"),
        # the night in which they are set forward
        ("03:30", "2026-03-29T01:30+01:00", "2026-03-29T03:30:00+02:00"),
    ],
)
def test_not_after(text: str, now: str, meant: str) -> None:
    assert until_of(text, datetime.fromisoformat(now)).isoformat() == meant


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "readings"),
    [
        ("02:30", "2026-10-24T22:00+02:00", ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")),
        ("02:30", "2026-10-25T02:45+02:00", ("2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00")),
        ("2026-10-25T02:30", "2026-10-20T06:00+02:00", ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")),
        # there is no 02:30 in this night
        ("02:30", "2026-03-28T22:00+01:00", ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")),
        ("2026-03-29T02:30", "2026-03-20T06:00+01:00", ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")),
    ],
)
def test_not_after_that_the_change_of_clocks_makes_ambiguous(text: str, now: str, readings: tuple[str, str]) -> None:
    """Both readings are named as they can be typed, and typed they mean what they say."""
    with pytest.raises(UsageError) as caught:
        until_of(text, datetime.fromisoformat(now))
    assert " or ".join(readings) in str(caught.value)
    for reading in readings:
        assert until_of(reading, datetime.fromisoformat(now)) == datetime.fromisoformat(reading)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "write 06:00") for text in ("", "tomorrow", "25:00", "06:60", "6", "06:00+99:00", "2026-02-30")),
        ("\u0660\u0666:\u0660\u0660", "write 06:00"),
        ("9999-12-31T23:59", "more than a year ahead"),
        ("9999-12-31T23:59-23:00", "more than a year ahead"),
        ("2027-12-01T00:00Z", "more than a year ahead"),
    ],
)
def test_not_after_that_is_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        until_of(text, datetime(2026, 11, 25, tzinfo=UTC))


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "0001-01-01T00:00+23:00", "2026-11-25T00:00Z"])
def test_not_after_far_back(text: str) -> None:
    """No overflow: a time in the past, or no time at all."""
    now = datetime(2026, 11, 25, tzinfo=UTC)
    with suppress(UsageError):
        assert until_of(text, now) <= now
