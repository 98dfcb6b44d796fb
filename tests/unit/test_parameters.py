"""Which parameters of a job can be options, and what a printed command makes of their values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bulkdel.cli.app import make_app, plan
from bulkdel.cli.config import ConfigFile
from bulkdel.cli.job_options import described, find_job, for_completion
from bulkdel.command_line import CommandLine
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.job import load_job
from bulkdel.parameters import by_option, check_type, check_values, default_of, from_pinned, parameters_of, pinned
from tests.mutants import mutant
from tests.syntax import swap


def job_with(kind: Any) -> Any:
    job: Any = load_job("delete-users")
    job.parameters = kind
    return job


def frozen(**kinds: Any) -> type:
    """A frozen dataclass with these fields: a type, or a type and a default."""
    named = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind in kinds.items()]
    return make_dataclass("Needs", [(n, k, field(default=d[0])) if d else (n, k) for n, k, *d in named], frozen=True)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        frozen(),
        frozen(group=str, count=(int, 3), force=(bool, True), file=(Path, Path("a"))),
        frozen(level=Literal[1, 2], which=(Literal["a", "b"], "a")),
        frozen(role=tuple[str, ...], app=(tuple[str, ...], ()), apps=(tuple[str, ...] | None, None)),
        frozen(file=Path | None, group=(str | None, None)),
    ],
)
def test_types_that_can_be_options(kind: Any) -> None:
    check_type(job_with(kind))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (str, "not a frozen dataclass"),
        (make_dataclass("Needs", [("group", str)]), "not a frozen dataclass"),
        (frozen(host=str), "'host' has the name of a setting"),
        (frozen(export=str), "'export' has the name of a setting"),
        (frozen(appId=str), "'appId' is not in lower_case"),
        (frozen(_app=str), "'_app' is not in lower_case"),
        (frozen(part=float), "'part' is no str, int"),
        (frozen(parts=list[str]), "'parts' is no str, int"),
        (frozen(parts=tuple[int, ...]), "'parts' is no str, int"),
        (frozen(part=str | int), "'part' is no str, int"),
        (frozen(group=(str | None, "eng")), "no option can give its parameter 'group'"),
        (frozen(role=(tuple[str, ...], ("a",))), "no option can give its parameter 'role'"),
    ],
)
def test_types_that_cannot(kind: Any, said: str) -> None:
    with pytest.raises(UsageError, match=rf"^the job 'delete-users' cannot be used: .*{said}"):
        check_type(job_with(kind))


@dataclass(frozen=True)
class Needs:
    group: str
    role: tuple[str, ...] = field(default_factory=tuple)
    force: bool = False
    polite: bool = True
    level: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.group == "all":
            raise ValueError("that group has everybody in it")


def test_a_printed_command_can_be_typed_again() -> None:
    hostile = ("-x", "a b", "it's", '"', "$(rm x)", "`x`", "a\\b", "ü", "*", "--group", "{}", "[1]")
    needs = Needs("-g", hostile, force=True, polite=False, level=2)
    text = str(CommandLine("run", ("job", "export")).plus_parameters(needs))
    words = shlex.split(text)
    assert words[:5] == ["bulkdel", "run", "job", "export", "--group=-g"]
    assert words[-4:] == ["--force", "--no-polite", "--level", "2"]
    assert "--role=-x" in words
    assert "$(rm x)" in words
    assert str(CommandLine("run").plus_parameters(Needs("a"))) == "bulkdel run --group a"
    assert str(CommandLine("run").plus_parameters(None)) == "bulkdel run"


def test_a_job_may_refuse_values_of_its_own() -> None:
    with pytest.raises(UsageError, match="delete-users: that group has everybody in it"):
        parameters_of(job_with(Needs), {"group": "all"})
    assert parameters_of(job_with(Needs), {"group": "a", "level": 2}) == Needs("a", level=2)
    with pytest.raises(UsageError, match="the parameter 'force' cannot be 1: it is bool"):
        parameters_of(job_with(Needs), {"group": "a", "force": 1})


def test_values_that_cannot_be_typed_again() -> None:
    job = job_with(frozen(role=tuple[str, ...]))
    with pytest.raises(UsageError, match="--role: give it at least once"):
        check_values(job, parameters_of(job, {"role": []}))
    with pytest.raises(UsageError, match="are missing, or are those of another job"):
        check_values(job, None)
    with pytest.raises(UsageError, match="are missing, or are those of another job"):
        check_values(load_job("delete-users"), Needs("a"))


def test_the_pinned_values(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    kind: Any = frozen(file=Path, none=(str | None, None), role=(tuple[str, ...], ()), yes=(bool, True))
    values = pinned(kind(tmp_path / "a"))
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert values == {"file": {"path": f"{tmp_path}/a", "sha256": sha256}, "none": None, "role": [], "yes": True}
    assert dict(by_option(values)) == {"--file": f"{tmp_path}/a, sha256 {sha256}", "--yes": "yes"}
    with pytest.raises(UsageError, match=r"--file .*: is not a file"):
        pinned(kind(tmp_path))
    assert pinned(None) == {}


def test_the_pinned_values_make_the_parameters_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    kind: Any = frozen(group=str, file=Path, role=(tuple[str, ...], ()), title=(str | None, None))
    log, job = Path("log"), job_with(kind)
    given = kind("eng", tmp_path / "a", ("a", "b"))
    values = pinned(given)
    assert from_pinned(job, values, log, trusted=True) == given
    assert from_pinned(load_job("delete-users"), {}, log, trusted=True) is None
    with pytest.raises(NotAcceptable, match=r"^log: .* with other parameters \(file, role, title\) than the installed"):
        from_pinned(job, {name: value for name, value in values.items() if name != "group"}, log, trusted=True)
    with pytest.raises(
        NotAcceptable, match=r"^log: .* cannot be used: delete-users: the parameter 'group' cannot be 7: it is str"
    ):
        from_pinned(job, {**values, "group": 7}, log, trusted=True)
    (tmp_path / "a").write_bytes(b"abd")
    with pytest.raises(NotAcceptable, match="is not the file that the run had as --file: its SHA-256 is another"):
        from_pinned(job, values, log, trusted=True)
    (tmp_path / "a").unlink()
    with pytest.raises(NotAcceptable, match=r"^log: .* cannot be used: --file .*: is not a file"):
        from_pinned(job, values, log, trusted=True)


@mutant(
    "a file elsewhere is read that only the log of a run names",
    "_path_now",
    swap("trusted or is_within(recorded, run)", "trusted or recorded.exists()"),
)
@mutant(
    "the file of a job is not found beside a place that has moved",
    "_path_now",
    swap("recorded.is_file() or not near.is_file()", "recorded.name"),
)
def test_where_the_file_of_a_job_is_now(tmp_path: Path) -> None:
    """As the log says, or beside the place of the run. A log of another person names no file elsewhere."""
    there, run = tmp_path / "there", tmp_path / "home" / "run"
    for folder in (there, run):
        folder.mkdir(parents=True)
    file, near = there / "a", run.parent / "a"
    file.write_bytes(b"abc")
    job = job_with(frozen(file=Path))
    values = pinned(frozen(file=Path)(file))

    def found(*, trusted: bool) -> str:
        try:
            return str(from_pinned(job, values, run, trusted=trusted).file)
        except NotAcceptable as error:
            return str(error)

    assert found(trusted=True) == str(file)
    assert f"--file {near}: is not a file" in found(trusted=False)
    near.write_bytes(b"abc")
    assert (found(trusted=True), found(trusted=False)) == (str(file), str(near))
    file.unlink()
    assert found(trusted=True) == str(near)
    near.unlink()
    assert f"--file {file}: is not a file" in found(trusted=True)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("run delete-users e.csv", "delete-users"),
        ("run --note disable-users delete-users e.csv", "delete-users"),
        ("run --note delete-users disable-users e.csv", "disable-users"),
        ("plan enable-users disable-users --status Activated", "enable-users"),
        ("--help run delete-users", "delete-users"),
        ("run --help", None),
        ("status delete-users", None),
        ("", None),
    ],
)
def test_the_job_is_found_among_the_words(words: str, name: str | None) -> None:
    job = find_job(words.split(), lambda job: make_app(ConfigFile(), job=job))
    assert (job and job.name) == name


def test_the_options_of_a_job() -> None:
    shown = dict(described(plan, load_job("enable-users")))
    assert shown.keys() >= {"--status", "--from-backup"}
    assert not dict(described(plan, load_job("delete-users")))
    commands = for_completion(plan)
    assert {"delete-users", "enable-users"} <= set(commands)
    arguments = commands["enable-users"].assemble_argument_collection()
    assert "--from-backup" in [argument.name for argument in arguments]
    assert "JOB" not in [argument.name for argument in arguments]


def test_the_defaults() -> None:
    assert [default_of(one) for one in Needs.__dataclass_fields__.values()][1:] == [(), False, True, 1]
