"""`make test-page`: looks at the live page and a report in a headless Chromium, and keeps pictures in `.page`.

    python -m tests.browser

Installs playwright-core and axe-core with npm into `.page`, by version and hash, and Debian's Chromium and
poppler-utils with apt-get where one is missing and that is allowed. Then runs the tests that `make test` skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.browser.driving import BROWSER, FOLDER, chromium

HERE = Path(__file__).parent
TESTS = ("tests/e2e/test_page_browser.py", "tests/e2e/test_report_browser.py")
QUIET = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


def main() -> int:
    """Install, and run the tests. Returns the exit code of pytest, or 1 and a line that says what is missing."""
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        return _cannot(f"{' and '.join(missing)} not on this machine; install Node 20 or newer")
    FOLDER.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, FOLDER)
    subprocess.run(["npm", "ci", "--prefix", str(FOLDER), *QUIET], check=True)
    if chromium() is None or shutil.which("pdftoppm") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            return _cannot("no Chromium or no pdftoppm on this machine: apt-get install chromium poppler-utils")
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environ)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        packages = ["chromium", "fonts-dejavu-core", "poppler-utils"]
        subprocess.run([*words, *packages], check=True, env=environ)
    tests = [sys.executable, "-m", "pytest", "-q", *TESTS]
    code = subprocess.run(tests, env=os.environ | {BROWSER: str(chromium())}, check=False).returncode
    print(f"screenshots: {FOLDER}")
    return code


def _cannot(why: str) -> int:
    print(f"the pages were not looked at: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
