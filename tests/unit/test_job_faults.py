"""An exception of a job: which job raised it, and what is printed of it."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkdel.errors import Halted, JobFailed
from bulkdel.job import job_failed, job_faults
from tests.mutants import mutant
from tests.syntax import swap

SOURCE = """
import json

def fails(kind, said):
    raise kind(said)

def misled():
    json.loads("{")

def calls(function):
    function()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """An installed package with two jobs."""
    (tmp_path / "elsewhere.py").write_text(SOURCE)
    info = tmp_path / "elsewhere-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bulkdel.jobs]\none = elsewhere:One\ntwo = elsewhere:Two\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    import elsewhere  # type: ignore[import-not-found]

    yield elsewhere
    del sys.modules["elsewhere"]


def raised(function: Callable[..., Any], *args: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        function(*args)
    return caught.value


@mutant(
    "a fault of a job is called one of the program",
    "job_failed",
    swap("not jobs[at_fault]", "at_fault"),
)
def test_told(module: types.ModuleType) -> None:
    assert str(job_failed(raised(module.fails, LookupError, "no 'kind' in 6319a1504f3a"))) == (
        "the job one or two failed: LookupError; report it to its author. Once it is fixed, "
        f"the same command resumes the run.\n  {module.__file__}, line 5, in fails: raise kind(said)"
    )


def test_inside_a_library(module: types.ModuleType) -> None:
    failed = str(job_failed(raised(module.misled)))
    assert "failed: JSONDecodeError; report it" in failed
    assert failed.endswith('line 8, in misled: json.loads("{")')


@pytest.mark.parametrize("error", [Halted("no"), ValueError("not raised at all")])
def test_no_fault_of_a_job(error: Exception) -> None:
    assert job_failed(error) is None


def test_what_the_program_raises_while_a_job_calls_it(module: types.ModuleType) -> None:
    from bulkdel.times import seconds_of

    error = raised(module.calls, lambda: seconds_of(None))  # type: ignore[arg-type]
    assert not isinstance(error, JobFailed)
    assert job_failed(error) is None
    with pytest.raises(type(error)), job_faults():
        raise error
    with pytest.raises(JobFailed), job_faults():
        module.fails(LookupError, "")
