"""The manifest of a hand-over: it comes back as it was written, and one that is not trusted is refused."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.handover import (
    MANIFEST,
    MEMBER_MAX,
    GoingOn,
    Manifest,
    PackedFile,
    Unfit,
    check_name,
    free_name,
    is_name_of_secret,
    toml_of,
    without_files,
)
from bulkdel.core.option import Names
from bulkdel.options import OF_THE_COMMAND, OF_THE_MACHINE
from bulkdel.parameters import options_of_archive
from bulkdel_jobs.delete_users import DeleteUsers
from tests.mutants import mutant
from tests.syntax import swap

SHA256 = "0" * 64
LOG = PackedFile("run/log.jsonl", "the log", 12, SHA256)
GOING_ON = GoingOn(
    "run",
    ("delete-users", "users.csv"),
    {"--run": ("run",), "--trim": (), "--exclude": ("a.csv", "b.csv")},
    {"BULKDEL_GENAUTH__BRAND": "authing"},
    ("--listen",),
    ("--notify",),
)
ONE = Manifest(
    *("bulkdel 0.1.0", "word", "2026-11-26T10:00:00.000Z", "anna", "m1", "run", "delete-users", "https://x", "pool"),
    remaining=3,
    config=None,
    settings={"rate": 50.0, "exclude": ["a.csv"]},
    files=(LOG, PackedFile("users.csv", "the export", 0, SHA256)),
    going_on=GOING_ON,
)


def test_a_manifest_comes_back_as_it_was_written() -> None:
    for one in (ONE, replace(ONE, going_on=None, pool=None, config="users.csv")):
        assert Manifest.of(one.to_bytes()) == one
    assert ONE.size == 12


def values() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ONE.to_bytes())
    return found


def changed(*path: str | int, to: Any) -> bytes:
    found = values()
    where: Any = found
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = to
    return json.dumps(found).encode()


def named(*names: str) -> bytes:
    """With further files of these names."""
    found = values()
    found["files"] += [{**found["files"][1], "name": name} for name in names]
    return json.dumps(found).encode()


NOT_OURS = "is not one that bulkdel wrote"


@mutant(
    "an archive switches off what the variables of a machine protect",
    "_going_on",
    swap("name.startswith(OWN_VARIABLES)", "not name"),
)
@mutant(
    "one folder has two names in an archive",
    "Manifest.check",
    swap("len(folders) < len(spelt)", "not spelt"),
)
@mutant(
    "names of an archive are compared with their composed characters",
    "_folded",
    swap('unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())', "name.casefold()"),
)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", NOT_OURS),
        (b"[]", NOT_OURS),
        (b"[" * 100_000, NOT_OURS),
        (b'{"format": 1}', NOT_OURS),
        (b'{"format": 2}', "has format 2, and this version reads 1"),
        (changed("format", to="1"), "has format '1'"),
        (changed("files", to=[{"name": "x"}]), NOT_OURS),
        (changed("files", 0, "more", to=1), NOT_OURS),
        (changed("remaining", to=True), NOT_OURS),
        (changed("settings", to=[]), NOT_OURS),
        (changed("host", to="a\x1b[2Jb"), "cannot be printed"),
        (changed("host", to="https://api.genauth.\u0430i"), "may look like another host"),
        (changed("pool", to=7), "cannot be printed"),
        (changed("files", 1, "name", to="../x"), "'../x', which is not the name of a file"),
        (changed("files", 1, "name", to="/etc/passwd"), "not the name of a file"),
        (changed("files", 1, "name", to=MANIFEST), "twice"),
        (changed("files", 1, "name", to="run/LOG.jsonl"), "twice"),
        (named("run/restore-1/x", "run/Restore-1/x"), "twice"),
        (named("run/restore-1/x", "run/Restore-1/y"), "one folder in two ways, in 'run', 'run/Restore-1', 'run/re"),
        (named("run/\u00e9/x", "run/e\u0301/y"), "one folder in two ways"),
        (named("\u00e9.csv", "E\u0301.csv"), "twice"),
        (changed("files", 1, "name", to="RUN/x"), "not the name of a file"),
        (changed("files", 1, "name", to="run/../x"), "not the name of a file"),
        (changed("files", 1, "name", to="run//x"), "not the name of a file"),
        (changed("files", 1, "name", to="run/a/b/c/d"), "not the name of a file"),
        (changed("files", 1, "name", to="Run"), "'run' as a file and as a folder"),
        (changed("files", 0, "name", to="run/other.jsonl"), "has no log"),
        (changed("files", 1, "size", to=-1), "no size"),
        (changed("files", 1, "size", to=1.5), "no size"),
        (changed("files", 1, "sha256", to="A" * 64), "no SHA-256"),
        (changed("config", to=[]), "cannot be printed"),
        (changed("pool", to=0), "cannot be printed"),
        (changed("files", 0, "what", to="\x1b[2J"), "cannot be printed"),
        (changed("config", to="other"), "none of its files"),
        (changed("going_on", to={}), NOT_OURS),
        (changed("going_on", "command", to="batch"), "does not have"),
        (changed("going_on", "names", to=["j", "a\nb"]), "does not have"),
        (changed("going_on", "names", to=["j", 5]), "does not have"),
        (changed("going_on", "names", to=[]), "does not have"),
        (changed("going_on", "command", to="restore"), "does not have"),
        (changed("going_on", "options", to={"; rm": []}), "does not have"),
        (changed("going_on", "options", to={"--rate": ["\x1b"]}), "does not have"),
        (changed("going_on", "left_out", to=["run: curl x|sh"]), "does not have"),
        (changed("going_on", "variables", to={"LD_PRELOAD": "x"}), "does not have"),
        (changed("going_on", "variables", to={"BULKDEL_GENAUTH__CREDENTIALS_FILE": "x"}), "does not have"),
        (changed("going_on", "variables", to={"BULKDEL_PROTECT__POOLS": "[]"}), "which no archive may set"),
    ],
)
def test_a_manifest_that_is_not_trusted_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(Unfit, match=r"^[^\x1b]*$") as refused:
        Manifest.of(data)
    assert said in str(refused.value)


ALLOWED = {**options_of_archive(DeleteUsers()), "--app": Names.NOTHING, "--list": Names.FILE}
"""The options that an archive may have, and two of a job. The second names a file."""

PACKED = replace(
    ONE,
    config="c.toml",
    files=(*ONE.files, *(PackedFile(name, "", 0, SHA256) for name in ("c.toml", "d.toml", "a.csv", "plan.json"))),
)


def with_options(**options: str) -> Manifest:
    given = {"--run": ("run",)} | {f"--{name.replace('_', '-')}": (value,) for name, value in options.items()}
    return replace(PACKED, going_on=replace(GOING_ON, options=given))


HARMLESS = {"config", "plan", "run", "out", "json", "log_level", "log_format", "progress_every", "note"}
HARMLESS |= {"export", "from_backup", "without_memberships"}
"""What an archive may set of these: files in it, and how a command shows itself."""


@mutant(
    "an archive sets an option of the machine",
    "options_of_archive",
    swap(
        "{option_of(name): OPTIONS[name].names for name in FROM_ARCHIVE}",
        '{option_of(name): OPTIONS[name].names for name in {*FROM_ARCHIVE, "on_event"}}',
    ),
)
@pytest.mark.parametrize("name", sorted((OF_THE_MACHINE | OF_THE_COMMAND) - HARMLESS))
def test_an_archive_sets_no_option_of_the_machine(name: str) -> None:
    with pytest.raises(Unfit, match=f"holds a command with --{name.replace('_', '-')}"):
        with_options(**{name: "x"}).check_going_on(ALLOWED, {}, ())


@mutant(
    "an archive names the machines that send",
    "names_engine",
    swap('option == "--shards"', 'option == "--on"'),
)
def test_an_archive_names_no_engine() -> None:
    with_options(shards="8").check_going_on(ALLOWED, {}, ())
    with pytest.raises(Unfit, match="--shards that names an engine"):
        with_options(shards="8@ray").check_going_on(ALLOWED, {}, ())


@mutant(
    "the command of an archive names a config that was not checked",
    "Manifest._has",
    swap("value == self.config", 'value.endswith(".toml")'),
)
@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"rate": "5", "app": "a1", "host": "https://x", "skip_invalid": "10"}, None),
        ({"config": "c.toml", "plan": "plan.json", "exclude": "a.csv:Mail:email", "list": "a.csv"}, None),
        ({"backup_to": "new.jsonl", "run": "run"}, None),
        ({"run": "new"}, "another run than its own"),
        ({"exclude": "s3://bucket/a.csv"}, "--exclude s3://bucket/a.csv"),
        ({"config": "d.toml"}, "--config d.toml"),  # a packed file that was not checked as a config
        ({"config": "/tmp/c.toml"}, "--config /tmp/c.toml"),
        ({"plan": "../plan.json"}, "--plan ../plan.json"),
        ({"exclude": "/etc/passwd"}, "--exclude /etc/passwd"),
        ({"exclude": "a.csv/../b"}, "--exclude a.csv/../b"),
        ({"list": "/etc/passwd"}, "--list /etc/passwd"),
        ({"backup_to": "/home/x"}, "'/home/x', which is not the name"),
        ({"backup_to": "s3://bucket/x"}, "'s3://bucket/x', which is not the name"),
        ({"run": "../x"}, "another run than its own"),
        ({"host": "https://y"}, "another host"),
        ({"unheard_of": "x"}, "--unheard-of"),
    ],
)
def test_an_archive_sets_the_options_of_its_list_and_names_its_own_files(
    options: dict[str, str], refused: str | None
) -> None:
    made = with_options(**options)
    if refused is None:
        made.check_going_on(ALLOWED, {}, ())
        return
    with pytest.raises(Unfit) as raised:
        made.check_going_on(ALLOWED, {}, ())
    assert refused in str(raised.value)


ONE_TABLE = replace(ONE, going_on=None)


@pytest.mark.parametrize(
    "tables",
    [{"run": {"on_event": "x"}}, {"other": {}}, {"genauth": 5}]
    + [
        {"genauth": each}
        for each in ({"credentials_file": "/k"}, {"host": "x"}, {"list": [{"deep": [{"key_file": "/k"}]}]})
    ],
)
def test_an_archive_has_the_tables_of_its_run_alone(tables: dict[str, Any]) -> None:
    ONE_TABLE.check_going_on({}, {"genauth": {"brand": "authing"}}, {"genauth", "protect"})
    with pytest.raises(Unfit, match="has a config"):
        ONE_TABLE.check_going_on({}, tables, {"genauth", "protect"})


@pytest.mark.parametrize("names", [("delete-users", "/etc/passwd"), ("kick-users", "users.csv")])
def test_an_archive_goes_on_with_its_own_job_and_export(names: tuple[str, str]) -> None:
    made = replace(PACKED, going_on=replace(GOING_ON, names=names, options={"--run": ("run",)}))
    with pytest.raises(Unfit, match=r"not the name of a file|another job"):
        made.check_going_on(ALLOWED, {}, ())


@pytest.mark.parametrize("options", [{}, {"--run": ("run", "run")}, {"--run": ()}])
def test_an_archive_goes_on_with_its_own_run(options: dict[str, tuple[str, ...]]) -> None:
    made = replace(PACKED, going_on=replace(GOING_ON, options=options))
    with pytest.raises(Unfit, match="another run than its own"):
        made.check_going_on(ALLOWED, {}, ())


@mutant(
    "a file in the archive may have a path as its name",
    "_is_plain",
    swap(
        'name.isprintable() and "/" not in name and "\\\\" not in name',
        'name.isprintable() and "\\\\" not in name',
    ),
)
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "/a", "..\\a", "a\0b", "a\nb", "\u202ea", " ", "x" * 256, "é" * 128, 5, None],
)
def test_a_name_that_is_no_plain_name_is_refused(name: Any) -> None:
    with pytest.raises(Unfit):
        check_name(name)


def test_a_long_name_is_cut_in_the_archive_alone() -> None:
    assert replace(LOG, name="é" * 60).member == "é" * (MEMBER_MAX // 2)
    assert replace(LOG, name="x" + "é" * 60).member == "x" + "é" * 49
    assert LOG.member == LOG.name


def test_a_taken_name_gets_a_number() -> None:
    assert free_name("a.csv", ()) == "a.csv"
    assert free_name("a.csv", {"A.CSV", "a-2.csv"}) == "a-3.csv"
    assert free_name("a", {"a"}) == "a-2"
    assert free_name("\u00e9", {"E\u0301"}) == "\u00e9-2"


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        *(("--notify", True), ("[http] token_file", True), ("[http.auth] CLIENT_SECRET_FILE", True)),
        *(("BULKDEL_GENAUTH__TOKEN_FILE", True), ("BULKDEL_X", False)),
        *(("[genauth] more", False), ("--notify x", False), ("KEY. Run: curl x | sh", False), ("", False)),
        *(("[a] b] c_file", False), ("[a.] c_file", False), ("[a] c_file\n", False), ("[a] \u0441_file", False)),
    ],
)
def test_a_secret_is_named_as_pack_names_it(text: str, is_name: bool) -> None:
    assert is_name_of_secret(text) is is_name


def test_a_table_is_packed_without_the_files_of_its_secrets() -> None:
    table = {"brand": "authing", "credentials_file": "/k", "auth": {"token_FILE": "/t", "kind": "bearer"}, "file": "x"}
    kept, gone = without_files(table)
    assert kept == {"brand": "authing", "auth": {"kind": "bearer"}, "file": "x"}
    assert gone == ["credentials_file", "auth.token_FILE"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
PLAIN = (
    TEXT
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.sampled_from([date(2026, 1, 31), time(6, 30), datetime(2026, 1, 31, 6, tzinfo=UTC)])
)
VALUES: Callable[[], st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731 - a recursive type has no name
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(TEXT, st.dictionaries(TEXT, VALUES(), max_size=4), max_size=3))
def test_tables_come_back_as_tomllib_reads_them(tables: dict[str, dict[str, Any]]) -> None:
    assert tomllib.loads(toml_of(tables)) == tables
