"""`make test-sdks`: walks one whole offboarding with each of the vendor's SDKs against `bulkdel sandbox`.

    python -m tests.sdks

Installs the SDKs from their registries into `.sdks`, each package by its version and its hash: `requirements.txt` and
`package-lock.json`. A name that the vendor has not registered is not installed: another could register it.

An SDK that cannot be had is named and left out. Fails when an SDK that can be had does not get through, when the
sandbox has counted something else, and when there is no SDK at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.sdks.walk import Effects, Sdk, counted, offboard, sandbox

HERE = Path(__file__).parent
FOLDER = Path(".sdks").resolve()
PYTHON = FOLDER / "python" / "bin" / "python"
BULKDEL = str(Path(sys.executable).with_name("bulkdel"))

PIP = {"PIP_USER": "0", "PIP_REQUIRE_HASHES": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""Settings of a pip configuration that would break an install into a virtual environment are overridden."""


class Package(NamedTuple):
    """One SDK: its name, its registry, and the methods that it is known not to have."""

    name: str
    registry: str
    missing: frozenset[str] = frozenset()


PACKAGES = (
    Package("genauth", "pip"),
    Package("authing", "pip"),
    Package("authing-node-sdk", "npm"),
)


def installed(package: Package) -> str | None:
    """Install the SDKs of a registry; return None, or why this one cannot be had."""
    if package.registry == "npm":
        if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
            return f"{' and '.join(missing)} not on this machine"
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, FOLDER)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        return failure(["npm", "ci", "--prefix", str(FOLDER), *quiet])
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parent.parent], check=True)
    pinned = ("--require-hashes", "-r", str(HERE / "requirements.txt"))
    return failure([str(PYTHON), "-m", "pip", "install", "--quiet", *pinned])


def failure(words: Sequence[str]) -> str | None:
    """Run a command; return None, or the first thing that it said if it failed."""
    ran = subprocess.run(words, env=os.environ | PIP, capture_output=True, text=True, check=False)
    said = [line for line in ran.stderr.splitlines() if line.strip()]
    return None if ran.returncode == 0 else (said or [f"exit code {ran.returncode}"])[0]


def walked(package: Package) -> str | None:
    """Walk the offboarding with one SDK; return None, or what went wrong."""
    with sandbox(BULKDEL) as where:
        told = [package.name, where["url"], where["key_id"], where["key_secret"]]
        words = [str(PYTHON), str(HERE / "call.py")] if package.registry == "pip" else ["node", str(HERE / "call.js")]
        sdk = Sdk([*words, *told], os.environ | {"NODE_PATH": str(FOLDER / "node_modules")})
        try:
            expected = offboard(sdk)
        except (AssertionError, ValueError, OSError):
            traceback.print_exc()
            return f"it stopped at {sdk.asked}; the traceback stands above"
        finally:
            sdk.close()
        if sdk.missing != package.missing:
            return f"it has not {sorted(sdk.missing)}; expected was {sorted(package.missing)}"
        return difference(counted(where["url"]), expected[0]) or difference(
            counted(where["url"], public=True), expected[1]
        )


def difference(found: Effects, expected: Effects) -> str | None:
    """Return None where both are equal, else some of what one has more than the other."""
    if found == expected:
        return None
    more, fewer = (sorted(each.items())[:3] for each in (found - expected, expected - found))
    return f"the sandbox counts more of {more} and less of {fewer}, among others"


def main() -> int:
    """Install and walk; return the exit code."""
    walks: list[bool] = []
    FOLDER.mkdir(exist_ok=True)
    for package in PACKAGES:
        if why_not := installed(package):
            print(f"NOT WALKED  {package.name}: it could not be had from {package.registry}: {why_not}")
            continue
        wrong = walked(package)
        lacks = f", without {', '.join(sorted(package.missing))}, which it does not have" if package.missing else ""
        print(f"FAILED      {package.name}: {wrong}" if wrong else f"walked      {package.name}{lacks}")
        walks.append(wrong is None)
    if not walks:
        print("No SDK could be had, so nothing was tested.")
    return 0 if walks and all(walks) else 1


if __name__ == "__main__":
    sys.exit(main())
