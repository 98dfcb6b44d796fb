"""The command `bulkdel job new`: writes a package with a job, its test and a look-alike of its API."""

from __future__ import annotations

import keyword
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from bulkdel.errors import FileFailed, UsageError
from bulkdel.job import job_names
from bulkdel.output import result

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NAME_MAX = 60

TEMPLATE = {
    "pyproject.toml": "pyproject.toml",
    "delete_items/__init__.py": "job.py",
    "delete_items/look_alike.py": "look_alike.py",
    "delete_items/py.typed": "",
    "tests/test_delete_items.py": "test_job.py",
    "items.csv": "items.csv",
}
"""Each file of the package, and the file of the template that it is made of."""


def write_job(name: str) -> int:
    """Write the package into a new folder `name`, and print the commands that try it. Raises UsageError, FileFailed."""
    check_name(name)
    folder = Path(name)
    try:
        folder.mkdir()
        for path, source in TEMPLATE.items():
            target = folder / renamed(path, name)
            target.parent.mkdir(exist_ok=True)
            target.write_text(renamed(_text(source), name), encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{name}: is there already; choose another name, or another folder to start in") from None
    except OSError as error:
        raise FileFailed(f"{name}: {error.strerror}") from error
    result(f"{name}/ is a job with its test and a look-alike of its API. Try it:\n")
    for command in next_commands(name):
        result(command)
    result(f"\nThen put your API into {name}/{renamed('delete_items/__init__.py', name)} and its look-alike.")
    return 0


def check_name(name: str) -> None:
    """Refuse a name that is no job's, or that another job or module has. Raises UsageError."""
    if not NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise UsageError(f"{name!r} is no name for a job: write lower-case words with - between them: delete-items")
    if name in job_names():
        raise UsageError(f"a job {name!r} is installed already")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or find_spec(module) is not None:
        raise UsageError(f"a module {module!r} is there already, or cannot be; choose another name")


def renamed(text: str, name: str) -> str:
    """The text of the template with the name of the new job in its four spellings."""
    words = name.split("-")
    for old, new in (
        ("delete-items", name),
        ("delete_items", "_".join(words)),
        ("DELETE_ITEMS", "_".join(words).upper()),
        ("DeleteItems", "".join(map(str.capitalize, words))),
    ):
        text = text.replace(old, new)
    return text


def next_commands(name: str) -> Iterator[str]:
    """The commands that install and try the job, for this interpreter, whether or not its folder is in PATH."""
    python = _typed("python", sys.executable)
    beside = Path(sys.executable).with_name("bulkdel")
    program = "bulkdel" if _typed("bulkdel", str(beside)) == "bulkdel" else f"{python} -P -m bulkdel"
    ready = all(find_spec(module) for module in ("setuptools", "pytest", "mypy"))
    yield f"cd {name}"
    yield f"{python} -m pip install " + ("--no-build-isolation --no-deps -e ." if ready else "-e '.[test]'")
    yield f"{python} -m pytest"
    yield f"{python} -m mypy --strict {name.replace('-', '_')} tests"
    yield f"{program} job check {name}"
    yield f"{program} plan {name} items.csv --sandbox"
    yield f"{program} run {name} items.csv --sandbox"


def _typed(word: str, path: str) -> str:
    """The word, if the shell finds this very file by it; else the path."""
    return word if shutil.which(word) == path else shlex.quote(path)


def _text(source: str) -> str:
    return files("bulkdel_jobs.kit").joinpath("template", f"{source}.txt").read_text(encoding="utf-8") if source else ""
