"""The commands that README.md and docs/guide.md show, with what they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
GUIDE = README.with_name("docs") / "guide.md"


def sessions(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of the blocks that begin with a prompt, and what the page shows below it."""
    for block in re.findall(r"^```\n(\$ .*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown
