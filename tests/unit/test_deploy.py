"""What `deploy/` and the image say is what the program does: variables, exit codes, times, versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkdel.cli.app import EPILOGUE
from bulkdel.cli.config import tables_with
from bulkdel.core import summary
from bulkdel.secret_file import IN_FILE
from bulkdel.settings import Settings
from bulkdel_jobs.genauth.access_key import KEY_ID, KEY_SECRET
from tests.mutants import mutant
from tests.syntax import swap

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
INTERRUPTED = {129, 130, 143}


def job_of(path: Path) -> dict[str, Any]:
    """The spec of the Job in a manifest."""
    document = next(iter(yaml.safe_load_all(path.read_text())))
    spec: dict[str, Any] = document["spec"]
    job: dict[str, Any] = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
    return job


def exit_codes() -> dict[int, str]:
    """What `run --help` says that a scheduler should do, by exit code."""
    found: dict[int, str] = {}
    for line in re.findall(r"^- (\d.*)$", EPILOGUE, re.MULTILINE):
        said, advice = line.rsplit(": ", 1)
        found |= dict.fromkeys(map(int, re.findall(r"\b\d+\b", said)), advice)
    return found


def test_files_are_there() -> None:
    assert [path.name for path in MANIFESTS] == ["cronjob.yaml", "indexed-job.yaml", "job.yaml"]
    assert len(FILES) == 7


@mutant(
    "the job reads its key from another variable",
    "KEY_ID",
    swap('"GENAUTH_ACCESS_KEY_ID"', '"GENAUTH_KEY_ID"'),
    case="job.yaml",
)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_an_option(path: Path) -> None:
    """Also those of the key: the names that the job reads."""
    text = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    names = set(re.findall(r"\bBULKDEL_[A-Z0-9_]+", text))
    assert tables_with({}, dict.fromkeys(names, "")) == {}
    for name in re.findall(r"\bGENAUTH_[A-Z_]+", text):
        assert name.removesuffix(IN_FILE) in {KEY_ID, KEY_SECRET}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest(path: Path) -> None:
    """Each exit code has one rule: what was interrupted goes on, and for anything else a person has to look."""
    job = job_of(path)
    failed = "FailIndex" if "completionMode" in job else "FailJob"
    actions: dict[int, str] = {}
    for rule in job["podFailurePolicy"]["rules"]:
        for code in rule.get("onExitCodes", {}).get("values", []):
            assert actions.setdefault(code, rule["action"]) == rule["action"]
    codes = exit_codes()
    assert INTERRUPTED | {1, 2, 3, 4, 5, 6} == codes.keys() - {0}
    assert {code for code, advice in codes.items() if advice == "run again"} == INTERRUPTED
    assert actions == {code: "Ignore" if code in INTERRUPTED else failed for code in codes if code}
    assert job["podReplacementPolicy"] == "Failed", "two pods never write one log"
    pod = job["template"]["spec"]
    assert (pod["restartPolicy"], pod["securityContext"]["runAsUser"]) == ("Never", 65532)
    assert pod["terminationGracePeriodSeconds"] > Settings().drain
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environ = {one["name"]: one.get("value", "") for one in container["env"]}
    assert environ["BULKDEL_EXPORT"].startswith(f"{mounts['data']}/")
    for name in (KEY_ID, KEY_SECRET):
        assert environ[f"{name}{IN_FILE}"].startswith(f"{mounts['key']}/")


def test_the_unit() -> None:
    unit = (DEPLOY / "systemd" / "bulkdel@.service").read_text()
    planned = f"{summary.EXIT_STOPPED} 143"
    assert f"\nSuccessExitStatus={planned}\n" in unit
    stop_s, drain_s = (int(re.findall(rf"{name}=(\d+)", unit)[0]) for name in ("TimeoutStopSec", "BULKDEL_DRAIN"))
    assert stop_s > drain_s


def pins(name: str) -> dict[str, str]:
    """The versions of a lock by package."""
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_locks() -> None:
    """A package of the program is in its lock only. The image has the versions that are tested."""
    program, tests, image = (pins(f"requirements{name}.lock") for name in ("", "-test", "-image"))
    assert {"aiohttp", "setuptools"} <= program.keys()
    assert not program.keys() & (tests.keys() | image.keys())
    extras = {"botocore", "jmespath", "python-dateutil", "six"}  # of `aws`, which the tests do without
    assert image.keys() - tests.keys() == extras
    assert {name: tests.get(name, version) for name, version in image.items()} == image
    assert {"prometheus-client", "apprise", "botocore", "obstore"} <= image.keys()
    assert not {"pytest", "ruff", "mypy", "genauth", "hypothesis"} & (program.keys() | image.keys())


def test_the_image_is_built_from_files_that_are_there() -> None:
    """And the files that it is built from are not ignored."""
    text = (ROOT / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY ((?!--).*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)
    assert "://" not in text
