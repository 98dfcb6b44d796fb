"""The run in README.md, repeated: each command prints what the page shows, but for the port and dates."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import COMMAND, bulkdel, environment

README = Path(__file__).parents[2] / "README.md"
PORT = "4711"


def blocks() -> list[str]:
    """The blocks of the section "A run": the sandbox, the export, then a command with its output each."""
    section = README.read_text().partition("\n## A run\n")[2].partition("\n## ")[0]
    return re.findall(r"```\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    """The port of the sandbox that the first block starts, with the export of the second block beside it."""
    sandbox, head = (block.strip().removeprefix("$ ") for block in blocks()[:2])
    words = shlex.split(sandbox.replace(f"--port {PORT}", "--port 0"))
    with subprocess.Popen([*COMMAND, *words[1:]], cwd=tmp_path, env=environment({}), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        url: str = json.loads(served.stdout.readline())["url"]
        subprocess.run(head, shell=True, cwd=tmp_path, check=True)
        yield url.rpartition(":")[2]
        served.terminate()


def lines(text: str) -> list[str]:
    """The lines of an output. The sample is drawn at random, and with it the latest sign-in."""
    return [re.sub(r"\d{4}-\d\d-\d\d", "DATE", line) for line in text.splitlines()]


def test_the_run_of_the_readme(port: str, tmp_path: Path) -> None:
    planned, interrupted, complete, verified = (block.replace(PORT, port) for block in blocks()[2:])

    plan, *shown = planned.splitlines()
    ran = bulkdel(*shlex.split(plan)[2:], cwd=tmp_path)
    assert lines(ran.out) == lines("\n".join(shown)), ran

    begun = [*shlex.split(shown[-1])[1:], "--limit", "1100"]  # in place of a Ctrl-C at that instant
    ran = bulkdel(*begun, cwd=tmp_path)
    assert lines(ran.out)[1:3] == lines(interrupted)[1:3]

    ran = bulkdel(*shlex.split(shown[-1])[1:], cwd=tmp_path)
    assert (ran.code, lines(ran.out)[:3]) == (0, lines(complete))

    verify, *shown = verified.splitlines()
    ran = bulkdel(*shlex.split(verify)[2:], cwd=tmp_path)
    assert (ran.code, lines(ran.out)[: len(shown)]) == (0, lines("\n".join(shown)))
