"""What the tests install beside the program comes by version and hash: no name can be taken by another package."""

from __future__ import annotations

import json
import re
from pathlib import Path

SDKS = Path(__file__).parents[1] / "sdks"


def test_every_sdk_is_pinned() -> None:
    packages = json.loads((SDKS / "package-lock.json").read_text())["packages"]
    assert "node_modules/authing-node-sdk" in packages
    assert [name for name, each in packages.items() if name and not each.get("integrity")] == []
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n", "", (SDKS / "requirements.txt").read_text()).strip())
    assert {"authing", "genauth"} <= {entry.partition("==")[0] for entry in entries}
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+ \\\n +--hash=sha256:", entry)] == []
