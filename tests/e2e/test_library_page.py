"""The examples of docs/library.md: each is run as it stands, against the sandbox."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import bulkdel
from tests.harness import KEYS, POOL, sandbox, write_objects

PAGE = Path(__file__).parent.parent.parent / "docs" / "library.md"
IDS = [f"{number:024x}" for number in range(1000)]


def example(of: str) -> str:
    """The one example that has this text in it."""
    examples = [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if of in text]
    assert len(examples) == 1, of
    return str(examples[0])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The folder with the export of the examples, and the credentials; the names that they use."""
    write_objects(tmp_path / "export.jsonl", IDS)
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return {"asyncio": asyncio, "bulkdel": bulkdel, "Path": Path, "POOL": POOL}


@pytest.mark.parametrize("text", ["async def main", "async def delete_rows", "run_sync"])
def test_an_example_deletes_everything(text: str, place: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    with sandbox(IDS) as served:
        exec(compile(example(text), str(PAGE), "exec"), place | {"HOST": served.url})
        assert served.pool.deleted == len(IDS)
    assert capfd.readouterr().out


async def test_the_example_that_drains(place: dict[str, Any]) -> None:
    with sandbox(IDS) as served:
        names = place | {"HOST": served.url}
        exec(compile(example("call_later"), str(PAGE), "exec"), names)
        assert await names["at_most"](0.1) == "interrupted"
        assert served.pool.deleted < len(IDS)


def test_the_example_of_the_options(place: dict[str, Any]) -> None:
    exec(compile(example("not_after"), str(PAGE), "exec"), place)
    assert isinstance(place["run"], bulkdel.Run)
