"""`make test-deploy`: checks what `deploy/` and `Dockerfile` say with the tools that will read them.

    python -m tests.deploy [manifests] [units] [image]

The manifests go through `kubernetes-validate`, which comes from PyPI; the units through systemd-analyze. The image is
built by buildah on a base of Debian that debootstrap makes, and its entry point runs against the sandbox, in namespaces
of its own. What this machine lacks is named, and its check is left out. Everything lies in `.deploy`; the base and the
wheels are kept there. Fails when a check fails, and when none could be made.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.deploy.image import check_image
from tests.deploy.lacking import Lacking, need

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".deploy"


def check_manifests() -> str:
    """Validate each manifest against the schemas of Kubernetes."""
    program = FOLDER / "venv" / "bin" / "kubernetes-validate"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", FOLDER / "venv"], check=True)
        pip = [str(program.with_name("python")), "-m", "pip", "install", "--quiet", "kubernetes-validate"]
        if subprocess.run(pip, check=False).returncode:
            raise Lacking("kubernetes-validate could not be installed")
    manifests = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    done = subprocess.run([program, "--strict", *manifests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{len(manifests)} files"


def check_units() -> str:
    """Verify the units, with a program that this machine has in place of bulkdel."""
    need("systemd-analyze")
    folder = FOLDER / "units"
    folder.mkdir(exist_ok=True)
    paths = []
    for unit in sorted((ROOT / "deploy" / "systemd").iterdir()):
        paths.append(folder / unit.name)
        paths[-1].write_text(unit.read_text().replace("/opt/bulkdel/bin/bulkdel", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done.stdout + done.stderr
    return f"{len(paths)} units"


CHECKS: dict[str, Callable[[], str]] = {
    "manifests": check_manifests,
    "units": check_units,
    "image": lambda: check_image(ROOT, FOLDER),
}


def main(names: list[str]) -> int:
    """Make the checks of these names, or all; returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    passed = failed = skipped = 0
    for name in names or CHECKS:
        began = time.monotonic()
        try:
            said = CHECKS[name]()
        except Lacking as lacking:
            skipped += 1
            print(f"{name}: SKIPPED, nothing was checked: {lacking}")
        except (AssertionError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"{name}: FAILED: {error}")
        else:
            passed += 1
            print(f"{name}: passed, {said}, in {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
