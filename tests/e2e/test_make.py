"""The set-up of a fresh clone by the real `make`, with a `python3` in PATH that lacks something or installs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GET = "On Debian and Ubuntu: apt install python3-venv. On Fedora: dnf install python3. On macOS: brew install python."
GET_NEWER = (
    "On Debian and Ubuntu: apt install python3.11-venv. On Fedora: dnf install python3.11. "
    "On macOS: brew install python@3.11. Then: make GOAL PYTHON=python3.11"
)
OLD = """
exec "$REAL" -c 'import sys; sys.version_info = (3, 9, 18, "final", 0); exec(sys.argv[1])' "$2"
"""
WITHOUT_VENV = """exec "$REAL" -c 'import sys; sys.modules["ensurepip"] = None; exec(sys.argv[1])' "$2" """
NOTING = """
test "$1 $2" = "-m venv" || exec "$REAL" "$@"
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "${0##*/} $*"\\n' >"$3/bin/python"
chmod +x "$3/bin/python"
cp "$3/bin/python" "$3/bin/bulkdel"
"""


def make(folder: Path, goal: str, script: str) -> subprocess.CompletedProcess[str]:
    """`make GOAL` with its environment below the folder. In PATH the script is `python3`; with "" there is none."""
    program = shutil.which("make")
    assert program, "install make"
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in ("chmod", "cp", "echo", "find", "grep", "mkdir", "rm", "test", "touch"):
        if not (tools / name).exists():
            (tools / name).symlink_to(str(shutil.which(name)))
    if script:
        (tools / "python3").write_text(f"#!/bin/sh\n{script}")
        (tools / "python3").chmod(0o700)
    env = {"PATH": str(tools), "REAL": sys.executable}
    return subprocess.run(
        [program, "--no-print-directory", goal, f"VENV={folder / 'venv'}"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", f"python3 is missing. {GET}"),
        (OLD, f"Python 3.9 is too old: bulkdel needs 3.11 or newer. {GET_NEWER}"),
        (WITHOUT_VENV, f"venv is missing in python3. {GET}"),
    ],
    ids=["missing", "old", "without-venv"],
)
def test_one_line_says_what_is_missing(tmp_path: Path, script: str, said: str) -> None:
    for goal in ("demo", "test"):
        ran = make(tmp_path, goal, script)
        assert (ran.returncode, ran.stdout) == (2, "")
        line, of_make = ran.stderr.splitlines()
        assert line == said.replace("GOAL", goal)
        assert of_make.startswith("make: ***")
    assert os.listdir(tmp_path) == ["bin"]  # noqa: PTH208 - names as they are


def test_the_demo_installs_the_program_and_the_tests_add_the_rest(tmp_path: Path) -> None:
    """The line of each step comes before the step."""
    venv = tmp_path / "venv"
    pip = "python -m pip install --quiet"
    program, tests = ((ROOT / f"requirements{name}.lock").read_text().count("==") for name in ("", "-test"))
    demo = [f"Starting the demo: {venv}/bin/bulkdel demo", "bulkdel demo"]
    assert make(tmp_path, "demo", NOTING).stdout.splitlines() == [
        f"Creating {venv} with python3",
        f"Installing the {program} packages of requirements.lock into {venv}",
        f"{pip} --no-compile --require-hashes -r requirements.lock",
        f"Installing bulkdel into {venv}",
        f"{pip} --no-index --no-deps --no-build-isolation -e .",
        *demo,
    ]
    whole, torn = (venv / "lib" / f"{name}.dist-info" for name in ("whole", "torn"))
    for package in (whole, torn):
        package.mkdir(parents=True)
        (package / "METADATA").touch()
    (whole / "RECORD").touch()
    assert make(tmp_path, str(venv / ".installed"), NOTING).stdout.splitlines() == [
        f"Installing the {tests} packages of requirements-test.lock into {venv}, for the tests",
        f"{pip} --require-hashes -r requirements.lock -r requirements-test.lock",
        f"python -m compileall -qq {venv}/lib",
    ]
    assert (whole.exists(), torn.exists()) == (True, False), "pip installs again what was interrupted"
    assert make(tmp_path, "demo", NOTING).stdout.splitlines() == demo
