"""What the options may be set to: defaults, bounds, and where the log goes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from bulkdel.cli.app import make_app
from bulkdel.cli.config import ConfigFile, value_of, with_all_kept
from bulkdel.core.guards import Guards
from bulkdel.errors import UsageError
from bulkdel.settings import Settings, names_in_variable
from tests.mutants import mutant
from tests.syntax import swap

CHUNK_MAX = 50


def test_defaults_are_those_that_scripts_rely_on() -> None:
    settings = Settings()
    settings.check(CHUNK_MAX)
    assert dataclasses.asdict(settings) == {
        "config": None,
        "run": None,
        "host": None,
        "ca_file": None,
        "proxy": None,
        "shards": None,
        "sandbox": False,
        "rate": 50.0,
        "concurrency": None,
        "chunk_size": None,
        "limit": None,
        "drain": 25.0,
        "patience": 900.0,
        "timeout": 60.0,
        "id_type": None,
        "id_field": None,
        "id_pattern": None,
        "format": "auto",
        "encoding": None,
        "sheet": None,
        "trim": False,
        "skip_invalid": None,
        "confirm": None,
        "pool": None,
        "confirm_host": None,
        "exclude": None,
        "spare": None,
        "only_status": None,
        "not_after": None,
        "backup": False,
        "backup_to": None,
        "backup_memberships": False,
        "look_first": False,
        "allow_absent": False,
        "schedule": None,
        "slow_while": None,
        "pause_file": None,
        "take_over": False,
        "max_refused": "1%",
        "in_doubt": "look-up",
        "confirm_export": None,
        "as_confirmed": False,
        "json": False,
        "log_level": "info",
        "log_format": None,
        "progress_every": 5.0,
        "note": None,
        "notify": None,
        "on_event": None,
        "listen": None,
    }


@mutant(
    "a rate is taken of which the pause between two requests is no number",
    "may_be_set",
    swap("RATE_MIN <= rate <= RATE_MAX", "0 < rate <= RATE_MAX"),
)
@mutant(
    "bounds that a library call passes by",
    "NotifySettings.check",
    swap("validate(object, value)", "validate(object, None)"),
)
@pytest.mark.parametrize(
    ("option", "low", "high", "beyond"),
    [
        ("rate", 0, 100_000, (0.0009, -0.1, 1e-320, 100_001, float("nan"), float("inf"))),
        ("concurrency", 1, 4096, (0, -1, 4097)),
        ("chunk_size", 1, CHUNK_MAX, (0, 51)),
        ("limit", 1, 2**53, (0, -5)),
        ("timeout", 1, 3600, (0.5, 3601)),
        ("confirm", 0, 2**53, (-1,)),
        ("drain", 0, 3600, (7200,)),
        ("patience", 1, 30 * 86_400, (0, 0.5, 31 * 86_400)),
        ("progress_every", 1, 3_600, (0.9, 3_601)),
    ],
)
def test_bounds(option: str, low: float, high: float, beyond: tuple[float, ...]) -> None:
    """They hold for values from a library call too, which cyclopts has not read."""
    for value in (low, high):
        Settings(**{option: value}).check(CHUNK_MAX)  # type: ignore[arg-type]
    for value in beyond:
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} .*(Must be|at most 50)"):
            Settings(**{option: value}).check(CHUNK_MAX)  # type: ignore[arg-type]


def read(*words: str) -> Settings:
    """The options that the command line reads from these words."""
    app = make_app(ConfigFile(), listed=False)
    _, bound, _ = app.parse_args(["run", "delete-users", "e.jsonl", *words], exit_on_error=False, print_error=False)
    settings: Settings = bound.kwargs["settings"]
    return settings


@pytest.mark.parametrize(
    ("words", "read_as"),
    [
        (("--patience", "15m"), 900.0),
        (("--patience", "90"), 90.0),
        (("--drain", "500ms"), 0.5),
        (("--drain=2m",), 120.0),
        (("--rate", "0.5"), 0.5),
        (("--limit", "7"), 7),
        (("--limit", "1,000"), 1000),
        (("--confirm", "1,199,719"), 1_199_719),
        (("--rate", "10/s"), 10.0),
        (("--rate", "1,000 /s"), 1000.0),
        (("--patience", "1d"), 86_400.0),
        (("--trim",), True),
        (("--exclude", "a", "--exclude=b"), ["a", "b"]),
        (("--only-status", "Suspended", "--only-status=Archived"), ["Suspended", "Archived"]),
        (("--spare", "active-since=2026-01-31"), ["active-since=2026-01-31"]),
    ],
)
def test_an_option_as_it_is_typed(words: tuple[str, ...], read_as: object) -> None:
    name = words[0].partition("=")[0].removeprefix("--").replace("-", "_")
    assert getattr(read(*words), name) == read_as


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "-1"), "--rate.*Must be 0 for no limit, or >= 0.001"),
        (("--rate", "1e-320"), "--rate.*or >= 0.001 and <= 100,000"),
        (("--concurrency", "4097"), "--concurrency.*Must be <= 4096"),
        (("--limit", "0"), "--limit.*Must be >= 1"),
        (("--limit", "2.5"), "--limit.*'2.5' is not a whole number"),
        (("--confirm", "1e3"), "--confirm.*'1e3' is not a whole number"),
        (("--patience", "soon"), "--patience.*'soon' is not a duration. Write 30, 30s, 15m, 2h or 1d"),
        (("--limit", "1,00"), "--limit.*'1,00' is not a whole number"),
        (("--rate", "10/m"), "--rate.*'10/m' is not a rate. Write 10 or 0.5"),
        (("--rate", "1,5"), "--rate.*'1,5' is not a rate"),
        (("--drain", "2h"), "--drain.*Must be <= 3600"),
        (("--format", "xml"), "--format"),
        (("--no-trim",), "--no-trim"),
    ],
)
def test_an_option_that_is_refused_is_named(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(CycloptsError) as caught:
        read(*words)
    assert re.search(said, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "--config .*: No such file"),
        ("rate = ", "--config .*: not TOML"),
        ("run = 5", "'run' is not a table"),
        ("[run]\nexclude = 5\nraet = 5", "raet"),
        ("[run]\nrate = -1", "Must be 0 for no limit"),
        ('[run]\npatience = "soon"', "'soon' is not a duration"),
    ],
)
def test_a_config_file_that_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "c.toml").write_text(text)
    with pytest.raises((CycloptsError, UsageError)) as caught:
        read("--config", str(tmp_path / "c.toml"))
    assert re.search(said, str(caught.value)), str(caught.value)


def test_an_empty_config_is_refused() -> None:
    with pytest.raises(UsageError, match="--config is empty"):
        read("--config", "")


def test_the_command_line_wins_over_the_config_file(tmp_path: Path) -> None:
    """An option that only `verify` has is left out; all others are read."""
    (tmp_path / "c.toml").write_text('[run]\nrate = 7\nchunk_size = 10\npatience = "2m"\nsample = 5\n')
    settings = read("--config", str(tmp_path / "c.toml"), "--rate", "9")
    assert (settings.rate, settings.chunk_size, settings.patience) == (9.0, 10, 120.0)


def test_a_pattern_that_is_none() -> None:
    Settings(id_pattern=r"\d+").check(CHUNK_MAX)
    with pytest.raises(UsageError, match=r"--id-pattern '\(': "):
        Settings(id_pattern="(").check(CHUNK_MAX)


@pytest.mark.parametrize(
    ("given_path", "sandbox", "export", "expected"),
    [
        (None, False, "users.csv", "users.csv.runs/delete-users"),
        (None, True, "users.csv", "users.csv.runs/delete-users.sandbox"),
        (None, False, "/data/a b.jsonl.gz", "/data/a b.jsonl.gz.runs/delete-users"),
        ("place", False, "users.csv", "place"),
        ("place", True, "-", "place"),
    ],
)
def test_where_the_run_is(given_path: str | None, sandbox: bool, export: str, expected: str) -> None:
    settings = Settings(run=None if given_path is None else Path(given_path), sandbox=sandbox)
    assert settings.place_of("delete-users", export) == Path(expected)


def test_standard_input_needs_a_name_for_the_log() -> None:
    with pytest.raises(UsageError, match="--run"):
        Settings().place_of("delete-users", "-")


def test_settings_do_not_change_under_a_run() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().rate = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("2026-01-31", 1769817600.0),
        (" 2026-01-31 ", 1769817600.0),
        ("2026-01-31T02:00+02:00", 1769817600.0),
        ("2026-01-31 00:00:00.500Z", 1769817600.5),
    ],
)
def test_a_date_of_a_guard(text: str, epoch: float) -> None:
    settings = Settings(spare=[f"active-since={text}", f"created-after={text}"])
    settings.check()
    assert settings.guards == Guards(epoch, epoch)


@pytest.mark.parametrize("text", ["2026-01-31T06:00", "20260131", "2026-02-30", "yesterday", "06:00Z"])
def test_a_date_that_cannot_be_read_is_refused(text: str) -> None:
    """Also a time without a zone, which may be hours off."""
    with pytest.raises(UsageError, match=r"--spare active-since .*: write 2026-01-31"):
        Settings(spare=[f"active-since={text}"]).check()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(exclude=[Path("keep"), Path()]), "--exclude is empty"),
        (Settings(run=Path()), "--run is empty"),
        (Settings(backup_to=Path("./.")), "--backup-to is empty, or is the current folder"),
        (Settings(ca_file=Path()), "--ca-file is empty"),
        (Settings(pool=" "), "--pool is empty"),
        (Settings(only_status=["a", ""]), "--only-status is empty"),
        (Settings(only_status=[]), "--only-status is empty"),
        (Settings(exclude=[]), "--exclude is empty"),
        (Settings(spare=["created-after=2999-01-01"]), "--spare created-after=2999-01-01: is in the future"),
        (Settings(max_refused=""), "--max-refused is empty"),
        *((Settings(max_refused=text), "write a number of ids") for text in ("nan%", "101%", "-1", "1_0%", "1.5")),
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
        (["a", "./b"], {"BULKDEL_EXCLUDE": "x/../b"}, {"exclude": ["a"]}, ["./b", "a"]),
        (["a"], {"BULKDEL_EXCLUDE": ""}, {}, ["", "a"]),
        (["s3://b/a"], {"BULKDEL_EXCLUDE": "s3://b/a:s3://b//a:c"}, {}, ["c", "s3://b//a", "s3://b/a"]),
    ],
)
def test_exclude_files_add_up(
    typed: list[str] | None, environ: dict[str, str], table: dict[str, Any], meant: list[str] | None
) -> None:
    """An empty variable stays in the list, so that `check` refuses it."""
    settings = Settings(exclude=None if typed is None else list(typed))
    found = with_all_kept(settings, environ, table).exclude
    assert (None if found is None else sorted(map(str, found))) == meant


def test_a_column_after_an_exclude_file_in_the_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    for path in (one, two):
        path.touch()
    found = names_in_variable(list, f"{one}:Mail:email:{two}:gone.csv:s3://b/k")
    assert found == [f"{one}:Mail:email", f"{two}:gone.csv", "s3://b/k"]


@mutant(
    "a file with the name of a column switches the column of an exclude file off",
    "names_in_variable",
    swap('{"/", "."} & {*part}', "{*part}"),
)
def test_a_file_with_the_name_of_a_column_is_not_taken_for_an_exclude_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.csv", "email", "two"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"BULKDEL_EXCLUDE: email may be a column of one\.csv, and is a file here too"):
        names_in_variable(list, "one.csv:email:email")
    assert names_in_variable(list, "one.csv:./two:email.csv") == ["one.csv", "./two:email.csv"]
    (tmp_path / "email").unlink()
    assert names_in_variable(list, "one.csv:email:email") == ["one.csv:email:email"]


@mutant(
    "of a plan that is named twice the first one is run",
    "value_of",
    swap('word.partition("=")[2]', 'word.partition("=")[2] if found is None else found'),
)
@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["run", "--plan", "b", "--plan=a"], "a"),
        (["run", "--plan=b", "--plan", "a"], "a"),
        (["run", "--plan", "b", "--plan", "a"], "a"),
        (["run", "--plan=b", "--plan=a"], "a"),
        (["run", "--plan"], None),
    ],
)
def test_a_value_that_is_read_before_the_words_are_parsed_is_the_last_one(words: list[str], value: str | None) -> None:
    """As it is parsed: otherwise a run would go by one plan and name another."""
    assert value_of("plan", words, {}) == value
