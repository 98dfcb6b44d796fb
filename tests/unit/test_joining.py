"""Joining an engine by its name: an entry point of any installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bulkdel.errors import UsageError
from bulkdel.fleet.find_engine import engine_on
from bulkdel.fleet.local import LocalProcesses

SOURCE = """
from contextlib import contextmanager
left = []
@contextmanager
def joined():
    yield "the engine"
    left.append("left")
"""


def test_an_engine_is_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "engine_of_a_test-1.dist-info"
    metadata.mkdir()
    (tmp_path / "engine_of_a_test.py").write_text(SOURCE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: engine_of_a_test\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[bulkdel.engines]\nelsewhere = engine_of_a_test:joined\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with engine_on("elsewhere", {}) as engine:
        assert str(engine) == "the engine"
    assert sys.modules.pop("engine_of_a_test").left == ["left"]


def test_an_engine_without_its_extra_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "half_an_engine-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: half_an_engine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[bulkdel.engines]\nhalf = no_such_module:joined\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(UsageError, match=r"Half is not installed\. Install it: "), engine_on("half", {}):
        pass


def test_an_engine_that_is_not_installed_is_refused() -> None:
    with pytest.raises(UsageError, match="no engine 'nowhere' is installed"), engine_on("nowhere", {}):
        pass
    with engine_on("local", {}) as engine:
        assert isinstance(engine, LocalProcesses)
