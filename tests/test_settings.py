"""What may be set and to what: defaults, durations, bounds, and where the log goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.settings import Settings, seconds_of

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
