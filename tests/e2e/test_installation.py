"""The package as it is installed: from the sdist, in a virtual environment of its own; and completion for a shell.

Nothing is downloaded: build backend and dependencies are those of the tests' own environment. `make test-install` has
pip, pipx and uv download them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.harness import COMMAND, environment

ROOT = Path(__file__).parents[2]
EXAMPLE = "bulkdel/config.example.toml"

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"

USERS_OWN = "raise ImportError('a folder of the user, imported by bulkdel')\n"


def checked(command: list[object], **options: object) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("runner", "jobs"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "config.example.toml"):
        shutil.copy(ROOT / name, tree / name)
    checked([sys.executable, "-c", BUILD, folder], cwd=tree)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as file:
        file.extractall(folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel that pip builds from the sdist."""
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    checked([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", sdist.parent, sdist])
    (built,) = sdist.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment that has the wheel. Its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    packages = checked([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ("--no-index", "--no-deps", "--quiet")
    checked([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel])
    return folder / "bin"


@pytest.mark.soak
def test_what_is_in_the_wheel(wheel: Path) -> None:
    """The two packages and nothing else; the example of a config file as a file, not as a link."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        assert file.read(EXAMPLE) == (ROOT / "config.example.toml").read_bytes()
        (metadata,) = (file.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert {name.partition("/")[0] for name in names} == {"bulkdel", "bulkdel_jobs", "bulkdel-0.1.0.dist-info"}
    assert {"bulkdel/py.typed", "bulkdel_jobs/py.typed", EXAMPLE} <= set(names)
    sources = {
        str(path.relative_to(root)) for root in (ROOT / "runner", ROOT / "jobs") for path in root.glob("*/**/*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources
    for minor in (11, 12, 13, 14):
        assert f"Classifier: Programming Language :: Python :: 3.{minor}\n" in metadata


@pytest.mark.soak
def test_it_runs_beside_folders_of_the_user_with_the_names_of_the_source_roots(installed: Path, tmp_path: Path) -> None:
    """A project of the user has packages `jobs` and `runner`, first on the path."""
    for name in ("jobs", "runner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(USERS_OWN)
    options = {"cwd": tmp_path, "env": {**environment({}), "PYTHONPATH": str(tmp_path)}}
    where = checked([installed / "python", "-c", "import bulkdel, bulkdel_jobs; print(bulkdel.__file__)"], **options)
    assert where.startswith(str(installed.parent)), "the installed package, not the one under test"
    assert checked([installed / "bulkdel", "--version"], **options).startswith("bulkdel 0.1.0")
    assert "delete-users" in checked([installed / "python", "-m", "bulkdel", "jobs"], **options)
    assert (
        checked([installed / "bulkdel", "config", "example"], **options) == (ROOT / "config.example.toml").read_text()
    )
    (tmp_path / "e.jsonl").write_text('{"id": "6319a1504f3aaaaaf214dd5b"}\n')
    ran = checked([installed / "bulkdel", "run", "delete-users", "e.jsonl", "--sandbox", "--rate", "0"], **options)
    assert ran.startswith("complete: 1 row")


@pytest.mark.soak
def test_a_new_job_works_by_the_commands_that_are_printed(installed: Path, tmp_path: Path) -> None:
    """It installs, its own test and `mypy --strict` pass, no check finds anything wrong, and it runs."""
    options = {"cwd": tmp_path, "env": {**environment({}), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}}
    told = checked([installed / "bulkdel", "job", "new", "delete-members"], **options)
    commands = told.split("\n\n")[1].splitlines()
    assert len(commands) == 7
    printed = checked(["sh", "-ec", "\n".join(commands)], **options)
    assert re.search(r"\b\d+ passed, \d+ skipped in ", printed), "its own test, and one a check"
    assert "Success: no issues found in 3 source files" in printed
    assert re.search(r"^0 of \d+ checks found something wrong$", printed, re.MULTILINE)
    assert "20 of 20 looked up exist" in printed
    assert re.search(r"^complete: 20 rows\n  deleted +20$", printed, re.MULTILINE)
    written = {path.relative_to(tmp_path / "delete-members") for path in (tmp_path / "delete-members").rglob("*.py")}
    assert written == {
        Path("delete_members/__init__.py"),
        Path("delete_members/look_alike.py"),
        Path("tests/test_delete_members.py"),
    }


@pytest.mark.parametrize("name", ["runner.bulkdel", "jobs.bulkdel_jobs"])
def test_an_import_by_the_source_root_is_refused(name: str) -> None:
    """It would load every module a second time."""
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--stdin-filename", "tests/unit/test_x.py", "-"],
        input=f"import {name}\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "TID251" in done.stdout


COMPLETE = """
source "$HOME/.bashrc"
COMP_WORDS=(bulkdel "$@"); COMP_CWORD=$#
_bulkdel
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("bash") is None, reason="no completion was tried, because bash is not installed")
def test_completion_is_installed_by_one_command(tmp_path: Path) -> None:
    env = {**environment({}), "HOME": str(tmp_path)}
    installed = checked([*COMMAND, "--install-completion", "--shell", "bash"], env=env)
    assert str(tmp_path) in installed
    (tmp_path / "users.jsonl").touch()

    def completed(*words: str) -> list[str]:
        return checked(["bash", "-c", COMPLETE, "bash", *words], env=env, cwd=tmp_path).split()

    assert sorted(completed("r")) == ["report", "restore", "results", "resume", "run"]
    assert completed("run", "delete-users", "us") == ["users.jsonl"]
    assert {"--confirm", "--concurrency"} <= set(completed("run", "--con"))
    assert completed("run", "--in-doubt", "r") == ["resend"]
    assert "delete-users" in completed("plan", "del")


@pytest.mark.soak
def test_completion_that_cannot_be_installed(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    env = {**environment({}), "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [*COMMAND, "--install-completion", "--shell", "bash"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert "Completion is not installed" in done.stderr
    assert os.listdir(tmp_path) == ["home"]  # noqa: PTH208 - names as they are
