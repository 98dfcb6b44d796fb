"""What the tests install beside the program comes by version and hash: no name can be taken by another package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SDKS = TESTS / "sdks"


@pytest.mark.parametrize(("folder", "package"), [("sdks", "authing-node-sdk"), ("browser", "playwright-core")])
def test_every_package_of_npm_is_pinned(folder: str, package: str) -> None:
    packages = json.loads((TESTS / folder / "package-lock.json").read_text())["packages"]
    assert f"node_modules/{package}" in packages
    assert [name for name, each in packages.items() if name and not each.get("integrity")] == []
    assert "resolved" not in str(packages), "no address of a registry"
    assert '"ci"' in (TESTS / folder / "__main__.py").read_text(), "`npm install` would take what is not in the lock"


def test_every_sdk_from_pip_is_pinned() -> None:
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n", "", (SDKS / "requirements.txt").read_text()).strip())
    assert {"authing", "genauth"} <= {entry.partition("==")[0] for entry in entries}
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+ \\\n +--hash=sha256:", entry)] == []
