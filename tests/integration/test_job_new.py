"""`bulkdel job new`: what it writes, and what it refuses. tests/e2e/test_installation.py runs what it writes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bulkdel.errors import FileFailed, UsageError
from bulkdel_jobs.kit.new import TEMPLATE, check_name, next_commands, write_job
from tests.mutants import mutant
from tests.syntax import swap

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@mutant(
    "the folders of a new job have the name of the template",
    "write_job",
    swap("folder / renamed(path, name)", "folder / path"),
)
def test_the_name_stands_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Also in the pyproject, and no word of the template is left. The program's own linter has nothing to say."""
    assert write_job("retire-b2b-members") == 0
    written = [path for path in Path("retire-b2b-members").rglob("*") if path.is_file()]
    assert len(written) == len(TEMPLATE)
    for path in written:
        assert "delete_items" not in str(path)
        text = path.read_text().lower()
        assert not any(word in text for word in ("delete-items", "delete_items", "deleteitems"))
    project = tomllib.loads(Path("retire-b2b-members/pyproject.toml").read_text())["project"]
    assert project["entry-points"]["bulkdel.jobs"] == {"retire-b2b-members": "retire_b2b_members:RetireB2bMembers"}
    assert next(next_commands("retire-b2b-members")) in capsys.readouterr().out
    words = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "120", "retire-b2b-members"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "no name for a job"),
        ("Delete-Members", "no name for a job"),
        ("delete_members", "no name for a job"),
        ("../members", "no name for a job"),
        ("-members", "no name for a job"),
        ("members-", "no name for a job"),
        ("a" * 61, "no name for a job"),
        ("delete-users", "installed already"),
        ("class", "a module 'class'"),
        ("json", "a module 'json'"),
        ("bulkdel-jobs", "a module 'bulkdel_jobs'"),
    ],
)
def test_names_that_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        write_job(name)
    assert not list(Path.cwd().iterdir())


def test_a_folder_that_is_there_stays_as_it_is() -> None:
    Path("delete-members").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        write_job("delete-members")
    assert not list(Path("delete-members").iterdir())
    Path("delete-others").touch()
    with pytest.raises(UsageError, match="is there already"):
        write_job("delete-others")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A name that the file system refuses is a failed file, not a bug."""
    gone = tmp_path / "gone"
    gone.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(gone)
        gone.rmdir()
        with pytest.raises(FileFailed):
            write_job("delete-members")


def test_the_commands_name_a_program_that_is_not_in_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert f"{sys.executable} -P -m bulkdel job check delete-members" in list(next_commands("delete-members"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "bulkdel job check delete-members" in list(next_commands("delete-members"))
    check_name("delete-members")
