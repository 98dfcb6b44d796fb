"""`bulkdel help`, and what is said of a command line that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkdel.commands import guides
from tests.harness import bulkdel

DOCS = Path(__file__).parents[2] / "docs"


def test_the_guides_are_in_the_program() -> None:
    listed = bulkdel("help")
    assert listed.code == 0, listed
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        assert f"  {page.stem} " in listed.out
        assert text.partition("\n")[0].removeprefix("# ") in listed.out
    for name in ("vendor", "vendor.md"):
        assert bulkdel("help", name).out == (DOCS / "vendor.md").read_text()
    assert bulkdel("help", "").out == listed.out


def test_a_word_is_found_in_the_guides() -> None:
    found = bulkdel("help", "deleteusersbatch")
    assert (found.code, "vendor: | `ManagementClient.deleteUsersBatch`" in found.out) == (0, True), found
    assert found.out.endswith(": bulkdel help vendor\n"), found
    many = bulkdel("help", "--rate").out.splitlines()
    assert many[guides.FOUND_MAX].startswith("and "), many
    assert len(many) == guides.FOUND_MAX + 2


@pytest.mark.parametrize(("word", "told"), [("vendr", "Did you mean vendor? "), ("qqqqqq", "or this word. `bulkdel")])
def test_no_guide_has_this_word(word: str, told: str) -> None:
    ran = bulkdel("help", word)
    assert (ran.code, ran.out, told in ran.err) == (2, "", True), ran


def test_the_help_of_a_command() -> None:
    """A name that a guide and a command share is the guide."""
    assert bulkdel("help", "status").out == bulkdel("status", "--help").out
    assert bulkdel("help", "batch").out == (DOCS / "batch.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run", "JOB is missing. What to do with the ids: "),
        (
            "run delete-users",
            "EXPORT is missing. The ids: JSON Lines, CSV, one id a line (also ",
        ),
        ("run delete-users x --rate", "--rate: its value is missing. `bulkdel run --help` has more"),
        ("run delete-users x y", "'y' is one word too many. `bulkdel run --help` shows what it takes"),
        ("run delete-users x --rate abc", "Invalid value for --rate: 'abc' is not a rate."),
        ("run delete-users x --notify slack https://hooks.example/T/SECRET", "'https://…' is one word too many."),
        ("jobs KEY_SECRET=abc", "'KEY_SECRET=…' is one word too many."),
        ("run delete-users x --rate smtp://user:PASS@x", "Invalid value for --rate: 'smtp://…' is not a rate."),
        (
            "run delete-users x --onyl-status y",
            "--onyl-status is no option of `bulkdel run`. Did you mean --only-status?",
        ),
        (
            "plan delete-users x --only y",
            "--only is no option of `bulkdel plan`, but of `bulkdel restore` and `bulkdel results`. `bulkdel plan --he",
        ),
        (
            "status x --only y",
            "--only is no option of `bulkdel status`, but of `bulkdel restore` and `bulkdel results`.",
        ),
        (
            "batch run x --foo",
            "--foo is no option of `bulkdel batch run`. `bulkdel batch run --help` ",
        ),
        (
            "run restore-users x",
            "--passwords is missing; the job restore-users needs it. It is one of none, generate, reset-on-first-",
        ),
        ("run restore-users x --passwords", "--passwords: its value is missing. It is one of none, generate, "),
        ("status https://x.example/a?token=SECRET", "'https://x.example/a?[hidden]': is not the URL of a store."),
        ("run delete-users x --host https://x.example?token=SECRET", "--host carries a query or fragment: "),
        ("sandbox --users 1000 --write-vips x.xls", "--write-vips x.xls: name a file that ends in .csv or .xlsx"),
        ("runn", 'Unknown command "runn". Did you mean "run"?'),
    ],
)
def test_an_error_of_a_command_line_names_the_word_and_what_to_write(words: str, told: str) -> None:
    ran = bulkdel(*words.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"bulkdel: {told}"), ran.err
    assert len(ran.err.strip().splitlines()) == 1
    logged = json.loads(bulkdel(*words.split(), env={"BULKDEL_LOG_FORMAT": "json"}).err)
    assert (logged["event"], logged["exit_code"]) == ("error", 2)


def test_an_option_of_the_config_that_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[run]\nraet = 3\n")
    ran = bulkdel("plan", "delete-users", "x", "--config", config)
    assert (ran.code, "raet" in ran.err, str(config) in ran.err) == (2, True, True), ran
