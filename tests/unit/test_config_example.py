"""`config.example.toml`: the real command takes it as it is, and no setting is missing from it."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

from bulkdel.cli.app import make_app
from bulkdel.cli.config import ConfigFile
from bulkdel.safety.argument_checks import TOKENS
from bulkdel.safety.plan_from_file import OTHER_USER
from bulkdel.safety.protect import NUMBERS, PROTECTED
from bulkdel.settings import RunSettings
from bulkdel_jobs.genauth.genauth_job import CONFIG_KEYS
from bulkdel_jobs.sandbox import SANDBOX_POOL_ID
from tests.harness import KEYS, bulkdel, sandbox, user_ids, write_objects

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def tables(text: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(text)


def everything_on(text: str) -> str:
    """The example with every setting that is off put on."""
    return re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)


def test_every_setting_is_there_and_no_other() -> None:
    found = tables(everything_on(EXAMPLE.read_text()))
    assert found.keys() == {"run", "listen", "protect", "genauth"}
    assert found["protect"].keys() == {*PROTECTED, *NUMBERS, OTHER_USER}
    # `config` names this very file, and `plan` one run.
    assert found["run"].keys() == {one.name.rstrip("_") for one in dataclasses.fields(RunSettings)} - {"config", "plan"}
    assert found["listen"].keys() == {*TOKENS}
    assert found["genauth"].keys() == CONFIG_KEYS


def test_what_is_on_is_the_default() -> None:
    """A copy of the example changes nothing."""
    words = ["run", "delete-users", "e.jsonl", "--config", str(EXAMPLE)]
    _, bound, _ = make_app(ConfigFile(), listed=False).parse_args(words, exit_on_error=False)
    assert bound.kwargs["settings"] == RunSettings(config=EXAMPLE, id_type="user_id", chunk_size=50)


def test_the_command_prints_it() -> None:
    ran = bulkdel("config", "example", env={})
    assert (ran.code, ran.out) == (0, EXAMPLE.read_text()), ran.err


def test_the_command_takes_it_as_it_is(tmp_path: Path) -> None:
    ids = user_ids(60)
    export = write_objects(tmp_path / "e.jsonl", ids)
    with sandbox(ids) as served:
        options = ("--config", EXAMPLE, "--host", served.url, "--confirm", 60, "--pool", SANDBOX_POOL_ID, "--json")
        ran = bulkdel("run", "delete-users", export, *options)
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran
        assert served.ledger.chunk_sizes == {50: 1, 10: 1}


def test_the_command_takes_every_setting(tmp_path: Path) -> None:
    """With all of them on it plans what they say: nothing is reached, because there is no key."""
    text = everything_on(EXAMPLE.read_text())
    (tmp_path / "key").write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "all.toml").write_text(text.replace("~/.config/bulkdel/key", "key"))
    (tmp_path / "e.jsonl").write_text('{"userId": "12345678"}\n')
    (tmp_path / "keep.jsonl").write_text('{"userId": "87654321"}\n')
    with sandbox(["12345678"]) as served:
        config = (tmp_path / "all.toml").read_text()
        config = config.replace("https://api.example.com", served.url)
        config = re.sub(r"^(ca_file|proxy|store|take_over) = .*\n", "", config, flags=re.MULTILINE)
        (tmp_path / "all.toml").write_text(config)
        ran = bulkdel("plan", "delete-users", "e.jsonl", "--config", "all.toml", env={}, cwd=tmp_path)
    assert ran.code == 0, ran
    assert re.search(rf"^  host +{served.url}$", ran.out, re.MULTILINE)
    assert re.search(rf"^  pool +{SANDBOX_POOL_ID}$", ran.out, re.MULTILINE)
    assert re.search(r"^  run +2026-11-29$", ran.out, re.MULTILINE)
    assert "1 of 1 looked up exist" in ran.out


def test_a_misspelt_setting_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[run]\nraet = 5\n")
    (tmp_path / "e.jsonl").write_text('"6319a1504f3aaaaaf214dd5b"\n')
    ran = bulkdel("plan", "delete-users", "e.jsonl", "--config", "bad.toml", env={}, cwd=tmp_path)
    assert ran.code == 2, ran
    assert "raet" in ran.err
